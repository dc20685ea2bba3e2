"""Files of dynamics that LAMMPS carries out: state, segments, and the trajectory made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from nearsight.errors import InputError
from nearsight.files.atomic import remove
from nearsight.files.names import round_folder
from nearsight.files.records import DynamicsState, Harvest, LammpsState
from nearsight.learning.on_the_fly_files import check_inputs, save_after
from nearsight.model.ensemble import Ensemble, Evaluation
from nearsight.model.snapshot import labelled
from nearsight.simulation.lammps import DUMP

__all__ = ["LammpsFiles"]


@dataclass(frozen=True)
class LammpsFiles:
    """The folder of such dynamics."""

    folder: Path

    @property
    def trajectory(self) -> Path:
        """ASE trajectory of all segments; every frame's ``info`` holds step and uncertainty."""
        return self.folder / "md.traj"

    def segment(self, number: int) -> Path:
        """The folder of a script and what LAMMPS makes of it, from 1."""
        return self.folder / f"segment-{number:02d}"

    def dump(self, number: int) -> Path:
        """The frames of a segment."""
        return self.segment(number) / DUMP

    def round(self, number: int) -> Path:
        """The folder of a retraining, from 1."""
        return round_folder(self.folder, number)

    def load(self, inputs: str, settings: dict[str, Any]) -> LammpsState | None:
        """The state in the folder, or None.

        Raises
        ------
        InputError
            If the folder belongs to other inputs, or the file is damaged.
        """
        path = self.folder / LammpsState.FILE
        if not path.exists():
            if (self.folder / DynamicsState.FILE).exists() or any(self.folder.glob("segment-*")):
                raise InputError(f"{self.folder}: holds other dynamics; use another folder")
            return None
        state = LammpsState.load(path)
        check_inputs(self.folder, state, inputs, settings)
        return state

    def begin_again(self) -> None:
        """Remove segments, trajectory, what was chosen from them, and state; trainings stay.

        The state goes last: without it, segments are taken for somebody else's.
        """
        chosen = self.folder.glob(f"retraining-*/{Harvest.FILE}")
        state = self.folder / LammpsState.FILE
        for path in (*self.folder.glob("segment-*"), *chosen, self.trajectory, state):
            remove(path)

    def save(self, state: LammpsState) -> None:
        """Write the state, whole or not at all, once the frames it speaks of are on the disk."""
        save_after(self.trajectory, state, self.folder / LammpsState.FILE)

    def write(
        self, writer: Any, atoms: Atoms, step: int, ensemble: Ensemble, found: Evaluation
    ) -> Atoms:
        """Add a frame to the trajectory, with energy, forces and uncertainties; the frame."""
        assert found.uncertainty_raw is not None  # members were asked for
        frame = labelled(atoms, ensemble, found, in_info=True)
        frame.info["step"] = step
        frame.info["max_uncertainty"] = float(found.uncertainty_raw.max())
        frame.info["mean_uncertainty"] = float(found.uncertainty_raw.mean())
        if found.uncertainty is not None:
            frame.info["max_calibrated"] = float(found.uncertainty.max())
        if found.extrapolation is not None:
            frame.info["max_extrapolation"] = float(found.extrapolation.max())
        writer.write(frame)
        return frame
