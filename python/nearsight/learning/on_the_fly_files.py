"""Files of molecular dynamics: state, trajectory, log, and the record made of them."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.md.logger import MDLogger

from nearsight.config import DynamicsSettings
from nearsight.errors import DamagedFileError, InputError
from nearsight.files.atomic import write_text
from nearsight.files.names import round_folder
from nearsight.files.records import (
    DynamicsFrames,
    DynamicsRecord,
    DynamicsState,
    LammpsState,
    TrustedState,
)
from nearsight.files.trajectory import count_frames, read_frames, write_frames
from nearsight.simulation.integrators import Integrator
from nearsight.structures.labels import PREDICTED_KEY

__all__ = [
    "DynamicsFiles",
    "DynamicsFolder",
    "FramesDigest",
    "check_inputs",
    "cut_frames",
    "write_record",
]

Array = npt.NDArray[np.float64]
S = TypeVar("S", bound=TrustedState)


class FramesDigest:
    """SHA-256 over frames, one after the other: what the dynamics go on from and choose from."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, atoms: Atoms) -> None:
        """Count one more frame."""
        for array in (atoms.positions, atoms.get_momenta(), np.asarray(atoms.cell)):
            self._digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        for key in ("step", PREDICTED_KEY, "max_uncertainty", "mean_uncertainty"):
            self._digest.update(repr(atoms.info.get(key)).encode())

    @property
    def hexdigest(self) -> str:
        """Of all so far."""
        return self._digest.hexdigest()


@dataclass(frozen=True)
class DynamicsFolder(ABC, Generic[S]):
    """The folder of molecular dynamics, whatever carries them out."""

    folder: Path

    @property
    def trajectory(self) -> Path:
        """ASE trajectory; every frame's ``info`` holds step and uncertainty."""
        return self.folder / "md.traj"

    def round(self, number: int) -> Path:
        """The folder of a retraining, from 1."""
        return round_folder(self.folder, number)

    @abstractmethod
    def load(self, inputs: str, settings: dict[str, Any]) -> S | None:
        """The state in the folder, or None.

        Raises
        ------
        InputError
            If the folder belongs to other inputs, or the file is damaged.
        """

    @abstractmethod
    def begin_again(self) -> None:
        """Remove state, trajectory, and what was chosen from it; trainings stay.

        What the same dynamics choose from it again is the same, and so are the trainings.
        """

    def save(self, state: S) -> None:
        """Write the state, whole or not at all, once the frames it speaks of are on the disk."""
        with self.trajectory.open("rb") as stream:
            os.fsync(stream.fileno())
        state.save(self.folder / state.FILE)


class DynamicsFiles(DynamicsFolder[DynamicsState]):
    """The folder of dynamics by ASE."""

    @property
    def log(self) -> Path:
        """The log of ASE's ``MDLogger``, a line for every frame."""
        return self.folder / "md.log"

    def load(self, inputs: str, settings: dict[str, Any]) -> DynamicsState | None:
        """See `DynamicsFolder.load`."""
        path = self.folder / DynamicsState.FILE
        if not path.exists():
            if (self.folder / LammpsState.FILE).exists():
                raise InputError(f"{self.folder}: holds dynamics of LAMMPS; use another folder")
            return None
        state = DynamicsState.load(path)
        check_inputs(self.folder, state, inputs, settings)
        return state

    def begin_again(self) -> None:
        """See `DynamicsFolder.begin_again`."""
        chosen = [*self.folder.glob("retraining-*/harvest.json")]
        for path in (self.folder / DynamicsState.FILE, self.trajectory, self.log, *chosen):
            path.unlink(missing_ok=True)

    def write(self, writer: Any, integrator: Integrator, raw: Array, grade: Array | None) -> Atoms:
        """Add a frame to the trajectory, and a line to the log; the frame.

        Parameters
        ----------
        writer : ase.io.trajectory.TrajectoryWriter
        integrator : Integrator
        raw : (N,) float64, eV/Å
            Raw uncertainty.
        grade : (N,) float64 or None
            Extrapolation grades.
        """
        moving: Atoms = integrator.ase.atoms
        moving.info["step"] = integrator.step
        moving.info[PREDICTED_KEY] = float(moving.get_potential_energy())
        moving.info["max_uncertainty"] = float(raw.max())
        moving.info["mean_uncertainty"] = float(raw.mean())
        moving.info["uncertainty_raw"] = raw.tolist()
        moving.info["max_calibrated"] = float(moving.calc.results["uncertainty"].max())
        if grade is not None:
            moving.info["max_extrapolation"] = float(grade.max())
        writer.write(moving)
        first = integrator.step == 0
        logger = MDLogger(
            integrator.ase,
            moving,
            str(self.log),
            header=first,
            stress="stress" in moving.calc.results,
            mode="w" if first else "a",
        )
        logger()
        logger.close()
        return moving

    def check(self, state: DynamicsState) -> FramesDigest:
        """The digest of the frames of the state, if they and the log are there as they were.

        Raises
        ------
        DamagedFileError
            If they are not.
        """
        if not self.log.is_file():
            raise DamagedFileError(f"{self.log}: missing")
        return frames_digest(self.trajectory, state)

    def go_back(self, state: DynamicsState) -> tuple[Atoms, FramesDigest]:
        """Cut trajectory and log to the frames of the state; the last of these, as it was.

        Returns
        -------
        atoms : ase.Atoms
        frames : FramesDigest
            Of all of them.

        Raises
        ------
        DamagedFileError
            If the trajectory has fewer frames, or is damaged.
        """
        if not self.log.is_file():
            raise DamagedFileError(f"{self.log}: missing")
        atoms, frames = cut_frames(self.trajectory, state)
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        write_text(self.log, "".join(lines[: state.frames + 1]))
        return atoms, frames


