"""`evaluate --set decode.…`: any decoder scored as the paper's is, with what its odds were worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from crystalsweep.evaluation.interface import compare
from crystalsweep.evaluation.outcome import Evaluation, read_outcome
from crystalsweep.evaluation.run import read_tables, write_tables
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.evaluation.suite import find_suite
from crystalsweep.inference.decoding.settings import ARGMAX, DecodeConfig

Evaluate = Callable[..., Result]

SITES = ("site_top1", "site_top3", "site_top5", "site_log_loss", "site_brier")
JOINT = ("joint_top1", "joint_top3", "joint_top5", "joint_probability")


@pytest.fixture(scope="module")
def beam(checkpoint: Path, run_evaluate: Evaluate, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An evaluation by beam search with the neutral candidates first, and what was printed."""
    folder = tmp_path_factory.mktemp("evaluations") / "beam"
    decoder = ("method=beam", "candidates=6", "charge=prefer")
    ran = run_evaluate(
        *(part for each in decoder for part in ("--set", f"decode.{each}")),
        *("--checkpoint", checkpoint, "--out", folder),
    )
    assert ran.exit_code == 0, ran.output
    return folder, ran.output


def test_an_evaluation_decodes_as_the_paper_unless_told_otherwise(evaluation: Path) -> None:
    outcome = read_outcome(evaluation)
    assert outcome.settings.decode == ARGMAX
    own = outcome.rows[outcome.name]
    assert own["site_top1"] == own["masked_accuracy"], "each site's first element is what is put there"
    assert all(name in own for name in SITES)
    assert not any(name in own for name in JOINT), "one candidate has no rank among several"


def test_odds_of_sites_are_those_of_the_rows(evaluation: Path) -> None:
    model, _ = read_tables(evaluation)
    ranks = np.concatenate(model["site_rank"].to_numpy())
    assert len(ranks) == model["n_masked"].sum()
    assert read_outcome(evaluation).rows["pretrain"]["site_top5"].mean == pytest.approx((ranks <= 5).mean())
    assert (model["masked_correct"] == model["site_rank"].map(lambda held: (held == 1).sum())).all()


def test_a_beam_tells_of_its_candidates(beam: tuple[Path, str]) -> None:
    outcome, (model, _) = read_outcome(beam[0]), read_tables(beam[0])
    own = outcome.rows[outcome.name]
    assert own["joint_top1"].mean <= own["joint_top3"].mean <= own["joint_top5"].mean
    assert own["joint_top1"].low is not None
    assert model["joint_candidates"].between(1, 6).all()
    assert (model["joint_rank"] <= model["joint_candidates"]).all()
    restored = model["compositional_similarity"].astype(bool)
    assert (model.loc[restored, "joint_rank"] == 1).all(), "the first candidate is the crystal that is scored"
    assert set(outcome.odds) == {"sites", "joint"}
    assert "Joint top-3" in beam[1]
    assert "beam of 6" in beam[1]


def test_a_rule_used_in_decoding_is_told_beside_validity(beam: tuple[Path, str], evaluation: Path) -> None:
    assert "says nothing about this model" in beam[1]
    page = (beam[0] / "report.html").read_text(encoding="utf-8")
    assert "compositional validity is by the rule that candidates were ranked by" in page
    assert "ranked by" not in (evaluation / "report.html").read_text(encoding="utf-8")


def test_decoders_are_compared_and_told_apart(beam: tuple[Path, str], evaluation: Path) -> None:
    _, notes = compare(evaluation, beam[0])
    (note,) = [note for note in notes if "decoded otherwise" in note]
    assert "beam of 6" in note
    assert "compositional validity is by the rule" in note
    locks = {read_outcome(folder).metrics_lock for folder in (evaluation, beam[0])}
    assert len(locks) == 2


def test_a_required_rule_that_nothing_fulfils_is_a_failure(
    checkpoint: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    ran = run_evaluate(
        *("--set", "decode.method=sampled", "--set", "decode.candidates=2", "--set", "decode.charge=require"),
        *("--set", "metrics.composition.alloys=false", "--max-crystals", 6),
        *("--checkpoint", checkpoint, "--out", tmp_path / "required"),
    )
    assert ran.exit_code == 0, ran.output
    model, _ = read_tables(tmp_path / "required")
    found = model["decode_failure"] == ""
    assert (model["compositional_validity"].astype(bool) == found).all()
    assert (model.loc[~found, "failure"] != "").all()
    assert (model.loc[~found, "joint_rank"] == 0).all()


def test_tables_without_odds_tell_nothing_of_them(evaluation: Path, tmp_path: Path) -> None:
    """As those that were written before there were any."""
    model, references = read_tables(evaluation)
    (tmp_path / "old").mkdir()
    write_tables(tmp_path / "old", model.drop(columns=[c for c in model if c.startswith("site_")]), references)
    content = json.loads((evaluation / "metrics.json").read_text())
    del content["odds"], content["settings"]["decode"]
    for figures in (
        *content["rows"].values(),
        *(row for each in content["conditions"].values() for row in each.values()),
    ):
        for name in SITES:
            figures.pop(name, None)
    (tmp_path / "old" / "metrics.json").write_text(json.dumps(content))
    outcome = read_outcome(tmp_path / "old")
    assert outcome.odds == {}
    verdicts, _ = compare(evaluation, tmp_path / "old")
    assert (verdicts["difference"].dropna() == 0).all()


@pytest.mark.parametrize(("column", "value"), [("site_rank", 300.0), ("site_confidence", 1.5)])
def test_odds_that_no_evaluation_writes_are_refused(
    evaluation: Path, tmp_path: Path, column: str, value: float
) -> None:
    model, references = read_tables(evaluation)
    wrong = [np.full(len(row), value).astype(np.asarray(row).dtype) for row in model[column]]
    write_tables(tmp_path, model.assign(**{column: pd.Series(wrong, dtype=object)}), references)
    with pytest.raises(ValueError, match=f"{column} is not within"):
        read_tables(tmp_path)


def test_suites_frozen_before_there_were_decoders_keep_their_sum() -> None:
    suite = find_suite("bundled-100")
    assert suite.settings.decode == ARGMAX
    before = suite.model_dump(mode="json") | {"source": "", "name": ""}
    del before["settings"]["decode"]
    assert suite.sha256() == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    beam = suite.model_copy(update={"settings": EvaluationSettings(decode=DecodeConfig())})
    assert "decode" in beam.model_dump(mode="json")["settings"]
    assert beam.sha256() != suite.sha256()


def test_every_outcome_can_be_read_again(beam: tuple[Path, str]) -> None:
    outcome = read_outcome(beam[0])
    assert Evaluation.model_validate_json(outcome.model_dump_json()) == outcome
