"""What arguments name: a run by its folder, its configuration or its ensemble; structures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nearsight.errors import InputError

if TYPE_CHECKING:
    from nearsight.model.ensemble import Ensemble

__all__ = [
    "KEEP_RESULTS",
    "EnsembleFile",
    "Folder",
    "Format",
    "check_ensemble",
    "ensemble_file",
    "is_run",
    "load_ensemble",
    "run_folder",
]

KEEP_RESULTS = (".extxyz", ".xyz", ".traj")
"""Ends of the names of relaxed structures: formats that keep energy, forces and uncertainties."""

EnsembleFile = Annotated[
    Path,
    typer.Argument(
        metavar="ENSEMBLE",
        help="An ensemble: a file of train, nft or run, the folder of a run, or its configuration.",
    ),
]
Folder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", help="The folder of a run, its configuration, or its best.json."
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Format of the structures, by its name in ASE (lammps-data, vasp, ...), where ASE "
        "cannot tell it from the file.",
    ),
]


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a run, or a configuration, which is named after it."""
    return path.is_dir() or path.suffix == ".toml"


def run_folder(path: Path) -> Path:
    """The folder of a run, of which the configuration or the ensemble may be given instead."""
    if path.is_dir():
        return path
    inside = path.parent
    if path.name in ("config.toml", "best.json") and (inside / "config.toml").is_file():
        return inside
    return path.with_suffix("") if path.suffix == ".toml" else path


def ensemble_file(path: Path) -> Path:
    """The file of an ensemble, of which a run may be given instead."""
    return run_folder(path) / "best.json" if is_run(path) else path


def check_ensemble(path: Path, structure: str = "") -> Path:
    """The file of an ensemble or of the best one of a run, seen from outside: loading takes longer.

    Parameters
    ----------
    path : Path
        A file, the folder of a run, or its configuration.
    structure : str
        The argument after it, to see whether the two were exchanged.

    Raises
    ------
    InputError
        If there is none.
    """
    file = ensemble_file(path)
    if is_run(path) and not file.is_file():
        raise InputError(f"{path}: {_why_no_ensemble(path, file)}")
    if _holds_ensemble(path):
        return file
    if structure and _holds_ensemble(Path(structure)):
        raise InputError(f"{path} is no ensemble, but {structure} is: exchange them")
    if path.suffix != ".json" and path.is_file():
        raise InputError(
            f"{path}: not an ensemble (a JSON file such as best.json), which comes first"
        )
    return file


def _why_no_ensemble(path: Path, file: Path) -> str:
    folder = run_folder(path)
    if path.is_dir() and not (folder / "config.toml").is_file():
        return "not the folder of a run (it holds neither best.json nor config.toml)"
    how = f"status {path} tells where the run stands" if folder.is_dir() else f"run {path} makes it"
    return f"there is no ensemble yet ({file} is missing); nearsight {how}"


def load_ensemble(path: Path, structure: str = "") -> Ensemble:
    """The ensemble of a file, or the best one of a run: see `check_ensemble`."""
    from nearsight.model.ensemble import Ensemble

    return Ensemble.load(check_ensemble(path, structure))


def _holds_ensemble(path: Path) -> bool:
    """Whether it is the file of an ensemble, or a run with one; without a close look."""
    if is_run(path):
        return ensemble_file(path).is_file()
    try:
        with path.open(encoding="utf-8") as stream:
            return path.is_file() and "nearsight-ensemble" in stream.read(200)
    except (OSError, ValueError):
        return False
