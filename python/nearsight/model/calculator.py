"""The ensemble as an ASE calculator."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from nearsight import _core
from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble, as_ensemble

__all__ = ["NearsightCalculator"]

NAME = "nearsight"
"""Of the calculator, in ASE's files."""

OF_MEMBERS = (
    "uncertainty",
    "uncertainty_raw",
    "uncertainty_95",
    "extrapolation",
    "energy_uncertainty",
    "stress_uncertainty",
)
"""Results for which all members are evaluated."""


class NearsightCalculator(Calculator):  # type: ignore[misc, unused-ignore]  # ASE is partly untyped
    """Mean energy, forces and stress of an ensemble, and the uncertainty of every force.

    Parameters
    ----------
    ensemble : Ensemble or path
        An ensemble or its file.
    uncertainty : bool
        Give ``results["uncertainty"]`` (N,), calibrated, and ``results["uncertainty_raw"]`` (N,),
        δ = 2.58 σ, in eV/Å, and ``results["extrapolation"]`` (N,), the grade of every atom, above
        1 outside what the ensemble has labels of, with every call; of an ensemble with `Bounds`
        ``uncertainty_95`` (N,), ``energy_uncertainty`` (eV) and ``stress_uncertainty`` (6,) too. A
        call without them costs about as much as one of a single member. ``results["isolated"]``
        (N,) marks atoms without neighbours.
    skin : float
        Å; the neighbour list is kept until an atom has moved by half of it or the cell has
        changed. Results do not depend on it. 0: a new list for every call.
    threads : int
        0: the number OpenMP chooses (OMP_NUM_THREADS).

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
        *OF_MEMBERS,
        "isolated",
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
        # The structure last seen; ASE lets go of `self.atoms` whenever something has changed.
        self._kept: Atoms | None = None
        self._structure: _core.Structure | None = None
        self._neighbors: _core.NeighborList | None = None

    def _get_name(self) -> str:
        return NAME

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """What ASE's trajectories and databases note of the calculator: which potential it is."""
        return {"name": NAME, "version": version("nearsight"), "digest": self.ensemble.digest}

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is compiled, which is made again when it is needed."""
        return {**self.__dict__, "_kept": None, "_structure": None, "_neighbors": None}

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Names of the inputs of a result that have changed since the last call.

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
        return [name for name, (old, new) in pairs.items() if not _bitwise_equal(old, new)]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the structure; called by ASE."""
        if atoms is None and self._structure is None:
            atoms = self.atoms  # of a copy, or one that was pickled
        if atoms is not None:
            self._keep(atoms, system_changes)
        structure = self._structure
        if structure is None:
            raise InputError("no structure has been calculated yet")
        if self._neighbors is None or not self._neighbors.is_valid_for(structure):
            self._neighbors = self.ensemble.neighbors(structure, self._skin, self._threads)
        evaluation = self.ensemble.evaluate(
            structure,
            members=self._uncertainty or any(name in OF_MEMBERS for name in properties),
            threads=self._threads,
            neighbors=self._neighbors,
        )
        if evaluation.stress is None and "stress" in properties:
            raise PropertyNotImplementedError("stress needs a periodic cell of three vectors")
        self.results = evaluation.results

    def _keep(self, atoms: Atoms, system_changes: list[str]) -> None:
        """Store a copy of the structure, for ASE and for the core."""
        if self._kept is None or self._structure is None or set(system_changes) - {"positions"}:
            kept = atoms.copy()
            self._structure = self.ensemble.functions.structure(kept)
            self._kept = kept
        else:  # most calls: a whole copy takes longer than the forces of a small cluster
            self._structure = self._structure.moved(atoms.positions)
            self._kept.arrays["positions"] = atoms.positions.copy()
        self.atoms = self._kept


def _bitwise_equal(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> bool:
    """Bitwise equality, in a tenth of the time of `np.array_equal` for a small structure."""
    return old.tobytes() == new.tobytes()
