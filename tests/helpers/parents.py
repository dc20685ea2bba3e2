"""Comparison of parent results."""

from __future__ import annotations

import struct

from nearsight.parents.database import ParentResult


def bits(result: ParentResult) -> tuple[bytes, bytes, bytes]:
    """Energy, forces and stress, to the last bit."""
    stress = b"" if result.stress is None else result.stress.tobytes()
    return struct.pack("<d", result.energy), result.forces.tobytes(), stress
