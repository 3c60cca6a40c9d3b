"""Small trained parts that teach the frozen talking head emotion (EAT, Section 3.3), and the registry that names them."""
