"""A row of the database of parent calculations: its digest, and what it holds, checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.db.row import AtomsRow

from nearsight.errors import plain_text

__all__ = ["NOTES", "Row", "damage_of", "digest_of", "read_row"]

Array = npt.NDArray[np.float64]

ARRAYS = {
    "numbers": "<i8",
    "positions": "<f8",
    "cell": "<f8",
    "pbc": "?",
    "initial_magmoms": "<f8",
    "initial_charges": "<f8",
    "forces": "<f8",
    "stress": "<f8",
}
NOTES = ("role", "stage", "iteration", "source", "frame", "atom", "radius", "attempt")
"""Columns that say where a structure comes from; see `nearsight.parents.origin.Origin`."""
DATA = ("settings", "arguments", "versions", "info")


@dataclass(frozen=True)
class Row:
    """A calculation as the database holds it.

    Attributes
    ----------
    number : int
        Of the row.
    key : str
        Fingerprint of structure and method.
    atoms : ase.Atoms
    energy : float, eV
    forces : (N, 3) float64, eV/Å
    stress : (6,) float64, eV/Å³, or None
    seconds : float
    notes : mapping
        Those of `NOTES` that are known.
    data : mapping
        ``settings`` of the parent, resolved ``arguments``, ``versions``, and the ``info`` of the
        structure that the parent saw, if any.
    has_digest : bool
        False in databases that only earlier versions have written.
    """

    number: int
    key: str
    atoms: Atoms
    energy: float
    forces: Array
    stress: Array | None
    seconds: float
    notes: Mapping[str, Any]
    data: Mapping[str, Any]
    has_digest: bool


def digest_of(row: AtomsRow, pairs: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """SHA-256 over key, structure, results and notes of a row.

    What users add to a row with ASE's own commands does not count.

    Parameters
    ----------
    row : ase.db.row.AtomsRow
        Structure and results.
    pairs : mapping
        Its key-value pairs.
    data : mapping
        Its data.
    """
    digest = hashlib.sha256()
    for name, dtype in ARRAYS.items():
        array = row.get(name)
        values = b"" if array is None else np.ascontiguousarray(array, dtype=dtype).tobytes()
        digest.update(f"{name} {len(values)} ".encode())
        digest.update(values)
    said = {name: pairs.get(name) for name in ("fingerprint", "seconds", *NOTES)}
    said |= {"energy": float(row["energy"]), **{name: data.get(name) for name in DATA}}
    digest.update(json.dumps(_canonical(said), sort_keys=True).encode())
    return f"sha256-{digest.hexdigest()}"


def read_row(row: AtomsRow, with_digest: bool) -> Row:
    """What a row holds.

    Parameters
    ----------
    row : ase.db.row.AtomsRow
    with_digest : bool
        Whether it must have a digest.

    Raises
    ------
    ValueError
        With its damage in words.
    """
    try:
        pairs, data = row.key_value_pairs, dict(row.data)
        digest = data.pop("digest", None)
        found = Row(
            number=int(row.id),
            key=str(pairs["fingerprint"]),
            atoms=_structure(row, data.get("info", {})),
            energy=float(row.energy),
            forces=np.array(row.forces, dtype=float).reshape(len(row.numbers), 3),
            stress=None if row.get("stress") is None else np.array(row.stress, dtype=float),
            seconds=float(pairs["seconds"]),
            notes={name: pairs[name] for name in NOTES if name in pairs},
            data=data,
            has_digest=digest is not None,
        )
        expected = digest_of(row, pairs, data)
    except Exception as error:  # a damaged row makes ASE raise anything
        text = plain_text(f"{type(error).__name__}: {error}", 200)
        raise ValueError(f"it cannot be read ({text})") from error
    if digest is None and with_digest:
        raise ValueError("it has no digest")
    if digest not in (None, expected):
        raise ValueError("its digest does not match what it holds")
    for name in ("energy", "forces", "stress"):
        value = getattr(found, name)
        if value is not None and not np.isfinite(value).all():
            raise ValueError(f"its {name} is not finite")
    if found.stress is not None and found.stress.shape != (6,):
        raise ValueError(f"its stress has shape {found.stress.shape}")
    return found


def damage_of(database: str, numbers: Sequence[int], reason: str) -> str:
    """What to do about damaged rows, in a sentence."""
    many = len(numbers) > 1
    named = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    return (
        f"{database}: row{'s' * many} {named} {'are' if many else 'is'} damaged ({reason}); "
        f"nearsight labels verify {database} --repair removes "
        f"{'them' if many else 'it'}, to be calculated again, or put a copy in its place"
    )


def _structure(row: AtomsRow, info: Mapping[str, Any]) -> Atoms:
    moments = row.get("initial_magmoms")
    if moments is not None and np.size(moments) == 3 * len(row.numbers):  # ASE forgets the shape
        moments = np.reshape(moments, (-1, 3))
    return Atoms(
        numbers=row.numbers,
        positions=row.positions,
        cell=row.cell,
        pbc=row.pbc,
        magmoms=moments,
        charges=row.get("initial_charges"),
        info=dict(info),
    )


def _canonical(value: Any) -> Any:
    """Numbers as they are after a database that keeps no difference between 2.0 and 2."""
    if isinstance(value, Mapping):
        return {str(name): _canonical(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
