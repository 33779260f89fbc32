"""Public tools for tests: a receiver that misbehaves on request, and what stands in for the world."""
