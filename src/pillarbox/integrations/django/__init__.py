"""What Django has places for: an e-mail backend, a command of manage.py, checks of the settings."""
