"""The ensemble as an ASE calculator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from nearsight.ensemble import Ensemble, as_ensemble

__all__ = ["NearsightCalculator"]


class NearsightCalculator(Calculator):  # type: ignore[misc, unused-ignore]  # ASE is partly untyped
    """Mean energy, forces and stress of an ensemble, and the uncertainty of every force.

    Parameters
    ----------
    ensemble : Ensemble or path
        An ensemble or its file.
    uncertainty : bool
        Whether every call gives ``results["uncertainty"]`` (N,), calibrated, and
        ``results["uncertainty_raw"]`` (N,), δ = 2.58 σ, in eV/Å. A call without costs about as
        much as one member alone.
    threads : int
        0: as OpenMP decides (OMP_NUM_THREADS).

    Raises
    ------
    InputError
        If the file is no ensemble, or a structure cannot be evaluated.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "uncertainty",
        "uncertainty_raw",
    ]

    def __init__(
        self, ensemble: Ensemble | str | Path, *, uncertainty: bool = True, threads: int = 0
    ) -> None:
        super().__init__()
        self.ensemble = as_ensemble(ensemble)
        self._uncertainty = uncertainty
        self._threads = threads

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the structure; ASE calls this when it wants a result."""
        super().calculate(atoms, properties, system_changes)
        found = self.ensemble.evaluate(
            self.atoms,
            members=self._uncertainty or "uncertainty" in properties,
            stress="stress" in properties or self.atoms.cell.rank == 3,
            threads=self._threads,
        )
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "energies": found.energies,
            "forces": found.forces,
        }
        if found.stress is not None:
            self.results["stress"] = found.stress
        elif "stress" in properties:
            raise PropertyNotImplementedError("stress needs a periodic cell of three vectors")
        if found.uncertainty is not None:
            self.results["uncertainty"] = found.uncertainty
            self.results["uncertainty_raw"] = found.uncertainty_raw
