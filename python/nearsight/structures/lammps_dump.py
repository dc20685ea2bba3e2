"""Frames that LAMMPS has dumped, as text."""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import ase.io
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.formats import get_compression, open_with_compression

from nearsight.errors import InputError, plain_text
from nearsight.reading import open_file

__all__ = ["is_dump", "iterate_dump", "read_dump"]

FRAME = "ITEM: TIMESTEP\n"
UNITS, TIME = "ITEM: UNITS\n", "ITEM: TIME\n"
"""What stands before a frame where ``dump_modify`` says ``units yes``, ``time yes``."""


def is_dump(path: str | Path) -> bool:
    """Whether a file is a text dump of LAMMPS, compressed (``.gz``) or not."""
    try:
        with _open(path) as stream:
            return stream.readline(len(FRAME)).decode(errors="replace") in (FRAME, UNITS, TIME)
    except (InputError, EOFError, zlib.error, lzma.LZMAError):
        return False


@contextmanager
def _open(path: str | Path) -> Iterator[BinaryIO]:
    with open_file(path) as plain:
        if get_compression(str(path))[1] is None:
            yield plain
            return
        with open_with_compression(str(path), "rb") as stream:
            yield stream


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
            reason = plain_text(f"{type(error).__name__}: {error}", 200)
            raise InputError(f"{path}: no LAMMPS dump ({reason})") from error
        assert isinstance(atoms, Atoms)
        yield _plain(atoms)


def _split(path: str | Path) -> Iterator[list[str]]:
    """The lines of every frame, without its first line; a last one cut off is left out."""
    frame: list[str] | None = None
    before = ""
    with _open(path) as stream:
        for line in _lines(stream, path):
            if line in (FRAME, UNITS, TIME):
                if frame is not None:
                    yield frame
                frame = [] if line == FRAME else None
            elif frame is not None:
                frame.append(line)
            elif before == UNITS and line != "metal\n":
                unit = plain_text(line.strip(), 20)
                raise InputError(f"{path}: a dump in units {unit}, only those of metal are read")
            before = line
    if frame is not None and _is_whole(frame):
        yield frame


def _lines(stream: BinaryIO, path: str | Path) -> Iterator[str]:
    try:
        for content in stream:
            yield content.decode(errors="replace")
    except EOFError:  # compressed, and cut off
        return
    except (zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path}: cannot be unpacked ({error})") from error


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
