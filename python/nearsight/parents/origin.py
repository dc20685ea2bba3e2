"""What a row of the database says of a calculation besides its result."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms

from nearsight.parents.codes import CODES
from nearsight.parents.spec import CalculatorSpec

__all__ = ["Origin", "method_of"]


@dataclass(frozen=True)
class Origin:
    """What a structure is calculated for.

    Attributes
    ----------
    role : str
        What it is, if it is not a chunk: ``cell``, ``whole``, ``given``, ...
    stage : str
        What asked for it: ``initial``, ``nft``, ``retraining``, ...; may be empty.
    iteration : int, optional
        Of the training that asked for it.
    """

    role: str = "structure"
    stage: str = ""
    iteration: int | None = None

    def notes(self, atoms: Atoms) -> dict[str, Any]:
        """What the row of a structure says.

        The role of what `extract_chunks` has cut is ``chunk``, and its ``atoms.info`` says where
        it was cut: digest of the source structure, its number among the targets, the atom, the
        radius (Å).
        """
        chunk = "chunk_radius" in atoms.info
        found = {"role": "chunk" if chunk else self.role, "stage": self.stage or None}
        said: dict[str, Any] = {"iteration": self.iteration}
        if chunk:
            found["source"] = atoms.info.get("source_digest")
            said |= {name: atoms.info.get(key) for name, key in CUT.items()}
        numbers = {name: value for name, value in said.items() if isinstance(value, NUMBERS)}
        return {
            **{name: text for name, text in found.items() if isinstance(text, str)},
            **{name: float(x) if name == "radius" else int(x) for name, x in numbers.items()},
        }


NUMBERS = (int, float, np.integer, np.floating)
CUT = {"frame": "source_frame", "atom": "source_index", "radius": "chunk_radius"}
"""Columns of a chunk's row, and the keys of ``atoms.info`` they come from."""


def method_of(spec: CalculatorSpec, atoms: Atoms, changes: Mapping[str, Any]) -> dict[str, Any]:
    """How a structure is calculated: settings of the parent, resolved arguments, versions.

    Parameters
    ----------
    spec : CalculatorSpec
    atoms : ase.Atoms
    changes : mapping
        Arguments changed in the attempt.
    """
    return {
        "settings": spec.settings | ({"changed": dict(changes)} if changes else {}),
        "arguments": spec.arguments(atoms, changes),
        "versions": _versions(spec.name),
    }


def _versions(calculator: str) -> dict[str, str]:
    """Versions of nearsight, of ASE, and of the package that calculates, where it says its own."""
    found = _installed_versions().copy()
    package = calculator if calculator in CODES else calculator.partition(":")[0].partition(".")[0]
    said = getattr(sys.modules.get(package), "__version__", None)
    return found | ({package: str(said)} if said and package not in found else {})


@functools.cache
def _installed_versions() -> dict[str, str]:
    return {name: version(name) for name in ("nearsight", "ase")}  # 1 ms each: metadata are read
