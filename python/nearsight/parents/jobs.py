"""The structures of one request, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from nearsight.parents.database import ParentResult
from nearsight.parents.failures import Failure
from nearsight.progress import Tally

__all__ = ["Job", "tally"]


@dataclass(frozen=True)
class Job:
    """A structure to calculate.

    Attributes
    ----------
    key : str
        Fingerprint of structure and method.
    atoms : ase.Atoms
    stress : bool
        Whether the stress is wanted as well.
    notes : mapping
        What its row in the database is to say of where it comes from.
    """

    key: str
    atoms: Atoms
    stress: bool
    notes: Mapping[str, Any]


def tally(results: Sequence[ParentResult | Failure | None], running: int) -> Tally:
    """Count what is done; None stands for a structure without a result so far."""
    done = [result for result in results if isinstance(result, ParentResult)]
    failed = sum(isinstance(result, Failure) for result in results)
    waiting = len(results) - running - len(done) - failed
    return Tally(waiting, running, len(done), failed, sum(result.seconds for result in done))
