"""Filling masked sites in passes, the surest first: one joint choice, many drawn ones, or the likeliest searched for.

The joint probability of a choice is the product of what Ĝ gave each species when it was filled, having seen those that
were filled before: the chain of conditionals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.inference.decoding.constraints import Constraints, Room, room_of
from crystalsweep.inference.decoding.network import Answer
from crystalsweep.inference.decoding.search import Choice, likeliest
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.decoding.symmetry import Unit, images_of, symmetry_of, units_of
from crystalsweep.inference.decoding.views import ask_views, views_of
from crystalsweep.networks.models import Generator
from crystalsweep.seeding import derive_seed
from crystalsweep.structures.crystal import N_ELEMENTS, N_SPECIES, Crystal

WIDE_SEARCH = 200_000
"""Joint choices looked at where no chain ended in one that the constraints admit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Filling:
    """A choice of species for the masked sites of a crystal, perhaps not of all yet."""

    species: NDArray[np.int64]
    """(N,), `MASK` where still open."""
    log_probability: float
    """Σ log p of what was filled, natural logarithm; ties count once, and arrangements that symmetry makes the same
    crystal together when nothing is open."""
    open: tuple[int, ...]
    """Units that are not filled, by index."""
    chain: int = 0
    """Which of the drawn chains it belongs to; 0 takes the likeliest each time."""
    verdict: float = 0.0
    """The critic's logit that these are the true species; 0 where none was asked."""
    neutral: bool = False
    """Whether the whole crystal can be charge-neutral; known when nothing is open."""

    def score(self, critic_weight: float) -> float:
        """Return log p + λ · verdict, by which candidates are ranked."""
        return self.log_probability + critic_weight * self.verdict


def in_order(fillings: Iterable[Filling], config: DecodeConfig) -> list[Filling]:
    """Return whole fillings, the best first; where neutral ones are preferred, these before the others."""
    first = config.charge == "prefer"
    return sorted(fillings, key=lambda each: (first and not each.neutral, -each.score(config.critic_weight)))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """What is to be filled of one crystal, and under which constraints."""

    partial: Crystal
    permutations: NDArray[np.int64]
    """(G, N) of its atoms by its symmetry operations."""
    units: list[Unit]
    room: Room
    config: DecodeConfig
    random: tuple[np.random.Generator, ...]
    """A stream for each drawn chain."""

    def start(self) -> list[Filling]:
        """Return the fillings to begin with: one, or one for each chain that is drawn."""
        chains = self.config.candidates if self.config.method == "sampled" else 1
        empty = Filling(species=self.partial.species, log_probability=0.0, open=tuple(range(len(self.units))))
        return [replace(empty, chain=chain) for chain in range(chains)]

    def added(self, filling: Filling) -> Counter[int]:
        """Return atoms on masked sites that are filled, by atomic number."""
        closed = [unit for index, unit in enumerate(self.units) if index not in filling.open]
        added: Counter[int] = Counter()
        for unit in closed:
            added[int(filling.species[unit[0]])] += len(unit)
        return added

    def held(self, species: NDArray[np.int64], units: Sequence[int]) -> Counter[tuple[int, int]]:
        """Return atoms by sublattice and atomic number, of units that are of one."""
        atoms = [int(self.units[unit][0]) for unit in units]
        at = self.room.sublattice
        return Counter((int(at[atom]), int(species[atom])) for atom in atoms if at[atom] >= 0)


def fill(
    generator: Generator,
    partials: Sequence[Crystal],
    config: DecodeConfig,
    constraints: Constraints | None = None,
    sharpness: float = 1.0,
) -> list[list[Filling]]:
    """Return joint choices for the masked sites of each crystal, the best first; none where no choice fulfils the
    constraints.

    Likeliest first; under `charge="prefer"` the neutral ones before the others. No two are equal, nor made so by the
    symmetry of the partial crystal. The same seed gives the same list.

    Args:
        generator: In evaluation mode.
        partials: Crystals, masked sites with species `MASK`.
        config: Method and its numbers.
        constraints: What candidates must fulfil besides.
        sharpness: As for `ask`.

    Raises:
        ValueError: The constraints cannot be fulfilled by a crystal, saying why; or the weights are damaged.
    """
    tasks = [_task(partial, config, constraints or Constraints()) for partial in partials]
    beams, views = [task.start() for task in tasks], views_of(generator, partials, config.views)
    for left in range(config.filling_passes, 0, -1):
        asked = [(index, filling) for index, beam in enumerate(beams) for filling in beam if filling.open]
        if not asked:
            break
        which, species = [index for index, _ in asked], [filling.species for _, filling in asked]
        answers = iter(ask_views(generator, views, which, species, sharpness))
        beams = [_next_beam(task, beam, answers, left) for task, beam in zip(tasks, beams, strict=True)]
    emptied = [index for index, beam in enumerate(beams) if not beam and tasks[index].units]
    if emptied:
        answers = iter(ask_views(generator, views, emptied, [partials[index].species for index in emptied], sharpness))
        for index, answer in zip(emptied, answers, strict=True):
            beams[index] = _searched_widely(tasks[index], answer)
    return [_ranked(task, beam) for task, beam in zip(tasks, beams, strict=True)]


