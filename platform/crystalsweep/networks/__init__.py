"""Equivariant networks, the models made of them, and checkpoints: generator Ĝ, property model, discriminator D̂."""
