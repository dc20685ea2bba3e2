"""Structure files that are read here, not by ASE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ase import Atoms
from ase.io.formats import string2index

from nearsight.structures.ase_database import is_database, read_database
from nearsight.structures.lammps_dump import is_dump, read_dump
from nearsight.structures.n2p2_data import is_n2p2_data, read_n2p2_data

__all__ = ["reader_of"]


Reader = Callable[[Path, str | None], list[Atoms]]


def reader_of(path: Path) -> Reader | None:
    """What reads a file, or what a selection such as ``-1`` picks of it, if ASE does not.

    Text dumps of LAMMPS, ``input.data`` of n2p2 (eV and Å), and ASE's databases, of whose labels
    ASE gives some.
    """
    if not path.is_file():
        return None
    if is_database(path):
        return read_database
    if is_dump(path):
        return _picking(read_dump)
    return _picking(read_n2p2_data) if is_n2p2_data(path) else None


def _picking(read: Callable[[Path], list[Atoms]]) -> Reader:
    def pick(path: Path, selection: str | None) -> list[Atoms]:
        found = read(path)[string2index(selection or ":")]
        return found if isinstance(found, list) else [found]

    return pick
