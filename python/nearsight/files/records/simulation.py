"""Records of relaxations, retraining and dynamics."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from nearsight.files.records.base import Array, Part, Record, Vector, check_lengths

__all__ = [
    "DynamicsFrames",
    "DynamicsRecord",
    "DynamicsRound",
    "DynamicsState",
    "EnsemblePath",
    "Harvest",
    "HarvestSummary",
    "Relaxation",
    "RelaxationPath",
    "RetrainingRecord",
    "RetrainingRound",
    "RoundRecord",
]


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
    broken : str or None
        In a retraining: reason why the relaxation broke off, empty if it did not.
    """

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("broken",)

    max_uncertainty: Vector
    mean_uncertainty: Vector
    broken: str | None = None

    @model_validator(mode="after")
    def _check_uncertainties(self) -> EnsemblePath:
        check_lengths(
            len(self.energies),
            max_uncertainty=self.max_uncertainty,
            mean_uncertainty=self.mean_uncertainty,
        )
        return self


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
    """

    FORMAT: ClassVar[str] = "nearsight-relaxation"
    FILE: ClassVar[str] = "relaxation.json"

    optimizer: str
    fmax: FiniteFloat
    ensemble: EnsemblePath
    parent: RelaxationPath | None
    parent_fmax_at_minimum: FiniteFloat | None


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
    """

    FORMAT: ClassVar[str] = "nearsight-harvest"
    FILE: ClassVar[str] = "harvest.json"
    LEFT_OUT: ClassVar[tuple[str, ...]] = ("numbers",)

    chosen: list[tuple[NonNegativeInt, NonNegativeInt]]
    deviation: FiniteFloat | None
    numbers: list[NonNegativeInt] | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """Fields of `HarvestSummary`."""
        return self.model_dump(exclude={"numbers"}) | {"chosen": len(self.chosen)}

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
    """

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("harvest",)

    harvest: HarvestSummary | None = None
    paths: list[EnsemblePath]
    largest_uncertainty: FiniteFloat | None

    @model_validator(mode="after")
    def _check(self) -> RetrainingRound:
        if not self.paths:
            raise ValueError("paths is empty")
        return self


class RoundRecord(Record):
    """The relaxations of one round (``path.json``).

    Attributes
    ----------
    inputs : str
        Digest of all that decides the retraining.
    round : RetrainingRound
    """

    FORMAT: ClassVar[str] = "nearsight-path"
    FILE: ClassVar[str] = "path.json"

    inputs: str
    round: RetrainingRound


class RetrainingRecord(Record):
    """A retraining (``retraining.json``).

    Attributes
    ----------
    settings : dict
        See `RetrainingSettings`.
    fmax : float, eV/Å
        Criterion of the relaxations.
    rounds : list of RetrainingRound
        Round 0 is the relaxation before any.
    best : int
        Round whose ensemble was kept.
    stop_reason : str
    """

    FORMAT: ClassVar[str] = "nearsight-retraining"
    FILE: ClassVar[str] = "retraining.json"

    settings: dict[str, Any]
    fmax: FiniteFloat
    rounds: list[RetrainingRound]
    best: NonNegativeInt
    stop_reason: str

    @model_validator(mode="after")
    def _check(self) -> RetrainingRecord:
        if self.best >= len(self.rounds):
            raise ValueError(
                f"best is {self.best}, but there are rounds 0 to {len(self.rounds) - 1}"
            )
        return self


class _Stop(Part):
    """Step the dynamics went on from, and the reason for the stop."""

    step: NonNegativeInt
    reason: str


class DynamicsRound(HarvestSummary, _Stop):
    """A retraining during dynamics: ``step`` it went on from, ``reason``, and the harvest."""


class DynamicsState(Record):
    """Dynamics at the last trusted frame (``state.json``).

    Attributes
    ----------
    inputs : str
        Digest of settings, structure and ensemble.
    threshold : float, eV/Å
        Raw uncertainty below which a frame is trusted.
    step : int
    frames : int
        Frames of the trajectory up to here.
    integrator : dict
        See `Integrator.state`.
    learned_at : int
        Frames of the trajectory when the ensemble was last retrained.
    rounds : list of DynamicsRound
    seconds : float
        Work so far.
    ended : str
        Reason why there is nothing left to do; empty while there is.
    """

    FORMAT: ClassVar[str] = "nearsight-dynamics-state"
    FILE: ClassVar[str] = "state.json"

    inputs: str
    threshold: FiniteFloat
    step: NonNegativeInt = 0
    frames: PositiveInt = 1
    integrator: dict[str, Any]
    learned_at: NonNegativeInt = 0
    rounds: list[DynamicsRound] = Field(default_factory=list)
    seconds: FiniteFloat = 0.0
    ended: str = ""

    @property
    def chunks(self) -> int:
        """Chunks learned in all rounds."""
        return sum(each.chosen for each in self.rounds)


class DynamicsFrames(Part):
    """A value for every frame of the trajectory: ps, K, eV, eV/Å (raw)."""

    time: Vector
    temperature: Vector
    potential_energy: Vector
    kinetic_energy: Vector
    max_uncertainty: Vector
    mean_uncertainty: Vector

    @model_validator(mode="after")
    def _check(self) -> DynamicsFrames:
        if len(self.time) == 0:
            raise ValueError("time is empty")
        check_lengths(len(self.time), **vars(self))
        return self


class DynamicsRecord(Record):
    """Molecular dynamics (``dynamics.json``).

    Attributes
    ----------
    settings : dict
        See `DynamicsSettings`.
    n_atoms : int
    threshold : float, eV/Å
        Raw uncertainty below which a frame was trusted.
    window : float
        The dynamics were stopped at this many times the threshold.
    ended : str
    seconds : float
    frames : DynamicsFrames
    rounds : list of DynamicsRound
    """

    FORMAT: ClassVar[str] = "nearsight-dynamics"
    FILE: ClassVar[str] = "dynamics.json"

    settings: dict[str, Any]
    n_atoms: PositiveInt
    threshold: FiniteFloat
    window: FiniteFloat
    ended: str
    seconds: FiniteFloat
    frames: DynamicsFrames
    rounds: list[DynamicsRound]

    @model_validator(mode="after")
    def _check(self) -> DynamicsRecord:
        known = {**self.settings, "final_temperature": self.settings.get("final_temperature") or 0}
        for key in ("temperature", "final_temperature", "timestep", "steps"):
            if not isinstance(known.get(key), int | float):
                raise ValueError(f"settings.{key} must be a number")
        if not isinstance(known.get("conditions"), str):
            raise ValueError("settings.conditions must be text")
        return self

    @property
    def round_times(self) -> list[float]:
        """Time the dynamics went on from after each retraining, ps."""
        return [each.step * float(self.settings["timestep"]) / 1000.0 for each in self.rounds]

    @property
    def chunks(self) -> int:
        """Chunks learned."""
        return sum(each.chosen for each in self.rounds)

    @property
    def bath(self) -> Array | None:
        """Temperature of the heat bath at every frame, K; None without one."""
        first, last = self.settings["temperature"], self.settings["final_temperature"]
        if self.settings["conditions"] == "NVE":
            return None
        if last is None:
            return np.full(len(self.frames.time), float(first))
        length = self.settings["steps"] * self.settings["timestep"] / 1000.0
        return np.asarray(first + (last - first) * self.frames.time / length)
