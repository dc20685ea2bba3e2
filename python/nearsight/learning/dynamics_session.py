"""Dynamics in their folder: from trusted frame to trusted frame, with retrainings between."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.config import DynamicsSettings, RetrainingSettings
from nearsight.errors import DamagedFileError, InputError
from nearsight.files.records import DynamicsRound, TrustedState
from nearsight.learning.harvest import Harvest
from nearsight.learning.learner import Learner
from nearsight.learning.on_the_fly_files import DynamicsFolder, write_record
from nearsight.learning.state import weight_bytes
from nearsight.learning.uncertain import (
    UncertainFrames,
    choose,
    count_retrainings,
    why_no_retraining,
)
from nearsight.model.ensemble import Ensemble
from nearsight.parents.database import fingerprint
from nearsight.progress import Progress
from nearsight.simulation.integrators import give_momenta
from nearsight.simulation.known import Limits

__all__ = ["DynamicsSession", "DynamicsTask"]

S = TypeVar("S", bound=TrustedState)


@dataclass(frozen=True)
class DynamicsTask:
    """What decides dynamics, apart from ensemble and structure.

    Attributes
    ----------
    settings : DynamicsSettings
    retraining : RetrainingSettings
        The window, and how many chunks are chosen.
    seed : int
    """

    settings: DynamicsSettings = field(default_factory=DynamicsSettings)
    retraining: RetrainingSettings = field(default_factory=RetrainingSettings)
    seed: int = 0

    def inputs(self, ensemble: Ensemble, atoms: Atoms) -> str:
        """SHA-256 over all that decides the dynamics."""
        plain = atoms.copy()
        plain.set_constraint()
        decided = f"settings={self.settings!r}, retraining={self.retraining!r}, seed={self.seed!r}"
        text = f"Dynamics({decided}) {[each.todict() for each in atoms.constraints]}"
        content = fingerprint(plain, text).encode() + atoms.get_momenta().tobytes()
        return hashlib.sha256(content + weight_bytes(ensemble)).hexdigest()

    @property
    def given(self) -> dict[str, Any]:
        """Settings and seed by name."""
        retraining = self.retraining.model_dump(mode="json")
        return {
            **self.settings.model_dump(mode="json"),
            **{f"retraining.{key}": value for key, value in retraining.items()},
            "seed": self.seed,
        }

    def _for(self, learner: Learner) -> Learner:
        """A learner that chooses no chunks of the target, which is known well enough."""
        return replace(learner, settings=self.retraining.model_copy(update={"target_chunks": 0}))


@dataclass
class DynamicsSession(ABC, Generic[S]):
    """Dynamics in their folder.

    Attributes
    ----------
    dynamics : DynamicsTask
    files : DynamicsFolder
    learner : Learner or None
        For retraining.
    progress : Progress
    ensemble : Ensemble
        Of the moment.
    before : float
        Seconds of work of earlier sessions.
    began : float
    isolated : set of int
        Atoms of which it was said that they have no neighbour.
    """

    dynamics: DynamicsTask
    files: DynamicsFolder[S]
    learner: Learner | None
    progress: Progress
    ensemble: Ensemble
    before: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    isolated: set[int] = field(default_factory=set)

    def run(self, atoms: Atoms) -> str:
        """Begin or take up, and go on to the end; begin again where a file is damaged."""
        first = self.learner, self.ensemble
        try:
            return self._go_on(atoms)
        except DamagedFileError as error:
            self.progress.note(f"{error}; the dynamics begin again")
        self.files.begin_again()
        self.learner, self.ensemble = first
        return self._go_on(atoms)

    @abstractmethod
    def _begin(self, moving: Atoms, inputs: str) -> S:
        """The first frame, and the state there, which is written."""

    @abstractmethod
    def _take_up(self, state: S) -> None:
        """What is to be done before anything goes on from a state."""

    @abstractmethod
    def _advance(self, state: S) -> tuple[S, UncertainFrames]:
        """Go on from the last trusted frame to the end, or until uncertain, for a reason."""

    def _go_on(self, atoms: Atoms) -> str:
        settings = self.dynamics.settings
        inputs = self.dynamics.inputs(self.ensemble, atoms)
        state = self.files.load(inputs, self.dynamics.given) or self._begin(
            self._set_in_motion(atoms), inputs
        )
        self.before = state.seconds
        self._take_up(state)
        if not state.ended or self.learner is not None:
            for number in range(1, len(state.rounds) + 1):
                self._retrain(number)
        while not state.ended:
            state, uncertain = self._advance(state)
            if not uncertain.reason:
                continue
            reason = why_no_retraining(settings, state, self.learner is not None)
            found = None if reason else self._harvest(state, uncertain)
            if found is None or not found.chosen:
                reason = reason or "there is no uncertain atom to learn from"
                state = self._save(state, ended=f"{uncertain.reason}, and {reason}")
                continue
            number = len(state.rounds) + 1
            self.progress.note(f"{uncertain.reason}; retraining {number}: {found.summary}")
            self._retrain(number)
            learned = DynamicsRound(step=state.step, reason=uncertain.reason, **found.figures)
            state = self._save(state, rounds=[*state.rounds, learned], learned_at=state.frames)
        write_record(self.files.trajectory, state, settings, self.dynamics.retraining.window)
        return f"{state.ended}{count_retrainings(state)}"

    def _set_in_motion(self, atoms: Atoms) -> Atoms:
        """A copy, with momenta of the temperature where there are none."""
        moving: Atoms = atoms.copy()
        if not moving.has("momenta"):
            give_momenta(moving, self.dynamics.settings.temperature, self.dynamics.seed)
        return moving

    def _retrain(self, number: int) -> None:
        if self.learner is None:
            raise InputError(
                f"{self.files.folder}: its ensemble was retrained, which is not possible without "
                "the run it came from"
            )
        self.learner = self.learner.learn(self.files.round(number), self.progress)
        self.ensemble = self.learner.ensemble
        self.ensemble.save(self.files.folder / "best.json")

    def _harvest(self, state: S, uncertain: UncertainFrames) -> Harvest | None:
        """Choose from the uncertain frames since the last retraining, and keep the choice."""
        most = self.dynamics.settings.max_chunks - state.chunks
        most = min(self.dynamics.retraining.chunks, most)
        place = self.files.round(len(state.rounds) + 1)
        return choose(place, self.ensemble, self.files.trajectory, state, uncertain, most)

    def _first_limits(self, raw: npt.NDArray[np.float64]) -> Limits:
        """Those by the raw uncertainties of the first frame; told where it has raised them."""
        settings, first = self.dynamics.settings, float(raw.max())
        limits = Limits.of(settings, self.dynamics.retraining.window, first)
        if raised := limits.why_so_high(settings, first):
            self.progress.note(raised)
        return limits

    def _limits(self, state: S) -> Limits:
        window = self.dynamics.retraining.window
        return Limits(state.threshold, window, self.dynamics.settings.max_extrapolation)

    def _save(self, state: S, **changes: Any) -> S:
        """State with changes, which is written."""
        state = state.model_copy(update={**changes, "seconds": self._seconds()})
        self.files.save(state)
        return state

    def _why_over(self, step: int) -> str:
        """Reason why there is no further step; empty if there is one."""
        settings = self.dynamics.settings
        if step >= settings.steps:
            return f"all {settings.steps} steps are done"
        return f"the time of {settings.max_hours:g} h is over" if self._seconds_left() == 0 else ""

    def _seconds(self) -> float:
        return self.before + time.perf_counter() - self.began

    def _seconds_left(self) -> float | None:
        """Of the time it may take; None where there is no end of it."""
        hours = self.dynamics.settings.max_hours
        return None if hours is None else max(0.0, 3600 * hours - self._seconds())
