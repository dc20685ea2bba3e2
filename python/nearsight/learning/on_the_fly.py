"""Molecular dynamics that watches its uncertainty, and retrains where it becomes too large."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.io.trajectory import Trajectory
from threadpoolctl import threadpool_limits

from nearsight.config import DynamicsSettings, RetrainingSettings
from nearsight.errors import DamagedFileError, InputError
from nearsight.files.records import DynamicsRound, DynamicsState
from nearsight.learning.harvest import Harvest
from nearsight.learning.learner import Learner
from nearsight.learning.on_the_fly_files import DynamicsFiles, FramesDigest
from nearsight.learning.state import weight_bytes
from nearsight.learning.uncertain import (
    UncertainFrames,
    choose,
    count_retrainings,
    tell_isolated,
    why_no_retraining,
)
from nearsight.model.calculator import NearsightCalculator
from nearsight.model.ensemble import Ensemble
from nearsight.model.snapshot import without_results
from nearsight.parents.database import fingerprint
from nearsight.progress import Progress
from nearsight.simulation.integrators import Integrator, check_conditions, give_momenta
from nearsight.simulation.known import Limits
from nearsight.structures.images import check_structure

__all__ = ["Dynamics"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dynamics:
    """Molecular dynamics of one structure.

    A frame is trusted while its raw structure uncertainty is below the threshold and no atom is
    outside what there are labels of (see `doubt`). The last trusted
    frame of the trajectory is where everything goes on from: after an interruption and after a
    retraining. When the uncertainty leaves the window above the threshold (see
    `RetrainingSettings.window`), the dynamics end, or, with a learner, go back there and on with
    an ensemble that has learned the uncertain atoms met since.

    All randomness comes from ``seed`` and is part of the state, so that dynamics that were stopped
    end like those that were not, to the last bit.

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

    def run(
        self,
        ensemble: Ensemble,
        atoms: Atoms,
        folder: str | Path,
        learner: Learner | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Carry out all steps, or go on from where ``folder`` stands.

        Parameters
        ----------
        ensemble : Ensemble
            To begin with.
        atoms : ase.Atoms
            The structure to begin with. Its constraints hold; momenta it carries are kept.
        folder : path
            Gets ``md.traj``, ``md.log`` and, at the end, ``dynamics.json``; with a learner also
            ``retraining-NN`` and ``best.json``, the last ensemble.
        learner : Learner, optional
            For retraining; it must begin with the same ensemble.
        progress : Progress, optional

        Returns
        -------
        str
            One sentence on how it ended.

        Raises
        ------
        InputError
            For a structure or conditions that cannot be worked with, or a folder of other ones.
        ParentError
            If the parent fails on every chunk of a retraining.
        """
        check_structure(atoms, ensemble.elements)
        atoms = without_results(atoms)
        check_conditions(atoms, self.settings)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if learner is not None:  # the target is known well enough
            settings = self.retraining.model_copy(update={"target_chunks": 0})
            learner = replace(learner, settings=settings)
        session = _Session(self, DynamicsFiles(folder), learner, progress or Progress())
        return session.run(ensemble, atoms)

    def inputs(self, ensemble: Ensemble, atoms: Atoms) -> str:
        """SHA-256 over all that decides the dynamics."""
        plain = atoms.copy()
        plain.set_constraint()
        text = f"{self!r} {[each.todict() for each in atoms.constraints]}"
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


@dataclass
class _Session:
    """Dynamics in their folder."""

    dynamics: Dynamics
    files: DynamicsFiles
    learner: Learner | None
    progress: Progress
    before: float = 0.0  # seconds of work of earlier sessions
    began: float = field(default_factory=time.perf_counter)
    isolated: set[int] = field(default_factory=set)
    frames: FramesDigest = field(default_factory=FramesDigest)

    def run(self, ensemble: Ensemble, atoms: Atoms) -> str:
        """Begin or take up, and go on to the end; begin again where a file is damaged."""
        learner = self.learner
        try:
            return self._go_on(ensemble, atoms)
        except DamagedFileError as error:
            self.progress.note(f"{error}; the dynamics begin again")
        self.files.begin_again()
        self.learner = learner
        return self._go_on(ensemble, atoms)

    def _go_on(self, ensemble: Ensemble, atoms: Atoms) -> str:
        inputs = self.dynamics.inputs(ensemble, atoms)
        state = self.files.load(inputs, self.dynamics.given) or self._begin(ensemble, atoms, inputs)
        self.before = state.seconds
        if state.ended:
            self.files.check(state)
        if not state.ended or self.learner is not None:
            for number in range(1, len(state.rounds) + 1):
                ensemble = self._retrain(number)
        while not state.ended:
            state, uncertain = self._advance(ensemble, state)
            if uncertain is None:
                continue
            can_learn = self.learner is not None
            reason = why_no_retraining(self.dynamics.settings, state, can_learn)
            found = None if reason else self._harvest(ensemble, state, uncertain)
            if found is None or not found.chosen:
                reason = reason or "there is no uncertain atom to learn from"
                state = self._end(state, f"{uncertain.reason}, and {reason}")
                continue
            number = len(state.rounds) + 1
            self.progress.note(f"{uncertain.reason}; retraining {number}: {found.summary}")
            ensemble = self._retrain(number)
            learned = DynamicsRound(step=state.step, reason=uncertain.reason, **found.figures)
            state = self._save(state, rounds=[*state.rounds, learned], learned_at=state.frames)
        window = self.dynamics.retraining.window
        self.files.write_record(state, self.dynamics.settings, window)
        return f"{state.ended}{count_retrainings(state)}"

    def _begin(self, ensemble: Ensemble, atoms: Atoms, inputs: str) -> DynamicsState:
        """The first frame, and the state there."""
        settings = self.dynamics.settings
        moving = atoms.copy()
        if not moving.has("momenta"):
            give_momenta(moving, settings.temperature, self.dynamics.seed)
        integrator = self._integrator(ensemble, moving)
        raw, grade = _uncertainty(moving)
        limits = Limits.of(settings, self.dynamics.retraining.window, float(raw.max()))
        with Trajectory(self.files.trajectory, "w") as writer:
            self.frames = FramesDigest()
            self.frames.add(self.files.write(writer, integrator, raw, grade))
        state = DynamicsState(
            inputs=inputs,
            settings=self.dynamics.given,
            threshold=limits.threshold,
            integrator=integrator.state,
            sha256=self.frames.hexdigest,
        )
        self.files.save(state)
        return state

    def _advance(
        self, ensemble: Ensemble, state: DynamicsState
    ) -> tuple[DynamicsState, UncertainFrames | None]:
        """Go on from the last trusted frame to the end, or until uncertain."""
        settings = self.dynamics.settings
        moving, self.frames = self.files.go_back(state)
        integrator = self._integrator(ensemble, moving, state)
        limits = Limits(
            state.threshold, self.dynamics.retraining.window, settings.max_extrapolation
        )
        frames = state.frames
        uncertain = UncertainFrames(limits)
        blas = threadpool_limits(1, user_api="blas")  # its threads would be in the force calls' way
        with blas, Trajectory(self.files.trajectory, "a") as writer:
            while integrator.step < settings.steps:
                if settings.max_hours is not None and self._seconds() > 3600 * settings.max_hours:
                    return self._end(state, f"the time of {settings.max_hours:g} h is over"), None
                try:
                    integrator.advance()
                except InputError as error:
                    uncertain.reason = f"step {integrator.step + 1} cannot be evaluated ({error})"
                    return state, uncertain
                step = integrator.step
                write = step % settings.write_every == 0 or step == settings.steps
                if not write and step % settings.watch_every:
                    continue
                raw, grade = _uncertainty(moving)
                isolated = moving.calc.results["isolated"]
                self.isolated = tell_isolated(isolated, self.isolated, step, self.progress)
                largest = uncertain.look(moving, step, raw, grade)
                if write or uncertain.reason:
                    self.frames.add(self.files.write(writer, integrator, raw, grade))
                    frames += 1
                    what = (
                        f"steps, {moving.get_temperature():.0f} K, uncertainty {largest:.3f} eV/Å"
                    )
                    self.progress.advance(step, settings.steps, what)
                if uncertain.reason:
                    return state, uncertain
                if write and largest < state.threshold:
                    uncertain = UncertainFrames(limits)
                    state = self._save(
                        state,
                        step=step,
                        frames=frames,
                        integrator=integrator.state,
                        sha256=self.frames.hexdigest,
                    )
        return self._end(state, f"all {settings.steps} steps are done"), None

    def _retrain(self, number: int) -> Ensemble:
        if self.learner is None:
            raise InputError(
                f"{self.files.folder}: its ensemble was retrained, which is not possible without "
                "the run it came from"
            )
        self.learner = self.learner.learn(self.files.round(number), self.progress)
        self.learner.ensemble.save(self.files.folder / "best.json")
        return self.learner.ensemble

    def _harvest(
        self, ensemble: Ensemble, state: DynamicsState, uncertain: UncertainFrames
    ) -> Harvest | None:
        """Choose from the uncertain frames since the last retraining, and keep the choice."""
        most = self.dynamics.settings.max_chunks - state.chunks
        most = min(self.dynamics.retraining.chunks, most)
        place = self.files.round(len(state.rounds) + 1)
        return choose(place, ensemble, self.files.trajectory, state, uncertain, most)

    def _end(self, state: DynamicsState, reason: str) -> DynamicsState:
        return self._save(state, ended=reason)

    def _save(self, state: DynamicsState, **changes: Any) -> DynamicsState:
        """State with changes, which is written."""
        state = state.model_copy(update={**changes, "seconds": self._seconds()})
        self.files.save(state)
        return state

    def _seconds(self) -> float:
        return self.before + time.perf_counter() - self.began

    def _integrator(
        self, ensemble: Ensemble, moving: Atoms, state: DynamicsState | None = None
    ) -> Integrator:
        settings = self.dynamics.settings
        moving.calc = NearsightCalculator(ensemble, uncertainty=settings.watch_every == 1)
        step, known = (0, None) if state is None else (state.step, state.integrator)
        integrator = Integrator(moving, settings, self.dynamics.seed, step, known)
        # after it, as in a step: forces with those of the members differ in the last digit from
        # those without
        _uncertainty(moving)
        return integrator


def _uncertainty(moving: Atoms) -> tuple[Array, Array | None]:
    """(N,) raw uncertainty, eV/Å, and (N,) extrapolation grades, where the ensemble has them."""
    raw: Array = moving.calc.get_property("uncertainty_raw", moving)
    return raw, moving.calc.results.get("extrapolation")
