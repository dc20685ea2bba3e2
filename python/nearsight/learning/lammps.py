"""Molecular dynamics by LAMMPS that go on with a retrained ensemble where they become uncertain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from ase import Atoms
from ase.io.trajectory import Trajectory

from nearsight.errors import InputError
from nearsight.executors.processes import STARTED_BY, kill_marked
from nearsight.files.records import LammpsState
from nearsight.learning.dynamics_session import DynamicsSession, DynamicsTask
from nearsight.learning.lammps_files import LammpsFiles
from nearsight.learning.learner import Learner
from nearsight.learning.on_the_fly_files import FramesDigest, cut_frames
from nearsight.learning.uncertain import (
    UncertainFrames,
    tell_isolated,
)
from nearsight.model.ensemble import Ensemble
from nearsight.model.snapshot import without_results
from nearsight.progress import Progress
from nearsight.simulation.integrators import check_conditions
from nearsight.simulation.lammps import Placement, Segment, write_lammps_input
from nearsight.simulation.lammps_program import LOG, LammpsProgram, error_in, halt_in
from nearsight.structures.images import check_structure
from nearsight.structures.lammps_dump import iterate_dump

__all__ = ["LammpsDynamics"]


@dataclass(frozen=True)
class LammpsDynamics(DynamicsTask):
    """Molecular dynamics of one structure by LAMMPS, in segments.

    Each segment is a script that begins at the last trusted frame, with the ensemble of that
    moment, and ends where the dynamics become uncertain (`Limits`) or all steps are done. What it
    has dumped is read, evaluated again, and learned from as in `Dynamics`.

    A segment that was interrupted is read as far as it came; the next one begins there. On one
    process, dynamics that are not interrupted in LAMMPS are the same every time.

    Attributes
    ----------
    settings, retraining, seed
        See `DynamicsTask`.
    program : LammpsProgram
    """

    program: LammpsProgram = field(default_factory=LammpsProgram)

    def run(
        self,
        learner: Learner,
        atoms: Atoms,
        folder: str | Path,
        progress: Progress | None = None,
    ) -> str:
        """Carry out all steps, or go on from where ``folder`` stands.

        Parameters
        ----------
        learner : Learner
            With the ensemble to begin with.
        atoms : ase.Atoms
            The structure to begin with. Fixed atoms stay; momenta it carries are kept.
        folder : path
            Gets ``md.traj``, ``segment-NN``, ``retraining-NN``, ``best.json`` (the last ensemble)
            and, at the end, ``dynamics.json``.
        progress : Progress, optional

        Returns
        -------
        str
            One sentence on how it ended.

        Raises
        ------
        InputError
            For a structure, conditions or an ensemble that cannot be worked with, a folder of other
            ones, or if LAMMPS fails.
        ParentError
            If the parent fails on every chunk of a retraining.
        """
        check_structure(atoms, learner.ensemble.elements)
        if learner.ensemble.baseline is not None:
            raise InputError("pair_style nearsight does not compute a baseline")
        atoms = without_results(atoms)
        check_conditions(atoms, self.settings)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        session = _Session(
            self,
            LammpsFiles(folder),
            self._for(learner),
            progress or Progress(),
            learner.ensemble,
        )
        return session.run(atoms)

    def inputs(self, ensemble: Ensemble, atoms: Atoms) -> str:
        """See `DynamicsTask.inputs`."""
        same = super().inputs(ensemble, atoms)
        return hashlib.sha256(f"LAMMPS {same}".encode()).hexdigest()


@dataclass
class _Session(DynamicsSession[LammpsState]):
    dynamics: LammpsDynamics
    files: LammpsFiles

    def _take_up(self, state: LammpsState) -> None:
        kill_marked(state.mark, STARTED_BY)  # a LAMMPS that has outlived us
        self.ensemble.save(self.files.folder / "best.json")

    def _begin(self, moving: Atoms, inputs: str) -> LammpsState:
        first = self.ensemble.evaluate(moving)
        assert first.uncertainty_raw is not None  # members were asked for
        limits = self._first_limits(first.uncertainty_raw)
        digest = FramesDigest()
        with Trajectory(self.files.trajectory, "w") as writer:
            digest.add(self.files.write(writer, moving, 0, self.ensemble, first))
        return self._save(
            LammpsState(
                inputs=inputs,
                settings=self.dynamics.given,
                mark=uuid4().hex,
                threshold=limits.threshold,
                sha256=digest.hexdigest,
            )
        )

    def _advance(self, state: LammpsState) -> tuple[LammpsState, UncertainFrames]:
        """Run a script, or read one that was interrupted; the state after it, and why it ended.

        The state is on the disk, unless there is a reason, for which more is to be done first.
        """
        number = state.segments + 1
        failure, last = "", state.step
        uncertain = UncertainFrames(self._limits(state))
        start, digest = cut_frames(self.files.trajectory, state)
        was_run = self.files.dump(number).is_file()
        if was_run:
            self.progress.note(f"{self.files.segment(number)}: read as far as LAMMPS came")
            read, uncertain, last = self._read(state, start, digest, number)
        if last == state.step and self._seconds_left() != 0:
            was_run = False
            start, digest = cut_frames(self.files.trajectory, state)
            failure = self._run_lammps(state, start, number)
            if self.files.dump(number).is_file():
                read, uncertain, last = self._read(state, start, digest, number)
        said = error_in(self.files.segment(number) / LOG)
        if said and uncertain.frames and not uncertain.reason:
            uncertain.reason = f"LAMMPS cannot go on from step {last} ({said})"
        if last > state.step:
            state = read.model_copy(update={"segments": number})
        if uncertain.reason:
            return state, uncertain
        ended = self._why_over(last)
        state = self._save(state, ended=ended)
        if not ended and not was_run:
            early = f"{self.files.segment(number)}: LAMMPS has ended at step {last}, too early"
            raise InputError(failure or early)
        return state, uncertain

    def _run_lammps(self, state: LammpsState, start: Atoms, number: int) -> str:
        """Write and run the script of a segment; how LAMMPS failed, empty if it did not."""
        ensemble, settings = self.ensemble, self.dynamics.settings
        place = self.files.segment(number)
        place.mkdir(exist_ok=True)
        ensemble.save(place / "potential.json")
        script = place / "in.lammps"
        write_lammps_input(
            script,
            place / "potential.json",
            ensemble.elements,
            start,
            settings,
            self._limits(state),
            ensemble.domain is not None,
            self.dynamics.seed,
            Segment(state.step, number),
        )

        def look(step: int, what: str) -> None:
            self.progress.advance(step, settings.steps, f"steps, {what}")

        self.progress.note(f"{place}: LAMMPS from step {state.step} of {settings.steps}")
        self.files.dump(number).unlink(missing_ok=True)
        failure = self.dynamics.program.run(script, state.mark, look, self._seconds_left())
        if not self.files.dump(number).is_file() and self._seconds_left() != 0:
            missing = f"{self.dynamics.program.name}: has written no {self.files.dump(number)}"
            raise InputError(failure or missing)
        return failure

    def _read(
        self, state: LammpsState, start: Atoms, digest: FramesDigest, number: int
    ) -> tuple[LammpsState, UncertainFrames, int]:
        """The state at the last trusted frame, the uncertain ones after it, and the last step."""
        ensemble, settings = self.ensemble, self.dynamics.settings
        placement = Placement(start)
        halted = halt_in(self.files.segment(number) / LOG)
        limits = self._limits(state)
        uncertain = UncertainFrames(limits)
        frames, step = state.frames, state.step
        with Trajectory(self.files.trajectory, "a") as writer:
            for dumped in iterate_dump(self.files.dump(number)):
                if dumped.info["timestep"] <= state.step:
                    continue
                atoms, step = placement.back(dumped), dumped.info["timestep"]
                try:
                    found = ensemble.evaluate(atoms)
                except InputError as error:
                    uncertain.reason = f"step {step} cannot be evaluated ({error})"
                    break
                raw, grade = found.uncertainty_raw, found.extrapolation
                assert raw is not None  # members were asked for
                lone = found.isolated
                self.isolated = tell_isolated(lone, self.isolated, step, self.progress)
                largest = uncertain.look(atoms, step, raw, grade)
                if halted == step and not uncertain.reason:  # by a last digit
                    uncertain.reason = f"LAMMPS has ended at step {step}, at the bound"
                write = step % settings.write_every == 0 or step == settings.steps
                if write or uncertain.reason:
                    digest.add(self.files.write(writer, atoms, step, ensemble, found))
                    frames += 1
                if uncertain.reason:
                    break
                if write and largest < limits.threshold:
                    uncertain = UncertainFrames(limits)
                    state = state.model_copy(
                        update={"step": step, "frames": frames, "sha256": digest.hexdigest}
                    )
        return state, uncertain, step
