"""An iteration of a training with its errors, where the parent's true forces are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nearsight.files.records import Iteration

__all__ = ["IterationData"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class IterationData:
    """Uncertainties and errors of an iteration on the targets, or on one of them.

    Attributes
    ----------
    record : Iteration
    all_true_forces : (N, 3) float64, eV/Å, or None
        The parent's forces on all targets, if known.
    atoms : slice
        Atoms of the target, or of all.
    sizes : tuple of int
        Atoms of each target.
    """

    record: Iteration
    all_true_forces: Array | None
    atoms: slice
    sizes: tuple[int, ...]

    @property
    def iteration(self) -> int:
        """Number of the iteration."""
        return self.record.iteration

    @property
    def forces(self) -> Array:
        """Mean force of the ensemble, (n, 3) eV/Å."""
        return self.record.forces[self.atoms]

    @property
    def true_forces(self) -> Array | None:
        """The parent's forces, (n, 3) eV/Å."""
        return None if self.all_true_forces is None else self.all_true_forces[self.atoms]

    @property
    def uncertainty_raw(self) -> Array:
        """Raw uncertainty of each atom's force, (n,) eV/Å."""
        return self.record.uncertainty_raw[self.atoms]

    @property
    def uncertainty(self) -> Array:
        """Calibrated uncertainty of each atom's force, (n,) eV/Å."""
        return self.record.uncertainty[self.atoms]

    @cached_property
    def trained(self) -> npt.NDArray[np.bool_]:
        """True for atoms in the training, (n,); with whole targets, for those of a target in it."""
        if self.record.exploration is not None:
            known = [number in self.record.chunk_indices for number in range(len(self.sizes))]
            return np.repeat(known, self.sizes)[self.atoms]
        mask = np.zeros(len(self.record.forces), dtype=bool)
        mask[self.record.chunk_indices] = True
        return mask[self.atoms]

    @property
    def chunks(self) -> int:
        """Number of atoms of the target, or of geometries, in the training."""
        if self.record.exploration is not None:
            return self.record.chunks
        return int(self.trained.sum())

    @property
    def is_whole(self) -> bool:
        """Whether these are all atoms of all targets."""
        return len(self.forces) == len(self.record.forces)

    @property
    def structure_uncertainty(self) -> float:
        """Largest raw uncertainty of an atom, eV/Å; see `Iteration`."""
        if self.is_whole:
            return self.record.structure_uncertainty
        return float(self.uncertainty_raw.max())

    @property
    def structure_uncertainty_calibrated(self) -> float:
        """Largest calibrated uncertainty of an atom, eV/Å; see `Iteration`."""
        if self.is_whole:
            return self.record.structure_uncertainty_calibrated
        return float(self.uncertainty.max())

    @property
    def outside(self) -> int | None:
        """Atoms outside what there are labels of; None if that is not known."""
        grade = self.extrapolation
        return None if grade is None else int((grade > 1.0).sum())

    @property
    def extrapolation(self) -> Array | None:
        """Extrapolation grade, (n,); None in records of earlier versions."""
        grade = self.record.extrapolation
        return None if grade is None else grade[self.atoms]

    @cached_property
    def residuals(self) -> Array | None:
        """Norm of the difference to the parent's force, (n,) eV/Å."""
        if self.true_forces is None:
            return None
        return np.asarray(np.linalg.norm(self.forces - self.true_forces, axis=1))

    @property
    def mae(self) -> float | None:
        """Mean residual over all atoms, eV/Å."""
        return _mean(self.residuals)

    @property
    def mae_train(self) -> float | None:
        """Mean residual over the atoms in the training, eV/Å."""
        return None if self.residuals is None else _mean(self.residuals[self.trained])

    @property
    def mae_test(self) -> float | None:
        """Mean residual over the atoms not in the training, eV/Å."""
        return None if self.residuals is None else _mean(self.residuals[~self.trained])

    @property
    def max_residual(self) -> float | None:
        """Largest residual, eV/Å."""
        return None if self.residuals is None else float(self.residuals.max())

    @property
    def coverage(self) -> float | None:
        """Fraction of the atoms whose residual is within the calibrated uncertainty."""
        return None if self.residuals is None else _mean(self.residuals <= self.uncertainty)

    @property
    def coverage_raw(self) -> float | None:
        """Fraction of the atoms whose residual is within the raw uncertainty."""
        return None if self.residuals is None else _mean(self.residuals <= self.uncertainty_raw)

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's ρ of residual and uncertainty; None where one of them is constant."""
        if self.residuals is None or not (np.ptp(self.residuals) and np.ptp(self.uncertainty)):
            return None
        # scipy.stats has it too, but takes a quarter of a second to be imported
        return float(np.corrcoef(_ranks(self.uncertainty), _ranks(self.residuals))[0, 1])


def _ranks(values: Array) -> Array:
    """Places of values by size; equal ones share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - 0.5 * (counts - 1))[place])


def _mean(values: npt.NDArray[Any] | None) -> float | None:
    return None if values is None or len(values) == 0 else float(values.mean())
