"""The zoo: small trained networks that make the defaults real, each with a card that says what it is and is not."""
