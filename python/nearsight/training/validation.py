"""Larger chunks that no member is trained on: what they say of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearsight.model.ensemble import Ensemble, mean_and_raw_uncertainty
from nearsight.structures.images import Image

__all__ = ["BOUND", "INNER", "Validation", "validate"]

INNER = 0.7
"""Part of a chunk's radius within which its forces count. Farther out they are those of the cut, as
in the chunks of the training; within, they say what happens when the surroundings are filled in."""

BOUND = 0.99
"""Quantile of the ratios of error and uncertainty that is the calibration where all atoms of chunks
are labelled. Over three targets, hot frames and another particle, 30 cases, it covered at least
97 % of the atoms; the 95 % quantile 88 % in the worst case."""


@dataclass(frozen=True)
class Validation:
    """How well an ensemble does on images it was not trained on.

    Attributes
    ----------
    error : float, eV/Å
        Mean norm of the error of a force.
    calibration : float
        Factor from raw uncertainty to a bound of the error; see `BOUND`.
    """

    error: float
    calibration: float


def validate(ensemble: Ensemble, images: Sequence[Image]) -> Validation | None:
    """Compare an ensemble with the forces that count in images; None without images."""
    errors: list[npt.NDArray[np.float64]] = []
    ratios: list[npt.NDArray[np.float64]] = []
    for image in images:
        atoms = image.force_atoms
        members = ensemble.evaluate(image.atoms, stress=False).member_forces
        assert members is not None  # requested
        mean, raw = mean_and_raw_uncertainty(members[:, atoms])
        error = np.linalg.norm(mean - image.forces[atoms], axis=1)
        errors.append(error)
        ratios.append(error[raw > 0] / raw[raw > 0])
    if not errors:
        return None
    known = np.concatenate(ratios)
    calibration = float(np.quantile(known, BOUND)) if len(known) else 1.0
    return Validation(float(np.concatenate(errors).mean()), calibration)
