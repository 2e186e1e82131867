"""`crystalsweep.complete` and `crystalsweep.predict`: one call each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from crystalsweep.artifacts.places import default_storage
from crystalsweep.inference.asking import CANDIDATES, Charge, decoder_of
from crystalsweep.inference.completion import JOINTLY, Completion
from crystalsweep.inference.decoding.constraints import Constraints
from crystalsweep.inference.inputs import crystal_of, is_one, masking_of, partial_of
from crystalsweep.inference.locate import locate, tracker_for
from crystalsweep.inference.ordering import shape_of
from crystalsweep.inference.predicting import load_predictor, prediction_table
from crystalsweep.inference.ranking import ORDERS, Order, Ranking, ranking_of
from crystalsweep.inference.restorer import Restorer, load


def complete(
    structure: Any,
    mask: str | Iterable[str] | None = (),
    *,
    mask_sites: str | Iterable[int] | None = (),
    top: int = CANDIDATES,
    allowed: str | Iterable[str] | None = None,
    required: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    formula: str | None = None,
    charge: Charge = "any",
    tie: str = "symmetry",
    supercell: str | Sequence[int] | None = None,
    decoder: str = "beam",
    keep_positions: bool = False,
    passes: int = JOINTLY.position_passes,
    seed: int = 0,
    model: Restorer | str | Path | None = None,
    rank_by: Ranking | str | Path | None = None,
    rank_order: Order | None = None,
) -> Completion:
    """Return a crystal with its masked sites filled, in the likeliest ways, and its positions restored.

        done = crystalsweep.complete("BaTiO3.cif", mask="Ti", charge="neutral")
        done.candidates[0].structure, done.candidates[0].probability, done.warnings

    Args:
        structure: A pymatgen `Structure`, ASE `Atoms`, a `Crystal`, the path of a file of any form that can be read, or
            the text of a CIF. Dummies (`X`, `?`) in it are masked, and sites that several elements share are ordered.
        mask: Elements to mask, as `Ti` or `Ti,O`.
        mask_sites: Sites to mask, counted from 1, as `3,5`, with all their copies by symmetry.
        top: Candidates wanted.
        allowed: Elements that masked sites may become, as `Li-Fe-P-O`.
        required: Elements that must be in the crystal.
        exclude: Elements that masked sites must not become.
        formula: Of the whole crystal.
        charge: `neutral`, `prefer` (those that are first) or `any`.
        tie: Masked sites that get one element together: `none`, `symmetry` or `all`.
        supercell: In which sites that elements share are ordered, as `2x2x2` or (2, 2, 2).  [default: the smallest that
            can be]
        decoder: `beam`, `sampled`, `ordered` or `argmax`.
        keep_positions: Leave every atom where it is.
        passes: In which positions are restored, at most: a crystal is done once a pass moves its atoms by less than
            0.05 Å.
        seed: Of `sampled`.
        model: What `crystalsweep.load` takes or gives.  [default: the champion]
        rank_by: A property model, as `crystalsweep.predict` takes it, by whose prediction the likeliest candidates are
            ordered; of one with several targets `MODEL:TARGET`.
        rank_order: `ascending` or `descending`.  [default: the lowest of energies first, else the highest]

    Raises:
        ValueError: The crystal cannot be read or completed, what is asked contradicts it, or the property model does
            not predict that, with the reason.
    """
    shape = None if supercell is None or len(supercell) == 0 else shape_of(supercell)
    partial = partial_of(
        structure, masking_of(() if mask is None else mask, () if mask_sites is None else mask_sites), shape
    )
    constraints = Constraints.of(allowed=allowed, required=required, excluded=exclude, formula=formula)
    restorer = model if isinstance(model, Restorer) else _champion() if model is None else load(model)
    ranking = _ranking(rank_by, rank_order)
    found = restorer.complete(
        partial.crystal,
        decode=partial.decoded_by(
            decoder_of(
                method=decoder,
                top=top,
                charge=charge,
                tie=tie,
                passes=passes,
                seed=seed,
                critic_weight=restorer.critic_weight,
            )
        ),
        constraints=partial.constrained(constraints),
        keep_positions=keep_positions,
    )
    done = partial.told_with(found.first(top))
    return ranking.ranked(done) if ranking else done


def predict(
    structures: Any,
    model: str | Path,
    *,
    tracking_uri: str | None = None,
    storage: Path | None = None,
    device: str = "cpu",
) -> pd.DataFrame:
    """Return a row per crystal: its properties by a trained model, each with its interval or its set of answers.

        crystalsweep.predict([structure], model="runs/bulk_modulus")

    Args:
        structures: pymatgen `Structure`s, ASE `Atoms`, `Crystal`s, paths of files with one crystal, or texts of CIFs;
            or one of these. Those without a name are called by their place, `crystal-1`.
        model: What `crystalsweep train finetune` made: a run folder, an MLflow run id or `models:/NAME@ALIAS`.
        tracking_uri: MLflow server or database.  [default: MLFLOW_TRACKING_URI, else the local store]
        storage: Folder of the local store, and of what is downloaded.  [default: ~/crystalsweep]
        device: `cpu` or `cuda`.

    Raises:
        ValueError: A crystal cannot be read, or the model is none of properties, with the reason.
    """
    given = [structures] if is_one(structures) else structures
    crystals = [crystal_of(each, f"crystal-{number}") for number, each in enumerate(given, start=1)]
    tracker = tracker_for(str(model), tracking_uri, storage)
    where = locate(str(model), tracker, (storage or default_storage()) / "downloads")
    found = load_predictor(where.folder, device).predict(crystals)
    return prediction_table([crystal.id for crystal in crystals], found)


def _ranking(asked: Ranking | str | Path | None, order: Order | None) -> Ranking | None:
    """Return the ranking that is asked for. Raises `ValueError` where an order is given and no model, or no such."""
    if asked is None and order is not None:
        raise ValueError("rank_order goes with rank_by: name the property model")
    if order is not None and order not in ORDERS:
        raise ValueError(f"rank_order is {order!r}; give {' or '.join(ORDERS)}")
    return asked if asked is None or isinstance(asked, Ranking) else ranking_of(str(asked), order)


@cache
def _champion() -> Restorer:
    """Return the model in use where nobody names one; asked for once."""
    return load()
