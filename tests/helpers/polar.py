"""A parent of polar alloys, for trainings whose charges are fitted."""

from __future__ import annotations

from typing import Any

from ase.calculators.emt import EMT

from nearsight.model.baseline import Baseline
from nearsight.structures.images import core_structure

POLAR = "helpers.polar:PolarEMT"
ELEMENTS = ("Cu", "Ni")
TERMS = Baseline({}, {"Cu": 0.8, "Ni": -0.8}, 0.2, 6.0)


class PolarEMT(EMT):
    """EMT of copper and nickel, the atoms charged."""

    def calculate(self, *arguments: Any, **named: Any) -> None:
        super().calculate(*arguments, **named)
        found = TERMS.core(ELEMENTS).evaluate(core_structure(self.atoms, ELEMENTS))
        self.results["energy"] += float(found["energies"].sum())
        self.results["forces"] = self.results["forces"] + found["forces"]