class Conditionals(NamedTuple):
    """What Ĝ said of the sites of crystals when each was filled, all before it having been filled rightly."""

    log_probabilities: NDArray[np.float64]
    """(U, 118) of units: sites, or ties of such; index = Z − 1."""
    truth: NDArray[np.int64]
    """(U,) columns of the true elements."""
    crystal: NDArray[np.int64]
    """(U,) index of the crystal that each belongs to."""


def conditionals(
    generator: Generator, partials: Sequence[Crystal], truths: Sequence[NDArray[np.int64]], config: DecodeConfig
) -> Conditionals:
    """Return the chain of conditionals along the truth, in the order in which `config` fills: what a temperature is
    fitted to.

    Crystals in which tied sites have different elements have no such chain, and are left out.

    Args:
        generator: In evaluation mode.
        partials: Crystals, masked sites with species `MASK`.
        truths: (N,) true species of each.
        config: Its passes, ties and views.
    """
    tasks = [_task(partial, config, Constraints()) for partial in partials]
    told = [k for k, task in enumerate(tasks) if all(len(np.unique(truths[k][unit])) == 1 for unit in task.units)]
    filled = {k: tasks[k].start()[0] for k in told}
    rows: list[tuple[NDArray[np.float64], int, int]] = []
    views = views_of(generator, partials, config.views)
    for left in range(config.filling_passes, 0, -1):
        asked = [k for k in told if filled[k].open]
        answers = ask_views(generator, views, asked, [filled[k].species for k in asked])
        for k, answer in zip(asked, answers, strict=True):
            logs = _unit_logs(tasks[k], filled[k].open, answer)
            chosen = _surest(logs, left)
            units = [filled[k].open[i] for i in chosen]
            columns = tuple(int(truths[k][tasks[k].units[unit][0]]) - 1 for unit in units)
            rows += [(logs[i], column, k) for i, column in zip(chosen, columns, strict=True)]
            filled[k] = _with(tasks[k], filled[k], units, columns, 0.0)
    return Conditionals(
        log_probabilities=np.array([logs for logs, _, _ in rows]).reshape(-1, N_ELEMENTS),
        truth=np.array([column for _, column, _ in rows], dtype=np.int64),
        crystal=np.array([k for _, _, k in rows], dtype=np.int64),
    )


def _task(partial: Crystal, config: DecodeConfig, constraints: Constraints) -> _Task:
    drawn = range(config.candidates if config.method == "sampled" else 0)
    random = tuple(np.random.default_rng(derive_seed(config.seed, "decoding", partial.id, chain)) for chain in drawn)
    room = room_of(partial, constraints)
    shared = room.sublattice >= 0
    symmetry = symmetry_of(partial, np.where(shared, N_SPECIES + 1 + room.sublattice, partial.species))
    return _Task(
        partial=partial,
        permutations=symmetry.permutations,
        units=units_of(partial, config.tie, symmetry.orbits, alone=shared),
        room=room,
        config=config,
        random=random,
    )


def _next_beam(task: _Task, beam: Sequence[Filling], answers: Iterator[Answer], passes_left: int) -> list[Filling]:
    """Return the fillings after a pass; `answers` has one for each that is open, in order."""
    grown = [
        filled
        for filling in beam
        for filled in (_grown(task, filling, next(answers), passes_left) if filling.open else [filling])
    ]
    if task.config.method == "sampled":
        return grown
    return _distinct(task, grown)[: task.config.fillings]


def _grown(task: _Task, filling: Filling, answer: Answer, passes_left: int) -> Iterator[Filling]:
    """Yield what a filling becomes in a pass: its surest units filled, of equally sure ones the earlier."""
    logs = _unit_logs(task, filling.open, answer)
    chosen = _surest(logs, passes_left)
    units, logs = [filling.open[i] for i in chosen], logs[chosen]
    scores, wanted = logs, task.config.fillings
    if task.config.method == "sampled":
        scores, wanted = _drawn(task, filling.chain, logs), 1
    for columns in _choices(task, filling, units, scores, wanted):
        yield _with(task, filling, units, columns, float(logs[np.arange(len(units)), columns].sum()))


