"""Stages after a training in the folder of its run: relaxation, retraining, dynamics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.config import Config, DynamicsSettings, RelaxationSettings, RetrainingSettings
from nearsight.errors import InputError, ParentError
from nearsight.files.names import numbered, round_folder
from nearsight.files.records import Relaxation, RetrainingRecord
from nearsight.learning.learner import Learner
from nearsight.learning.nft import NFT
from nearsight.learning.on_the_fly import Dynamics
from nearsight.learning.retraining import Retraining, RetrainingResult
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble, as_ensemble
from nearsight.model.snapshot import labelled
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Origin, Parent
from nearsight.progress import Progress
from nearsight.run.folder import RunFolder
from nearsight.simulation.relaxation import (
    RelaxationResult,
    largest_force,
    relax,
    relax_with_parent,
)
from nearsight.structures.images import read_images, read_structures, write_structures

__all__ = [
    "RELAXATION_FILES",
    "RETRAINING_FILES",
    "FollowUp",
    "open_finished_run",
    "retrain",
    "run_dynamics",
]

RELAXATION_FILES = ("relaxation.traj", "relaxation-parent.traj", "relaxed.extxyz")
"""Of the first target, beside ``relaxation.json``; see `numbered`."""
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
        """Result of the retraining, which is done or read back."""
        retraining = Retraining(self.config.relaxation or RelaxationSettings())
        return retraining.run(self.trained, self.folder, self.progress)

    @property
    def latest(self) -> Learner:
        """The retrained ensemble, or the trained one where there is no retraining."""
        return self.trained if self.config.retraining is None else self.retrained.learner

    def relax(self, number: int) -> str:
        """Relax a target with the ensemble and, if asked for, with the parent; one sentence."""
        settings = self.config.relaxation
        assert settings is not None  # else there is no such stage
        target = self.trained.targets.structures[number]
        ensemble = Ensemble.load(self.folder / "best.json")
        path = self.folder / numbered("relaxation.traj", number)
        ours = relax(ensemble, target, settings, self.progress, path)
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
        )
        record.save(self.folder / numbered(Relaxation.FILE, number))
        return ours.summary

    def _parent_fmax(self, atoms: Atoms) -> float:
        """The parent's largest force on an atom that is free to move, eV/Å."""
        origin = Origin("whole", "relaxation")
        forces = self.trained.parent.calculate(atoms, origin=origin).forces
        for constraint in atoms.constraints:
            constraint.adjust_forces(atoms, forces)
        return largest_force(forces)

    def retrain(self) -> str:
        """Retrain, write ``retrained.extxyz`` and ``retraining.json``; one sentence."""
        _write_relaxed(self.folder, self.retrained)
        return self.retrained.summary

    def promote_best(self) -> None:
        """Make ``best.json`` that of the best round; a training writes its own each time."""
        best = RetrainingRecord.load(self.folder / RetrainingRecord.FILE).best
        if best:
            ensemble = Ensemble.load(round_folder(self.folder, best) / "best.json")
            ensemble.save(self.folder / "best.json")

    def run_dynamics(self) -> str:
        """Carry out the dynamics of the first target, as far as it is relaxed; one sentence."""
        settings = self.config.dynamics
        assert settings is not None  # else it is not asked for
        if self.config.retraining is not None:
            file = "retrained.extxyz"
        else:
            file = "target.extxyz" if self.config.relaxation is None else "relaxed.extxyz"
        atoms = read_structures(self.folder / file)[0]
        latest = self.latest
        dynamics = Dynamics(settings, latest.settings, self.config.seed)
        folder = self.folder / "dynamics"
        return dynamics.run(latest.ensemble, atoms, folder, latest, self.progress)


def _write_relaxed(folder: Path, result: RetrainingResult) -> None:
    """Write ``retrained.extxyz``, the targets as the retrained ensemble relaxes them."""
    relaxed = [labelled(atoms, result.learner.ensemble) for atoms in result.relaxed]
    write_structures(folder / "retrained.extxyz", relaxed)


