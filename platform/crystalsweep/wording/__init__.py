"""What users read of mistakes and of libraries: words without the names that code has for its own parts."""
