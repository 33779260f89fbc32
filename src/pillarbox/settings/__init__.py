"""What can be set, and how each source of it is read. `pillarbox.settings.load` puts the sources in order."""
