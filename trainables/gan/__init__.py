"""Adversarial training: the pre-trained generator against the stability classifier (paper, Fig. 2)."""
