"""The files of retraining and dynamics as records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import FiniteFloat

from nearsight.report.records import EnsembleTrajectory, Vector

__all__ = ["Dynamics", "DynamicsFrames", "DynamicsRound", "Retraining"]


@dataclass(frozen=True, eq=False)
class RelaxationPath(EnsembleTrajectory):
    """A relaxation with the ensemble of a round.

    Attributes
    ----------
    broken : str
        Why it breaks off; empty if it does not.
    """

    broken: str


@dataclass(frozen=True)
class Harvested:
    """What a round learned, from the relaxation before it; see `Harvest`."""

    low: FiniteFloat
    high: FiniteFloat | None
    frames: int
    kept: int
    beyond: int
    candidates: int
    chosen: int
    deviation: FiniteFloat | None


@dataclass(frozen=True, eq=False)
class RetrainingRound:
    """A round: what it learned, and the relaxation of every target after it."""

    paths: list[RelaxationPath]
    largest_uncertainty: FiniteFloat | None
    harvest: Harvested | None = None


@dataclass(frozen=True, eq=False)
class Retraining:
    """``retraining.json``; round 0 is the relaxation before any.

    Attributes
    ----------
    best : int
        The round whose ensemble was kept.
    fmax : float, the criterion of the relaxations, eV/Å
    """

    settings: dict[str, Any]
    fmax: FiniteFloat
    rounds: list[RetrainingRound]
    best: int
    stop_reason: str


@dataclass(frozen=True, eq=False)
class DynamicsFrames:
    """A value for every frame of the trajectory: ps, K, eV, eV/Å (raw)."""

    time: Vector
    temperature: Vector
    potential_energy: Vector
    kinetic_energy: Vector
    max_uncertainty: Vector
    mean_uncertainty: Vector


@dataclass(frozen=True)
class DynamicsRound(Harvested):
    """A retraining on the way.

    Attributes
    ----------
    step : int
        Where the dynamics went on from.
    reason : str
    """

    step: int
    reason: str


@dataclass(frozen=True, eq=False)
class Dynamics:
    """``dynamics.json``.

    Attributes
    ----------
    threshold : float, eV/Å
        Raw uncertainty below which a frame was trusted.
    window : float
        The dynamics were stopped at this many times the threshold.
    """

    settings: dict[str, Any]
    n_atoms: int
    threshold: FiniteFloat
    window: FiniteFloat
    ended: str
    seconds: FiniteFloat
    frames: DynamicsFrames
    rounds: list[DynamicsRound]

    @property
    def round_times(self) -> list[float]:
        """Where retrainings went on from, ps."""
        return [each.step * float(self.settings["timestep"]) / 1000.0 for each in self.rounds]

    @property
    def chunks(self) -> int:
        """Chunks learned."""
        return sum(each.chosen for each in self.rounds)

    @property
    def bath(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Temperature of the heat bath at every frame, K; None without one."""
        first, last = self.settings["temperature"], self.settings["final_temperature"]
        if self.settings["conditions"] == "NVE":
            return None
        if last is None:
            return np.full(len(self.frames.time), float(first))
        length = self.settings["steps"] * self.settings["timestep"] / 1000.0
        return np.asarray(first + (last - first) * self.frames.time / length)
