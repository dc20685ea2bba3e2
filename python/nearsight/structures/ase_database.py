"""Structures of ASE's databases with all labels that their rows hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.db import connect
from ase.io.formats import string2index

from nearsight.structures.labels import CHUNK_KEY, POTENTIAL_KEY, PREDICTED_KEY, is_label

__all__ = ["is_database", "read_database"]

OWN = (CHUNK_KEY, PREDICTED_KEY, POTENTIAL_KEY)


def is_database(path: Path) -> bool:
    """Whether a file is an ASE database in SQLite."""
    with path.open("rb") as stream:
        return stream.read(16) == b"SQLite format 3\0"


def read_database(path: Path, selection: str | None) -> list[Atoms]:
    """The structures of the rows, or of those that ASE's ``@id=3`` or ``@-5:`` select.

    ASE gives energy and forces of a row alone; what its key-value pairs and its data hold under the
    name of a label (``REF_forces``, ``force_weights``, ...) is in ``info`` and ``arrays`` here.
    """
    with connect(path, serial=True) as database:
        try:
            index = string2index(":" if selection is None else selection)
        except ValueError:
            index = selection
        if not isinstance(index, str):
            rows = list(database.select())[index]
            return [_structure(each) for each in (rows if isinstance(rows, list) else [rows])]
        return [_structure(each) for each in database.select(index)]


def _structure(row: Any) -> Atoms:
    atoms: Atoms = row.toatoms()
    for name, value in (*row.key_value_pairs.items(), *row.data.items()):
        if name not in OWN and not is_label(name):
            continue
        if np.shape(value)[:1] == (len(atoms),):
            atoms.set_array(name, np.asarray(value))
        else:
            atoms.info[name] = value
    return atoms
