"""Choosing the species of masked sites together: passes of the network, a search under constraints, positions last."""
