"""Molecular dynamics by LAMMPS that go on with a retrained ensemble where they become uncertain."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from ase import Atoms
from ase.io.trajectory import Trajectory

from nearsight.config import DynamicsSettings, RetrainingSettings
from nearsight.errors import DamagedFileError, InputError
from nearsight.executors.processes import STARTED_BY, kill_marked
from nearsight.files.records import DynamicsRound, LammpsState
from nearsight.learning.harvest import Harvest
from nearsight.learning.lammps_files import LammpsFiles
from nearsight.learning.learner import Learner
from nearsight.learning.on_the_fly import Dynamics
from nearsight.learning.on_the_fly_files import FramesDigest, cut_frames, write_record
from nearsight.learning.uncertain import (
    UncertainFrames,
    choose,
    count_retrainings,
    tell_isolated,
    why_no_retraining,
)
from nearsight.model.ensemble import Ensemble
from nearsight.model.snapshot import without_results
from nearsight.progress import Progress
from nearsight.simulation.integrators import check_conditions, give_momenta
from nearsight.simulation.known import Limits
from nearsight.simulation.lammps import Placement, Segment, write_lammps_input
from nearsight.simulation.lammps_program import LOG, LammpsProgram, error_in, halt_in
from nearsight.structures.images import check_structure
from nearsight.structures.lammps_dump import iterate_dump

__all__ = ["LammpsDynamics"]


@dataclass(frozen=True)
class LammpsDynamics:
    """Molecular dynamics of one structure by LAMMPS, in segments.

    Each segment is a script that begins at the last trusted frame, with the ensemble of that
    moment, and ends where the dynamics become uncertain (`Limits`) or all steps are done. What it
    has dumped is read, evaluated again, and learned from as in `Dynamics`.

    A segment that was interrupted is read as far as it came; the next one begins there. On one
    process, dynamics that are not interrupted in LAMMPS are the same every time.

    Attributes
    ----------
    settings : DynamicsSettings
    retraining : RetrainingSettings
        The window, and how many chunks are chosen.
    seed : int
    program : LammpsProgram
    """

    settings: DynamicsSettings = field(default_factory=DynamicsSettings)
    retraining: RetrainingSettings = field(default_factory=RetrainingSettings)
    seed: int = 0
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
        # the target is known well enough
        known = self.retraining.model_copy(update={"target_chunks": 0})
        learner = replace(learner, settings=known)
        session = _Session(self, LammpsFiles(folder), learner, progress or Progress())
        return session.run(atoms)

    def inputs(self, ensemble: Ensemble, atoms: Atoms) -> str:
        """SHA-256 over all that decides the dynamics."""
        same = self._by_ase.inputs(ensemble, atoms)
        return hashlib.sha256(f"LAMMPS {same}".encode()).hexdigest()

    @property
    def given(self) -> dict[str, Any]:
        """Settings and seed by name."""
        return self._by_ase.given

    @property
    def _by_ase(self) -> Dynamics:
        return Dynamics(self.settings, self.retraining, self.seed)


@dataclass
class _Session:
    """Dynamics in their folder."""

    dynamics: LammpsDynamics
    files: LammpsFiles
    learner: Learner
    progress: Progress
    before: float = 0.0  # seconds of work of earlier sessions
    began: float = field(default_factory=time.perf_counter)
    isolated: set[int] = field(default_factory=set)

    def run(self, atoms: Atoms) -> str:
        """Begin or take up, and go on to the end; begin again where a file is damaged."""
        learner = self.learner
        try:
            return self._go_on(atoms)
        except DamagedFileError as error:
            self.progress.note(f"{error}; the dynamics begin again")
        self.files.begin_again()
        self.learner = learner
        return self._go_on(atoms)

    def _go_on(self, atoms: Atoms) -> str:
        settings = self.dynamics.settings
        inputs = self.dynamics.inputs(self.learner.ensemble, atoms)
        state = self.files.load(inputs, self.dynamics.given) or self._begin(atoms, inputs)
        kill_marked(state.mark, STARTED_BY)  # a LAMMPS that has outlived us
        self.before = state.seconds
        for number in range(1, len(state.rounds) + 1):
            self._retrain(number)
        self.learner.ensemble.save(self.files.folder / "best.json")
        while not state.ended:
            state, uncertain = self._segment(state)
            if not uncertain.reason:
                continue
            reason = why_no_retraining(settings, state, can_learn=True)
            found = None if reason else self._harvest(state, uncertain)
            if found is None or not found.chosen:
                reason = reason or "there is no uncertain atom to learn from"
                state = self._save(state, ended=f"{uncertain.reason}, and {reason}")
                continue
            number = len(state.rounds) + 1
            self.progress.note(f"{uncertain.reason}; retraining {number}: {found.summary}")
            self._retrain(number)
            learned = DynamicsRound(step=state.step, reason=uncertain.reason, **found.figures)
            rounds = [*state.rounds, learned]
            state = self._save(state, rounds=rounds, learned_at=state.frames)
        write_record(self.files.trajectory, state, settings, self.dynamics.retraining.window)
        return f"{state.ended}{count_retrainings(state)}"

    def _begin(self, atoms: Atoms, inputs: str) -> LammpsState:
        """The first frame, and the state there."""
        ensemble, settings = self.learner.ensemble, self.dynamics.settings
        moving = atoms.copy()
        if not moving.has("momenta"):
            give_momenta(moving, settings.temperature, self.dynamics.seed)
        first = ensemble.evaluate(moving)
        assert first.uncertainty_raw is not None  # members were asked for
        window = self.dynamics.retraining.window
        limits = Limits.of(settings, window, float(first.uncertainty_raw.max()))
        digest = FramesDigest()
        with Trajectory(self.files.trajectory, "w") as writer:
            digest.add(self.files.write(writer, moving, 0, ensemble, first))
        return self._save(
            LammpsState(
                inputs=inputs,
                settings=self.dynamics.given,
                mark=uuid4().hex,
                threshold=limits.threshold,
                sha256=digest.hexdigest,
            )
        )

    def _segment(self, state: LammpsState) -> tuple[LammpsState, UncertainFrames]:
        """Run a script, or read one that was interrupted; the state after it, and why it ended.

        The state is on the disk, unless there is a reason, for which more is to be done first.
        """
        settings = self.dynamics.settings
        number = state.segments + 1
        failure, last = "", state.step
        uncertain = UncertainFrames(self._limits(state))
        start, digest = cut_frames(self.files.trajectory, state)
        was_run = self.files.dump(number).is_file()
        if was_run:
            self.progress.note(f"{self.files.segment(number)}: read as far as LAMMPS came")
            read, uncertain, last = self._read(state, start, digest, number)
        if last == state.step and not self._is_over():
            was_run = False
            start, digest = cut_frames(self.files.trajectory, state)
            failure = self._run_lammps(state, start, number)
            if self.files.dump(number).is_file():
                read, uncertain, last = self._read(state, start, digest, number)
        said = error_in(self.files.segment(number) / LOG)
        if said and uncertain.frames and not uncertain.reason:
            uncertain.reason = f"LAMMPS cannot go on from step {last} ({said})"
        ended = ""
        if last > state.step:
            state = read.model_copy(update={"segments": number})
        if uncertain.reason:
            return state, uncertain
        if last >= settings.steps:
            ended = f"all {settings.steps} steps are done"
        elif self._is_over():
            ended = f"the time of {settings.max_hours:g} h is over"
        state = self._save(state, ended=ended)
        if not ended and not was_run:
            early = f"{self.files.segment(number)}: LAMMPS has ended at step {last}, too early"
            raise InputError(failure or early)
        return state, uncertain

    def _run_lammps(self, state: LammpsState, start: Atoms, number: int) -> str:
        """Write and run the script of a segment; how LAMMPS failed, empty if it did not."""
        ensemble, settings = self.learner.ensemble, self.dynamics.settings
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
        if not self.files.dump(number).is_file() and not self._is_over():
            missing = f"{self.dynamics.program.name}: has written no {self.files.dump(number)}"
            raise InputError(failure or missing)
        return failure

    def _read(
        self, state: LammpsState, start: Atoms, digest: FramesDigest, number: int
    ) -> tuple[LammpsState, UncertainFrames, int]:
        """The state at the last trusted frame, the uncertain ones after it, and the last step."""
        ensemble, settings = self.learner.ensemble, self.dynamics.settings
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

    def _retrain(self, number: int) -> None:
        self.learner = self.learner.learn(self.files.round(number), self.progress)
        self.learner.ensemble.save(self.files.folder / "best.json")

    def _harvest(self, state: LammpsState, uncertain: UncertainFrames) -> Harvest | None:
        """Choose from the uncertain frames since the last retraining, and keep the choice."""
        most = self.dynamics.settings.max_chunks - state.chunks
        most = min(self.dynamics.retraining.chunks, most)
        place = self.files.round(len(state.rounds) + 1)
        return choose(place, self.learner.ensemble, self.files.trajectory, state, uncertain, most)

    def _limits(self, state: LammpsState) -> Limits:
        window = self.dynamics.retraining.window
        return Limits(state.threshold, window, self.dynamics.settings.max_extrapolation)

    def _save(self, state: LammpsState, **changes: Any) -> LammpsState:
        """State with changes, which is written."""
        state = state.model_copy(update={**changes, "seconds": self._seconds()})
        self.files.save(state)
        return state

    def _seconds(self) -> float:
        return self.before + time.perf_counter() - self.began

    def _seconds_left(self) -> float | None:
        """Of the time it may take; None where there is no end of it."""
        hours = self.dynamics.settings.max_hours
        return None if hours is None else max(0.0, 3600 * hours - self._seconds())

    def _is_over(self) -> bool:
        return self._seconds_left() == 0.0
