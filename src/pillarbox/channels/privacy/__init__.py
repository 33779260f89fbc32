"""What must not be said of a message or a channel, wherever others repeat it."""
