"""Small trained parts that teach the frozen talking head emotion (EAT, Section 3), and their registry."""
