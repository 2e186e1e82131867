"""Energies by CHGNet, by ASE calculators and by a fairchem file of random weights; every failure has a reason."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from fairchem.core.units.mlip_unit.api.inference import MLIPInferenceCheckpoint
from omegaconf import OmegaConf

from crystalsweep.data import load_bundled
from crystalsweep.energies import AseCalculator, Energy, EnergyCalculator, Limits, energy_calculator
from crystalsweep.energies.chgnet import Chgnet
from crystalsweep.energies.limits import compact
from crystalsweep.structures.crystal import Crystal

CU = Crystal.of("Cu", [29], 3.61 / 2 * (np.ones((3, 3)) - np.eye(3)), [[0.0, 0, 0]])
NACL = Crystal.of("NaCl", [11, 17], 5.69 / 2 * (np.ones((3, 3)) - np.eye(3)), [[0.0, 0, 0], [0.5, 0.5, 0.5]])
UNUSABLE = {
    "no atoms": Crystal.of("a", [], 4 * np.eye(3), np.zeros((0, 3))),
    "non-finite or missing coordinates": Crystal.of("b", [11], 4 * np.eye(3), [[np.nan, 0, 0]]),
    "non-finite lattice": Crystal.of("c", [11], np.full((3, 3), np.inf), [[0, 0, 0]]),
    "0 Å³ per atom": Crystal.of("d", [11], np.zeros((3, 3)), [[0, 0, 0]]),
    "1 Å³ per atom": Crystal.of("e", [11], np.eye(3), [[0, 0, 0]]),
    "masked": Crystal.of("f", [0, 17], 4 * np.eye(3), NACL.frac),
    "element 103 is beyond": Crystal.of("g", [103], 4 * np.eye(3), [[0, 0, 0]]),
    "501 atoms": Crystal.of("h", [11] * 501, 40 * np.eye(3), np.random.default_rng(0).random((501, 3))),
    "0.40 Å apart": Crystal.of("i", [11, 17], 4 * np.eye(3), [[0, 0, 0], [0.1, 0, 0]]),
    "lattice vector of 1e+06 Å": Crystal.of("j", [11, 17], 1e6 * np.eye(3), NACL.frac),
    "isolated": Crystal.of("k", [2], 20 * np.eye(3), [[0, 0, 0]]),
}


@pytest.fixture(scope="module")
def chgnet() -> EnergyCalculator:
    return energy_calculator("chgnet")


def shaken(crystal: Crystal, distance: float) -> Crystal:
    noise = np.random.default_rng(0).normal(scale=distance, size=crystal.frac.shape)
    return Crystal.of(
        "shaken", crystal.species, crystal.lattice, (crystal.cart + noise) @ np.linalg.inv(crystal.lattice)
    )


def value(calculator: EnergyCalculator, crystal: Crystal) -> float:
    (found,) = calculator.energies([crystal])
    assert not found.failure
    return found.per_atom


def test_sevennet_is_a_second_judge_of_the_same_energies(chgnet: EnergyCalculator) -> None:
    """Two networks of other architectures agree on real crystals to some hundredths of an eV, and are not the same."""
    sevennet = energy_calculator("sevennet")
    crystals = [crystal for crystal in load_bundled("test") if len(crystal) <= 8][:20]
    both = np.array([[value(each, crystal) for crystal in crystals] for each in (chgnet, sevennet)])
    apart = np.abs(both[0] - both[1])
    assert 1e-4 < np.median(apart) < 0.06
    assert value(sevennet, shaken(NACL, 0.2)) > value(sevennet, NACL)
    assert sevennet.energies([NACL]) == sevennet.energies([NACL])


def test_without_its_package_sevennet_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sevenn.calculator", None)
    with pytest.raises(ValueError, match=r"pip install 'crystalsweep\[sevennet\]'"):
        energy_calculator("sevennet")


def test_chgnet_gives_total_energies_of_the_materials_project(chgnet: EnergyCalculator) -> None:
    assert value(chgnet, NACL) == pytest.approx(-3.39 - 0.614 / 2, abs=0.06)  # with MP2020's correction of a chloride
    assert value(chgnet, CU) == pytest.approx(-4.09, abs=0.06)


def test_chgnet_says_nothing_and_agrees_with_its_own_interface(capfd: pytest.CaptureFixture[str]) -> None:
    crystals = sorted(load_bundled("val"), key=len)[100:103]
    ours = [value(Chgnet(), crystal) for crystal in crystals]
    assert capfd.readouterr() == ("", "")
    from chgnet.model.model import CHGNet
    from pymatgen.core import Lattice, Structure

    theirs = CHGNet.load(use_device="cpu", verbose=False)
    for energy, crystal in zip(ours, crystals, strict=True):
        structure = Structure(Lattice(crystal.lattice), crystal.species, crystal.frac)
        assert energy == pytest.approx(float(theirs.predict_structure(structure, task="e")["e"]), abs=5e-6)


def test_chgnet_needs_no_pickle_that_runs_code(monkeypatch: pytest.MonkeyPatch) -> None:
    load, seen = torch.load, []
    monkeypatch.setattr(torch, "load", lambda *a, **k: seen.append(k.get("weights_only")) or load(*a, **k))
    Chgnet()
    assert seen == [True]


def test_energies_repeat_to_the_last_bit_whatever_else_is_computed() -> None:
    crystals = sorted(load_bundled("val"), key=len)[60:66]
    together = Chgnet().energies(crystals)
    assert together == Chgnet().energies(crystals[::-1])[::-1]
    batched = Chgnet(batch_size=4).energies(crystals)
    assert [e.per_atom for e in batched] == pytest.approx([e.per_atom for e in together], abs=5e-6)


def test_every_impossible_crystal_has_its_reason_and_stops_no_other(chgnet: EnergyCalculator) -> None:
    found = chgnet.energies([NACL, *UNUSABLE.values(), CU])
    assert not found[0].failure
    assert not found[-1].failure
    for reason, energy in zip(UNUSABLE, found[1:-1], strict=True):
        assert reason in energy.failure
        assert np.isnan(energy.per_atom)
    for reason, relaxed in zip(UNUSABLE, chgnet.relax(list(UNUSABLE.values()), steps=1), strict=True):
        assert reason in relaxed.failure
        assert relaxed.crystal is None


def test_a_batch_that_fails_is_computed_one_by_one() -> None:
    found = Chgnet(batch_size=4).energies([NACL, UNUSABLE["isolated"], CU])
    assert [bool(energy.failure) for energy in found] == [False, True, False]


def test_atoms_that_collapsed_onto_each_other_are_refused_before_memory_is() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(8)] * 3), axis=-1).reshape(-1, 3)[:500]
    ball = Crystal.of("ball", [11] * 500, 30 * np.eye(3), 0.55 * grid / 30)
    (found,) = energy_calculator("ase.calculators.emt:EMT").energies([ball])
    assert "angles between bonds" in found.failure


def test_300_atoms_have_an_energy_unless_the_limit_is_lower(chgnet: EnergyCalculator) -> None:
    steps = np.stack(np.meshgrid(*[np.arange(5)] * 3), axis=-1).reshape(-1, 1, 3)
    large = Crystal.of("large", np.tile(NACL.species, 125), 5 * NACL.lattice, (NACL.frac + steps) / 5)
    assert value(chgnet, large) == pytest.approx(value(chgnet, NACL), abs=1e-4)
    (found,) = Chgnet(limits=Limits(max_atoms=100)).energies([large])
    assert found.failure == "250 atoms, more than the limit of 100"


def test_a_sheared_cell_is_the_same_crystal(chgnet: EnergyCalculator) -> None:
    shear = np.array([[1.0, 0, 0], [400, 1, 0], [-300, 50, 1]])
    sheared = Crystal.of("sheared", NACL.species, shear @ NACL.lattice, NACL.frac @ np.linalg.inv(shear))
    assert np.linalg.norm(compact(sheared).lattice, axis=1).max() < 6
    assert value(chgnet, sheared) == pytest.approx(value(chgnet, NACL), abs=1e-5)


def test_relaxation_goes_downhill_to_where_the_crystal_was(chgnet: EnergyCalculator) -> None:
    disturbed = shaken(NACL, 0.5)
    (relaxed,) = chgnet.relax([disturbed], steps=100)
    assert relaxed.converged
    assert relaxed.crystal is not None
    assert relaxed.crystal.species.tolist() == [11, 17]
    assert relaxed.per_atom < value(chgnet, disturbed) - 0.01
    assert relaxed.per_atom == pytest.approx(value(chgnet, NACL), abs=0.01)
    assert value(chgnet, relaxed.crystal) == pytest.approx(relaxed.per_atom, abs=1e-5)


def test_relaxation_stops_at_its_steps_and_says_so(chgnet: EnergyCalculator) -> None:
    (relaxed,) = chgnet.relax([shaken(NACL, 0.5)], steps=2)
    assert relaxed.crystal is not None
    assert not relaxed.converged
    with pytest.raises(ValueError, match="at least one step"):
        chgnet.relax([NACL], steps=0)


def test_a_cell_that_collapses_is_given_up_with_its_reason() -> None:
    attractive = energy_calculator('ase.calculators.lj:LennardJones{"sigma": 0.5, "epsilon": 50, "rc": 10}')
    (relaxed,) = attractive.relax([CU], steps=500)
    assert relaxed.crystal is None
    assert relaxed.failure.startswith("ValueError: while it relaxed:")


# ASE


def test_an_ase_calculator_gives_ases_energy_and_equilibrium() -> None:
    atoms = bulk("Cu", a=3.5)
    atoms.calc = EMT()
    calculator = energy_calculator("ase.calculators.emt:EMT")
    squeezed = Crystal.of("Cu", [29], atoms.cell.array, [[0.0, 0, 0]])
    assert value(calculator, squeezed) == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    (relaxed,) = calculator.relax([squeezed], steps=100, fmax=0.005)
    assert relaxed.crystal is not None
    assert (4 * relaxed.crystal.volume) ** (1 / 3) == pytest.approx(3.594, abs=0.01)  # EMT's copper


@pytest.mark.parametrize("spelling", ["ase.calculators.lj:LennardJones", "ase.calculators.lj.LennardJones"])
def test_settings_reach_the_calculator(spelling: str) -> None:
    settings = {"sigma": 2.0, "epsilon": 0.1}
    atoms = bulk("Cu", a=3.61)
    atoms.calc = LennardJones(**settings)
    calculator = energy_calculator(f"{spelling}{json.dumps(settings)}")
    assert value(calculator, CU) == pytest.approx(atoms.get_potential_energy(), abs=1e-9)


def test_an_element_that_the_calculator_lacks_is_a_reason() -> None:
    found = energy_calculator("ase.calculators.emt:EMT").energies([CU, NACL])
    assert not found[0].failure
    assert found[1].failure.startswith("NotImplementedError: No EMT-potential for Na")


class Constant:
    """Answers what it is told to."""

    def __init__(self, energy: float) -> None:
        self.energy, self.calls = energy, 0

    def get_potential_energy(self, *_: Any) -> float:
        self.calls += 1
        return self.energy


@pytest.mark.parametrize(("energy", "reason"), [(np.nan, "nan"), (np.inf, "inf"), (-7e3, r"-7000 eV/atom, beyond ±50")])
def test_an_absurd_energy_is_a_failure_with_the_number(energy: float, reason: str) -> None:
    (found,) = AseCalculator(Constant(energy), "constant").energies([CU])
    assert np.isnan(found.per_atom)
    assert reason in found.failure


def test_equal_crystals_are_computed_once_and_progress_counts_them() -> None:
    constant, seen = Constant(-1.0), []

    def progress(items: Sequence[Any], *, desc: str) -> Sequence[Any]:
        seen.append((desc, len(items)))
        return items

    calculator = AseCalculator(constant, "constant")
    copy = Crystal.of("copy", CU.species, CU.lattice, CU.frac)
    assert calculator.energies([CU, copy, CU], progress) == [Energy(-1.0)] * 3
    assert calculator.energies([copy], progress) == [Energy(-1.0)]
    assert constant.calls == 1
    assert seen == [("energies", 1)]


# names

WRONG = {
    "chgnt": "write one of: chgnet",
    "ase.calculators.emt:EMMT": "has no class or function EMMT",
    "ase.calculators.nothing:EMT": "is its package installed",
    "ase.calculators.emt:EMT{sigma=1}": "no JSON object",
    "json:dumps": "making the calculator failed",
    "collections:OrderedDict": "no ASE calculator",
    "no path:at all": "no import path",
    "uma:missing.pt": "there is no file 'missing.pt'",
    "uma:": "there is no file ''",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_name_is_an_error_with_a_remedy(name: str) -> None:
    with pytest.raises(ValueError, match=WRONG[name]):
        energy_calculator(name)


@pytest.mark.parametrize(
    ("device", "remedy"), [("gpu", "write cpu or cuda"), ("mps", "is not available here; write cpu")]
)
def test_a_wrong_device_is_an_error_with_a_remedy(device: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        energy_calculator("chgnet", device=device)


# fairchem's files

BACKBONE: dict[str, Any] = {
    "model": "fairchem.core.models.uma.escn_md.eSCNMDBackbone",
    "max_num_elements": 100,
    "sphere_channels": 8,
    "lmax": 2,
    "mmax": 2,
    "otf_graph": True,
    "max_neighbors": 12,
    "cutoff": 5.0,
    "edge_channels": 8,
    "num_distance_basis": 16,
    "direct_forces": False,
    "regress_forces": True,
    "regress_stress": True,
    "num_layers": 2,
    "hidden_channels": 8,
    "norm_type": "rms_norm_sh",
    "act_type": "gate",
    "ff_type": "spectral",
    "use_dataset_embedding": False,
}
UNIT = "fairchem.core.units.mlip_unit.mlip_unit"


def task(name: str, level: str, size: int) -> dict[str, Any]:
    return {
        "_target_": f"{UNIT}.Task",
        "name": f"omat_{name}",
        "level": level,
        "property": name,
        "loss_fn": {"_target_": "torch.nn.L1Loss"},
        "out_spec": {"_target_": f"{UNIT}.OutputSpec", "dim": [size], "dtype": "float32"},
        "normalizer": {
            "_target_": "fairchem.core.modules.normalization.normalizer.Normalizer",
            "mean": 0.0,
            "rmsd": 1.0,
        },
        "datasets": ["omat"],
        "metrics": [],
    }


def checkpoint(path: Path, loss: str = "torch.nn.L1Loss") -> Path:
    """A small network of random weights as fairchem writes it."""
    model = {
        "_target_": "fairchem.core.models.base.HydraModel",
        "pass_through_head_outputs": True,
        "backbone": BACKBONE,
        "heads": {"efs": {"module": "fairchem.core.models.uma.escn_md.MLP_EFS_Head", "prefix": "omat"}},
    }
    tasks = [task("energy", "system", 1), task("forces", "atom", 3), task("stress", "system", 9)]
    tasks[0]["loss_fn"] = {"_target_": loss}
    root = OmegaConf.create({"model": model, "tasks": tasks})
    torch.manual_seed(1)
    network = hydra.utils.instantiate(OmegaConf.to_container(root.model))
    averaged = torch.optim.swa_utils.AveragedModel(network)
    torch.save(MLIPInferenceCheckpoint(root.model, network.state_dict(), averaged.state_dict(), root.tasks), path)
    return path


def test_a_fairchem_file_gives_energies_and_relaxes(tmp_path: Path) -> None:
    name = f"uma:{checkpoint(tmp_path / 'tiny.pt')}"
    calculator = energy_calculator(name)
    assert (calculator.name, calculator.heaviest) == (name, 99)
    supercell = Crystal.of("twice", [*NACL.species] * 2, NACL.lattice * [[2], [1], [1]], _doubled(NACL.frac))
    assert value(calculator, supercell) == pytest.approx(value(calculator, NACL), abs=1e-4)
    (relaxed,) = energy_calculator(f"{name}#omat").relax([shaken(NACL, 0.1)], steps=2)
    assert not relaxed.failure
    with pytest.raises(ValueError, match="no task oc20; write #TASK with one of omat"):
        energy_calculator(f"{name}#oc20")


def _doubled(frac: Any) -> Any:
    return np.concatenate([frac / [2, 1, 1], frac / [2, 1, 1] + [0.5, 0, 0]])


class Hostile:
    """Runs a command where it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_a_hostile_fairchem_file_is_refused_and_does_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "hostile.pt", tmp_path / "trace"
    torch.save(MLIPInferenceCheckpoint({}, {}, None, [Hostile(f"touch {trace}")]), path)
    with pytest.raises(ValueError, match=r"posix\.system"):
        energy_calculator(f"uma:{path}")
    assert not trace.exists()
    with pytest.raises(ValueError, match=r"would call os\.abort"):
        energy_calculator(f"uma:{checkpoint(tmp_path / 'calls.pt', loss='os.abort')}")
