"""The zoo: small trained networks that make the defaults real, each with a card of what it is and is not."""
