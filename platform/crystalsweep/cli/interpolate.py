"""`crystalsweep model interpolate`: generators between two checkpoints, and what each gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.artifacts.places import default_storage, require_writable
from crystalsweep.cli.echo import echo
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.wording.stranger import tabulated

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = """\b
Examples:
  crystalsweep model interpolate runs/control runs/gan --out between
  crystalsweep model interpolate runs/control runs/gan --alpha 0:0.5:0.05 --data TRAIN,VAL --energies 40 --out between
  crystalsweep evaluate --checkpoint between/alpha-0.30     the whole evaluation of one of them
"""


MAX_ALPHAS = 1000


def alphas_of(text: str) -> list[float]:
    """Return α from FIRST:LAST:STEP, ends included, or a list such as 0,0.25,1; 0, the control, is always among them.

    Raises:
        ValueError: It is neither, or one is not within 0…1.
    """
    try:
        if ":" in text:
            first, last, step = (float(part) for part in text.split(":"))
            few = step > 0 and (last - first) / step <= MAX_ALPHAS
            given = np.arange(first, last + step / 2, step).tolist() if few else []
        else:
            given = [float(part) for part in text.split(",")]
    except (ValueError, OverflowError):
        given = []
    if not given or not all(0 <= alpha <= 1 + 1e-9 for alpha in given):
        raise ValueError(f"--alpha {text!r}: give FIRST:LAST:STEP within 0…1, as 0:1:0.1, or a list as 0,0.25,1")
    return sorted({0.0, *(min(round(alpha, 6), 1.0) for alpha in given)})


@click.command(epilog=EXAMPLES)
@click.argument("control")
@click.argument("adversarial")
@click.option("--alpha", default="0:1:0.1", show_default=True, help="FIRST:LAST:STEP, or a list as 0,0.25,1.")
@click.option("--data", "source", default="bundled", show_default=True, help="'bundled', a data set, or TRAIN,VAL.")
@click.option("--max-crystals", type=click.IntRange(min=1), default=100, show_default=True, help="Parents restored.")
@click.option("--max-atoms", type=click.IntRange(min=1), default=60, show_default=True, help="Leave out larger ones.")
@click.option("--sigma-noise", type=click.FloatRange(min=0), default=0.1, show_default=True, help="Of their inputs.")
@click.option(
    "--energies", type=click.IntRange(min=0), default=0, show_default=True, help="Parents with CHGNet energies."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder for checkpoints and the curve.")
@click.option(
    "--tracking-uri", help="MLflow server or database of run ids and names.  [default: MLFLOW_TRACKING_URI, or local]"
)
def interpolate(
    control: str,
    adversarial: str,
    alpha: str,
    source: str,
    max_crystals: int,
    max_atoms: int,
    sigma_noise: float,
    energies: int,
    out: Path,
    tracking_uri: str | None,
) -> None:
    """Make the generators between CONTROL and ADVERSARIAL, and tell what each gives.

    Two trainings from one start, without an adversary and with one, are two ends of a line: weights (1 − α) · control +
    α · adversarial. Somewhere between them a generator may have what the adversary gives, and not yet lost what it
    costs. Each is restored from the same corrupted crystals of the validation part, stable ones alone, every masked
    site by itself. Told are means with 95 % intervals over parents, and the greatest α up to which compositional
    similarity is not resolved worse than the control's. It was chosen on these crystals: tell its figures on others.

    CONTROL and ADVERSARIAL are run folders, MLflow run ids or models:/NAME@ALIAS. OUT gets a checkpoint for each α,
    curve.csv and curve.png.
    """
    with told_in_a_line():
        protocol = EvaluationConfig(sigma_noise=(sigma_noise,), draws=1, max_crystals=max_crystals)
        _interpolate(control, adversarial, alphas_of(alpha), source, protocol, max_atoms, energies, out, tracking_uri)


def _interpolate(
    control: str,
    adversarial: str,
    alphas: list[float],
    source: str,
    protocol: EvaluationConfig,
    max_atoms: int,
    energies: int,
    out: Path,
    tracking_uri: str | None,
) -> None:
    from crystalsweep.data import load_data, told_of_data
    from crystalsweep.evaluation.energy_rows import Energies
    from crystalsweep.evaluation.interpolation import MEASURES, curve_of, evaluate_between, harmless_alpha
    from crystalsweep.evaluation.settings import EnergyConfig
    from crystalsweep.inference.locate import locate, tracker_for
    from crystalsweep.networks.interpolation import generators_between, save_between
    from crystalsweep.plots.interpolation import plot_interpolation
    from crystalsweep.structures.batch import is_stable

    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; choose another --out")
    require_writable(out, "give another folder with --out")
    first, second = (
        locate(each, tracker_for(each, tracking_uri, None), default_storage() / "downloads").folder
        for each in (control, adversarial)
    )
    generators = generators_between(first, second, alphas)
    data = load_data(source, progress=source != "bundled")
    for line in told_of_data(source, data):
        echo(line, err=True)
    parents = [crystal for crystal in data.val if is_stable(crystal) and len(crystal) <= max_atoms]
    if not parents:
        raise ValueError(f"none of the {len(data.val)} validation crystals is stable and has at most {max_atoms} atoms")
    sampled = Energies(EnergyConfig(max_parents=energies), [], "cpu") if energies else None
    tables = evaluate_between(generators, parents, protocol, energies=sampled)
    curve, titles = curve_of(tables), {metric.name: metric.title for metric in MEASURES}
    harmless = harmless_alpha(curve)
    for value, generator in generators.items():
        save_between(out / _folder_of(value), generator, first, second)
    write_whole(out / "curve.csv", curve.to_csv(index=False))
    plot_interpolation(curve, titles, out / "curve.png", harmless=harmless)
    echo(_table(curve, titles))
    restored = min(len(parents), protocol.max_crystals or len(parents))
    echo(
        f"\nUp to α = {harmless:g} compositional similarity is not resolved worse than the control's "
        f"({restored} parents).\n"
        "It was chosen on these crystals; on others: "
        f"crystalsweep evaluate --checkpoint {out / _folder_of(harmless)}\n"
        f"curve: {out / 'curve.png'}"
    )


def _folder_of(alpha: float) -> str:
    """Return `alpha-0.30`, with as many digits as tell it from every other."""
    return f"alpha-{alpha:.2f}" if round(alpha, 2) == alpha else f"alpha-{alpha!r}"


def _table(curve: pd.DataFrame, titles: dict[str, str]) -> str:
    from crystalsweep.pages.text import with_interval

    names = list(dict.fromkeys(curve["metric"]))
    rows = [
        [f"{alpha:g}", *(with_interval(*rows.set_index("metric").loc[name, ["mean", "low", "high"]]) for name in names)]
        for alpha, rows in curve.groupby("alpha")
    ]
    return tabulated(rows, ["α", *(titles[name] for name in names)], disable_numparse=True)
