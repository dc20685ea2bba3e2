"""Labels that structures of users carry, under the names that codes give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.errors import InputError

__all__ = [
    "CHUNK_KEY",
    "LARGEST",
    "POTENTIAL_KEY",
    "PREDICTED_KEY",
    "WEIGHTS_KEY",
    "Labels",
    "is_label",
    "is_prediction",
    "labels_of",
    "read_labels",
]

LARGEST = 1e7
"""Energy of an atom, eV, and force, eV/Å, that none has: with all its electrons, one of the
heaviest elements has some 1e6 eV."""

Array = npt.NDArray[np.float64]

CHUNK_KEY = "nearsight_chunk"
"""``atoms.info`` key that marks a chunk in a structure file (True)."""

PREDICTED_KEY = "nearsight_energy"
"""``atoms.info`` key with the energy that a potential of nearsight has predicted (eV): energy and
forces are no labels as long as the energy is this one."""

POTENTIAL_KEY = "nearsight_potential"
"""``atoms.info`` key that names a potential: without an energy beside it, all it stands with is
predicted."""

WEIGHTS_KEY = "force_weights"
"""Column with the weight of the force on each atom."""

CALCULATORS = ("nearsight", "nearsightcalculator")
"""Names, in ASE, of calculators that predict."""

PREFIXES = ("ref_", "reference_", "dft_")
SUFFIXES = ("_ref", "_reference", "_dft")
MEANINGS = {
    **dict.fromkeys(("free_energy", "energy_free"), "free energy"),
    **dict.fromkeys(("energy", "total_energy", "potential_energy"), "energy"),
    **dict.fromkeys(("forces", "force"), "forces"),
    **dict.fromkeys(
        (
            WEIGHTS_KEY,
            "force_weight",
            "forces_weights",
            "forces_weight",
            "force_atomic_weights",
            "forces_atomic_weights",
        ),
        "force weights",
    ),
    **dict.fromkeys(("config_energy_weight", "energy_weight"), "energy weight"),
}
"""What names mean, in lower case and without those prefixes and suffixes."""

SAME = 1e-6  # relative; files round


@dataclass(frozen=True)
class Labels:
    """Energy and forces that a structure carries.

    Attributes
    ----------
    energy : float, eV, or None
        The free energy where there is one: the forces derive from it. None, too, where it has the
        weight 0 (``config_energy_weight``).
    forces : (N, 3) float64, eV/Å, or None
        Zero where they are not known.
    force_weights : (N,) float64, or None
        Weight of each force: those given, and zero where the force is not known: NaN, or in a
        chunk without energy on other atoms than its centre. None where all are one.
    names : tuple of str
        Names under which these were found.
    unused : tuple of str
        Names of what looks like an energy or forces, and is not used.
    predicted : bool
        Whether energy and forces were left out since a potential of nearsight has predicted them.
    """

    energy: float | None = None
    forces: Array | None = None
    force_weights: Array | None = None
    names: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    predicted: bool = False

    def explain_missing(self, what: str) -> str:
        """Why there is no ``energy`` or no ``forces``, and what was found instead."""
        text = f"carries no {what}"
        if self.predicted:
            return (
                f"{text} of a parent: what is there was predicted by a potential of nearsight "
                f"({PREDICTED_KEY} or {POTENTIAL_KEY} in the file says so)"
            )
        if self.unused:
            named = ", ".join(self.unused)
            return f"{text}; rename what is meant to energy or forces (found: {named})"
        return text


def read_labels(atoms: Atoms) -> Labels:
    """The labels of a structure, whatever code has written them.

    They come from the calculator, from ``atoms.info`` and from ``atoms.arrays``, under the names
    ``energy``, ``free_energy``, ``forces`` and some others (`MEANINGS`): ``REF_energy``,
    ``DFT_forces``, ``Energy``, ``force``, ...

    Raises
    ------
    InputError
        Values of the wrong form, or two different ones of one meaning.
    """
    predicted = is_prediction(atoms)
    found: dict[str, list[tuple[str, Any]]] = {meaning: [] for meaning in MEANINGS.values()}
    unused = []
    for name, value in _candidates(atoms, with_results=not predicted):
        meaning = MEANINGS.get(_plain(name), "")
        if meaning:
            found[meaning].append((name, value))
        elif _resembles(name, value, len(atoms)):
            unused.append(name)
    energies = {meaning: _one(found[meaning], meaning, ()) for meaning in ("free energy", "energy")}
    kind = "energy" if energies["free energy"] is None else "free energy"
    energy, forces = energies[kind], _one(found["forces"], "forces", (len(atoms), 3))
    weights = _one(found["force weights"], "force weights", (len(atoms),))
    if energy is not None and np.isinf(energy):
        raise InputError(f"its {kind} is not finite")
    if _one(found["energy weight"], "energy weight", ()) == 0.0:
        energy = None
    if forces is not None and weights is None and energy is None and atoms.info.get(CHUNK_KEY):
        weights = np.eye(1, len(atoms))[0]
    given = {kind: energy, "forces": forces}
    known, masked = (None, None) if forces is None else _masked(forces, weights)
    return Labels(
        energy=None if energy is None else float(energy),
        forces=known,
        force_weights=None if known is None else masked,
        names=tuple(found[meaning][0][0] for meaning, value in given.items() if value is not None),
        unused=tuple(dict.fromkeys(unused)),
        predicted=predicted,
    )


def labels_of(atoms: Atoms, name: str) -> Labels:
    """Those of `read_labels`; ``name`` is what messages call the structure."""
    try:
        return read_labels(atoms)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def is_label(name: str) -> bool:
    """Whether a name is that of a label, or of its weight."""
    return _plain(name) in MEANINGS


def is_prediction(atoms: Atoms) -> bool:
    """Whether energy and forces of a structure are those of a potential of nearsight."""
    if getattr(atoms.calc, "name", None) in CALCULATORS:
        return True
    said = atoms.info.get(PREDICTED_KEY)
    if said is None:
        return POTENTIAL_KEY in atoms.info
    energy = getattr(atoms.calc, "results", {}).get("energy")
    try:
        return energy is None or abs(float(energy) - float(said)) <= SAME * max(1, abs(float(said)))
    except (TypeError, ValueError):
        return False


def _candidates(atoms: Atoms, with_results: bool) -> Iterator[tuple[str, Any]]:
    sources: list[Mapping[str, Any]] = [atoms.info, atoms.arrays]
    if with_results:
        sources.insert(0, getattr(atoms.calc, "results", {}))
    for source in sources:
        yield from source.items()


def _plain(name: str) -> str:
    text = str(name).lower()
    for prefix in PREFIXES:
        text = text.removeprefix(prefix)
    for suffix in SUFFIXES:
        text = text.removesuffix(suffix)
    return text


def _resembles(name: str, value: Any, count: int) -> bool:
    text, shape = str(name).lower(), np.shape(value)
    if name == PREDICTED_KEY:
        return False
    return ("energy" in text and shape == ()) or ("force" in text and shape == (count, 3))


def _one(found: list[tuple[str, Any]], meaning: str, shape: tuple[int, ...]) -> Any:
    """The value found under one name or several; None if there is none, or all is NaN."""
    values: list[Array] = []
    for name, value in found:
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            raise InputError(f"its {name} must be numbers, got {value!r:.60}") from None
        if array.shape != shape:
            raise InputError(f"its {name} has shape {array.shape}, not {shape}")
        values.append(array)
    for (name, _), value in zip(found[1:], values[1:], strict=True):
        if not np.allclose(value, values[0], rtol=SAME, atol=SAME, equal_nan=True):
            raise InputError(
                f"its {found[0][0]} and its {name} differ, and each may be the {meaning}; "
                "keep the one that is meant"
            )
    return values[0] if values and not np.isnan(values[0]).all() else None


def _masked(forces: Array, weights: Array | None) -> tuple[Array, Array | None]:
    """Forces without NaN, and weights that leave out what is not known."""
    unknown = np.asarray(np.isnan(forces).all(axis=1))
    if not np.isfinite(forces[~unknown]).all():
        raise InputError("its forces are not finite (three times nan leaves an atom out)")
    if weights is not None and not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise InputError(f"its {WEIGHTS_KEY} must be finite and not negative")
    if weights is None and not unknown.any():
        return forces, None
    given = np.ones(len(forces)) if weights is None else weights
    return np.where(unknown[:, None], 0.0, forces), np.where(unknown, 0.0, given)
