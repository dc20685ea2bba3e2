"""Machine-learning potentials for large atomic structures by nearsighted force training.

After C. Zeng, X. Chen, A. A. Peterson, J. Chem. Phys. 156, 064104 (2022). Units: eV, Å.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nearsight._core import build_info as build_info
    from nearsight.errors import InputError as InputError
    from nearsight.errors import ParentError as ParentError
    from nearsight.learning.initial_cells import Initialization as Initialization
    from nearsight.learning.locality import ForceLocality as ForceLocality
    from nearsight.learning.locality import force_locality as force_locality
    from nearsight.learning.nft import NFT as NFT
    from nearsight.model.calculator import NearsightCalculator as NearsightCalculator
    from nearsight.model.ensemble import Ensemble as Ensemble
    from nearsight.model.ensemble import Evaluation as Evaluation
    from nearsight.model.symmetry_functions import G2 as G2
    from nearsight.model.symmetry_functions import G4 as G4
    from nearsight.model.symmetry_functions import G5 as G5
    from nearsight.model.symmetry_functions import Cutoff as Cutoff
    from nearsight.model.symmetry_functions import SymmetryFunctions as SymmetryFunctions
    from nearsight.parents import Parent as Parent
    from nearsight.selection import cur as cur
    from nearsight.selection import farthest_point_sampling as farthest_point_sampling
    from nearsight.selection import force_correlation as force_correlation
    from nearsight.structures.chunks import extract_chunk as extract_chunk

    __version__: str

_ROOMS = {
    "_core": ["build_info"],
    "calculator": ["NearsightCalculator"],
    "chunks": ["extract_chunk"],
    "ensemble": ["Ensemble", "Evaluation"],
    "errors": ["InputError", "ParentError"],
    "initialization": ["Initialization"],
    "locality": ["ForceLocality", "force_locality"],
    "nft": ["NFT"],
    "parents": ["Parent"],
    "selection": ["cur", "farthest_point_sampling", "force_correlation"],
    "symmetry_functions": ["G2", "G4", "G5", "Cutoff", "SymmetryFunctions"],
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    """Import what is asked for: ``nearsight --help`` needs neither NumPy nor the core."""
    if name == "__version__":
        from importlib.metadata import version

        return version("nearsight")
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'nearsight' has no attribute {name!r}")
    return getattr(_import_module(f"nearsight.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOM_OF, "__version__"])
