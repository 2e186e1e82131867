"""What the terminal shows of a sweep."""
