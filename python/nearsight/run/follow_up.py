"""Stages after a training in the folder of its run: relaxation, retraining, dynamics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.config import Config, RelaxationSettings, RetrainingSettings
from nearsight.errors import ParentError
from nearsight.files.atomic import write_bytes
from nearsight.files.names import numbered, round_folder
from nearsight.files.records import Relaxation, RetrainingRecord, steps_written
from nearsight.files.trajectory import read_frames, write_frames
from nearsight.learning.learner import Learner
from nearsight.learning.on_the_fly import Dynamics
from nearsight.learning.paths import Relaxations, trajectory
from nearsight.learning.retraining import Retraining, RetrainingResult
from nearsight.model.ensemble import Ensemble
from nearsight.model.snapshot import labelled
from nearsight.parents import Origin
from nearsight.progress import Progress
from nearsight.simulation.relaxation import (
    EnsembleRelaxationResult,
    RelaxationResult,
    largest_force,
    relax,
    relax_with_parent,
)
from nearsight.structures.images import read_structures, write_structures

__all__ = [
    "RELAXATION_FILES",
    "RETRAINING_FILES",
    "FollowUp",
    "write_relaxed",
]

RELAXATION_FILES = ("relaxation.traj", "relaxation-parent.traj", "relaxed.extxyz")
"""Of the first target, beside ``relaxation.json``; see `numbered`."""
AS_NEEDED = RetrainingSettings(target_chunks=0)
"""Retraining that nobody has asked for: the target is known well enough, as in dynamics."""
RETRAINING_FILES = ("retraining-*/**/*", "retrained.extxyz")
"""Beside ``retraining.json``."""


@dataclass(frozen=True)
class FollowUp:
    """The stages of a run that begin where its training ended.

    Attributes
    ----------
    config : Config
    folder : Path
        Of the run.
    trained : Learner
        The end of its training.
    progress : Progress
    """

    config: Config
    folder: Path
    trained: Learner
    progress: Progress

    @cached_property
    def retrained(self) -> RetrainingResult:
        """Result of the retraining, which is done, or read back without a word."""
        retraining, learner = self._retraining
        told = (self.folder / RetrainingRecord.FILE).exists()
        return retraining.run(learner, self.folder, Progress() if told else self.progress)

    @property
    def _relaxations(self) -> Relaxations:
        settings = self.config.relaxation or RelaxationSettings()
        return Relaxations(self.trained.targets.structures, settings)

    @property
    def _retraining(self) -> tuple[Retraining, Learner]:
        """The retraining, and what it begins with.

        Without a section [retraining] it goes on until the relaxations are known, no farther.
        """
        paths = self._relaxations
        if self.config.retraining is not None:
            return Retraining(paths), self.trained
        learner = replace(self.trained, settings=AS_NEEDED)
        return Retraining(paths, paths.settings.max_uncertainty), learner

    @property
    def latest(self) -> Learner:
        """The retrained ensemble, or the trained one where there is no retraining."""
        done = (self.folder / RetrainingRecord.FILE).exists()  # none in runs of earlier versions
        return (
            self.retrained.learner if self.config.retraining is not None or done else self.trained
        )

    def relax(self, number: int) -> str:
        """Relax a target with the ensemble and, if asked for, with the parent; one sentence."""
        settings = self.config.relaxation
        assert settings is not None  # else there is no such stage
        target = self.trained.targets.structures[number]
        ensemble = Ensemble.load(self.folder / "best.json")
        path = self.folder / numbered("relaxation.traj", number)
        ours = self._made(number, ensemble, path)
        ours = ours or relax(ensemble, target, settings, self.progress, path)
        relaxed = labelled(ours.atoms, ensemble)
        write_structures(self.folder / numbered("relaxed.extxyz", number), [relaxed])
        if "isolated" in relaxed.arrays:
            alone = ", ".join(map(str, np.flatnonzero(relaxed.arrays["isolated"])))
            self.progress.note(
                f"no neighbour within the cutoff of atom {alone} at the end of the relaxation; "
                "such atoms have no force"
            )
        parents: RelaxationResult | None = None
        fmax: float | None = None
        try:
            if settings.with_parent or self.config.report.true_forces:
                fmax = self._parent_fmax(ours.atoms)
            if settings.with_parent:
                path = self.folder / numbered("relaxation-parent.traj", number)
                parents = relax_with_parent(
                    self.trained.parent, target, settings, self.progress, path
                )
        except ParentError as error:
            self.progress.note(f"nothing to compare with: {error}")
        record = Relaxation(
            optimizer=ours.optimizer,
            fmax=settings.fmax,
            ensemble=ours,
            parent=parents,
            parent_fmax_at_minimum=fmax,
            write_every=settings.write_every if settings.write_every > 1 else None,
        )
        record.save(self.folder / numbered(Relaxation.FILE, number))
        return ours.summary

    def _made(self, number: int, ensemble: Ensemble, path: Path) -> EnsembleRelaxationResult | None:
        """The relaxation that the retraining has made, its trajectory copied, if it is the same."""
        retraining = self.folder / RetrainingRecord.FILE
        if not retraining.exists():
            return None
        folder = round_folder(self.folder, RetrainingRecord.load(retraining).best)
        begun, learner = self._retraining
        found = self._relaxations.made(number, ensemble, folder, begun.inputs(learner))
        if found is not None:
            frames, every = trajectory(folder, number), self._relaxations.settings.write_every
            if every == 1:
                write_bytes(path, frames.read_bytes())
            else:
                steps = steps_written(found.steps, every)
                write_frames(path, (next(read_frames(frames, step, step + 1)) for step in steps))
        return found

    def _parent_fmax(self, atoms: Atoms) -> float:
        """The parent's largest force on an atom that is free to move, eV/Å."""
        origin = Origin("whole", "relaxation")
        forces = self.trained.parent.calculate(atoms, origin=origin).forces
        for constraint in atoms.constraints:
            constraint.adjust_forces(atoms, forces)
        return largest_force(forces)

    def retrain(self) -> str:
        """Retrain, write ``retrained.extxyz`` and ``retraining.json``; one sentence."""
        (self.folder / RetrainingRecord.FILE).unlink(missing_ok=True)  # if a file beside it is gone
        write_relaxed(self.folder, self.retrained)
        return self.retrained.summary

    def promote_best(self) -> str:
        """Make ``best.json`` that of the best round; a training writes its own each time.

        Returns
        -------
        str
            Its digest; empty if no round was better than none.
        """
        best = RetrainingRecord.load(self.folder / RetrainingRecord.FILE).best
        if not best:
            return ""
        ensemble = Ensemble.load(round_folder(self.folder, best) / "best.json")
        ensemble.save(self.folder / "best.json")
        return ensemble.digest

    def run_dynamics(self) -> str:
        """Carry out the dynamics of the first target, as far as it is relaxed; one sentence."""
        settings = self.config.dynamics
        assert settings is not None  # else it is not asked for
        if self.config.relaxation is not None:
            file = "relaxed.extxyz"
        else:
            file = "target.extxyz" if self.config.retraining is None else "retrained.extxyz"
        atoms = read_structures(self.folder / file)[0]
        latest = self.latest
        dynamics = Dynamics(settings, latest.settings, self.config.seed)
        folder = self.folder / "dynamics"
        return dynamics.run(latest.ensemble, atoms, folder, latest, self.progress)


def write_relaxed(folder: Path, result: RetrainingResult) -> None:
    """Write ``retrained.extxyz``, the targets as the retrained ensemble relaxes them."""
    relaxed = [labelled(atoms, result.learner.ensemble) for atoms in result.last]
    write_structures(folder / "retrained.extxyz", relaxed)
