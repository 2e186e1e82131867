"""A property model judged: leakage against every ancestor, gain over the best baseline, reproducibility."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from crystalsweep.data import load_data
from crystalsweep.evaluation.properties.inputs import is_data_of
from crystalsweep.evaluation.properties.outcome import PropertyEvaluation, read_property_outcome
from crystalsweep.evaluation.properties.run import PropertyRequest, evaluate_property
from crystalsweep.networks.checkpoint import lineage, read_info
from crystalsweep.registry.gates.gate import Gate
from crystalsweep.registry.gates.leakage import leakage, trainings_of
from crystalsweep.registry.gates.property_gain import property_gain
from crystalsweep.registry.gates.reproducibility import reproducibility

CANDIDATE = "candidate"
"""Its row in the evaluation that judges it."""


@dataclass(frozen=True, kw_only=True)
class JudgedProperty:
    """What there is to say for and against a property model."""

    gates: list[Gate]
    outcome: PropertyEvaluation
    folder: Path
    """Of the evaluation that they rest on."""

    @property
    def reasons(self) -> list[str]:
        """Why it does not pass."""
        return [reason for gate in self.gates if gate.refuses for reason in gate.reasons]


def judge_property(
    checkpoint: Path, trained_on: Sequence[str], out: Path, say: Callable[[str], object]
) -> JudgedProperty:
    """Return every gate of a property model, judged on the held-out part of its own data.

    Args:
        checkpoint: Its folder.
        trained_on: Data sets, beside the bundled one, that its lineage may have been trained on.
        out: Folder of the evaluation.
        say: Told of each step.

    Raises:
        ValueError: None of the data sets is what it was trained on.
    """
    info = read_info(checkpoint)
    own = next((each for each in (*trained_on, "bundled") if is_data_of(load_data(each), info)), None)
    if own is None:
        raise ValueError(
            f"the model was trained on data {info.data_sha256[:12]}, which is none of "
            f"{', '.join((*trained_on, 'bundled'))}; name it with --trained-on"
        )
    say(f"evaluation on the held-out part of {own}, beside baselines")
    folder, outcome = evaluate_property(PropertyRequest(checkpoint=checkpoint, source=own, name=CANDIDATE, out=out))
    say("leakage: held-out crystals among the training crystals of every ancestor, by id, structure and supercell")
    trainings, unknown = trainings_of(lineage([checkpoint]), trained_on)
    part = outcome.data["part"]
    gates = [leakage(trainings, unknown, list(load_data(own).part(part))), property_gain(outcome)]
    say("reproducibility: the same evaluation in a process of its own")
    gates.append(_again(checkpoint, own, outcome))
    return JudgedProperty(gates=gates, outcome=outcome, folder=folder)


def _again(checkpoint: Path, source: str, first: PropertyEvaluation) -> Gate:
    """Run the evaluation's command."""
    environ = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    with TemporaryDirectory() as scratch:
        out = Path(scratch) / "again"
        asked = ["evaluate", "--checkpoint", str(checkpoint), "--data", source, "--name", CANDIDATE]
        command = [sys.executable, "-m", "crystalsweep", *asked, "--out", str(out)]
        ran = subprocess.run(command, env=environ, capture_output=True, text=True)
        if ran.returncode:
            raise ValueError(f"crystalsweep {' '.join(asked)} failed: {' '.join(ran.stderr.split())[-500:]}")
        return reproducibility(first, read_property_outcome(out), f"crystalsweep {' '.join(asked)}")
