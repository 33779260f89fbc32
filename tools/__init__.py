"""Programs that work on this repository. They are not part of the package."""
