"""The persistence seam: one write verb, a few reads. Nothing here decides what happens to a message."""
