"""Names of the files and folders of a run that are numbered."""

from __future__ import annotations

from itertools import count, takewhile
from pathlib import Path

__all__ = ["evaluation_files", "iteration_folder", "numbered", "round_folder"]


def numbered(name: str, number: int) -> str:
    """File of a target: the first one's has the name as it is, others -1, -2 ... in it."""
    stem, dot, suffix = name.partition(".")
    return f"{stem}-{number}{dot}{suffix}" if number else name


def iteration_folder(folder: Path, iteration: int) -> Path:
    """Folder of an iteration of the training in ``folder``."""
    return folder / f"iteration-{iteration:03d}"


def evaluation_files(folder: Path) -> list[Path]:
    """Files of the finished iterations of the training in ``folder``, in order, without a gap."""
    found = (iteration_folder(folder, number) / "evaluation.json" for number in count())
    return list(takewhile(Path.exists, found))


def round_folder(folder: Path, number: int) -> Path:
    """Folder of a round of the retraining in ``folder``; 0: before any."""
    return folder / f"retraining-{number:02d}"
