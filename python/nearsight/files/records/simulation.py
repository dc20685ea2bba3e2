"""Records of relaxations and retraining."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from nearsight.files.records.base import Part, Record, Vector, check_lengths

__all__ = [
    "EnsemblePath",
    "Harvest",
    "HarvestSummary",
    "Relaxation",
    "RelaxationPath",
    "RetrainingRecord",
    "RetrainingRound",
    "RoundRecord",
    "steps_written",
]

UNDECIDED = 0.1
"""Part of the frames of a round that does not decide between it and others."""
DECISIVE = 1.0 - UNDECIDED
"""Part of the frames whose uncertainty decides: the largest of all is that of one frame, often the
first steps from a rattled structure."""


class RelaxationPath(Part):
    """A relaxation, step by step; the first entry is the start.

    Attributes
    ----------
    energies : (S + 1,) float64, eV
    fmax : (S + 1,) float64, eV/Å
        Largest force on an atom that is free to move.
    converged : bool
    """

    energies: Vector
    fmax: Vector
    converged: bool

    @model_validator(mode="after")
    def _check_lengths(self) -> RelaxationPath:
        if len(self.energies) == 0:
            raise ValueError("energies is empty")
        check_lengths(len(self.energies), fmax=self.fmax)
        return self

    @property
    def steps(self) -> int:
        """Steps of the optimizer."""
        return len(self.energies) - 1

    @property
    def energy_change(self) -> float:
        """Last energy minus first, eV."""
        return float(self.energies[-1] - self.energies[0])


class EnsemblePath(RelaxationPath):
    """A relaxation with an ensemble.

    Attributes
    ----------
    max_uncertainty, mean_uncertainty : (S + 1,) float64, eV/Å
        Raw uncertainty, maximum and mean over the atoms.
    max_calibrated : (S + 1,) float64, eV/Å, or None
        Calibrated uncertainty, maximum over the atoms; None in files of earlier versions.
    extrapolation : (S + 1,) float64 or None
        Largest extrapolation grade; None of an ensemble that knows no domain.
    stopped : str or None
        Reason why the relaxation ended at the last frame that is known, if it did.
    broken : str or None
        In a retraining: reason why the relaxation broke off, empty if it did not.
    """

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("max_calibrated", "extrapolation", "stopped", "broken")

    max_uncertainty: Vector
    mean_uncertainty: Vector
    max_calibrated: Vector | None = None
    extrapolation: Vector | None = None
    stopped: str | None = None
    broken: str | None = None

    @model_validator(mode="after")
    def _check_uncertainties(self) -> EnsemblePath:
        check_lengths(
            len(self.energies),
            max_uncertainty=self.max_uncertainty,
            mean_uncertainty=self.mean_uncertainty,
            max_calibrated=self.max_calibrated,
            extrapolation=self.extrapolation,
        )
        return self

    def is_known(self, threshold: float) -> bool:
        """Whether all frames are: by the calibrated uncertainty (eV/Å), and no atom outside."""
        return self.known(threshold) == len(self.energies) and not self.broken

    def known(self, threshold: float) -> int:
        """Number of frames up to the first that is not; see `is_known`."""
        if self.max_calibrated is None:  # of an earlier version
            return 0
        unknown = self.max_calibrated > threshold
        if self.extrapolation is not None:
            unknown = unknown | (self.extrapolation > 1.0)
        return int(unknown.argmax()) if unknown.any() else len(unknown)


class Relaxation(Record):
    """A target relaxed with the ensemble and, if asked for, with the parent (``relaxation.json``).

    Attributes
    ----------
    optimizer : str
        Name in ASE.
    fmax : float, eV/Å
        Criterion.
    ensemble : EnsemblePath
    parent : RelaxationPath or None
    parent_fmax_at_minimum : float or None, eV/Å
        Largest force of the parent at the minimum of the ensemble.
    write_every : int or None
        Steps from one frame of the trajectories to the next; None: 1.
    """

    FORMAT: ClassVar[str] = "nearsight-relaxation"
    FILE: ClassVar[str] = "relaxation.json"
    LEFT_OUT: ClassVar[tuple[str, ...]] = ("write_every",)

    optimizer: str
    fmax: FiniteFloat
    ensemble: EnsemblePath
    parent: RelaxationPath | None
    parent_fmax_at_minimum: FiniteFloat | None
    write_every: PositiveInt | None = None

    @property
    def written(self) -> list[int]:
        """The steps of the ensemble's path that its trajectory has; the last is one of them."""
        return steps_written(self.ensemble.steps, self.write_every or 1)


def steps_written(steps: int, every: int) -> list[int]:
    """The steps of a path that its trajectory has: 0, ``every``, 2 ``every``, ..., and the last."""
    return [*range(0, steps, every), steps]


class _Window(Part):
    """Frames and atoms in a window of uncertainty.

    Attributes
    ----------
    low, high : float or None, eV/Å
        The window of raw uncertainty; None: no upper end.
    frames : int
        Frames of the trajectory.
    kept : int
        Frames whose uncertainty lies in the window.
    beyond : int
        Frames above it, which are not used.
    candidates : int
        Atoms of the kept frames that lie in the window themselves.
    """

    low: FiniteFloat
    high: FiniteFloat | None
    frames: NonNegativeInt
    kept: NonNegativeInt
    beyond: NonNegativeInt
    candidates: NonNegativeInt


class HarvestSummary(_Window):
    """Figures of a harvest: those of `Harvest`, ``chosen`` a number of atoms."""

    chosen: NonNegativeInt
    deviation: FiniteFloat | None


