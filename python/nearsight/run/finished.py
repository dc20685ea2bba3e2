"""Work in the folder of a finished run: retraining, relaxations and dynamics that learn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ase import Atoms

from nearsight.config import Config, DynamicsSettings, RelaxationSettings, RetrainingSettings
from nearsight.errors import InputError
from nearsight.files.records import RetrainingRecord, Source, Work
from nearsight.learning.lammps import LammpsDynamics
from nearsight.learning.learner import Learner
from nearsight.learning.nft import NFT
from nearsight.learning.on_the_fly import Dynamics
from nearsight.learning.paths import Frames, Relaxations
from nearsight.learning.retraining import Retraining, RetrainingResult
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble, as_ensemble
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Parent
from nearsight.progress import Progress
from nearsight.run.folder import RunFolder
from nearsight.run.follow_up import AS_NEEDED, FollowUp, write_relaxed
from nearsight.run.frames import believable
from nearsight.simulation.integrators import check_conditions
from nearsight.simulation.lammps_program import LammpsProgram
from nearsight.structures.images import read_images, read_structures

__all__ = ["learn_to_relax", "open_finished_run", "retrain", "run_dynamics", "run_in_lammps"]


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
    frames: Sequence[Atoms] | None = None,
) -> RetrainingResult:
    """Retrain a finished run on the uncertain atoms met while its target relaxes (SI 3).

    An interrupted retraining goes on from where ``folder`` stands.

    Parameters
    ----------
    run : path
        Folder of a finished run; its parent labels the chunks.
    folder : path, optional
        Gets ``best.json``, the rounds, ``report.html`` and, without ``frames``,
        ``retrained.extxyz``; ``retrained`` in ``run`` when left out.
    settings : RetrainingSettings, optional
    relaxation : RelaxationSettings, optional
    progress : Progress, optional
    frames : sequence of ase.Atoms, optional
        What to learn from in place of the relaxation: the images of a band, dynamics, displaced
        structures of phonons. Those with atoms too close to each other are left out.

    Returns
    -------
    RetrainingResult

    Raises
    ------
    InputError
        If ``run`` holds no finished training or another process works there, ``folder`` holds
        a retraining of other settings, or there is no frame to learn from.
    ParentError
        If the parent fails on every chunk of a round.
    """
    progress = progress or Progress()
    folder = _as_folder(Path(run) / "retrained" if folder is None else folder)
    with open_finished_run(Path(run), progress) as finished:
        paths: Relaxations | Frames
        if frames is None:
            structures = finished.trained.targets.structures
            paths = Relaxations(structures, relaxation or RelaxationSettings())
        else:
            elements = finished.trained.ensemble.elements
            paths = Frames(believable(frames, elements, progress))
        learner = replace(finished.latest, settings=settings or RetrainingSettings())
        folder.mkdir(parents=True, exist_ok=True)
        progress.stage("Retraining", str(run))
        result = Retraining(paths).run(learner, folder, progress)
        result.learner.ensemble.save(folder / "best.json")
        if frames is None:
            write_relaxed(folder, result)
        _report(folder, "retrain", Path(run), learner.ensemble)
    return result


def learn_to_relax(
    run: Path,
    atoms: Atoms,
    folder: Path,
    settings: RelaxationSettings,
    progress: Progress,
) -> RetrainingResult:
    """Retrain a finished run until it knows every frame of the relaxation of a structure.

    Parameters
    ----------
    run : Path
        Folder of the run; its parent labels the chunks.
    atoms : ase.Atoms
    folder : Path
        Gets ``best.json``, the rounds and ``report.html``.
    settings : RelaxationSettings
    progress : Progress

    Raises
    ------
    InputError
        If ``run`` holds no finished training or another process works there, or ``folder`` holds
        a retraining of another structure or other settings.
    """
    folder = _as_folder(folder)
    with open_finished_run(run, progress) as finished:
        learner = replace(finished.latest, settings=finished.config.retraining or AS_NEEDED)
        folder.mkdir(parents=True, exist_ok=True)
        progress.stage("Retraining", str(run))
        paths = Relaxations((atoms,), settings)
        result = Retraining(paths, settings.max_uncertainty).run(learner, folder, progress)
        result.learner.ensemble.save(folder / "best.json")
        _report(folder, "relax", run, learner.ensemble)
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
        Gets ``md.traj``, ``md.log``, ``dynamics.json`` and ``report.html``.
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
    check_conditions(atoms, settings)
    folder = _as_folder(folder)
    if isinstance(source, Ensemble) or not Path(source).is_dir():
        ensemble = as_ensemble(source)
        progress.stage("Dynamics")
        summary = Dynamics(settings, seed=seed).run(ensemble, atoms, folder, progress=progress)
        place = None if isinstance(source, Ensemble) else Path(source)
        _report(folder, "md", place, ensemble, learns=False)
        return summary
    with open_finished_run(Path(source), progress) as finished:
        latest = finished.latest
        progress.stage("Dynamics", str(source))
        dynamics = Dynamics(settings, latest.settings, seed)
        summary = dynamics.run(latest.ensemble, atoms, folder, latest, progress)
        _report(folder, "md", Path(source), latest.ensemble)
    return summary


def run_in_lammps(
    run: str | Path,
    atoms: Atoms,
    folder: str | Path,
    settings: DynamicsSettings | None = None,
    program: str = "lmp",
    seed: int = 0,
    progress: Progress | None = None,
) -> str:
    """Run molecular dynamics by LAMMPS that retrain where they become uncertain, and go on.

    Interrupted dynamics go on from where ``folder`` stands.

    Parameters
    ----------
    run : path
        Folder of a finished run: its parent labels chunks of the uncertain frames.
    atoms : ase.Atoms
        The structure to begin with. Fixed atoms stay; momenta it carries are kept.
    folder : path
        Gets ``md.traj``, ``dynamics.json``, ``best.json``, ``report.html`` and a folder for every
        script.
    settings : DynamicsSettings, optional
    program : str
        The command that starts LAMMPS, e.g. ``"mpiexec -n 4 lmp"``.
    seed : int
        Of the first velocities and of the heat baths.
    progress : Progress, optional

    Returns
    -------
    str
        How the dynamics ended, in a sentence.

    Raises
    ------
    InputError
        For a structure, conditions or an ensemble that cannot be worked with, a folder of other
        ones, or if LAMMPS is missing or fails.
    ParentError
        If the parent fails on every chunk of a retraining.
    """
    progress = progress or Progress()
    settings = settings or DynamicsSettings()
    check_conditions(atoms, settings)
    folder = _as_folder(folder)
    lammps = LammpsProgram.parse(program)
    with open_finished_run(Path(run), progress) as finished:
        latest = finished.latest
        progress.stage("Dynamics by LAMMPS", str(run))
        dynamics = LammpsDynamics(settings, latest.settings, seed, lammps)
        summary = dynamics.run(latest, atoms, folder, progress)
        _report(folder, "lammps md", Path(run), latest.ensemble)
    return summary


def _report(
    folder: Path, command: Work, path: Path | None, before: Ensemble, learns: bool = True
) -> None:
    """Keep what the work began with, and write its page."""
    from nearsight.report.work import BEFORE
    from nearsight.report.work_page import write_work_report  # Matplotlib takes half a second

    before.save(folder / BEFORE)
    place = None if path is None else os.path.relpath(path, folder)
    Source(command=command, path=place, learns=learns).save(folder / Source.FILE)
    write_work_report(folder)


def _as_folder(path: str | Path) -> Path:
    """A folder to work in, which must not be that of a run: its files have the same names."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: must be a folder")
    if (path / "config.toml").exists():
        raise InputError(f"{path}: is the folder of a run, which stays as it is; give another one")
    return path
