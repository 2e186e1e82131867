"""Put a promoted version into the package, as the champion that `crystalsweep.load()` gives where no registry has one.

Of the version's files go along: weights, dossier and card, as JSON, safetensors and Markdown, sealed anew. Pages, plots
and tables of single crystals stay behind; `crystalsweep evaluate --suite` makes them again.

    python infra/ship_champion.py champion.zip            # which `crystalsweep registry export` wrote
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from crystalsweep.artifacts.archive import unpack
from crystalsweep.artifacts.seal import require_sealed, seal
from crystalsweep.inference.champion import CHAMPION
from crystalsweep.registry.dossier import read_dossier

SHIPPED = (
    *("checkpoint/checkpoint.json", "checkpoint/generator.safetensors", "checkpoint/critic.safetensors"),
    "checkpoint/calibration.json",
    *("dossier/dossier.json", "dossier/suite.json", "dossier/evaluation/metrics.json"),
    *("dossier/evaluation/request.json", "MODEL_CARD.md"),
)
TARGET = Path(__file__).parents[1] / "platform" / "crystalsweep" / "champions" / CHAMPION
MOST_BYTES = 12_000_000


def main(archive: Path) -> None:
    """Replace the shipped champion by the version in an archive. Raises `ValueError` where that was not promoted."""
    with TemporaryDirectory() as scratch:
        root = unpack(archive, Path(scratch) / "version")
        require_sealed(root)
        verdict = read_dossier(root).verdict
        if verdict != "promoted":
            raise ValueError(f"{archive} was {verdict}, not promoted")
        shutil.rmtree(TARGET, ignore_errors=True)
        for name in SHIPPED:
            if (root / name).exists():
                (TARGET / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, TARGET / name)
    sealed = seal(TARGET)
    size = sum(file.stat().st_size for file in TARGET.rglob("*") if file.is_file())
    if size > MOST_BYTES:
        raise ValueError(f"{TARGET} has {size:,} bytes; {MOST_BYTES:,} at most are shipped")
    print(f"{TARGET}: {size:,} bytes, seal {sealed}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
