"""What can be set, and how each source of it is read. `pillarbox.config` puts the sources in order."""
