"""Structures with labels as n2p2 and RuNNer keep them: ``input.data``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from nearsight.errors import InputError, plain_text
from nearsight.files.atomic import write_bytes
from nearsight.structures.labels import CHUNK_KEY, read_labels
from nearsight.structures.text_files import Line, number, read_lines, read_text, shortest
from nearsight.structures.units import Units

__all__ = ["is_n2p2_data", "read_n2p2_data", "write_n2p2_data"]

KEYWORDS = {"begin", "end", "lattice", "atom", "energy", "charge", "comment", "weight"}
SET = "n2p2_set"
"""``atoms.info`` key with train or test, where the file says it."""


def is_n2p2_data(path: str | Path) -> bool:
    """Whether a file is an ``input.data``: its first line that counts is ``begin``."""
    with Path(path).open("rb") as stream:
        start = stream.read(4096).split(b"\n")
    words = [line.split(b"#")[0].split() for line in start]
    first = next((each for each in words if each), [b""])
    return first[0] == b"begin"


def read_n2p2_data(path: str | Path, units: Units | None = None) -> list[Atoms]:
    """Read all structures.

    Parameters
    ----------
    path : str or Path
    units : Units, optional
        Of the file, which does not say them; Å and eV when left out.

    Returns
    -------
    list of ase.Atoms
        With energy and forces in a calculator, the total charge, where it is not zero, in
        ``info["charge"]``, and train or test in ``info["n2p2_set"]``.

    Raises
    ------
    InputError
        If the file is damaged, or ends within a structure.
    """
    place, units = Path(path), units or Units()
    found: list[Atoms] = []
    block: list[Line] = []
    for line in read_lines(place, read_text(place)):
        key = line.words[0]
        if key not in KEYWORDS:
            raise line.error(f"unknown keyword {plain_text(key, 20)!r} in a structure of n2p2")
        if (key == "begin") == bool(block):
            where = "before the end of a structure" if block else "outside of begin and end"
            raise line.error(f"{key} stands {where}")
        block.append(line)
        if key == "end":
            found.append(_structure(block, units))
            block = []
    if block:
        raise InputError(f"{place}: ends within a structure (no end after line {block[0].place})")
    return found


def _structure(block: Sequence[Line], units: Units) -> Atoms:
    length, energy = units.in_angstrom, units.in_ev
    sites = [line for line in block if line.words[0] == "atom"]
    lattice = [line for line in block if line.words[0] == "lattice"]
    if not sites:
        raise block[0].error("a structure without atoms")
    if len(lattice) not in (0, 3):
        raise lattice[0].error(f"{len(lattice)} lattice vectors, expected three or none")
    symbols, positions, charges, forces = [], [], [], []
    for line in sites:
        if len(line.words) != 10:
            raise line.error("expected atom x y z element charge 0 fx fy fz")
        if line.words[4] not in atomic_numbers or line.words[4] == "X":
            raise line.error(f"{plain_text(line.words[4], 20)!r} is no element")
        symbols.append(line.words[4])
        positions.append(_vector(line.words[1:4], line, length))
        charges.append(float(number(line.words[5], line)))
        forces.append(_vector(line.words[7:10], line, energy / length))
    atoms = Atoms(symbols, positions)
    if lattice:
        atoms.set_cell([_vector(line.words[1:4], line, length) for line in lattice])
        atoms.set_pbc(True)
    if any(charges):
        atoms.set_initial_charges(charges)
    results = {"forces": np.array(forces)}
    for line in block:
        key, words = line.words[0], line.words[1:]
        if key == "begin" and words and words[0].startswith("set="):
            atoms.info[SET] = words[0][4:]
        if key in ("energy", "charge"):
            if len(words) != 1 or (key == "energy" and "energy" in results):
                raise line.error(f"expected one {key}")
            value = number(words[0], line)
            if key == "energy":
                results["energy"] = float(value * energy)  # type: ignore[assignment]
            elif value:
                atoms.info["charge"] = float(value)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _vector(words: Sequence[str], line: Line, unit: Fraction) -> list[float]:
    if len(words) != 3:
        raise line.error("expected three numbers")
    return [float(number(word, line) * unit) for word in words]


def write_n2p2_data(
    path: str | Path,
    structures: Sequence[Atoms],
    units: Units | None = None,
    source: str | Path | None = None,
) -> None:
    """Write labelled structures so that `read_n2p2_data` gives the same to the last bit.

    Parameters
    ----------
    path : str or Path
    structures : sequence of Atoms
    units : Units, optional
        Of the file, which does not say them; Å and eV when left out.
    source : str or Path, optional
        The file they come from, to be named in messages.

    Raises
    ------
    InputError
        For a structure without labels, one that is periodic in some directions alone, and forces
        that do not all count alike: n2p2 has no place for that.
    """
    units = units or Units()
    of = "" if source is None else f"{source}, "
    lines = [
        line
        for count, atoms in enumerate(structures)
        for line in _lines(atoms, f"{of}structure {count}", units)
    ]
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def _lines(atoms: Atoms, name: str, units: Units) -> Iterator[str]:
    charges, total = atoms.get_initial_charges(), atoms.info.get("charge", 0.0)
    for what in (atoms.positions, np.asarray(atoms.cell), charges, total):
        if not np.isfinite(what).all():
            raise InputError(f"{name}: its positions, cell or charges are not finite")
    labels = read_labels(atoms)
    if labels.forces is None or (labels.energy is None and not atoms.info.get(CHUNK_KEY)):
        missing = "forces" if labels.forces is None else "energy"
        raise InputError(f"{name} {labels.explain_missing(missing)}")
    if labels.energy is None or not (labels.force_weights is None or labels.force_weights.all()):
        raise InputError(
            f"{name}: only some of its forces count (a chunk); n2p2 has no weights of atoms"
        )
    if atoms.pbc.any() and not atoms.pbc.all():
        raise InputError(
            f"{name}: periodic in {atoms.pbc.sum()} of 3 directions; n2p2 has all or none: give it "
            "a cell vector with enough vacuum, and three periodic directions"
        )
    length, energy = units.in_angstrom, units.in_ev
    yield f"begin set={atoms.info[SET]}" if SET in atoms.info else "begin"
    yield f"comment {atoms.symbols.formula:metal}"
    if atoms.pbc.all():
        for vector in np.asarray(atoms.cell):
            yield f"lattice {_texts(vector, length)}"
    for symbol, place, charge, force in zip(
        atoms.symbols, atoms.positions, charges, labels.forces, strict=True
    ):
        yield (
            f"atom {_texts(place, length)} {symbol} {float(charge)!r} 0.0 "
            f"{_texts(force, energy / length)}"
        )
    yield f"energy {_texts([labels.energy], energy)}"
    yield f"charge {float(total)!r}"
    yield "end"


def _texts(values: Sequence[float], unit: Fraction) -> str:
    return " ".join(_text(float(value), unit) for value in values)


def _text(value: float, unit: Fraction) -> str:
    if unit == 1:
        return repr(value)
    return shortest(Fraction(value) / unit, lambda near: float(near * unit) == value)
