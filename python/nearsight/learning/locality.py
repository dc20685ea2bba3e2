"""Locality of the parent: the force on the centre of a chunk by chunk radius (SI 7.1, Fig. S7a).

It says which chunk radius is converged, and bounds what a nearsighted model can reach.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.calculator import Calculator

from nearsight.errors import InputError, ParentError
from nearsight.files.atomic import check_header
from nearsight.parents import Failure, Parent, as_parent
from nearsight.progress import Progress
from nearsight.structures.chunks import extract_chunks

__all__ = ["ForceLocality", "force_locality"]

Array = npt.NDArray[np.float64]

FORMAT = "nearsight-locality"
VERSION = 1


@dataclass(frozen=True)
class ForceLocality:
    """Forces on K atoms, each in chunks of R radii and in the whole structure.

    Attributes
    ----------
    radii : (R,) float64, Å
    indices : (K,) int, the atoms in the centres
    n_atoms : (R, K) int, atoms of each chunk, its centre counted
    forces : (R, K, 3) float64, eV/Å, on the centre of each chunk
    true_forces : (K, 3) float64, eV/Å, on the same atoms in the whole structure

    What the parent failed on is NaN, in a file null; means and maxima are those of the rest.
    """

    radii: Array
    indices: npt.NDArray[np.int_]
    n_atoms: npt.NDArray[np.int_]
    forces: Array
    true_forces: Array

    @property
    def errors(self) -> Array:
        """(R, K), eV/Å: norm of the difference to the force in the whole structure."""
        return np.asarray(np.linalg.norm(self.forces - self.true_forces, axis=2))

    @property
    def mean_errors(self) -> Array:
        """(R,), eV/Å: mean of `errors` over the atoms."""
        return np.asarray(np.ma.masked_invalid(self.errors).mean(axis=1).filled(np.nan))

    @property
    def max_errors(self) -> Array:
        """(R,), eV/Å: largest of `errors` over the atoms."""
        return np.asarray(np.ma.masked_invalid(self.errors).max(axis=1).filled(np.nan))

    @property
    def summary(self) -> str:
        """One sentence: the error at the largest radius."""
        last = self.table()[int(np.argmax(self.radii))]
        if np.isnan(last["mean_error"]):
            return f"at {last['radius']:g} Å it is not known: the parent failed"
        return (
            f"at {last['radius']:g} Å the force of the chunk is that of the whole to "
            f"{last['mean_error']:.3g} meV/Å on average, {last['max_error']:.3g} at most"
        )

    def table(self) -> list[dict[str, float]]:
        """One row per radius, to be printed.

        Keys: ``radius`` (Å), ``mean_atoms``, ``mean_error`` and ``max_error`` (meV/Å).
        """
        columns = {
            "radius": self.radii,
            "mean_atoms": self.n_atoms.mean(axis=1),
            "mean_error": 1000 * self.mean_errors,
            "max_error": 1000 * self.max_errors,
        }
        return [
            {name: float(column[row]) for name, column in columns.items()}
            for row in range(len(self.radii))
        ]

    def to_dict(self) -> dict[str, Any]:
        """The scan as JSON writes it."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "radii": self.radii.tolist(),
            "indices": self.indices.tolist(),
            "n_atoms": self.n_atoms.tolist(),
            "forces": _with_gaps(self.forces),
            "true_forces": _with_gaps(self.true_forces),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], path: str | Path = "locality") -> ForceLocality:
        """A scan from what `to_dict` made; ``path`` is what messages call it.

        Raises
        ------
        InputError
            If it is something else, or incomplete.
        """
        content = check_header(content, path, FORMAT, VERSION)
        try:
            found = cls(
                radii=np.array(content["radii"], dtype=np.float64),
                indices=np.array(content["indices"], dtype=np.int_),
                n_atoms=np.array(content["n_atoms"], dtype=np.int_),
                forces=np.array(content["forces"], dtype=np.float64),
                true_forces=np.array(content["true_forces"], dtype=np.float64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: no whole locality scan ({error})") from error
        shape = (len(found.radii), len(found.indices))
        if (
            found.n_atoms.shape != shape
            or found.forces.shape != (*shape, 3)
            or found.true_forces.shape != (shape[1], 3)
        ):
            raise InputError(f"{path}: no whole locality scan (its arrays do not fit together)")
        return found


def force_locality(
    atoms: Atoms,
    parent: Parent | str | Callable[..., Any] | Calculator,
    radii: Sequence[float],
    indices: Sequence[int] | None = None,
    vacuum: float = 5.0,
    progress: Progress | None = None,
) -> ForceLocality:
    """Compare the forces on the centres of chunks with those in the whole structure.

    Parameters
    ----------
    atoms : ase.Atoms
        The whole structure; the parent must be able to calculate it once.
    parent : Parent, or what `as_parent` takes
    radii : sequence of R float, Å
        Chunk radii.
    indices : sequence of K int, optional
        The atoms to look at; all of them when left out.
    vacuum : float, Å
        Empty space around a chunk.
    progress : Progress, optional

    Raises
    ------
    InputError
        No radius, or an unusable one, or an atom that does not exist (see `extract_chunks`).
    ParentError
        All calculations failed; what one of them fails on is left out.
    """
    parent = as_parent(parent)
    progress = progress or Progress()
    indices = list(range(len(atoms))) if indices is None else list(indices)
    if len(radii) == 0 or len(indices) == 0:
        raise InputError("a locality scan needs at least one chunk radius and one atom")
    # cut first: a radius or an index that cannot be is found before anything is calculated
    chunks = [extract_chunks(atoms, indices, radius, vacuum) for radius in radii]
    structures = [atoms, *itertools.chain.from_iterable(chunks)]
    found = parent.calculate_many(
        structures,
        report=lambda tally: progress.calculations(tally, "whole structure and chunks"),
        note=progress.note,
    )
    failures = [result for result in found if isinstance(result, Failure)]
    if len(failures) == len(found):
        raise ParentError(
            f"parent {parent.settings['calculator']} failed on all {len(found)} structures of the "
            f"locality scan, the first one {failures[0]}"
        )
    for failure in failures:
        progress.note(f"left out of the locality scan: {failure}")
    whole, *others = [
        np.full((len(structure), 3), np.nan) if isinstance(result, Failure) else result.forces
        for structure, result in zip(structures, found, strict=True)
    ]
    return ForceLocality(
        radii=np.array(radii, dtype=np.float64),
        indices=np.array(indices, dtype=np.int_),
        n_atoms=np.array([[len(chunk) for chunk in row] for row in chunks], dtype=np.int_),
        forces=np.array([forces[0] for forces in others]).reshape(len(radii), len(indices), 3),
        true_forces=whole[indices],
    )


def _with_gaps(array: Array) -> Any:
    """Nested lists with None for what is not known: JSON has no NaN."""
    known = array.astype(object)
    known[np.isnan(array)] = None
    return known.tolist()
