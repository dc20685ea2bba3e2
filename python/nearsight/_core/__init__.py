"""The compiled core: the module of the best SIMD level this processor has.

``NEARSIGHT_ISA`` (``x86_64_v4``, ``x86_64_v3`` or ``baseline``) forces one level.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from nearsight._core import _cpu
from nearsight.errors import InputError


def load(level: str) -> ModuleType | None:
    """The module of one level, or None if it was not built."""
    name = f"{__name__}._{level}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def _best() -> ModuleType:
    levels = _cpu.levels()
    forced = os.environ.get("NEARSIGHT_ISA")
    if forced is not None:
        if forced not in levels:
            raise InputError(
                f"NEARSIGHT_ISA={forced} cannot run here; this processor has {', '.join(levels)}"
            )
        levels = [forced]
    for level in levels:
        module = load(level)
        if module is not None:
            return module
    raise ImportError(f"no compiled core for {', '.join(levels)}; install nearsight again")


_module = _best()
DOMAIN_BOX = _module.DOMAIN_BOX
DOMAIN_SPREAD = _module.DOMAIN_SPREAD
Baseline = _module.Baseline
NeighborList = _module.NeighborList
Potential = _module.Potential
Structure = _module.Structure
SymmetryFunctions = _module.SymmetryFunctions
TrainingSet = _module.TrainingSet
build_info = _module.build_info
linear_scaling = _module.linear_scaling