def _surest(logs: NDArray[np.float64], passes_left: int) -> NDArray[np.int64]:
    """Return which of the open units, of (U, 118) log-probabilities, are filled in a pass, ascending."""
    count = -(-len(logs) // passes_left)
    return np.sort(np.argsort(-logs.max(axis=1), kind="stable")[:count])


def _unit_logs(task: _Task, units: Sequence[int], answer: Answer) -> NDArray[np.float64]:
    """Return (U, 118) log-probabilities of elements for units: of tied sites the geometric mean, of those elements
    alone that the constraints leave."""
    logs = np.stack([answer.log_probabilities[task.units[unit]].mean(axis=0) for unit in units])
    logs = np.where(np.stack([task.room.elements[task.units[unit]].all(axis=0) for unit in units]), logs, -np.inf)
    return np.asarray(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))


def _drawn(task: _Task, chain: int, logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores whose greatest is a draw at the temperature (Gumbel's trick); the first of several chains draws
    nothing."""
    noise = task.random[chain].gumbel(size=logs.shape)
    likeliest = chain == 0 and task.config.candidates > 1
    return logs if likeliest else logs / task.config.temperature + noise


def _choices(
    task: _Task, filling: Filling, units: Sequence[int], scores: NDArray[np.float64], wanted: int
) -> list[tuple[int, ...]]:
    """Return what to put on these units, best first."""
    admits, neutral = _conditions(task, filling, units)
    found: list[Choice] = []
    charge = "any" if len(units) < len(filling.open) else task.config.charge
    if charge != "any":
        found += likeliest(scores, wanted, neutral)
    if charge != "require":
        found += likeliest(scores, wanted, admits)
    return list(dict.fromkeys(choice.columns for choice in found))


Condition = Callable[[tuple[int, ...]], bool]
"""Whether units may get these columns."""


def _conditions(task: _Task, filling: Filling, units: Sequence[int]) -> tuple[Condition, Condition]:
    """Return what tells whether the constraints admit columns on these units of a filling, and whether that is
    charge-neutral besides."""
    before, sizes = task.added(filling), [len(task.units[unit]) for unit in units]
    still_open = len(filling.open) - len(units)
    shares = _shares(task, filling, units)

    def after(columns: tuple[int, ...]) -> Counter[int]:
        added = before.copy()
        for column, size in zip(columns, sizes, strict=True):
            added[column + 1] += size
        return added

    def admits(columns: tuple[int, ...]) -> bool:
        return shares(columns) and task.room.admits(after(columns), still_open)

    def neutral(columns: tuple[int, ...]) -> bool:
        added = after(columns)
        return shares(columns) and task.room.admits(added, still_open) and task.room.neutral(added)

    return admits, neutral


def _shares(task: _Task, filling: Filling, units: Sequence[int]) -> Condition:
    """Return what tells whether sublattices have room for these columns on these units."""
    if not task.room.sublattices:
        return lambda _: True
    closed = [unit for unit in range(len(task.units)) if unit not in filling.open]
    before = task.held(filling.species, closed)
    at = [int(task.room.sublattice[task.units[unit][0]]) for unit in units]

    def fit(columns: tuple[int, ...]) -> bool:
        held = before.copy()
        held.update((place, column + 1) for place, column in zip(at, columns, strict=True) if place >= 0)
        return task.room.shares(held)

    return fit


def _with(task: _Task, filling: Filling, units: Sequence[int], columns: tuple[int, ...], log: float) -> Filling:
    species = filling.species.copy()
    for unit, column in zip(units, columns, strict=True):
        species[task.units[unit]] = column + 1
    left = tuple(unit for unit in filling.open if unit not in units)
    return replace(filling, species=species, log_probability=filling.log_probability + log, open=left)


def _searched_widely(task: _Task, answer: Answer) -> list[Filling]:
    """Return the likeliest choices by one pass alone, which fulfil what no chain did."""
    units = list(range(len(task.units)))
    empty, logs = task.start()[0], _unit_logs(task, units, answer)
    admits, neutral = _conditions(task, empty, units)
    wanted = neutral if task.config.charge == "require" else admits
    found = likeliest(logs, task.config.fillings, wanted, WIDE_SEARCH)
    return [_with(task, empty, units, choice.columns, choice.score) for choice in found]


def _distinct(task: _Task, fillings: Sequence[Filling]) -> list[Filling]:
    """Return one filling of each crystal, likeliest first."""
    best: dict[bytes, Filling] = {}
    for filling in sorted(fillings, key=lambda filling: -filling.log_probability):
        best.setdefault(images_of(filling.species, task.permutations)[0].tobytes(), filling)
    return list(best.values())


def _ranked(task: _Task, beam: Sequence[Filling]) -> list[Filling]:
    """Return distinct whole fillings, with the probability of all arrangements that are the same crystal."""
    whole = [
        replace(
            filling,
            log_probability=filling.log_probability + float(np.log(len(images_of(filling.species, task.permutations)))),
            neutral=task.room.neutral(task.added(filling)),
        )
        for filling in _distinct(task, beam)
    ]
    return in_order(whole, task.config)