class Harvest(_Window, Record):
    """Atoms chosen from a trajectory to ask the parent about (``harvest.json``).

    Attributes
    ----------
    low, high, frames, kept, beyond, candidates
        Window, and frames and atoms in it; see `HarvestSummary`.
    chosen : list of (int, int)
        Frame and atom, in order of selection, one element after the other.
    deviation : float or None
        Relative norm deviation of the features of the chosen atoms against those of all
        candidates (SI eq. 8), the largest over the elements; None without candidates.
    numbers : list of int or None
        In a file: number in the trajectory of each frame of ``frames.traj``, which ``chosen``
        counts then.
    sha256 : str or None
        In a file: checksum of ``frames.traj``; None in files of earlier versions.
    """

    FORMAT: ClassVar[str] = "nearsight-harvest"
    FILE: ClassVar[str] = "harvest.json"
    IS_DIGESTED: ClassVar[bool] = True
    LEFT_OUT: ClassVar[tuple[str, ...]] = ("numbers", "sha256")

    chosen: list[tuple[NonNegativeInt, NonNegativeInt]]
    deviation: FiniteFloat | None
    numbers: list[NonNegativeInt] | None = None
    sha256: str | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """Fields of `HarvestSummary`."""
        return self.model_dump(exclude={"numbers", "sha256"}) | {"chosen": len(self.chosen)}

    @property
    def summary(self) -> str:
        """One-sentence summary for the log."""
        upper = "" if self.high is None else f" to {self.high:.4f}"
        text = (
            f"{self.kept} of {self.frames} frames have an uncertainty from {self.low:.4f}{upper} "
            f"eV/Å"
        )
        if self.high is not None:
            text += f", {self.beyond} lie beyond and are not used"
        if self.deviation is None:
            return text
        return (
            f"{text}; {len(self.chosen)} of {self.candidates} uncertain atoms chosen, relative "
            f"norm deviation {100 * self.deviation:.2g} %"
        )


class RetrainingRound(Part):
    """A round: the harvest it learned from, and the relaxation of every target after it.

    Attributes
    ----------
    harvest : HarvestSummary or None
        Of the relaxation before it; None in round 0.
    paths : list of EnsemblePath
    largest_uncertainty : float or None, eV/Å
        Raw, along all paths; None if one broke off.
    uncertainty : float or None, eV/Å
        Raw uncertainty that nine of ten frames do not exceed, where an atom outside counts with its
        grade times the threshold: what tells the rounds apart. None in files of earlier versions.
    """

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("harvest", "uncertainty")

    harvest: HarvestSummary | None = None
    paths: list[EnsemblePath]
    largest_uncertainty: FiniteFloat | None
    uncertainty: FiniteFloat | None = None

    @model_validator(mode="after")
    def _check(self) -> RetrainingRound:
        if not self.paths:
            raise ValueError("paths is empty")
        return self

    @property
    def outside(self) -> float:
        """Part of the frames with an atom outside, beyond the tenth that does not decide."""
        grades = [each.extrapolation for each in self.paths if each.extrapolation is not None]
        if not grades:
            return 0.0
        return max(0.0, float((np.concatenate(grades) > 1.0).mean()) - UNDECIDED)

    @property
    def rank(self) -> tuple[int, float, float]:
        """Smaller is better: paths that break off, frames outside, then the uncertainty.

        Outside the members agree on what none of them knows, and are less certain afterwards.
        """
        broken = sum(bool(each.broken) for each in self.paths)
        decisive = self.largest_uncertainty if self.uncertainty is None else self.uncertainty
        return broken, self.outside, float("inf") if decisive is None else decisive


class RoundRecord(Record):
    """The relaxations of one round (``path.json``).

    Attributes
    ----------
    inputs : str
        Digest of all that decides the retraining.
    round : RetrainingRound
    trajectories : list of str, or None
        Checksum of the trajectory of each relaxation; None in files of earlier versions.
    """

    FORMAT: ClassVar[str] = "nearsight-path"
    FILE: ClassVar[str] = "path.json"
    IS_DIGESTED: ClassVar[bool] = True
    LEFT_OUT: ClassVar[tuple[str, ...]] = ("trajectories",)

    inputs: str
    round: RetrainingRound
    trajectories: list[str] | None = None


class RetrainingRecord(Record):
    """A retraining (``retraining.json``).

    Attributes
    ----------
    settings : dict
        See `RetrainingSettings`.
    fmax : float, eV/Å, or None
        Criterion of the relaxations; None where frames were given in their place.
    rounds : list of RetrainingRound
        Round 0 is the relaxation before any.
    best : int
        Round whose ensemble was kept.
    stop_reason : str
    """

    FORMAT: ClassVar[str] = "nearsight-retraining"
    FILE: ClassVar[str] = "retraining.json"

    settings: dict[str, Any]
    fmax: FiniteFloat | None
    rounds: list[RetrainingRound]
    best: NonNegativeInt
    stop_reason: str

    @property
    def learned(self) -> int:
        """Atoms of frames that were chosen up to the round whose ensemble was kept."""
        rounds = self.rounds[: self.best + 1]
        return sum(each.harvest.chosen for each in rounds if each.harvest)

    @model_validator(mode="after")
    def _check(self) -> RetrainingRecord:
        if self.best >= len(self.rounds):
            raise ValueError(
                f"best is {self.best}, but there are rounds 0 to {len(self.rounds) - 1}"
            )
        return self
