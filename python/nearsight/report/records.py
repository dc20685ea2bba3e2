"""The files of a run as records: arrays of known shape, and the numbers derived from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import FiniteFloat, NonNegativeInt, PlainValidator
from scipy.stats import spearmanr

__all__ = [
    "EnsembleTrajectory",
    "GivenUp",
    "Iteration",
    "Locality",
    "Reference",
    "Relaxation",
    "RunRecord",
    "Target",
    "Trajectory",
]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def _numbers(dtype: type, *shape: int | None, gaps: bool = False) -> PlainValidator:
    """A validator that turns nested lists into a finite array of the given shape.

    With ``gaps`` there may be None in the place of a number, which becomes NaN.
    """
    text = "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"

    def convert(value: object) -> npt.NDArray[Any]:
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            raise ValueError(f"expected numbers of shape {text}") from None
        if array.shape == (0,):  # an empty list does not know its other dimensions
            array = array.reshape([size or 0 for size in shape])
        if array.ndim != len(shape) or any(
            size not in (None, found) for size, found in zip(shape, array.shape, strict=True)
        ):
            raise ValueError(f"expected shape {text}, found {array.shape}")
        if np.isinf(array).any() or (np.isnan(array).any() and not gaps):
            raise ValueError("expected finite numbers only")
        if dtype is int and (array != np.rint(array)).any():
            raise ValueError("expected whole numbers")
        return array.astype(dtype)

    return PlainValidator(convert)


Vector = Annotated[Array, _numbers(float, None)]
Vectors = Annotated[Array, _numbers(float, None, 3)]
Indices = Annotated[IntArray, _numbers(int, None)]
Counts = Annotated[IntArray, _numbers(int, None, None)]
KnownVectors = Annotated[Array, _numbers(float, None, 3, gaps=True)]
ForcesByRadius = Annotated[Array, _numbers(float, None, None, 3, gaps=True)]


@dataclass(frozen=True, eq=False)
class Iteration:
    """One training of the ensemble and what it says of the target.

    Attributes
    ----------
    chunk_indices, new_indices : (n,) int
        Atoms of the target in the training, and those chosen for the next one.
    failed_indices : (n,) int
        Atoms whose chunks the parent failed on.
    uncertainty_raw, uncertainty : (N,) float, eV/Å
        δ = 2.58 σ of every atom's force, as the members scatter and calibrated.
    forces : (N, 3) float, eV/Å
        Mean force of the ensemble.
    calibration : float
        The factor between the two uncertainties.
    energy_rmse : float, eV/atom
    force_rmse, max_force_residual : float, eV/Å
        Errors on the training set.
    seconds : float
    true_forces : (N, 3) float, eV/Å, or None
        The parent's forces on the whole target, if they were asked for.
    """

    iteration: NonNegativeInt
    chunk_indices: Indices
    new_indices: Indices
    failed_indices: Indices
    uncertainty_raw: Vector
    uncertainty: Vector
    forces: Vectors
    calibration: FiniteFloat
    energy_rmse: FiniteFloat
    force_rmse: FiniteFloat
    max_force_residual: FiniteFloat
    seconds: FiniteFloat
    true_forces: Vectors | None = None

    def part(self, first: int, end: int) -> Iteration:
        """What it says of the atoms from ``first`` to before ``end``, numbered from 0 on."""

        def within(indices: IntArray) -> IntArray:
            return indices[(indices >= first) & (indices < end)] - first

        here = slice(first, end)
        return replace(
            self,
            chunk_indices=within(self.chunk_indices),
            new_indices=within(self.new_indices),
            failed_indices=within(self.failed_indices),
            uncertainty_raw=self.uncertainty_raw[here],
            uncertainty=self.uncertainty[here],
            forces=self.forces[here],
            true_forces=None if self.true_forces is None else self.true_forces[here],
        )

    @property
    def chunks(self) -> int:
        """How many atoms of the target are in the training."""
        return len(self.chunk_indices)

    @property
    def structure_uncertainty(self) -> float:
        """The largest raw uncertainty of an atom, eV/Å."""
        return float(self.uncertainty_raw.max())

    @property
    def structure_uncertainty_calibrated(self) -> float:
        """The largest calibrated uncertainty of an atom, eV/Å."""
        return float(self.uncertainty.max())

    @cached_property
    def trained(self) -> npt.NDArray[np.bool_]:
        """Which atoms of the target are in the training, (N,)."""
        mask = np.zeros(len(self.forces), dtype=bool)
        mask[self.chunk_indices] = True
        return mask

    @cached_property
    def residuals(self) -> Array | None:
        """Norm of the difference to the parent's force, (N,) eV/Å."""
        if self.true_forces is None:
            return None
        difference: Array = np.linalg.norm(self.forces - self.true_forces, axis=1)
        return difference

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
        return float(spearmanr(self.uncertainty, self.residuals).statistic)


