"""Density functional theory: inputs written for FHI-aims and VASP, and energies read from their outputs."""
