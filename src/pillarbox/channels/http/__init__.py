"""What every adapter shares that speaks HTTP."""
