"""The potential of a run against all labels of chunks."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from nearsight.files.records.base import IntArray, Record, Vector, Vectors, array_of, check_lengths

__all__ = ["ROLES", "Comparison"]

ROLES = ("training", "validation", "test")
"""Of the chunks (or geometries): learned, chosen and calibrated by, or neither."""


class Comparison(Record):
    """Forces of chunks, by the parent and by ``best.json`` (``comparison.json``).

    Attributes
    ----------
    ensemble : str
        Digest of the potential.
    role : (F,) int64
        Number in `ROLES`, of every force.
    image : (F,) int64
        Number of its chunk or geometry, counted through all.
    labels, forces : (F, 3) float64, eV/Å
        Of the parent, and of the potential.
    uncertainty, uncertainty_95 : (F,) float64, eV/Å
        Bounds of the error.
    """

    FORMAT: ClassVar[str] = "nearsight-comparison"
    FILE: ClassVar[str] = "comparison.json"

    ensemble: str
    role: Annotated[IntArray, array_of(int, None)]
    image: Annotated[IntArray, array_of(int, None)]
    labels: Vectors
    forces: Vectors
    uncertainty: Vector
    uncertainty_95: Vector

    @model_validator(mode="after")
    def _check(self) -> Comparison:
        if not set(self.role.tolist()) <= set(range(len(ROLES))):
            raise ValueError(f"role must be 0 to {len(ROLES) - 1}")
        check_lengths(
            len(self.role),
            image=self.image,
            labels=self.labels,
            forces=self.forces,
            uncertainty=self.uncertainty,
            uncertainty_95=self.uncertainty_95,
        )
        return self

    @property
    def errors(self) -> npt.NDArray[np.float64]:
        """(F,), eV/Å."""
        return np.asarray(np.linalg.norm(self.forces - self.labels, axis=1))

    def summary(self, role: str) -> dict[str, float | int] | None:
        """Mean error (eV/Å), and the parts of the forces within both bounds; None without any."""
        mask = self.role == ROLES.index(role)
        if not mask.any():
            return None
        errors = self.errors[mask]
        return {
            "forces": int(mask.sum()),
            "images": len(set(self.image[mask].tolist())),
            "mean_error": float(errors.mean()),
            "largest_error": float(errors.max()),
            "coverage": float((errors <= self.uncertainty[mask]).mean()),
            "coverage_95": float((errors <= self.uncertainty_95[mask]).mean()),
        }
