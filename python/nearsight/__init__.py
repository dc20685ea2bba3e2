"""Machine-learning potentials for large atomic structures by nearsighted force training.

After C. Zeng, X. Chen, A. A. Peterson, J. Chem. Phys. 156, 064104 (2022). Units: eV, Å.
"""

from __future__ import annotations

from importlib.metadata import version as _version

from nearsight._core import build_info
from nearsight.calculator import NearsightCalculator
from nearsight.chunks import extract_chunk
from nearsight.ensemble import Ensemble, Evaluation
from nearsight.errors import InputError, ParentError
from nearsight.initialization import Initialization
from nearsight.locality import ForceLocality, force_locality
from nearsight.nft import NFT
from nearsight.parents import Parent
from nearsight.selection import cur, farthest_point_sampling, force_correlation
from nearsight.symmetry_functions import G2, G4, G5, Cutoff, SymmetryFunctions

__version__ = _version("nearsight")

__all__ = [
    "G2",
    "G4",
    "G5",
    "NFT",
    "Cutoff",
    "Ensemble",
    "Evaluation",
    "ForceLocality",
    "Initialization",
    "InputError",
    "NearsightCalculator",
    "Parent",
    "ParentError",
    "SymmetryFunctions",
    "build_info",
    "cur",
    "extract_chunk",
    "farthest_point_sampling",
    "force_correlation",
    "force_locality",
]
