"""Types of the compiled core; shapes and meaning are those of cpp/include/nearsight."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int32]
_Longs = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]

DOMAIN_BOX: float
DOMAIN_SPREAD: float

def load(level: str) -> ModuleType | None: ...
def build_info() -> dict[str, Any]: ...
def linear_scaling(
    minimum: _Floats,
    maximum: _Floats,
    mean: _Floats,
    sigma: _Floats,
    kind: str,
    low: float,
    high: float,
) -> tuple[_Floats, _Floats]:
    """Scale and offset (S) of an element's features."""

class Structure:
    """A structure checked once; a refusal is an `InputError` that calls it ``name``."""

    def __init__(
        self,
        positions: _Floats,
        species: _Ints,
        cell: _Floats,
        pbc: _Bools,
        name: str = "structure",
    ) -> None: ...
    def __len__(self) -> int: ...
    def moved(self, positions: _Floats) -> Structure: ...
    @property
    def positions(self) -> _Floats: ...
    @property
    def species(self) -> _Ints: ...
    @property
    def cell(self) -> _Floats: ...
    @property
    def pbc(self) -> _Bools: ...
    @property
    def volume(self) -> float: ...

class NeighborList:
    def __init__(
        self, structure: Structure, cutoff: float, skin: float = 0.0, threads: int = 0
    ) -> None: ...
    def is_valid_for(self, structure: Structure) -> bool: ...
    def bonds(self, structure: Structure) -> tuple[_Longs, _Ints, _Ints, _Floats]:
        """Offsets (N + 1), then per bond: atom (B), shift (B, 3), vector (B, 3) Å."""

    def counts(self, structure: Structure) -> _Longs:
        """Number of neighbours (N) of every atom."""

class SymmetryFunctions:
    def __init__(
        self,
        n_species: int,
        cutoff: tuple[str, float, float],
        angular_cutoff: tuple[str, float, float],
        functions: Sequence[tuple[Any, ...]],
    ) -> None: ...
    def size(self, species: int) -> int: ...
    def features(self, structure: Structure, threads: int = 0) -> _Floats: ...
    def fingerprints(
        self,
        structure: Structure,
        force_atoms: Sequence[int],
        all_centers: bool,
        threads: int = 0,
    ) -> dict[str, npt.NDArray[Any]]: ...

class Baseline:
    def __init__(
        self,
        numbers: Sequence[float],
        outer: _Floats,
        charges: Sequence[float],
        damping: float,
        cutoff: float,
    ) -> None: ...
    def evaluate(self, structure: Structure, threads: int = 0) -> dict[str, _Floats]: ...

class Potential:
    def __init__(
        self,
        functions: SymmetryFunctions,
        networks: Sequence[
            tuple[
                Sequence[_Floats],
                Sequence[_Floats],
                Sequence[str],
                _Floats,
                _Floats,
                _Floats,
                _Floats,
            ]
        ],
        domains: Sequence[tuple[_Floats, _Floats, _Floats, _Floats, float, float]] = (),
        baseline: Baseline | None = None,
    ) -> None: ...
    def evaluate(
        self,
        structure: Structure,
        forces: str = "members",
        virial: bool = False,
        threads: int = 0,
        neighbors: NeighborList | None = None,
    ) -> dict[str, Any]: ...

class TrainingSet:
    def __init__(
        self,
        sizes: Sequence[Sequence[int]],
        activations: Sequence[str],
        scale: _Floats,
        offset: _Floats,
        images: Sequence[tuple[_Ints, _Floats, _Longs, _Ints, _Floats, float, _Floats]],
    ) -> None: ...
    @property
    def n_weights(self) -> int: ...
    def predict(self, weights: _Floats) -> tuple[_Floats, _Floats]: ...
    def residuals(
        self, weights: _Floats, energy_weights: _Floats, force_weights: _Floats
    ) -> _Floats: ...
    def jacobian(
        self, weights: _Floats, energy_weights: _Floats, force_weights: _Floats
    ) -> tuple[_Floats, _Floats]: ...
    def curvature(
        self, weights: _Floats, energy_weights: _Floats, force_weights: _Floats
    ) -> _Floats: ...
    def pull_back(
        self, weights: _Floats, energy_weights: _Floats, force_weights: _Floats, v: _Floats
    ) -> _Floats: ...
    def levenberg_marquardt(
        self,
        start: _Floats,
        energy_weights: _Floats,
        force_weights: _Floats,
        l2: float,
        iterations: int,
        tolerance: float = 0.0,
    ) -> tuple[_Floats, float, int, int]: ...
