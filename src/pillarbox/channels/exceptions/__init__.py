"""What an exception out of somebody else's code says about a send."""
