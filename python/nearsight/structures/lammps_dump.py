"""Frames that LAMMPS has dumped, as text."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import ase.io
from ase import Atoms
from ase.data import atomic_numbers

from nearsight.errors import InputError
from nearsight.reading import open_file

__all__ = ["is_dump", "iterate_dump", "read_dump"]

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
    frames = list(iterate_dump(path, elements))
    if not frames:
        raise InputError(f"{path}: holds no whole frame of a LAMMPS dump")
    return frames


def iterate_dump(path: str | Path, elements: Sequence[str] | None = None) -> Iterator[Atoms]:
    """The frames of `read_dump`, one after the other; there may be none.

    Raises
    ------
    InputError
        If it is no such dump, or does not tell the elements.
    """
    for element in elements or ():
        if element not in atomic_numbers or element == "X":
            raise InputError(f"types must be elements such as Pt, got {element!r}")
    for frame in _split(path):
        _check_elements(frame, path, elements)
        text = io.StringIO(FRAME + "".join(frame))
        try:
            atoms = ase.io.read(text, 0, "lammps-dump-text", specorder=elements)
        except Exception as error:  # a damaged dump makes ASE raise whatever it does
            raise InputError(f"{path}: no LAMMPS dump ({type(error).__name__}: {error})") from error
        assert isinstance(atoms, Atoms)
        yield _plain(atoms)


def _split(path: str | Path) -> Iterator[list[str]]:
    """The lines of every frame, without its first line; a last one cut off is left out."""
    frame: list[str] | None = None
    with open_file(path) as stream:
        for content in stream:
            line = content.decode(errors="replace")
            if line != FRAME:
                if frame is not None:
                    frame.append(line)
                continue
            if frame is not None:
                yield frame
            frame = []
    if frame is not None and _is_whole(frame):
        yield frame


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
