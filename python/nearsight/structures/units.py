"""Units of energy and length, in eV and Å."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ase.units import Bohr, Hartree

from nearsight.errors import InputError

__all__ = ["ENERGIES", "LENGTHS", "Units"]

LENGTHS = {"angstrom": 1.0, "bohr": Bohr}
ENERGIES = {"eV": 1.0, "hartree": Hartree}


@dataclass(frozen=True)
class Units:
    """Units of files that do not say theirs.

    Attributes
    ----------
    length : {"angstrom", "bohr"}
    energy : {"eV", "hartree"}

    Raises
    ------
    InputError
        For any other.
    """

    length: str = "angstrom"
    energy: str = "eV"

    def __post_init__(self) -> None:
        for what, given, known in (
            ("length", self.length, LENGTHS),
            ("energy", self.energy, ENERGIES),
        ):
            if given not in known:
                raise InputError(f"unit of {what} {given!r}: expected {' or '.join(known)}")

    @property
    def in_angstrom(self) -> Fraction:
        """The unit of length."""
        return Fraction(LENGTHS[self.length])

    @property
    def in_ev(self) -> Fraction:
        """The unit of energy."""
        return Fraction(ENERGIES[self.energy])
