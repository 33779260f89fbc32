"""Values and decisions. Nothing here does I/O, reads a clock or knows SQL."""
