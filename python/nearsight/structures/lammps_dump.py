"""Frames that LAMMPS has dumped, as text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import ase.io
from ase import Atoms

from nearsight.errors import InputError
from nearsight.reading import read_file

__all__ = ["is_dump", "read_dump"]

FRAME = "ITEM: TIMESTEP\n"


def is_dump(path: str | Path) -> bool:
    """Whether a file is a text dump of LAMMPS."""
    with Path(path).open("rb") as stream:
        return stream.read(len(FRAME)) == FRAME.encode()


def read_dump(path: str | Path, elements: Sequence[str] | None = None) -> list[Atoms]:
    """Read positions, momenta and cells of all frames; a last one cut off is left out.

    Forces and energies in a dump are those of the potential it was made with, no labels, and are
    left out, too.

    Parameters
    ----------
    path : str or Path
        In units of ``metal``.
    elements : sequence of str, optional
        Of the atom types, in their order. A column ``element``, or ``mass``, of the dump comes
        first.

    Returns
    -------
    list of ase.Atoms
        With the step in ``info["timestep"]``.

    Raises
    ------
    InputError
        If it is no such dump, holds no whole frame, or does not tell the elements.
    """
    text = read_file(path).decode(errors="replace")
    frames = [each.splitlines(keepends=True) for each in text.split(FRAME)[1:]]
    if frames and not _is_whole(frames[-1]):
        del frames[-1]
    if not frames:
        raise InputError(f"{path}: holds no whole frame of a LAMMPS dump")
    for frame in frames:
        _check_elements(frame, path, elements)
    whole = "".join(FRAME + "".join(frame) for frame in frames)
    try:
        found = ase.io.read(io.StringIO(whole), ":", "lammps-dump-text", specorder=elements)
    except Exception as error:  # a damaged dump makes ASE raise whatever it does
        raise InputError(f"{path}: no LAMMPS dump ({type(error).__name__}: {error})") from error
    assert isinstance(found, list)
    return [_plain(atoms) for atoms in found]


def _is_whole(frame: list[str]) -> bool:
    rows = _rows(frame)
    try:
        count = int(frame[frame.index("ITEM: NUMBER OF ATOMS\n") + 1])
    except (ValueError, IndexError):
        return False
    return len(rows) == count and all(row.endswith("\n") for row in rows)


def _rows(frame: list[str]) -> list[str]:
    head = next((i for i, line in enumerate(frame) if line.startswith("ITEM: ATOMS")), len(frame))
    return frame[head + 1 :]


def _check_elements(frame: list[str], path: str | Path, elements: Sequence[str] | None) -> None:
    columns = next((line.split()[2:] for line in frame if line.startswith("ITEM: ATOMS")), [])
    if "element" in columns or "mass" in columns:
        return
    if elements is None or "type" not in columns:
        raise InputError(
            f"{path}: does not tell the elements; dump a column element (dump_modify ID element "
            f"Pt Cu), or give those of the types"
        )
    at = columns.index("type")
    largest = max((int(row.split()[at]) for row in _rows(frame)), default=0)
    if largest > len(elements):
        raise InputError(f"{path}: has atoms of type {largest}, elements of {len(elements)} types")


def _plain(atoms: Atoms) -> Atoms:
    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if atoms.has("momenta"):
        plain.set_momenta(atoms.get_momenta())
    plain.info["timestep"] = atoms.info["timestep"]
    return plain
