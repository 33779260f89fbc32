"""What an exception of foreign code says about a send."""
