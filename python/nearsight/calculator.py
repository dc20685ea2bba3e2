"""The ensemble as an ASE calculator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from nearsight import _core
from nearsight.ensemble import Ensemble, as_ensemble
from nearsight.errors import InputError

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
    skin : float
        Å; the neighbour list is kept until an atom has moved by half of it or the cell has
        changed. Results do not depend on it. 0: a new list for every call.
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
        self,
        ensemble: Ensemble | str | Path,
        *,
        uncertainty: bool = True,
        skin: float = 0.3,
        threads: int = 0,
    ) -> None:
        super().__init__()
        if not (skin >= 0.0 and np.isfinite(skin)):
            raise InputError(f"skin must be a length in Å, not negative, got {skin!r}")
        self.ensemble = as_ensemble(ensemble)
        self._uncertainty = uncertainty
        self._skin = skin
        self._threads = threads
        self._neighbors: _core.NeighborList | None = None
        self._listed: Atoms | None = None  # the structure the list was made for

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last call, of that which results depend on.

        ASE's own comparison takes longer than the forces of a small cluster.
        """
        if self.atoms is None:
            return list(all_changes)
        before, now = self.atoms, atoms
        pairs = {
            "positions": (before.positions, now.positions),
            "numbers": (before.numbers, now.numbers),
            "cell": (before.cell.array, now.cell.array),
            "pbc": (before.pbc, now.pbc),
        }
        return [name for name, (old, new) in pairs.items() if not np.array_equal(old, new)]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the structure; ASE calls this when it wants a result."""
        super().calculate(atoms, properties, system_changes)
        if self._listed is None or self._list_is_old(self._listed):
            self._neighbors = self.ensemble.neighbors(self.atoms, self._skin, self._threads)
            self._listed = self.atoms  # ASE's own copy, a new one for every call
        found = self.ensemble.evaluate(
            self.atoms,
            members=self._uncertainty or any(p.startswith("uncertainty") for p in properties),
            stress="stress" in properties or self.atoms.cell.rank == 3,
            threads=self._threads,
            neighbors=self._neighbors,
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

    def _list_is_old(self, listed: Atoms) -> bool:
        """Whether the neighbour list no longer serves the present structure."""
        now = self.atoms
        if (
            len(now) != len(listed)
            or (now.pbc != listed.pbc).any()
            or (now.cell.array != listed.cell.array).any()
        ):
            return True
        moved = now.positions - listed.positions
        squares = np.einsum("ij,ij->i", moved, moved)
        return not bool(squares.max() < (0.5 * self._skin) ** 2)  # not: NaN makes it old as well
