"""How well properties are predicted, and what anything that learned no structure would have predicted."""
