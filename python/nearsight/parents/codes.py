"""Parent codes that have a name of their own; the only file that knows a particular one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ase import Atoms
from ase.calculators.emt import EMT

__all__ = ["CODES", "Code", "Preset"]


@dataclass(frozen=True)
class Preset:
    """Arguments that come ready under a name."""

    common: Mapping[str, Any] = field(default_factory=dict)
    chunks: Mapping[str, Any] = field(default_factory=dict)
    bulk: Mapping[str, Any] = field(default_factory=dict)


class Code(Protocol):
    """A parent code."""

    presets: Mapping[str, Preset]

    def check(self) -> None:
        """Raise an `InputError` if it cannot be used."""

    def make(self, atoms: Atoms, arguments: Mapping[str, Any]) -> Any:
        """A fresh ASE calculator for a structure."""

    def prepare(self, atoms: Atoms, arguments: Mapping[str, Any]) -> Atoms:
        """The structure as the code wants it."""


class _EMT:
    presets: Mapping[str, Preset] = {}

    def check(self) -> None:
        """It comes with ASE."""

    def make(self, atoms: Atoms, arguments: Mapping[str, Any]) -> Any:
        return EMT(**arguments)

    def prepare(self, atoms: Atoms, arguments: Mapping[str, Any]) -> Atoms:
        return atoms


CODES: Mapping[str, Code] = {"emt": _EMT()}