def frames_digest(trajectory: Path, state: TrustedState) -> FramesDigest:
    """The digest of the frames of a state, if they are there as they were.

    Raises
    ------
    DamagedFileError
        If they are not.
    """
    frames = FramesDigest()
    for atoms in read_frames(trajectory, stop=state.frames):
        frames.add(atoms)
    if state.sha256 not in (None, frames.hexdigest):
        raise DamagedFileError(f"{trajectory}: damaged, or of other dynamics")
    return frames


def cut_frames(trajectory: Path, state: TrustedState) -> tuple[Atoms, FramesDigest]:
    """Cut a trajectory to the frames of a state; the last of these, and the digest of all.

    Raises
    ------
    DamagedFileError
        If the trajectory has fewer frames, or is damaged.
    """
    found = count_frames(trajectory)
    if found < state.frames:
        raise DamagedFileError(
            f"{trajectory}: damaged, or cut: it holds {found} frames instead of {state.frames}"
        )
    frames = frames_digest(trajectory, state)
    # also without frames beyond: a kill may have left part of one
    write_frames(trajectory, read_frames(trajectory, stop=state.frames))
    (atoms,) = read_frames(trajectory, state.frames - 1, state.frames)
    atoms.calc = None
    return atoms, frames


def check_inputs(folder: Path, found: TrustedState, inputs: str, settings: dict[str, Any]) -> None:
    """Raise an `InputError` if a folder holds dynamics of other inputs than are given."""
    if found.inputs == inputs:
        return
    what = "other settings, another structure or ensemble"
    if found.settings is not None:
        kept = found.settings
        keys = [key for key in settings | kept if kept.get(key) != settings.get(key)]
        named = [f"{key} was {kept.get(key)}, now {settings.get(key)}" for key in keys]
        what = f"other settings ({'; '.join(named)})" if named else "another structure or ensemble"
    raise InputError(f"{folder}: holds dynamics of {what}; use another folder for these")


def write_record(
    trajectory: Path, state: TrustedState, settings: DynamicsSettings, window: float
) -> None:
    """Write ``dynamics.json`` beside a trajectory, with a number per frame for the report."""
    rows = []
    n_atoms = 0
    for atoms in read_frames(trajectory):
        n_atoms, info = len(atoms), atoms.info
        rows.append(
            {
                "time": info["step"] * settings.timestep / 1000.0,
                "temperature": atoms.get_temperature(),
                "potential_energy": atoms.get_potential_energy(),
                "kinetic_energy": atoms.get_kinetic_energy(),
                "max_uncertainty": info["max_uncertainty"],
                "mean_uncertainty": info["mean_uncertainty"],
                "max_calibrated": info.get("max_calibrated"),
                "extrapolation": info.get("max_extrapolation"),
            }
        )
    columns = {name: [row[name] for row in rows] for name in DynamicsFrames.model_fields}
    known = {name: np.array(values) for name, values in columns.items() if None not in values}
    record = DynamicsRecord(
        settings=settings.model_dump(mode="json"),
        n_atoms=n_atoms,
        threshold=state.threshold,
        window=window,
        ended=state.ended,
        seconds=state.seconds,
        frames=DynamicsFrames(**known),
        rounds=state.rounds,
    )
    record.save(trajectory.with_name(DynamicsRecord.FILE))
