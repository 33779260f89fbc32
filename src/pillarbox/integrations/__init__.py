"""What fits pillarbox into the places that others have for it: logging's handlers, Django's mail."""
