"""The commands themselves, one a file, each called as its file."""
