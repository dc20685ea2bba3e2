"""Records of iterations, with what does not matter filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nearsight.files.records import Iteration

__all__ = ["make_iteration"]


def make_iteration(
    number: int, uncertainty_raw: Sequence[float], chunks: Sequence[int] = (), **changes: Any
) -> Iteration:
    """An iteration; calibrated uncertainties are twice the raw ones, and forces vanish."""
    raw = np.array(uncertainty_raw)
    fields = {
        "iteration": number,
        "chunk_indices": list(chunks),
        **{key: [] for key in ("failed_indices", "new_indices", "again_indices")},
        "stop_reason": "",
        "uncertainty_raw": raw,
        "uncertainty": 2 * raw,
        "forces": np.zeros((len(raw), 3)),
        "calibration": 2.0,
        **dict.fromkeys(("energy_rmse", "force_rmse", "max_force_residual"), 0.0),
        "seconds": 60.0,
    }
    return Iteration.model_validate(fields | changes)
