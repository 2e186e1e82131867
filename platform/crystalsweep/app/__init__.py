"""A local page that completes crystals: a CIF in, sites masked by clicking, ranked candidates in 3D."""
