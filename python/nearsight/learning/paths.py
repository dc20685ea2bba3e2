"""What a retraining looks at: relaxations of structures, or frames that are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.config import RelaxationSettings
from nearsight.errors import DamagedFileError, InputError
from nearsight.files.atomic import file_digest
from nearsight.files.names import numbered
from nearsight.files.records import EnsemblePath, RoundRecord
from nearsight.files.trajectory import count_frames, read_frames, write_frames
from nearsight.model.ensemble import Ensemble
from nearsight.model.snapshot import labelled, without_results
from nearsight.progress import Progress
from nearsight.simulation.relaxation import (
    EnsembleRelaxationResult,
    largest_force,
    optimizer_name,
    path_figures,
    relax,
)
from nearsight.structures.digest import structure_digest
from nearsight.structures.labels import POTENTIAL_KEY

__all__ = ["Frames", "Relaxations", "known_round", "read_paths", "trajectory"]


@dataclass(frozen=True)
class Relaxations:
    """Relaxations of structures, each to its end.

    Attributes
    ----------
    structures : sequence of ase.Atoms
    settings : RelaxationSettings
    """

    structures: Sequence[Atoms]
    settings: RelaxationSettings
    noun: ClassVar[str] = "along the relaxation"

    @property
    def inputs(self) -> str:
        """Settings, structures and their constraints."""
        return f"{self.settings!r} {_digest(self.structures)}"

    def follow(self, ensemble: Ensemble, folder: Path, progress: Progress) -> list[EnsemblePath]:
        """Relax every structure; one that breaks off is a path up to there."""
        paths: list[EnsemblePath] = []
        settings = self.settings.model_copy(update={"on_uncertain": "warn", "write_every": 1})
        for number, atoms in enumerate(self.structures):
            file = trajectory(folder, number)
            try:
                result = relax(ensemble, atoms, settings, progress, file)
                paths.append(result.model_copy(update={"broken": ""}))
            except InputError as error:
                progress.note(f"the relaxation breaks off: {error}")
                frames = list(read_frames(file))
                paths.append(_path(ensemble, frames).model_copy(update={"broken": str(error)}))
        return paths

    def made(
        self, number: int, ensemble: Ensemble, folder: Path, inputs: str
    ) -> EnsembleRelaxationResult | None:
        """How a round in ``folder`` has relaxed a structure, if its relaxation would end the same.

        Parameters
        ----------
        number : int
            Of the structure.
        ensemble : Ensemble
            With which it would be relaxed.
        folder : Path
            Of the round.
        inputs : str
            Of the retraining; see `RoundRecord`.

        Returns
        -------
        EnsembleRelaxationResult or None
            None if there is none, of these settings, this ensemble, or up to its end: a retraining
            goes on where others stop at a frame that is not known.
        """
        try:
            known = known_round(folder)
        except DamagedFileError:
            return None
        if known is None or known.inputs != inputs:
            return None
        path, limit = known.round.paths[number], self.settings.max_uncertainty
        file = trajectory(folder, number)
        last = next(read_frames(file, count_frames(file) - 1))
        same = last.info.get(POTENTIAL_KEY) == ensemble.digest and not path.broken
        if not same or not (self.settings.on_uncertain == "warn" or path.is_known(limit)):
            return None
        atoms = without_results(self.structures[number])
        atoms.positions = last.positions
        name = optimizer_name(self.settings, len(atoms))
        figures = {**vars(path), "broken": None}
        return EnsembleRelaxationResult(
            **figures, atoms=atoms, optimizer=name, is_stated=ensemble.has_bounds
        )


@dataclass(frozen=True)
class Frames:
    """Frames of any origin, the same for every ensemble.

    Attributes
    ----------
    structures : sequence of ase.Atoms
    """

    structures: Sequence[Atoms]
    noun: ClassVar[str] = "in the frames"

    @property
    def inputs(self) -> str:
        """The frames."""
        return _digest(self.structures)

    def follow(self, ensemble: Ensemble, folder: Path, progress: Progress) -> list[EnsemblePath]:
        """Evaluate every frame."""
        write_frames(
            trajectory(folder, 0),
            (labelled(without_results(atoms), ensemble, in_info=True) for atoms in self.structures),
        )
        path = _path(ensemble, self.structures)
        return [path.model_copy(update={"broken": ""})]


def trajectory(folder: Path, number: int) -> Path:
    """The trajectory of a path."""
    return folder / numbered("path.traj", number)


def read_paths(folder: Path, count: int) -> Iterator[list[Atoms]]:
    """The frames of every path of a round."""
    for number in range(count):
        yield list(read_frames(trajectory(folder, number)))


def known_round(folder: Path) -> RoundRecord | None:
    """What is known of a round whose paths are there, whole; None if there is nothing.

    Raises
    ------
    DamagedFileError
        If the files do not fit each other.
    """
    path = folder / RoundRecord.FILE
    if not path.exists():
        return None
    known = RoundRecord.load(path)
    expected = [len(each.energies) for each in known.round.paths]
    found = [count_frames(trajectory(folder, number)) for number in range(len(expected))]
    if found != expected:
        raise DamagedFileError(f"{path}: does not fit the trajectories, of {found} frames")
    for number in range(len(expected)):
        file = trajectory(folder, number)
        for _ in read_frames(file):
            pass
        if known.trajectories and known.trajectories[number : number + 1] != [file_digest(file)]:
            raise DamagedFileError(f"{path}: belongs to another {file.name}")
    return known


def _path(ensemble: Ensemble, frames: Sequence[Atoms]) -> EnsemblePath:
    """The figures of frames, evaluated one by one."""
    found = [ensemble.evaluate(atoms, stress=False) for atoms in frames]
    figures = [path_figures(each.results) for each in found]
    columns: dict[str, Any] = {
        name: np.array([each[name] for each in figures]) for name in figures[0]
    }
    return EnsemblePath(
        energies=np.array([each.energy for each in found]),
        fmax=np.array(
            [
                largest_force(_free_forces(atoms, each.forces))
                for atoms, each in zip(frames, found, strict=True)
            ]
        ),
        converged=False,
        **columns,
    )


def _free_forces(atoms: Atoms, forces: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Forces as the constraints leave them."""
    free = forces.copy()
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, free)
    return free


def _digest(structures: Sequence[Atoms]) -> str:
    constraints = [[each.todict() for each in atoms.constraints] for atoms in structures]
    return f"{[structure_digest(atoms) for atoms in structures]} {constraints}"
