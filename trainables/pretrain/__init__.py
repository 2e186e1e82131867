"""Pre-training: the generator learns to restore corrupted crystals (paper, Fig. 1B)."""
