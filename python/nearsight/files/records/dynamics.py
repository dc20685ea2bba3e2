"""Records of molecular dynamics."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from nearsight.files.records.base import Array, Part, Record, Seconds, Vector, check_lengths
from nearsight.files.records.simulation import HarvestSummary

__all__ = [
    "DynamicsFrames",
    "DynamicsRecord",
    "DynamicsRound",
    "DynamicsState",
    "LammpsState",
    "TrustedState",
]


class _Stop(Part):
    """Step the dynamics went on from, and the reason for the stop."""

    step: NonNegativeInt
    reason: str


class DynamicsRound(HarvestSummary, _Stop):
    """A retraining during dynamics: ``step`` it went on from, ``reason``, and the harvest."""


class TrustedState(Record):
    """Dynamics at the last trusted frame.

    Attributes
    ----------
    inputs : str
        Digest of settings, structure and ensemble.
    threshold : float, eV/Å
        Raw uncertainty below which a frame is trusted.
    step : int
    frames : int
        Frames of the trajectory up to here.
    learned_at : int
        Frames of the trajectory when the ensemble was last retrained.
    rounds : list of DynamicsRound
    seconds : float
        Work so far.
    ended : str
        Reason why there is nothing left to do; empty while there is.
    sha256 : str or None
        Checksum of these frames; None in files of earlier versions.
    settings : dict or None
        Settings and seed by name, which tell what differs; None in files of earlier versions.
    """

    IS_DIGESTED: ClassVar[bool] = True
    LEFT_OUT: ClassVar[tuple[str, ...]] = ("sha256", "settings")

    inputs: str
    threshold: FiniteFloat
    step: NonNegativeInt = 0
    frames: PositiveInt = 1
    learned_at: NonNegativeInt = 0
    rounds: list[DynamicsRound] = Field(default_factory=list)
    seconds: Seconds = 0.0
    ended: str = ""
    sha256: str | None = None
    settings: dict[str, Any] | None = None

    @property
    def chunks(self) -> int:
        """Chunks learned in all rounds."""
        return sum(each.chosen for each in self.rounds)


class DynamicsState(TrustedState):
    """Dynamics by ASE (``state.json``).

    Attributes
    ----------
    integrator : dict
        See `Integrator.state`.
    """

    FORMAT: ClassVar[str] = "nearsight-dynamics-state"
    FILE: ClassVar[str] = "state.json"

    integrator: dict[str, Any]


class LammpsState(TrustedState):
    """Dynamics by LAMMPS (``lammps.json``).

    Attributes
    ----------
    mark : str
        What the environment of LAMMPS holds, by which it is found and ended.
    segments : int
        Scripts that were run and read.
    """

    FORMAT: ClassVar[str] = "nearsight-lammps-state"
    FILE: ClassVar[str] = "lammps.json"

    mark: str
    segments: NonNegativeInt = 0


class DynamicsFrames(Part):
    """A value for every frame of the trajectory: ps, K, eV, eV/Å (raw).

    ``max_calibrated`` (eV/Å) and ``extrapolation`` are the largest stated uncertainty and grade of
    an atom; None in files of earlier versions, and without a domain.
    """

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("max_calibrated", "extrapolation")

    time: Vector
    temperature: Vector
    potential_energy: Vector
    kinetic_energy: Vector
    max_uncertainty: Vector
    mean_uncertainty: Vector
    max_calibrated: Vector | None = None
    extrapolation: Vector | None = None

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
    seconds: Seconds
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
    def is_done(self) -> bool:
        """Whether the dynamics came to their last step."""
        done = float(self.frames.time[-1]) * 1000.0 / float(self.settings["timestep"])
        return round(done) >= int(self.settings["steps"])

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
