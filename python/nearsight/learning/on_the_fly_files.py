"""The files of molecular dynamics: state, trajectory, log, and the record made of them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms

from nearsight.config import DynamicsSettings
from nearsight.errors import InputError
from nearsight.files.atomic import check_header, read_json, write_json, write_text
from nearsight.files.trajectory import count_frames, read_frames, write_frames

__all__ = ["DynamicsFiles", "DynamicsState"]

STATE_FORMAT = "nearsight-dynamics-state"
FORMAT = "nearsight-dynamics"
VERSION = 1


@dataclass(frozen=True)
class DynamicsState:
    """Where dynamics stand at the last trusted frame.

    Attributes
    ----------
    inputs : str
        What belongs to these files and no others: settings, structure, ensemble.
    threshold : float, eV/Å
        Raw uncertainty below which a frame is trusted.
    step : int
    frames : int
        Frames of the trajectory up to here.
    integrator : dict
        See `Integrator.state`.
    learned_at : int
        Frames of the trajectory when the ensemble was last retrained.
    rounds : list of dict
        What every retraining was made for and of.
    seconds : float
        Work so far.
    ended : str
        Why there is nothing left to do; empty while there is.
    """

    inputs: str
    threshold: float
    step: int = 0
    frames: int = 1
    integrator: dict[str, Any] = field(default_factory=dict)
    learned_at: int = 0
    rounds: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    ended: str = ""


@dataclass(frozen=True)
class DynamicsFiles:
    """The folder of molecular dynamics."""

    folder: Path

    @property
    def trajectory(self) -> Path:
        """ASE trajectory; every frame's ``info`` holds step and uncertainty."""
        return self.folder / "md.traj"

    @property
    def log(self) -> Path:
        """The log of ASE's ``MDLogger``, a line for every frame."""
        return self.folder / "md.log"

    def round(self, number: int) -> Path:
        """The folder of a retraining, from 1."""
        return self.folder / f"retraining-{number:02d}"

    def load(self, inputs: str) -> DynamicsState | None:
        """The state in the folder, or None.

        Raises
        ------
        InputError
            If the folder belongs to other inputs, or the file is damaged.
        """
        path = self.folder / "state.json"
        if not path.exists():
            return None
        content = check_header(read_json(path), path, STATE_FORMAT, VERSION)
        try:
            state = DynamicsState(
                **{key: value for key, value in content.items() if key not in ("format", "version")}
            )
        except TypeError as error:
            raise InputError(f"{path}: the state is incomplete or damaged ({error})") from error
        if state.inputs != inputs:
            raise InputError(
                f"{self.folder}: holds dynamics of other settings, structure or ensemble; use "
                "another folder for these"
            )
        return state

    def save(self, state: DynamicsState) -> None:
        """Write the state, whole or not at all, once the frames it speaks of are on the disk."""
        with self.trajectory.open("rb") as stream:
            os.fsync(stream.fileno())
        write_json(
            self.folder / "state.json",
            {"format": STATE_FORMAT, "version": VERSION, **asdict(state)},
        )

    def go_back(self, state: DynamicsState) -> Atoms:
        """Cut trajectory and log to the frames of the state; the last of these, as it was.

        Raises
        ------
        InputError
            If the trajectory has fewer frames, or is damaged.
        """
        found = count_frames(self.trajectory)
        if found < state.frames:
            raise InputError(
                f"{self.trajectory}: damaged, or cut: it holds {found} frames instead of "
                f"{state.frames}"
            )
        if found > state.frames:
            write_frames(self.trajectory, read_frames(self.trajectory, stop=state.frames))
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(self.log, "".join(lines[: state.frames + 1]))
        (atoms,) = read_frames(self.trajectory, state.frames - 1, state.frames)
        atoms.calc = None
        return atoms

    def write_record(self, state: DynamicsState, settings: DynamicsSettings, window: float) -> None:
        """``dynamics.json``: what a report shows, a number per frame of the trajectory."""
        columns: dict[str, list[float]] = {
            name: []
            for name in (
                "time",
                "temperature",
                "potential_energy",
                "kinetic_energy",
                "max_uncertainty",
                "mean_uncertainty",
            )
        }
        n_atoms = 0
        for atoms in read_frames(self.trajectory):
            n_atoms = len(atoms)
            values = (
                atoms.info["step"] * settings.timestep / 1000.0,
                atoms.get_temperature(),
                atoms.get_potential_energy(),
                atoms.get_kinetic_energy(),
                atoms.info["max_uncertainty"],
                atoms.info["mean_uncertainty"],
            )
            for column, value in zip(columns.values(), values, strict=True):
                column.append(float(value))
        content = {
            "format": FORMAT,
            "version": VERSION,
            "settings": settings.model_dump(mode="json"),
            "n_atoms": n_atoms,
            "threshold": state.threshold,
            "window": window,
            "ended": state.ended,
            "seconds": state.seconds,
            "frames": columns,
            "rounds": state.rounds,
        }
        write_json(self.folder / "dynamics.json", content)
