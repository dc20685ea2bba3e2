"""Pair terms that are known before training and added to what the networks give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from nearsight import _core
from nearsight.errors import InputError
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.structures.images import Image

__all__ = ["Baseline"]


@dataclass(frozen=True)
class Baseline:
    """Repulsion of atoms that come too close, and point charges.

    The networks learn what the labels are beyond it, and the ensemble adds it again, to all members
    alike: energies, forces and stress are those of the parent, the uncertainty is that of the
    networks.

    Attributes
    ----------
    radii : dict of str to float, Å
        By element. Two nuclei repel each other within the sum of their radii by the universal
        screened potential of Ziegler, Biersack and Littmark (The Stopping and Range of Ions in
        Solids, 1985), whole up to half of that distance and smoothly switched off from there on.
        Empty: no repulsion.
    charges : dict of str to float, e
        By element. They interact by the damped sum with shifted forces of Fennell and Gezelter
        (J. Chem. Phys. 124, 234104 (2006), eq. 19), without its constant. Empty: none.
    damping : float, 1/Å
    cutoff : float, Å
        Of the charges.
    """

    radii: Mapping[str, float]
    charges: Mapping[str, float]
    damping: float
    cutoff: float

    @property
    def summary(self) -> str:
        """Its terms in a few words."""
        parts = []
        if self.radii:
            within = ", ".join(f"{element} {2 * r:.2f}" for element, r in self.radii.items())
            parts.append(f"repulsion of equal atoms within {within} Å")
        if self.charges:
            named = ", ".join(f"{element} {q:+.2f}" for element, q in self.charges.items())
            parts.append(f"charges {named} e within {self.cutoff:g} Å")
        return "; ".join(parts)

    def core(self, elements: Sequence[str]) -> _core.Baseline:
        """What the compiled core adds.

        Raises
        ------
        InputError
            If an element is missing, or there is no term.
        """
        radii, charges = (self._values(elements, by) for by in ("radii", "charges"))
        numbers = [float(atomic_numbers[element]) for element in elements]
        outer = np.add.outer(radii, radii)
        return _core.Baseline(numbers, outer, charges, self.damping, self.cutoff)

    def _values(self, elements: Sequence[str], name: str) -> list[float]:
        values: Mapping[str, float] = getattr(self, name)
        missing = [element for element in elements if element not in values]
        if values and missing:
            raise InputError(f"the baseline has no {name} for {', '.join(missing)}")
        return [values.get(element, 0.0) for element in elements]

    def residual(self, image: Image, functions: SymmetryFunctions) -> Image:
        """The image with what its labels are beyond the baseline."""
        structure = functions.structure(image.atoms)
        found = self.core(functions.elements).evaluate(structure)
        energy = None if image.energy is None else image.energy - float(found["energies"].sum())
        forces = image.forces - found["forces"][: len(image.forces)]
        return replace(image, energy=energy, forces=forces)

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON."""
        return {
            "radii": dict(self.radii),
            "charges": dict(self.charges),
            "damping": self.damping,
            "cutoff": self.cutoff,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Baseline:
        """The inverse of `to_dict`; the content of a record."""
        return cls(**content)
