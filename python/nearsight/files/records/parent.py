"""Record of a parent calculation that has ended, until the database holds it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from pydantic import FiniteFloat, model_validator

from nearsight.files.records.base import Record, Seconds, Vector, Vectors

__all__ = ["FinishedCalculation"]


class FinishedCalculation(Record):
    """Result of a parent calculation (``parent/results/KEY.json``).

    Attributes
    ----------
    key : str
        Fingerprint of structure and parent.
    structure : dict
        See `ase.Atoms.todict`.
    data, notes : dict
        What the database keeps with the result.
    energy : float, eV
    forces : (N, 3) float64, eV/Å
    seconds : float
        Wall time.
    stress : (6,) float64, eV/Å³, or None
    digest : str
        SHA-256 over all the others.
    """

    FORMAT: ClassVar[str] = "nearsight-calculation"
    FILE: ClassVar[str] = "KEY.json"
    LEFT_OUT: ClassVar[tuple[str, ...]] = ("stress",)

    key: str
    structure: dict[str, Any]
    data: dict[str, Any]
    notes: dict[str, Any]
    energy: FiniteFloat
    forces: Vectors
    seconds: Seconds
    stress: Vector | None = None
    digest: str = ""

    @classmethod
    def of(cls, **content: Any) -> FinishedCalculation:
        """The record of a result, with its digest."""
        record = cls.model_validate(content)
        return record.model_copy(update={"digest": record.computed_digest})

    @property
    def computed_digest(self) -> str:
        """What `digest` must be."""
        content = self.model_dump(exclude={"digest"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @model_validator(mode="after")
    def _check(self) -> FinishedCalculation:
        if self.digest and self.digest != self.computed_digest:
            raise ValueError("digest belongs to another content")
        return self
