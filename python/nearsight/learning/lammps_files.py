"""Files of dynamics that LAMMPS carries out: state, segments, and the trajectory made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase import Atoms

from nearsight.errors import InputError
from nearsight.files.atomic import remove
from nearsight.files.records import DynamicsState, Harvest, LammpsState
from nearsight.learning.on_the_fly_files import DynamicsFolder, check_inputs
from nearsight.model.ensemble import Ensemble, Evaluation
from nearsight.model.snapshot import labelled
from nearsight.simulation.lammps import DUMP

__all__ = ["LammpsFiles"]


class LammpsFiles(DynamicsFolder[LammpsState]):
    """The folder of such dynamics; the trajectory is that of all segments."""

    def segment(self, number: int) -> Path:
        """The folder of a script and what LAMMPS makes of it, from 1."""
        return self.folder / f"segment-{number:02d}"

    def dump(self, number: int) -> Path:
        """The frames of a segment."""
        return self.segment(number) / DUMP

    def load(self, inputs: str, settings: dict[str, Any]) -> LammpsState | None:
        """See `DynamicsFolder.load`."""
        path = self.folder / LammpsState.FILE
        if not path.exists():
            if (self.folder / DynamicsState.FILE).exists() or any(self.folder.glob("segment-*")):
                raise InputError(f"{self.folder}: holds other dynamics; use another folder")
            return None
        state = LammpsState.load(path)
        check_inputs(self.folder, state, inputs, settings)
        return state

    def begin_again(self) -> None:
        """See `DynamicsFolder.begin_again`.

        The state goes last: without it, segments are taken for somebody else's.
        """
        chosen = self.folder.glob(f"retraining-*/{Harvest.FILE}")
        state = self.folder / LammpsState.FILE
        for path in (*self.folder.glob("segment-*"), *chosen, self.trajectory, state):
            remove(path)

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
