"""Files and folders that last: written at once or not at all, sealed, packed, and read without trust."""
