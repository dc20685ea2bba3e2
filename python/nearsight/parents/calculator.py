"""The parent as an ASE calculator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from nearsight.parents.origin import Origin
from nearsight.parents.parent import Parent

__all__ = ["ParentCalculator"]


class ParentCalculator(Calculator):  # type: ignore[misc, unused-ignore]  # ASE is partly untyped
    """A parent as an ASE calculator, for relaxations whose every step goes through `Parent`.

    Parameters
    ----------
    parent : Parent
    stress : bool
        Whether every calculation shall give the stress too (relaxation of a cell).
    origin : Origin, optional
        See `Parent.calculate_many`.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, parent: Parent, stress: bool = False, origin: Origin | None = None) -> None:
        super().__init__()
        self._parent = parent
        self._stress = stress
        self._origin = origin

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Ask the parent; ASE calls this when it wants a result.

        Raises
        ------
        InputError, ParentError
            See `Parent.calculate`.
        """
        super().calculate(atoms, properties, system_changes)
        result = self._parent.calculate(
            self.atoms, self._stress or "stress" in properties, self._origin
        )
        self.results = {
            "energy": result.energy,
            "free_energy": result.energy,
            "forces": result.forces,
        }
        if result.stress is not None:
            self.results["stress"] = result.stress
