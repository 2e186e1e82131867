"""A trained generator in use: what a string names, restoring and completing crystals, the same over HTTP."""