@dataclass(frozen=True, eq=False)
class Reference:
    """The parent's true forces on the whole target, (N, 3) eV/Å; None if it failed."""

    forces: Vectors | None


@dataclass(frozen=True, eq=False)
class Locality:
    """Forces of chunk centres by chunk radius.

    Attributes
    ----------
    radii : (R,) float, Å
    indices : (K,) int, atoms of the target
    n_atoms : (R, K) int, atoms in each chunk, centre counted
    forces : (R, K, 3) float, eV/Å
    true_forces : (K, 3) float, eV/Å, in the whole target

    What the parent failed on is NaN.
    """

    radii: Vector
    indices: Indices
    n_atoms: Counts
    forces: ForcesByRadius
    true_forces: KnownVectors

    @cached_property
    def errors(self) -> Array:
        """Norm of the difference to the force in the whole target, (R, K) eV/Å."""
        errors: Array = np.linalg.norm(self.forces - self.true_forces, axis=2)
        return errors

    @property
    def mean_errors(self) -> Array:
        """Mean of `errors` over the atoms, (R,) eV/Å."""
        return np.asarray(np.ma.masked_invalid(self.errors).mean(axis=1).filled(np.nan))

    @property
    def max_errors(self) -> Array:
        """Largest of `errors` over the atoms, (R,) eV/Å."""
        return np.asarray(np.ma.masked_invalid(self.errors).max(axis=1).filled(np.nan))

    def at(self, chunk_radius: float) -> int | None:
        """Index of the largest radius scanned that does not exceed ``chunk_radius``, Å."""
        below = np.flatnonzero(self.radii <= chunk_radius + 1e-9)
        return int(below[np.argmax(self.radii[below])]) if len(below) else None


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A relaxation, step by step; the first entry is the start.

    Attributes
    ----------
    energies : (S + 1,) float, eV
    fmax : (S + 1,) float, largest force on an atom, eV/Å
    converged : bool
    """

    energies: Vector
    fmax: Vector
    converged: bool

    @property
    def steps(self) -> int:
        """Steps of the optimizer."""
        return len(self.energies) - 1

    @property
    def energy_change(self) -> float:
        """Last energy minus first, eV."""
        return float(self.energies[-1] - self.energies[0])


@dataclass(frozen=True, eq=False)
class EnsembleTrajectory(Trajectory):
    """A relaxation with the ensemble.

    Attributes
    ----------
    max_uncertainty, mean_uncertainty : (S + 1,) float, eV/Å
        Raw uncertainty, maximum and mean over the atoms.
    """

    max_uncertainty: Vector
    mean_uncertainty: Vector


@dataclass(frozen=True, eq=False)
class Relaxation:
    """The target relaxed with the ensemble and, if asked for, with the parent.

    Attributes
    ----------
    fmax : float, the criterion, eV/Å
    parent_fmax_at_minimum : float or None
        The parent's largest force at the minimum the ensemble found, eV/Å.
    """

    optimizer: str
    fmax: FiniteFloat
    ensemble: EnsembleTrajectory
    parent: Trajectory | None = None
    parent_fmax_at_minimum: FiniteFloat | None = None


@dataclass(frozen=True)
class Target:
    """A structure the training is for."""

    n_atoms: int
    formula: str


@dataclass(frozen=True)
class GivenUp:
    """A structure the parent failed on, and what each attempt ended with."""

    structure: str
    reasons: list[str]


@dataclass(frozen=True)
class Stage:
    """One stage of the run."""

    name: str
    seconds: FiniteFloat
    summary: str


@dataclass(frozen=True)
class InitialCells:
    """The bulk cells: how many there were, how many were chosen, and the chosen by size."""

    cells: int
    selected: int
    counts: dict[str, int]


@dataclass(frozen=True)
class FeatureChoice:
    """The symmetry functions: how they were chosen, from how many, how well they span them."""

    method: str
    candidates: int
    selected: int
    deviation: FiniteFloat


@dataclass(frozen=True)
class RunRecord:
    """What ``run.json`` holds."""

    seed: int
    parent: dict[str, Any]
    target: Target
    best_iteration: int
    stop_reason: str
    seconds_total: FiniteFloat
    stages: list[Stage]
    chunk_radius: FiniteFloat
    parent_calculations: int
    versions: dict[str, Any]
    seconds_parent: FiniteFloat
    parent_cores: int
    targets: list[Target]
    failures: list[GivenUp]
    initial: InitialCells | None = None
    features: FeatureChoice | None = None


def _mean(values: npt.NDArray[Any] | None) -> float | None:
    return None if values is None or len(values) == 0 else float(values.mean())
