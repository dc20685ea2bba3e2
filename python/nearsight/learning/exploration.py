"""Geometries that a target takes on in an ensemble's relaxation and short dynamics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import ase.optimize
import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import covalent_radii
from threadpoolctl import threadpool_limits

from nearsight.config import DynamicsSettings, GeometrySettings
from nearsight.errors import InputError
from nearsight.model.calculator import NearsightCalculator
from nearsight.model.ensemble import Ensemble
from nearsight.simulation.integrators import Integrator, give_momenta

__all__ = [
    "BELIEVED",
    "Geometry",
    "Path",
    "displaced",
    "exploration_seed",
    "explore",
    "first_copies",
    "held_out",
    "rank_geometries",
]

Array = npt.NDArray[np.float64]

BELIEVED = 2.0
"""Raw uncertainty above which a path is no longer followed, eV/Å: more than most forces are."""
FRAMES = 30
"""Frames of the dynamics that are looked at."""
ENOUGH = 10
"""Frames of dynamics that break off from which on there are some to validate with."""
FMAX = 0.03
"""Largest force at which a relaxation ends, eV/Å."""
MAX_STEPS = 150
"""Steps after which a relaxation ends."""
LOOKED_AT = 10
"""Steps of a relaxation from one frame to the next, its end looked at in any case."""
LINDEMANN = 0.1
"""Root mean square displacement at which crystals melt, in distances to the nearest neighbour."""
SAME = 0.02
"""Root mean square displacement up to which a geometry counts as known, Å."""
AMPLITUDES = (0.5, 0.25)
"""Of displaced copies in turn, in parts of what melts a crystal. With three quarters as well atoms
came so close that their forces spoiled all else: 40 meV/Å by EMT instead of 0.3."""
UNLIKE = 3.0
"""Displacement that stands for the difference to a target of which nothing is known, Å."""


@dataclass(frozen=True)
class Geometry:
    """A geometry of a target on a path of the ensemble.

    Attributes
    ----------
    atoms : ase.Atoms
        Without calculator and momenta.
    target : int
        Number of the target.
    raw : float, eV/Å
        Largest raw uncertainty of an atom.
    relaxed : bool
        Whether it is the end of a relaxation.
    """

    atoms: Atoms
    target: int
    raw: float
    relaxed: bool = False


@dataclass(frozen=True)
class Path:
    """Frames that the ensemble passes through.

    Attributes
    ----------
    frames : list of Geometry
        In order; the last one may be more uncertain than is believed, where the path breaks off.
    broken : bool
        Whether it was not followed to its end.
    """

    frames: list[Geometry]
    broken: bool

    @property
    def believed(self) -> list[Atoms]:
        """Geometries up to where it breaks off."""
        return [frame.atoms for frame in self.frames if frame.raw <= BELIEVED]


def displaced(target: Atoms, seed: int, copy: int = 0) -> Atoms:
    """A copy of a target whose atoms are displaced at random, by less than what melts a crystal.

    That is a tenth of the distance between neighbours (Lindemann), here twice the covalent radius
    of the atom; copies are displaced by `AMPLITUDES` of it in turn. Fixed atoms stay.
    """
    moved = target.copy()
    part = AMPLITUDES[copy % len(AMPLITUDES)]
    spread = part * LINDEMANN * 2.0 * covalent_radii[target.numbers] / np.sqrt(3.0)
    moves = np.random.default_rng(seed).standard_normal((len(target), 3)) * spread[:, None]
    moved.set_positions(target.positions + moves)
    return moved


def first_copies(targets: Sequence[Atoms], settings: GeometrySettings, seed: int) -> list[Atoms]:
    """The displaced copies of targets that a training asks about first, beside these."""
    copies = []
    for copy in range(settings.first - len(targets)):
        turn, number = divmod(copy, len(targets))
        copies.append(displaced(targets[number], exploration_seed(seed, copy, number), turn))
    return copies


def exploration_seed(seed: int, iteration: int, target: int, *more: int) -> int:
    """Seed of what an iteration does with a target, from that of the training."""
    stream = [seed, _EXPLORED, iteration, target, *more]
    return int(np.random.SeedSequence(stream).generate_state(1)[0])


_EXPLORED = 8  # keeps this random stream apart from the others


def explore(
    ensemble: Ensemble, target: Atoms, number: int, settings: GeometrySettings, seed: int
) -> list[Path]:
    """Relax a target as given, then let it move at the temperature of the settings.

    Parameters
    ----------
    ensemble : Ensemble
    target : ase.Atoms
        Its constraints hold.
    number : int
        Of the target.
    settings : GeometrySettings
    seed : int
        Of the momenta and of the heat bath.

    Returns
    -------
    list of Path
        The relaxation, and the dynamics, which begin where it ends.
    """
    relaxation = _relaxation(ensemble, target, number)
    start = [target, *relaxation.believed][-1]
    return [relaxation, _dynamics(ensemble, start, number, settings, seed)]


def held_out(
    ensemble: Ensemble,
    target: Atoms,
    number: int,
    settings: GeometrySettings,
    seed: int,
    count: int,
) -> list[Atoms]:
    """Geometries of the second half of dynamics of their own, as far apart as can be.

    Parameters
    ----------
    ensemble, target, number, settings, seed
        See `explore`.
    count : int
        Geometries; none where the dynamics break off before they tell anything.
    """
    dynamics = explore(ensemble, target, number, settings, seed)[1]
    frames = dynamics.believed
    if dynamics.broken and len(frames) < ENOUGH:
        return []
    picked = np.linspace((len(frames) - 1) / 2, len(frames) - 1, count + 1)[1:].round()
    return [frames[i] for i in sorted({int(i) for i in picked})]


def rank_geometries(
    found: Sequence[Geometry], known: Sequence[Atoms], count: int, relaxed_first: bool
) -> list[int]:
    """Numbers of those to label, the most wanted first: uncertain, and unlike all others.

    Wanted is the largest product of uncertainty and displacement from the nearest geometry that
    is known or ranked already.

    Parameters
    ----------
    found : sequence of Geometry
    known : sequence of ase.Atoms
        Geometries with labels.
    count : int
        Of those ranked at most.
    relaxed_first : bool
        Begin with the ends of relaxations.
    """
    distances = np.array(
        [
            min((_displacement(each.atoms, other) for other in known), default=UNLIKE)
            for each in found
        ]
    )
    raw = np.array([each.raw for each in found])
    ends = np.array([each.relaxed for each in found], dtype=bool)
    ranked: list[int] = []
    while len(ranked) < min(count, len(found)):
        wanted = np.where(distances > SAME, raw * distances, 0.0)
        if relaxed_first and (ends & (wanted > 0)).any():
            wanted = np.where(ends, wanted, 0.0)
        best = int(wanted.argmax())
        if wanted[best] <= 0.0:
            break
        ranked.append(best)
        to_best = [_displacement(each.atoms, found[best].atoms) for each in found]
        distances = np.minimum(distances, to_best)
    return ranked


def _displacement(one: Atoms, other: Atoms) -> float:
    """Root mean square displacement of the atoms, Å."""
    if len(one) != len(other) or (one.numbers != other.numbers).any():
        return UNLIKE
    squared = ((one.positions - other.positions) ** 2).sum(axis=1)
    return min(float(np.sqrt(squared.mean())), UNLIKE)


def _relaxation(ensemble: Ensemble, target: Atoms, number: int) -> Path:
    moving = target.copy()
    moving.calc = NearsightCalculator(ensemble, uncertainty=False)
    steps = ase.optimize.LBFGS(moving, logfile=None).irun(fmax=FMAX, steps=MAX_STEPS)

    def advance() -> bool:
        return any(next(steps, None) is None for _ in range(LOOKED_AT))

    path = _follow(moving, number, advance)
    if not path.broken:
        path.frames[-1] = replace(path.frames[-1], relaxed=True)
    return path


def _dynamics(
    ensemble: Ensemble, start: Atoms, number: int, settings: GeometrySettings, seed: int
) -> Path:
    moving = start.copy()
    moving.calc = NearsightCalculator(ensemble, uncertainty=False)
    give_momenta(moving, settings.temperature, seed)
    motion = DynamicsSettings(
        temperature=settings.temperature, timestep=settings.timestep, steps=settings.steps
    )
    integrator = Integrator(moving, motion, seed)
    every = max(1, settings.steps // FRAMES)

    def advance() -> bool:
        for _ in range(min(every, settings.steps - integrator.step)):
            integrator.advance()
        return integrator.step >= settings.steps

    return _follow(moving, number, advance)


def _follow(moving: Atoms, number: int, advance: Callable[[], bool]) -> Path:
    """Follow a path, frame by frame, to its end or the first frame that is not believed.

    Parameters
    ----------
    moving : ase.Atoms
        What ``advance`` moves, with its calculator.
    number : int
        Of the target.
    advance : callable
        Goes on to the next frame; returns whether it is the last.
    """
    frames: list[Geometry] = []
    ended = False
    # threads of BLAS and those of the force calls would get in each other's way
    with threadpool_limits(1, user_api="blas"):
        while not ended:
            try:
                ended = advance()
                raw = float(moving.calc.get_property("uncertainty_raw", moving).max())
            except (InputError, np.linalg.LinAlgError):
                return Path(frames, broken=True)  # atoms overlap, or one has left the others
            plain = moving.copy()
            plain.arrays.pop("momenta", None)
            frames.append(Geometry(plain, number, raw))
            if raw > BELIEVED:
                return Path(frames, broken=True)
    return Path(frames, broken=False)
