"""What work in a folder of its own began with: a run, or an ensemble."""

from __future__ import annotations

from typing import ClassVar, Literal

from nearsight.files.records.base import Record

__all__ = ["Source", "Work"]

Work = Literal["retrain", "relax", "md", "lammps md"]


class Source(Record):
    """Where a retraining, a relaxation or dynamics came from (``source.json``).

    Attributes
    ----------
    command : str
        The command that it belongs to.
    path : str or None
        Folder of the run, or file of the ensemble, from the folder of the work; None of an ensemble
        without a file.
    learns : bool
        Whether it is a run, whose parent labels.
    """

    FORMAT: ClassVar[str] = "nearsight-source"
    FILE: ClassVar[str] = "source.json"

    command: Work
    path: str | None
    learns: bool