@contextmanager
def open_finished_run(folder: Path, progress: Progress) -> Iterator[FollowUp]:
    """Open the folder of a run whose training is finished, for whatever can follow.

    Parameters
    ----------
    folder : Path
    progress : Progress

    Raises
    ------
    InputError
        If there is no finished training in the folder, or another process works there.
    """
    if not (folder / "best.json").exists() or not (folder / "config.toml").exists():
        raise InputError(f"{folder}: must be the folder of a finished run (with its best.json)")
    text = (folder / "config.toml").read_text(encoding="utf-8", errors="replace")
    config = Config.parse(text, str(folder / "config.toml"))
    parent = Parent.of(config.parent, config.executor)
    with RunFolder(folder, progress).executing(config, parent) as trainer:
        nft = NFT.of(config)
        structures = tuple(read_structures(folder / "target.extxyz"))
        targets = Targets(structures, parent.pass_info)
        state = nft.run(
            read_images(folder / "selected.extxyz"),
            SymmetryFunctions.load(folder / "symmetry_functions.json"),
            targets.structures,
            parent,
            folder,
            executor=trainer,
        )
        trained = Learner.from_training(
            nft, state, folder, targets, parent, config.retraining, trainer
        )
        follow_up = FollowUp(config, folder, trained, progress)
        if (folder / RetrainingRecord.FILE).exists():
            follow_up.promote_best()
        yield follow_up


def retrain(
    run: str | Path,
    folder: str | Path | None = None,
    settings: RetrainingSettings | None = None,
    relaxation: RelaxationSettings | None = None,
    progress: Progress | None = None,
) -> RetrainingResult:
    """Retrain a finished run on the uncertain atoms met while its target relaxes (SI 3).

    An interrupted retraining goes on from where ``folder`` stands.

    Parameters
    ----------
    run : path
        Folder of a finished run; its parent labels the chunks.
    folder : path, optional
        Gets ``best.json``, ``retrained.extxyz`` and the rounds; ``retrained`` in ``run`` when
        left out.
    settings : RetrainingSettings, optional
    relaxation : RelaxationSettings, optional
    progress : Progress, optional

    Returns
    -------
    RetrainingResult

    Raises
    ------
    InputError
        If ``run`` holds no finished training or another process works there, or ``folder`` holds
        a retraining of other settings.
    ParentError
        If the parent fails on every chunk of a round.
    """
    progress = progress or Progress()
    folder = _as_folder(Path(run) / "retrained" if folder is None else folder)
    with open_finished_run(Path(run), progress) as finished:
        folder.mkdir(parents=True, exist_ok=True)
        progress.stage("Retraining", str(run))
        learner = replace(finished.latest, settings=settings or RetrainingSettings())
        result = Retraining(relaxation or RelaxationSettings()).run(learner, folder, progress)
        result.learner.ensemble.save(folder / "best.json")
        _write_relaxed(folder, result)
    return result


def run_dynamics(
    source: Ensemble | str | Path,
    atoms: Atoms,
    folder: str | Path,
    settings: DynamicsSettings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> str:
    """Run molecular dynamics that stop, or retrain, where they become uncertain.

    Interrupted dynamics go on from where ``folder`` stands.

    Parameters
    ----------
    source : Ensemble or path
        An ensemble or its file: the dynamics end where they become too uncertain. Or the folder
        of a finished run: its parent labels chunks of the uncertain frames, the ensemble learns
        them, and the dynamics go on.
    atoms : ase.Atoms
        The structure to begin with. Its constraints hold; momenta it carries are kept.
    folder : path
        Gets ``md.traj``, ``md.log`` and ``dynamics.json``.
    settings : DynamicsSettings, optional
    seed : int
        Of the first velocities and of the heat bath.
    progress : Progress, optional

    Returns
    -------
    str
        How the dynamics ended, in a sentence.

    Raises
    ------
    InputError
        For a structure or conditions that cannot be worked with, or a folder of other ones.
    ParentError
        If the parent fails on every chunk of a retraining.
    """
    progress = progress or Progress()
    settings = settings or DynamicsSettings()
    folder = _as_folder(folder)
    if isinstance(source, Ensemble) or not Path(source).is_dir():
        ensemble = as_ensemble(source)
        progress.stage("Dynamics")
        return Dynamics(settings, seed=seed).run(ensemble, atoms, folder, progress=progress)
    with open_finished_run(Path(source), progress) as finished:
        latest = finished.latest
        progress.stage("Dynamics", str(source))
        dynamics = Dynamics(settings, latest.settings, seed)
        return dynamics.run(latest.ensemble, atoms, folder, latest, progress)


def _as_folder(path: str | Path) -> Path:
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: must be a folder")
    return path
