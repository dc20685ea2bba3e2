"""What one iteration of nearsighted force training found, and its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearsight.errors import DamagedFileError
from nearsight.files.atomic import check_header, read_json, write_json

__all__ = ["Iteration"]

FORMAT = "nearsight-evaluation"
VERSION = 1


@dataclass(frozen=True)
class Iteration:
    """What one iteration found on the target; the content of ``evaluation.json``.

    Attributes
    ----------
    iteration : int
    chunk_indices : list of int
        Atoms of the target that this ensemble was trained on.
    failed_indices : list of int
        Atoms whose chunks were asked for and given up.
    new_indices : list of int
        Atoms whose chunks the next iteration adds.
    again_indices : list of int
        Atoms already in the training whose chunks the next iteration draws once more.
    stop_reason : str
        Why there is no next iteration; empty if there is one.
    uncertainty_raw, uncertainty : list of float, eV/Å
        Per atom, δ = 2.58 σ and calibrated.
    forces : list of (3,) list, eV/Å
    calibration : float
    energy_rmse : float, eV/atom; force_rmse, max_force_residual : float, eV/Å
        On all training images, mean over the members (the last: their largest).
    seconds : float
    """

    iteration: int
    chunk_indices: list[int]
    failed_indices: list[int]
    new_indices: list[int]
    again_indices: list[int]
    stop_reason: str
    uncertainty_raw: list[float]
    uncertainty: list[float]
    forces: list[list[float]]
    calibration: float
    energy_rmse: float
    force_rmse: float
    max_force_residual: float
    seconds: float

    @property
    def structure_uncertainty(self) -> float:
        """δ of the target: the largest raw uncertainty of an atom, eV/Å."""
        return max(self.uncertainty_raw)

    def save(self, path: Path) -> None:
        """Write the JSON file, whole or not at all."""
        write_json(path, {"format": FORMAT, "version": VERSION, **vars(self)})

    @classmethod
    def load(cls, path: Path) -> Iteration:
        """Read a file of `save`.

        Raises
        ------
        InputError
            If the file is missing, truncated, of another kind, incomplete or from a newer version.
        """
        content = check_header(read_json(path), path, FORMAT, VERSION)
        fields = {key: value for key, value in content.items() if key not in ("format", "version")}
        try:
            return cls(**fields)
        except TypeError as error:
            raise DamagedFileError(
                f"{path}: the evaluation is incomplete or damaged ({error})"
            ) from error

    def summary(self, best: bool) -> dict[str, Any]:
        """What a progress display shows."""
        return {
            "iteration": self.iteration,
            "chunks": len(self.chunk_indices),
            "structure_uncertainty": self.structure_uncertainty,
            "structure_uncertainty_calibrated": max(self.uncertainty),
            "seconds": self.seconds,
            "best": best,
        }
