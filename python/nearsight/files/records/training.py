"""Records of a training: its iterations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from nearsight.errors import DamagedFileError
from nearsight.files.records.base import (
    Part,
    Record,
    Seconds,
    Vector,
    Vectors,
    check_lengths,
)
from nearsight.files.records.bounds import Bounds, ExpectedError

__all__ = [
    "SLACK",
    "Candidate",
    "Exploration",
    "Iteration",
    "Model",
    "Shell",
    "best_iteration",
    "best_of",
]


class Model(Part):
    """What a member is, and how it is held to the labels.

    Attributes
    ----------
    hidden_layers : list of int
    l2 : float
        λ.
    force_decay : float, Å, or None
        See `NFTSettings`.
    cutoff : float, Å, or None
        Of symmetry functions that were chosen for it; None for those of the run.
    """

    hidden_layers: list[PositiveInt]
    l2: Annotated[FiniteFloat, Field(ge=0)]
    force_decay: Annotated[FiniteFloat, Field(gt=0)] | None = None
    cutoff: Annotated[FiniteFloat, Field(gt=0)] | None = None


class Candidate(Part):
    """A model that was tried.

    Attributes
    ----------
    model : Model
    error : float, eV/Å
        Mean error of a force in the validation chunks, and in those of the training by members that
        lack them: the mean of the two.
    """

    model: Model
    error: FiniteFloat


class Shell(Part):
    """Forces on the atoms of the training chunks at some distance from the centre.

    Attributes
    ----------
    distance : float, Å
        Largest distance from the centre; 0 for the centres themselves.
    forces : int
        Number of them.
    error : float, eV/Å
        Mean error of the mean force, by the members that were trained on them.
    """

    distance: FiniteFloat
    forces: PositiveInt
    error: FiniteFloat


class Exploration(Part):
    """Geometries that an ensemble has led the targets to (``nft.labels = "target"``).

    Attributes
    ----------
    frames : int
        Looked at; 0 with the first ensemble, which knows no geometry of the targets.
    broken : int
        Paths that were not followed to their end, for the ensemble was too uncertain.
    largest_uncertainty : float, eV/Å, or None
        Largest raw uncertainty of an atom in these frames.
    numbers : list of int
        Geometries that may be asked for, most wanted first.
    """

    frames: NonNegativeInt
    broken: NonNegativeInt
    largest_uncertainty: FiniteFloat | None
    numbers: list[NonNegativeInt]


class Iteration(Record):
    """One iteration of nearsighted force training (``evaluation.json``).

    Attributes
    ----------
    iteration : int
    chunk_indices : list of int
        Atoms of the targets that this ensemble was trained on; where there is an ``exploration``,
        here and below geometries.
    failed_indices : list of int
        Atoms whose chunks the parent failed on.
    new_indices : list of int
        Atoms whose chunks the next iteration adds.
    again_indices : list of int
        Atoms already in the training whose chunks the next iteration draws once more.
    stop_reason : str
        Reason why there is no next iteration; empty if there is one.
    uncertainty_raw, uncertainty : (N,) float64, eV/Å
        Of each atom, δ = 2.58 σ and calibrated.
    extrapolation : (N,) float64, or None
        Grade of each atom, above 1 outside what there are labels of; None in files of earlier
        versions.
    forces : (N, 3) float64, eV/Å
        Mean over the members.
    calibration : float
        Factor between the two uncertainties.
    energy_rmse : float, eV/atom; force_rmse, max_force_residual : float, eV/Å
        Of every member on the images of its own sample, mean over them (the last: their largest).
        In files of earlier versions on all images, those that a member lacks among them.
    member_force_rmse : (M,) float64, eV/Å, or None
        ``force_rmse`` of every member; None in files of earlier versions.
    validation_error : float, eV/Å, or None
        Mean error of a force in the validation chunks; None without any.
    expected : ExpectedError or None
        Expected error on the targets; None as long as nothing tells it.
    bounds : Bounds or None
        Those of the ensemble.
    model : Model or None
        Model of the members; None in files of earlier versions.
    candidates : list of Candidate
        Models that were compared before the training; empty if none was chosen anew.
    shells : list of Shell
        Misfit of the chunks' own forces, from the centre outwards.
    exploration : Exploration or None
        None where chunks are labelled.
    seconds : float
    ensemble, previous : str or None
        Digest of the ensemble, and of that of the iteration before, from which it follows.
    """

    FORMAT: ClassVar[str] = "nearsight-evaluation"
    FILE: ClassVar[str] = "evaluation.json"
    IS_DIGESTED: ClassVar[bool] = True
    LEFT_OUT: ClassVar[tuple[str, ...]] = (
        "extrapolation",
        "member_force_rmse",
        "expected",
        "bounds",
        "ensemble",
        "previous",
        "exploration",
    )

    iteration: NonNegativeInt
    chunk_indices: list[NonNegativeInt]
    failed_indices: list[NonNegativeInt]
    new_indices: list[NonNegativeInt]
    again_indices: list[NonNegativeInt]
    stop_reason: str
    uncertainty_raw: Vector
    uncertainty: Vector
    extrapolation: Vector | None = None
    forces: Vectors
    calibration: FiniteFloat
    energy_rmse: FiniteFloat
    force_rmse: FiniteFloat
    max_force_residual: FiniteFloat
    member_force_rmse: Vector | None = None
    validation_error: FiniteFloat | None = None
    expected: ExpectedError | None = None
    bounds: Bounds | None = None
    model: Model | None = None
    candidates: list[Candidate] = Field(default_factory=list)
    shells: list[Shell] = Field(default_factory=list)
    exploration: Exploration | None = None
    seconds: Seconds
    ensemble: str | None = None
    previous: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Iteration:
        n_atoms = len(self.uncertainty_raw)
        if n_atoms == 0:
            raise ValueError("uncertainty_raw is empty")
        check_lengths(
            n_atoms,
            uncertainty=self.uncertainty,
            extrapolation=self.extrapolation,
            forces=self.forces,
        )
        for name in ("chunk_indices", "failed_indices", "new_indices", "again_indices"):
            atoms = getattr(self, name)
            beyond = self.exploration is None and max(atoms, default=0) >= n_atoms
            if len(set(atoms)) != len(atoms) or beyond:
                raise ValueError(
                    f"{name} must be different atoms from 0 to {n_atoms - 1} of the target"
                )
        if not set(self.again_indices) <= set(self.chunk_indices):
            raise ValueError("again_indices must be among chunk_indices")
        return self

    def check_chain(self, path: Path, ensemble: str, history: Sequence[Iteration]) -> None:
        """Raise a DamagedFileError unless it belongs to this ensemble and follows this history."""
        if self.ensemble not in (None, ensemble):
            raise DamagedFileError(f"{path}: belongs to another ensemble.json")
        before = history[-1].ensemble if history else None
        if self.previous is not None and self.previous != before:
            raise DamagedFileError(f"{path}: follows from another ensemble.json of the one before")

    @property
    def chunks(self) -> int:
        """Number of chunks, or geometries, in the training."""
        return len(self.chunk_indices)

    @property
    def noun(self) -> str:
        """What these are, in the plural."""
        return "chunks" if self.exploration is None else "geometries"

    @property
    def structure_uncertainty(self) -> float:
        """δ: the largest raw uncertainty of an atom of the targets, or explored frames, eV/Å."""
        explored = self.exploration
        largest = None if explored is None else explored.largest_uncertainty
        return max(float(self.uncertainty_raw.max()), largest or 0.0)

    @property
    def structure_uncertainty_calibrated(self) -> float:
        """The same, calibrated, eV/Å."""
        largest = float(self.uncertainty.max())
        if self.exploration is None:
            return largest
        raw = self.structure_uncertainty
        stated = self.calibration * raw if self.bounds is None else self.bounds.forces.of(raw)
        return max(largest, float(stated))

    @property
    def is_calibrated(self) -> bool:
        """Whether the bounds rest on enough that is like the targets."""
        if self.bounds is None:
            return self.member_force_rmse is None  # of an earlier version, which kept no bounds
        return self.expected is not None and self.bounds.forces.is_known

    @property
    def misfit(self) -> float:
        """Misfit (RMS) of the forces that members were trained on, mean over them, eV/Å."""
        of_members = self.member_force_rmse
        return self.force_rmse if of_members is None else float(np.mean(of_members))

    @property
    def score(self) -> float:
        """What makes one iteration better than another, eV/Å: see `best_of`."""
        if self.validation_error is None:
            return self.structure_uncertainty
        return self.validation_error

    def summary(self, best: bool) -> dict[str, Any]:
        """Figures for a progress display; see `Progress.iteration`."""
        return {
            "iteration": self.iteration,
            "chunks": self.chunks,
            "noun": self.noun,
            "structure_uncertainty": self.structure_uncertainty,
            "structure_uncertainty_calibrated": (
                self.structure_uncertainty_calibrated if self.is_calibrated else None
            ),
            "seconds": self.seconds,
            "best": best,
        }


def best_of(scores: Sequence[float], started: bool = False, slack: float = 0.0) -> int:
    """Index of the best iteration: the lowest score, the earlier of two equal ones.

    The score is the error on the validation chunks, or the structure uncertainty (raw) where there
    are none. Among errors that hardly differ the latest counts, which knows most: see `SLACK`.

    The first iteration counts only while it is alone, or if its members knew chunks: those
    trained on bulk cells alone agree on a surface that none of them has seen.

    Parameters
    ----------
    scores : sequence of float
        Score of each iteration; at least one.
    started : bool
        Whether the members were trained before the first iteration.
    slack : float
        Part by which a later score may be above the lowest one.
    """
    first = 0 if started or len(scores) == 1 else 1
    later = np.asarray(scores[first:])
    if slack:
        return first + int(np.flatnonzero(later <= (1.0 + slack) * later.min())[-1])
    return first + int(np.argmin(later))


SLACK = 0.01
"""Of the error on the validation chunks, a mean over some hundred forces. With 5 % the last
iterations counted where more chunks do not help: of Cu55 by GPAW one off by 87 meV/Å, not 72."""


def best_iteration(history: Sequence[Iteration], started: bool = False) -> int:
    """Index of the best iteration of a training; see `best_of`."""
    if history[-1].validation_error is None:
        return best_of([i.score for i in history], started)
    # other scores do not compare with errors
    scores = [np.inf if i.validation_error is None else i.score for i in history]
    return best_of(scores, started, SLACK)
