"""The parent codes that have a name of their own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nearsight.errors import did_you_mean
from nearsight.parents.ase_codes import ASE_CODES
from nearsight.parents.code import Code
from nearsight.parents.gpaw import GPAWCode
from nearsight.parents.pyscf import PySCFCode

__all__ = ["CODES", "expected_name"]

CODES: Mapping[str, Code] = MappingProxyType(
    {**ASE_CODES, "gpaw": GPAWCode(), "pyscf": PySCFCode()}
)
"""The codes by their names."""


def expected_name(name: str) -> str:
    """The end of a sentence on a name that is no code's: what was expected, and what came."""
    return (
        "must be the name of a code ('emt', 'gpaw', 'espresso', 'vasp' and others of ASE's names) "
        f"or 'package.module:factory', got {name!r}" + did_you_mean(name.lower(), CODES)
    )
