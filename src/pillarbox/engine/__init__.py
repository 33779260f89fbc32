"""The moving parts: one loop a file, each with a ``tick()`` that does one bounded piece."""
