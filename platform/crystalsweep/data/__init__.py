"""Data sets of crystals: reading, checking, splitting, writing, and the set that comes with the package."""

from __future__ import annotations

from crystalsweep.data.abundance import PowerLaw, element_abundance, plot_abundance, power_law_exponent
from crystalsweep.data.bundled import bundled_fingerprint, bundled_split, load_bundled
from crystalsweep.data.errors import DataError
from crystalsweep.data.fingerprint import fingerprint, fingerprints
from crystalsweep.data.loading import DataSet, absolute_source, load_data
from crystalsweep.data.packed import Crystals, atom_counts, label_values, pick
from crystalsweep.data.primitive import primitive_cell
from crystalsweep.data.reading import Note, Reading, Reject, read
from crystalsweep.data.splitting import Part, Split, grouped_split
from crystalsweep.data.told import told_of, told_of_data, used_of
from crystalsweep.data.writing import write

__all__ = [
    "Crystals",
    "DataError",
    "DataSet",
    "Note",
    "Part",
    "PowerLaw",
    "Reading",
    "Reject",
    "Split",
    "absolute_source",
    "atom_counts",
    "bundled_fingerprint",
    "bundled_split",
    "element_abundance",
    "fingerprint",
    "fingerprints",
    "grouped_split",
    "label_values",
    "load_bundled",
    "load_data",
    "pick",
    "plot_abundance",
    "power_law_exponent",
    "primitive_cell",
    "read",
    "told_of",
    "told_of_data",
    "used_of",
    "write",
]
