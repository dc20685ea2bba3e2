"""Record of the locality of the parent."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import model_validator

from nearsight.files.records.base import (
    Array,
    IntArray,
    Record,
    Vector,
    array_of,
    check_lengths,
)

__all__ = ["ForceLocality"]


class ForceLocality(Record):
    """Forces on K atoms, each in chunks of R radii and in the whole structure (``locality.json``).

    Attributes
    ----------
    radii : (R,) float64, Å
    indices : (K,) int64
        Atoms in the centres.
    n_atoms : (R, K) int64
        Atoms of each chunk, its centre counted.
    forces : (R, K, 3) float64, eV/Å
        On the centre of each chunk.
    true_forces : (K, 3) float64, eV/Å
        On the same atoms in the whole structure.

    Forces of failed calculations are NaN, in a file null; means and maxima leave them out.
    """

    FORMAT: ClassVar[str] = "nearsight-locality"
    FILE: ClassVar[str] = "locality.json"

    radii: Vector
    indices: Annotated[IntArray, array_of(int, None)]
    n_atoms: Annotated[IntArray, array_of(int, None, None)]
    forces: Annotated[Array, array_of(float, None, None, 3, gaps=True)]
    true_forces: Annotated[Array, array_of(float, None, 3, gaps=True)]

    @model_validator(mode="after")
    def _check(self) -> ForceLocality:
        shape = (len(self.radii), len(self.indices))
        if 0 in shape:
            raise ValueError("holds no radius or no atom")
        if self.n_atoms.shape != shape or self.forces.shape != (*shape, 3):
            raise ValueError(
                f"{shape[0]} radii and {shape[1]} atoms, but n_atoms has shape "
                f"{self.n_atoms.shape} and forces {self.forces.shape}"
            )
        check_lengths(shape[1], true_forces=self.true_forces)
        return self

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

    def at(self, chunk_radius: float) -> int | None:
        """Index of the largest radius scanned that does not exceed ``chunk_radius``, Å."""
        below = np.flatnonzero(self.radii <= chunk_radius + 1e-9)
        return int(below[np.argmax(self.radii[below])]) if len(below) else None

    @property
    def summary(self) -> str:
        """One-sentence summary for the log: the error at the largest radius."""
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
