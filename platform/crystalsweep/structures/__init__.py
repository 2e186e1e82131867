"""Crystals as arrays and tensors: periodic neighbours, graphs, and how they are corrupted (Fig. 1B)."""
