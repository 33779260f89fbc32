"""How a text is cut into parts that a platform takes. Pure."""
