"""The atoms of the targets, and how the errors and uncertainties divide among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import covalent_radii

from nearsight import _core
from nearsight.report.iteration import IterationData
from nearsight.structures.images import core_structure

__all__ = ["BOND", "Part", "coordination", "parts_by_coordination", "parts_by_element"]

BOND = 1.25
"""Neighbours are up to this many typical shortest distances away: in crystals of metals it lies
between the first and the second shell of close packing, rattled or not."""
FEWEST, MOST = 4, 13
"""Coordination numbers at and beyond which atoms are told together."""


@dataclass(frozen=True)
class Part:
    """Some atoms of the targets, with the kept potential.

    Attributes
    ----------
    name : str
    atoms, trained : int
        Number of them, and of those in the training.
    force : float, eV/Å
        Mean length of the parent's force; the ensemble's where that is not known.
    mean_error, largest_error : float, eV/Å, or None
        None where the parent's force is not known.
    mean_uncertainty, largest_uncertainty : float, eV/Å
        Calibrated.
    """

    name: str
    atoms: int
    trained: int
    force: float
    mean_error: float | None
    largest_error: float | None
    mean_uncertainty: float
    largest_uncertainty: float


def coordination(atoms: Atoms) -> npt.NDArray[np.int64]:
    """(N,) neighbours of every atom up to `BOND` times the median distance of the nearest one."""
    reach = 3.2 * float(covalent_radii[atoms.numbers].max())
    structure = core_structure(atoms)
    offsets, _, _, vectors = _core.NeighborList(structure, reach).bonds(structure)
    found = np.diff(offsets)
    if not len(vectors):
        return np.zeros(len(atoms), dtype=np.int64)
    distances = np.linalg.norm(vectors, axis=1)
    nearest = np.minimum.reduceat(distances, offsets[:-1][found > 0])
    bound = distances <= BOND * float(np.median(nearest))
    first = np.repeat(np.arange(len(atoms)), found)
    return np.bincount(first[bound], minlength=len(atoms))


def parts_by_element(best: IterationData, symbols: list[str]) -> list[Part]:
    """A part for each element, in the order of the alphabet."""
    names = np.array(symbols)
    return [_part(each, names == each, best) for each in sorted(set(symbols))]


def parts_by_coordination(best: IterationData, numbers: npt.NDArray[np.int64]) -> list[Part]:
    """A part for each number of neighbours; few and many are taken together."""
    return list(_by_coordination(best, np.clip(numbers, FEWEST, MOST)))


def _by_coordination(best: IterationData, numbers: npt.NDArray[np.int64]) -> Iterator[Part]:
    for number in np.unique(numbers).tolist():
        name = f"≤ {FEWEST}" if number == FEWEST else f"≥ {MOST}" if number == MOST else str(number)
        yield _part(name, numbers == number, best)


def _part(name: str, mask: npt.NDArray[np.bool_], best: IterationData) -> Part:
    errors = None if best.residuals is None else best.residuals[mask]
    forces = best.forces if best.true_forces is None else best.true_forces
    uncertainty = best.uncertainty[mask]
    return Part(
        name,
        int(mask.sum()),
        int(best.trained[mask].sum()),
        float(np.linalg.norm(forces[mask], axis=1).mean()),
        None if errors is None else float(errors.mean()),
        None if errors is None else float(errors.max()),
        float(uncertainty.mean()),
        float(uncertainty.max()),
    )
