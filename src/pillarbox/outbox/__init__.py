"""What applications call: one file a thing that they want to do, all built on one `Runtime`."""
