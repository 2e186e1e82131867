"""Running trainings, and going on with them whatever happens."""
