"""Molecular dynamics that watches its uncertainty, and retrains where it becomes too large."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.io.trajectory import Trajectory
from threadpoolctl import threadpool_limits

from nearsight.errors import InputError
from nearsight.files.records import DynamicsState
from nearsight.learning.dynamics_session import DynamicsSession, DynamicsTask
from nearsight.learning.learner import Learner
from nearsight.learning.on_the_fly_files import DynamicsFiles, FramesDigest
from nearsight.learning.uncertain import UncertainFrames, tell_isolated
from nearsight.model.calculator import NearsightCalculator
from nearsight.model.ensemble import Ensemble
from nearsight.model.snapshot import without_results
from nearsight.progress import Progress
from nearsight.simulation.integrators import Integrator, check_conditions
from nearsight.structures.images import check_structure

__all__ = ["Dynamics"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dynamics(DynamicsTask):
    """Molecular dynamics of one structure.

    A frame is trusted while its raw structure uncertainty is below the threshold and no atom is
    outside what there are labels of (see `doubt`). The last trusted
    frame of the trajectory is where everything goes on from: after an interruption and after a
    retraining. When the uncertainty leaves the window above the threshold (see
    `RetrainingSettings.window`), the dynamics end, or, with a learner, go back there and on with
    an ensemble that has learned the uncertain atoms met since.

    All randomness comes from ``seed`` and is part of the state, so that dynamics that were stopped
    end like those that were not, to the last bit.
    """

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
        learner = None if learner is None else self._for(learner)
        session = _Session(self, DynamicsFiles(folder), learner, progress or Progress(), ensemble)
        return session.run(atoms)


@dataclass
class _Session(DynamicsSession[DynamicsState]):
    files: DynamicsFiles
    frames: FramesDigest = field(default_factory=FramesDigest)

    def _take_up(self, state: DynamicsState) -> None:
        if state.ended:
            self.files.check(state)

    def _begin(self, moving: Atoms, inputs: str) -> DynamicsState:
        integrator = self._integrator(moving)
        raw, grade = _uncertainty(moving)
        limits = self._first_limits(raw)
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

    def _advance(self, state: DynamicsState) -> tuple[DynamicsState, UncertainFrames]:
        settings = self.dynamics.settings
        moving, self.frames = self.files.go_back(state)
        integrator = self._integrator(moving, state)
        limits = self._limits(state)
        frames = state.frames
        uncertain = UncertainFrames(limits)
        blas = threadpool_limits(1, user_api="blas")  # its threads would be in the force calls' way
        with blas, Trajectory(self.files.trajectory, "a") as writer:
            while not (ended := self._why_over(integrator.step)):
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
        return self._save(state, ended=ended), UncertainFrames(limits)

    def _integrator(self, moving: Atoms, state: DynamicsState | None = None) -> Integrator:
        settings = self.dynamics.settings
        moving.calc = NearsightCalculator(self.ensemble, uncertainty=settings.watch_every == 1)
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
