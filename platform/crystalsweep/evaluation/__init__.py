"""Restoring corrupted crystals and scoring what comes out (paper, Figs. 4 and 5).

`protocol` fixes the inputs, `scoring` and `submitted` turn crystals into rows, `run` does so for a whole data set,
resumably, here or on Ray (`spread`), `results` writes what an evaluation leaves, `comparing` and `rescoring` work on
that. Nothing is imported here: the command line needs the settings without torch.
"""
