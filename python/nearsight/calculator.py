"""The ensemble as an ASE calculator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from nearsight import _core
from nearsight.ensemble import Ensemble, as_ensemble
from nearsight.errors import InputError

__all__ = ["NearsightCalculator"]

Array = npt.NDArray[np.float64]


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
        self.use_cache = False  # `calculate` keeps the structure; ASE would copy it once more
        if not (skin >= 0.0 and np.isfinite(skin)):
            raise InputError(f"skin must be a length in Å, not negative, got {skin!r}")
        self.ensemble = as_ensemble(ensemble)
        self._uncertainty = uncertainty
        self._skin = skin
        self._threads = threads
        self._neighbors: _core.NeighborList | None = None
        self._listed: Array | None = None  # the positions the list was made for

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
        return [name for name, (old, new) in pairs.items() if not _same(old, new)]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the structure; ASE calls this when it wants a result."""
        if atoms is not None:
            self.atoms = atoms.copy()
        if self._list_is_old(system_changes):
            self._listed = None  # should the next line fail
            self._neighbors = self.ensemble.neighbors(self.atoms, self._skin, self._threads)
            self._listed = self.atoms.positions  # of a copy that nobody moves
        found = self.ensemble.evaluate(
            self.atoms,
            members=self._uncertainty or any(p.startswith("uncertainty") for p in properties),
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

    def _list_is_old(self, system_changes: list[str]) -> bool:
        """Whether the neighbour list no longer serves the present structure."""
        now, listed = self.atoms.positions, self._listed
        if listed is None or len(now) != len(listed):
            return True
        if "cell" in system_changes or "pbc" in system_changes:
            return True
        moved = now - listed
        far = 0.5 * self._skin
        if 3.0 * float(np.abs(moved).max()) ** 2 < far**2:  # a quicker look that mostly suffices
            return False
        # not: NaN makes it old as well
        return not float((moved * moved).sum(axis=1).max()) < far**2


def _same(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> bool:
    """`np.array_equal` in a third of its time."""
    return old.shape == new.shape and bool((old == new).all())
