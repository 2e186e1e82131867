"""What a sweep has used, and when that is too much."""

from __future__ import annotations

import pytest

from crystalsweep.sweeping.plan.budget import Caps, Usage, exceeded, readable, told
from crystalsweep.sweeping.plan.forecast import corrected
from crystalsweep.training.job import Resources


def test_held_resources_count_for_every_worker() -> None:
    used = Usage(cpu_hours=1.0, bytes=7).plus(1800, Resources(workers=4, cpus_per_worker=2, gpus_per_worker=0.25))
    assert (used.cpu_hours, used.gpu_hours, used.bytes) == (5.0, 0.5, 7)


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        (Caps(), ""),
        (Caps(cpu_hours=2.01, gpu_hours=1.01, bytes=3_000_001), ""),
        (Caps(cpu_hours=2.0), "--max-cpu-hours 2 is used up (2)"),
        (Caps(gpu_hours=0.5), "--max-gpu-hours 0.5 is used up (1)"),
        (Caps(bytes=2_000_000), "checkpoints take 3 MB, --max-bytes is 2 MB"),
    ],
)
def test_a_cap_that_is_reached_is_named(caps: Caps, words: str) -> None:
    assert exceeded(Usage(cpu_hours=2.0, gpu_hours=1.0, bytes=3_000_000), caps) == words


def test_what_is_told_has_caps_and_leaves_out_gpus_that_nobody_uses() -> None:
    assert told(Usage(cpu_hours=0.123456, bytes=41_000_000), Caps(cpu_hours=2)) == "0.123 of 2 CPU-hours, 41 MB"
    assert told(Usage(), Caps(gpu_hours=1, bytes=2_000_000_000)) == "0 CPU-hours, 0 of 1 GPU-hours, 0 B of 2 GB"


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (2.5e12, "2.5 TB")])
def test_readable_bytes(size: float, text: str) -> None:
    assert readable(size) == text


def test_a_forecast_is_corrected_by_what_came_before() -> None:
    stages = {"pretrain": 1.0, "finetune": 0.5, "gan": 3.0}
    assert corrected(stages, "gan", 3.0) == (
        "what came before gan took 3.0 minutes, 2 times its forecast of 1.5: expect 6.0 minutes for gan, not 3.0"
    )
    assert "expect 1.5 minutes" in corrected(stages, "gan", 0.75)


@pytest.mark.parametrize(
    ("stages", "took"),
    [({"pretrain": 1.0, "gan": 3.0}, 1.1), ({"pretrain": 0.0, "gan": 3.0}, 0.2), ({"gan": 3.0}, 0.0)],
)
def test_a_forecast_that_held_or_had_nothing_to_be_held_against_is_left_alone(
    stages: dict[str, float], took: float
) -> None:
    assert corrected(stages, "gan", took) == ""
