"""Machine-learning potentials for large atomic structures by nearsighted force training."""

from __future__ import annotations

from importlib.metadata import version as _version

from nearsight.symmetry_functions import G2, G4, G5, Cutoff, SymmetryFunctions

__version__ = _version("nearsight")
