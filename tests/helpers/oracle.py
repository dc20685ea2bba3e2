"""Symmetry functions in plain NumPy: slow, short, and independent of the package.

What other tests compare with. It follows the definitions (Behler, J. Chem. Phys. 134, 074106
(2011); η scaled by Rc² as in Amp) line by line, takes neighbours from ASE, and is itself compared
with numbers of Amp in ``validation/test_amp_selection.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.neighborlist import neighbor_list

from helpers import Array


@dataclass(frozen=True)
class Radial:
    """G2: Σ_j exp(−η (R_ij − R_s)² / Rc²) fc(R_ij) over the neighbours of one element."""

    element: str
    eta: float
    r_s: float = 0.0


@dataclass(frozen=True)
class Angular:
    """G4 (``wide`` False) or G5 (``wide`` True) over the pairs of neighbours of two elements."""

    elements: tuple[str, str]
    eta: float
    zeta: float
    gamma: float
    wide: bool = False
    r_s: float = 0.0


Function = Radial | Angular


def cutoff_function(r: Array, cutoff: float, kind: str = "cosine", gamma: float = 4.0) -> Array:
    """fc(r): the cosine, or Amp's polynomial 1 + γ (r/Rc)^(γ+1) − (γ+1) (r/Rc)^γ; 0 from Rc on."""
    x = r / cutoff
    if kind == "cosine":
        inside = 0.5 * (1.0 + np.cos(np.pi * x))
    elif kind == "polynomial":
        inside = 1.0 + gamma * x ** (gamma + 1.0) - (gamma + 1.0) * x**gamma
    else:
        raise ValueError(f"unknown cutoff function {kind!r}")
    return np.where(x < 1.0, inside, 0.0)


def features(
    atoms: Atoms,
    functions: Mapping[str, Sequence[Function]],
    cutoff: float,
    kind: str = "cosine",
    gamma: float = 4.0,
) -> list[Array]:
    """The unscaled features of every atom, in the order of the atoms.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic cells may be smaller than the cutoff: every image of a neighbour, and of the atom
        itself, counts.
    functions : mapping of central element to its functions
    cutoff : float, Å
    kind, gamma
        See `cutoff_function`.
    """
    first, second, vectors = neighbor_list("ijD", atoms, cutoff)
    symbols = np.array(atoms.get_chemical_symbols())
    values = []
    for i, symbol in enumerate(symbols):
        mine = first == i
        values.append(
            _atom_features(
                vectors[mine], symbols[second[mine]], functions[symbol], cutoff, kind, gamma
            )
        )
    return values


def _atom_features(
    vectors: Array,
    symbols: npt.NDArray[np.str_],
    functions: Sequence[Function],
    cutoff: float,
    kind: str,
    gamma: float,
) -> Array:
    r = np.linalg.norm(vectors, axis=1)
    fc = cutoff_function(r, cutoff, kind, gamma)

    j, k = np.triu_indices(len(r), k=1)  # each unordered pair of neighbours once
    cos = np.einsum("pc,pc->p", vectors[j], vectors[k]) / (r[j] * r[k])
    r_jk = np.linalg.norm(vectors[j] - vectors[k], axis=1)
    fc_jk = cutoff_function(r_jk, cutoff, kind, gamma)

    values = np.empty(len(functions))
    for n, f in enumerate(functions):
        if isinstance(f, Radial):
            terms = np.exp(-f.eta * (r - f.r_s) ** 2 / cutoff**2) * fc
            values[n] = terms[symbols == f.element].sum()
            continue
        a, b = f.elements
        counts = (symbols[j] == a) & (symbols[k] == b) | (symbols[j] == b) & (symbols[k] == a)
        squares = (r[j] - f.r_s) ** 2 + (r[k] - f.r_s) ** 2
        cutoffs = fc[j] * fc[k]
        if not f.wide:
            squares = squares + (r_jk - f.r_s) ** 2
            cutoffs = cutoffs * fc_jk
        lobe = np.maximum(1.0 + f.gamma * cos, 0.0)  # rounding must not make it negative
        angular = 2.0 ** (1.0 - f.zeta) * lobe**f.zeta
        terms = angular * np.exp(-f.eta * squares / cutoff**2) * cutoffs
        values[n] = terms[counts].sum()
    return values
