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

def load(level: str) -> ModuleType | None: ...
def build_info() -> dict[str, Any]: ...
def neighbor_list(
    positions: _Floats, cell: _Floats, pbc: _Bools, cutoff: float, threads: int = 0
) -> tuple[_Longs, _Ints, _Ints, _Floats]:
    """Offsets (N + 1), then per bond: atom (B), shift (B, 3), vector (B, 3) Å."""

class SymmetryFunctions:
    def __init__(
        self,
        n_species: int,
        cutoff: str,
        radius: float,
        gamma: float,
        functions: Sequence[tuple[str, int, int, int, float, float, float, float]],
    ) -> None: ...
    def size(self, species: int) -> int: ...
    def features(
        self, positions: _Floats, species: _Ints, cell: _Floats, pbc: _Bools, threads: int = 0
    ) -> _Floats: ...
    def fingerprints(
        self,
        positions: _Floats,
        species: _Ints,
        cell: _Floats,
        pbc: _Bools,
        rows: Sequence[int],
        all_centers: bool,
        threads: int = 0,
    ) -> dict[str, npt.NDArray[Any]]: ...

class NeighborList:
    def serves(self, positions: _Floats, cell: _Floats, pbc: _Bools) -> bool: ...

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
    ) -> None: ...
    def evaluate(
        self,
        positions: _Floats,
        species: _Ints,
        cell: _Floats,
        pbc: _Bools,
        forces: str = "members",
        virial: bool = False,
        threads: int = 0,
        neighbors: NeighborList | None = None,
    ) -> dict[str, _Floats]: ...
    def neighbors(
        self,
        positions: _Floats,
        species: _Ints,
        cell: _Floats,
        pbc: _Bools,
        skin: float,
        threads: int = 0,
    ) -> NeighborList: ...

class TrainingSet:
    def __init__(
        self,
        sizes: Sequence[Sequence[int]],
        activations: Sequence[str],
        image_centers: _Longs,
        image_rows: _Longs,
        center_element: _Ints,
        features: _Floats,
        row_offsets: _Longs,
        block_center: _Ints,
        derivatives: _Floats,
        energies: _Floats,
        forces: _Floats,
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
    def levenberg_marquardt(
        self,
        start: _Floats,
        energy_weights: _Floats,
        force_weights: _Floats,
        l2: float,
        iterations: int,
    ) -> tuple[_Floats, float, int, int]: ...
