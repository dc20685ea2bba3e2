"""A parent code: how its calculators are made, and what it wants of a structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
from ase import Atoms

from nearsight.errors import InputError

__all__ = ["Arguments", "Code", "Preset", "in_box"]

Arguments = Mapping[str, Any]
"""Keyword arguments of a calculator, as JSON, and so a configuration file, can write them."""


@dataclass(frozen=True)
class Preset:
    """Arguments that come ready under a name.

    Attributes
    ----------
    common : for every structure
    chunks : for structures that are not periodic, over those
    bulk : for periodic structures, over the common ones
    """

    common: Arguments = field(default_factory=dict)
    chunks: Arguments = field(default_factory=dict)
    bulk: Arguments = field(default_factory=dict)


class Code(Protocol):
    """A parent code: how its calculators are made, and what it wants of a structure."""

    presets: ClassVar[Mapping[str, Preset]] = MappingProxyType({})
    proposed: ClassVar[str | None] = None
    """The preset that a new configuration begins with."""
    certain: ClassVar[bool] = False
    """Whether it needs no first calculation to find out if it works here."""
    in_process: bool = True
    """Whether it leaves nothing in the working folder of the process it is called in."""

    def check(self, arguments: Arguments | None = None) -> None:
        """Find out before any work whether the code is there, and whether it takes arguments.

        Raises
        ------
        InputError
            If the code is not there, or not in a version that will do.
        Exception
            Whatever the code raises at arguments it does not take.
        """

    def identity(self, arguments: Arguments) -> dict[str, Any]:
        """The arguments that decide a result; the others may change without a new calculation."""
        return dict(arguments)

    def prepare(self, atoms: Atoms, arguments: Arguments) -> Atoms:
        """The structure as the code wants it: a copy, with the same atoms in the same order.

        Raises
        ------
        InputError
            If the code cannot calculate it.
        """
        return atoms.copy()

    def make(self, atoms: Atoms, arguments: Arguments) -> Any:
        """A fresh ASE calculator for a structure, as it was before `prepare`.

        Raises
        ------
        Exception
            Whatever the code raises at arguments it does not take.
        """

    def example(self, elements: Sequence[str]) -> Preset:
        """Arguments that a new configuration begins with, to be adapted."""
        return Preset()

    def hint(self, lacking: str) -> str:
        """What to write where ``forces``, ``stress`` or ``pseudopotentials`` are lacking."""
        return ""


VACUUM = 5.0  # Å, around a structure that comes without a cell (the paper, SI 8.4)


def in_box(name: str, atoms: Atoms, smallest_gap: float) -> Atoms:
    """A structure as codes want it that repeat everything: in a box, periodic in all directions.

    Parameters
    ----------
    name : str
        Of the code.
    atoms : ase.Atoms
    smallest_gap : float, Å
        Nearer than this, a structure would bond with its own repetition.

    Raises
    ------
    InputError
        If there is less empty space than that where the structure is not periodic.
    """
    boxed = atoms.copy()
    lacking = [axis for axis in range(3) if not atoms.cell[axis].any()]
    if lacking:  # not periodic: `check_structure` has seen to that
        boxed.center(vacuum=VACUUM, axis=lacking)
    for axis in np.flatnonzero(~atoms.pbc):
        inverse = np.linalg.inv(boxed.cell)[:, axis]
        height = 1 / np.linalg.norm(inverse)
        gap = height - np.ptp(boxed.positions @ inverse) * height
        if gap < smallest_gap:
            raise InputError(
                f"parent {name}: {atoms.symbols} has {max(gap, 0.0):.1f} Å of empty space along "
                f"cell vector {axis}, where it is not periodic, and needs at least "
                f"{smallest_gap:g} Å (nft.vacuum for chunks; else the structure's cell)"
            )
    boxed.pbc = True
    return boxed
