"""A few crystals before, corrupted and after: an interactive page, a picture and CIFs for people who compare runs.

`3Dmol-min.js` is 3Dmol.js 2.5.5 (npm package `3dmol`, BSD-3-Clause, see `LICENSE-3Dmol.txt`), inlined into each page so
that it opens offline and in the sandbox of MLflow's artifact viewer. Plotly's script is nine times as large and draws
spheres as flat markers.
"""

from crystalsweep.gallery.specimens import Specimen as Specimen
from crystalsweep.gallery.specimens import choose as choose
from crystalsweep.gallery.specimens import restore_chosen as restore_chosen
from crystalsweep.gallery.writing import write_gallery as write_gallery
