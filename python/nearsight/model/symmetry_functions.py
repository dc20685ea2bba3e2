"""Symmetry functions: definitions, and the grid of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.data import atomic_numbers

from nearsight import _core
from nearsight.errors import InputError
from nearsight.files.records import FunctionsRecord
from nearsight.model.general_functions import Angular, Radial
from nearsight.structures.images import core_structure

__all__ = [
    "G2",
    "G4",
    "G5",
    "Cutoff",
    "SymmetryFunction",
    "SymmetryFunctions",
    "elements_of",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cutoff:
    """Cutoff function.

    ``cosine``: fc(r) = (1 + cos(π r/Rc)) / 2. ``polynomial`` (Amp's):
    fc(r) = 1 + γ (r/Rc)^(γ+1) − (γ+1) (r/Rc)^γ. Zero from Rc on.

    Attributes
    ----------
    radius : float
        Rc in Å.
    function : {"cosine", "polynomial"}
    gamma : float
        γ of the polynomial, at least 2.
    """

    radius: float
    function: str = "cosine"
    gamma: float = 4.0


@dataclass(frozen=True)
class G2:
    """Radial symmetry function Σ_j exp(−η (R_ij − R_s)²/Rc²) fc(R_ij) over one element.

    Attributes
    ----------
    element : str
        Element of the neighbours.
    eta : float
        η, without unit (divided by Rc², as in Amp; n2p2's η is this one over Rc²).
    r_s : float
        R_s in Å.
    """

    element: str
    eta: float
    r_s: float = 0.0


@dataclass(frozen=True)
class _Angular:
    elements: tuple[str, str]
    eta: float
    zeta: float
    gamma: float
    r_s: float = 0.0

    def __post_init__(self) -> None:
        if len(self.elements) != 2 or isinstance(self.elements, str):
            raise InputError(
                f"an angular symmetry function takes two elements, got {self.elements!r}"
            )
        object.__setattr__(self, "elements", tuple(self.elements))


@dataclass(frozen=True)
class G4(_Angular):
    """Angular symmetry function over pairs j < k of neighbours of two elements.

    2^(1−ζ) Σ (1 + γ cos θ_ijk)^ζ ρ(R_ij) ρ(R_ik) ρ(R_jk), ρ(R) = exp(−η (R − R_s)²/Rc²) fc(R)

    Attributes
    ----------
    elements : tuple of two str
        Elements of the neighbours; the order does not matter.
    eta, zeta, gamma : float
        η ≥ 0, ζ ≥ 1, −1 ≤ γ ≤ 1 (Behler's and n2p2's λ).
    r_s : float
        R_s in Å: with a large η, only bonds of about this length count.
    """


@dataclass(frozen=True)
class G5(_Angular):
    """`G4` without the factor ρ(R_jk) (n2p2's wide angular function)."""


SymmetryFunction = G2 | G4 | G5 | Radial | Angular
_KINDS: dict[str, type[G2] | type[G4] | type[G5]] = {"G2": G2, "G4": G4, "G5": G5}


class SymmetryFunctions:
    """The symmetry functions of every central element.

    Parameters
    ----------
    functions : mapping of str to sequence of G2, G4 or G5
        By central element; the order is that of the features. `Radial` and `Angular`, of other
        programs, take more time.
    cutoff : float or Cutoff
        Å; a number means the cosine cutoff. No function reaches farther.
    angular_cutoff : float or Cutoff, optional
        That of G4 and G5, no larger; a number means one of the same form. Without, it is
        ``cutoff``.

    Attributes
    ----------
    cutoff, angular_cutoff : Cutoff

    Raises
    ------
    InputError
        If a parameter is out of its domain.
    """

    def __init__(
        self,
        functions: Mapping[str, Sequence[SymmetryFunction]],
        cutoff: float | Cutoff,
        angular_cutoff: float | Cutoff | None = None,
    ) -> None:
        self.cutoff = cutoff if isinstance(cutoff, Cutoff) else Cutoff(float(cutoff))
        if angular_cutoff is None:
            angular_cutoff = self.cutoff
        elif not isinstance(angular_cutoff, Cutoff):
            angular_cutoff = replace(self.cutoff, radius=float(angular_cutoff))
        self.angular_cutoff = angular_cutoff
        mentioned = [
            element for given in functions.values() for f in given for element in elements_of(f)
        ]
        self.elements: tuple[str, ...] = tuple(dict.fromkeys([*functions, *mentioned]))
        self.functions: dict[str, tuple[SymmetryFunction, ...]] = {
            element: tuple(functions.get(element, ())) for element in self.elements
        }
        if not self.elements:
            raise InputError("symmetry functions of at least one element are needed")
        for element in self.elements:
            if element not in atomic_numbers:
                raise InputError(f"symmetry functions of {element!r}, an unknown chemical element")
        self.core  # noqa: B018  # checks the parameters

    @cached_property
    def core(self) -> _core.SymmetryFunctions:
        """The compiled plan."""
        index = {element: i for i, element in enumerate(self.elements)}
        given = []
        for center, functions in self.functions.items():
            for f in functions:
                given.append((type(f).__name__, index[center], *_core_row(f, index)))
        cutoff, angular = ((c.function, float(c.radius), float(c.gamma)) for c in self._cutoffs)
        return _core.SymmetryFunctions(
            len(self.elements),
            cutoff,
            angular,
            given,
        )

    @property
    def _cutoffs(self) -> tuple[Cutoff, Cutoff]:
        return self.cutoff, self.angular_cutoff

    def __len__(self) -> int:
        return sum(len(f) for f in self.functions.values())

    def size(self, element: str) -> int:
        """Number of features of an atom of ``element``."""
        return len(self.functions[element])

    def structure(self, atoms: Atoms, name: str = "structure") -> _core.Structure:
        """The checked structure of ``atoms`` with these elements.

        Raises
        ------
        InputError
            If there is an element without symmetry functions, and as in `check_structure`.
        """
        return core_structure(atoms, self.elements, name)

    def compute(self, atoms: Atoms, threads: int = 0) -> dict[str, Array]:
        """Features of all atoms.

        Returns
        -------
        dict of str to ndarray
            By element of the structure: (atoms of it, features), unscaled, atoms in their order.

        Raises
        ------
        InputError
            For a structure that cannot be worked with; see `check_structure`.
        """
        structure = self.structure(atoms)
        features, species = self.core.features(structure, threads), structure.species
        return {
            element: features[species == i, : self.size(element)]
            for i, element in enumerate(self.elements)
            if (species == i).any()
        }

    def subset(self, selected: Mapping[str, Iterable[int]]) -> SymmetryFunctions:
        """Select functions, by element, in the given order."""
        return SymmetryFunctions(
            {e: [self.functions[e][i] for i in indices] for e, indices in selected.items()},
            *self._cutoffs,
        )

    @classmethod
    def candidates(
        cls,
        elements: Sequence[str],
        cutoff: float | Cutoff = 6.5,
        *,
        g2_eta: Sequence[float] = tuple(np.logspace(-3, 2, 20).tolist()),
        g2_r_s: Sequence[float] = (0.0, 2.0, 4.0),
        g4_eta: Sequence[float] = (0.005, 0.1, 1.0),
        g4_zeta: Sequence[float] = (1.0, 4.0, 16.0),
        g4_gamma: Sequence[float] = (1.0, -1.0),
        g4_r_s: Sequence[float] = (0.0,),
        g5_eta: Sequence[float] = (),
        g5_zeta: Sequence[float] = (),
        g5_gamma: Sequence[float] = (),
        g5_r_s: Sequence[float] = (0.0,),
        angular_cutoff: float | Cutoff | None = None,
    ) -> SymmetryFunctions:
        """Grid of candidates (SI Table S1: 78 for one element).

        Every neighbour element gets all G2, every unordered pair of them all G4, then all G5.
        Parameters vary in the order in which they are named, the last fastest.
        """
        pairs = list(combinations_with_replacement(elements, 2))
        grid: list[SymmetryFunction] = [
            G2(element, eta, r_s) for element in elements for eta in g2_eta for r_s in g2_r_s
        ]
        angular = (
            (G4, g4_eta, g4_zeta, g4_gamma, g4_r_s),
            (G5, g5_eta, g5_zeta, g5_gamma, g5_r_s),
        )
        grid += [
            kind(pair, *parameters)
            for kind, *values in angular
            for pair in pairs
            for parameters in product(*values)
        ]
        return cls(dict.fromkeys(elements, grid), cutoff, angular_cutoff)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.functions, *self._cutoffs)

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON."""
        apart = self.angular_cutoff != self.cutoff
        return {
            "cutoff": asdict(self.cutoff),
            **({"angular_cutoff": asdict(self.angular_cutoff)} if apart else {}),
            "functions": {
                element: [_to_row(f) for f in functions]
                for element, functions in self.functions.items()
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SymmetryFunctions:
        """The inverse of `to_dict`; the content of a record.

        Raises
        ------
        InputError
            If a parameter is out of its domain.
        """
        functions: dict[str, list[SymmetryFunction]] = {}
        for element, rows in content["functions"].items():
            functions[element] = []
            for row in rows:
                functions[element].append(_from_row(row))
        angular = content.get("angular_cutoff")
        return cls(functions, Cutoff(**content["cutoff"]), angular and Cutoff(**angular))

    def save(self, path: str | Path, **notes: Any) -> None:
        """Write a JSON file; ``notes`` are written but never read."""
        FunctionsRecord(**self.to_dict(), notes=notes).save(path)

    @classmethod
    def load(cls, path: str | Path) -> SymmetryFunctions:
        """Read a file of `save`.

        Raises
        ------
        InputError
            If the file is missing, truncated, of another kind or from a newer version.
        """
        content = FunctionsRecord.load(path)
        try:
            return cls.from_dict(content.model_dump())
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def elements_of(function: SymmetryFunction) -> tuple[str, ...]:
    """Elements of the neighbours of a function."""
    if isinstance(function, G2):
        return (function.element,)
    return function.named if isinstance(function, Radial) else function.elements


def _core_row(function: SymmetryFunction, index: Mapping[str, int]) -> tuple[Any, ...]:
    """Neighbours and numbers of a function, as the core takes them."""
    if isinstance(function, G2):
        return index[function.element], 0, float(function.eta), float(function.r_s), 1.0, 0.0, None
    first, second = ([index[e] for e in function.elements] * 2 or [0, 0])[:2]
    zeta, gamma = getattr(function, "zeta", 1.0), getattr(function, "gamma", 0.0)
    numbers = (float(function.eta), float(function.r_s), float(zeta), float(gamma))
    form = function.form(index) if isinstance(function, Radial) else None
    return first, second, *numbers, form


def _to_row(function: SymmetryFunction) -> dict[str, Any]:
    """The inverse of `_from_row`."""
    if isinstance(function, Radial):
        return function.to_dict()
    row = {"type": type(function).__name__, **asdict(function)}
    if isinstance(function, _Angular) and function.r_s == 0.0:
        del row["r_s"]  # which older programs do not know
    return row


def _from_row(row: Mapping[str, Any]) -> SymmetryFunction:
    """A function from its content in a record."""
    if row["type"] in ("Radial", "Angular"):
        return (Radial if row["type"] == "Radial" else Angular).from_dict(row)
    values = dict(row)
    return _KINDS[values.pop("type")](**values)
