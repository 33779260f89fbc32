"""The mail channel, and what a mail is made of."""
