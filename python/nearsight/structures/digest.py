"""A digest of a structure, by which records name it."""

from __future__ import annotations

import hashlib

import numpy as np
from ase import Atoms

__all__ = ["structure_digest"]


def structure_digest(atoms: Atoms) -> str:
    """Elements, positions, cell and periodicity, to the last bit, in 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for array, dtype in (
        (atoms.numbers, "<i8"),
        (atoms.positions, "<f8"),
        (np.asarray(atoms.cell), "<f8"),
        (atoms.pbc, "?"),
    ):
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    return f"sha256-{digest.hexdigest()[:16]}"  # the prefix keeps ASE from reading it as a number
