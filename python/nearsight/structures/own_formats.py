"""Structure files that are read here, not by ASE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ase import Atoms

from nearsight.structures.lammps_dump import is_dump, read_dump
from nearsight.structures.n2p2_data import is_n2p2_data, read_n2p2_data

__all__ = ["reader_of"]


def reader_of(path: Path) -> Callable[[Path], list[Atoms]] | None:
    """What reads a file, if ASE does not: dumps of LAMMPS, ``input.data`` of n2p2 (eV and Å)."""
    if is_dump(path):
        return read_dump
    return read_n2p2_data if is_n2p2_data(path) else None
