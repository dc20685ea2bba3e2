"""Derivatives by differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from helpers import Array
from nearsight.training.dataset import TrainingData

STEPS = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-3)
"""The second derivative of a cutoff function jumps at Rc, so that a pair that crosses Rc within
the step spoils the difference, and so some of the steps are small."""


def central_difference(function: Callable[[float], Array | float], step: float) -> Array:
    """Derivative of ``function(t)`` at t = 0 up to terms of the fourth order in the step."""
    near = np.subtract(function(step), function(-step))
    far = np.subtract(function(2.0 * step), function(-2.0 * step))
    return (8.0 * near - far) / (12.0 * step)


def error_of(
    derivative: Array | float, function: Callable[[float], Array | float], enough: Array | float
) -> Array:
    """Distance of ``derivative`` from the difference of ``function`` at the best of `STEPS`.

    No further step is tried when no entry is further off than ``enough``.
    """
    best = np.full(np.shape(derivative), np.inf)
    for step in STEPS:
        best = np.minimum(best, np.abs(central_difference(function, step) - derivative))
        if (best < enough).all():
            break
    return best


def jacobian_error(
    data: TrainingData, weights: Array, loss_weights: tuple[Array, Array], jacobian: Array
) -> Array:
    """Error of each entry of a Jacobian of the residuals, (residuals, weights)."""
    size = np.abs(jacobian).max(axis=1)
    error = np.empty_like(jacobian)
    for k in range(len(weights)):
        unit = np.zeros_like(weights)
        unit[k] = 1.0
        error[:, k] = error_of(
            jacobian[:, k],
            lambda t, unit=unit: data.core.residuals(weights + t * unit, *loss_weights),
            enough=1e-9 * size,
        )
    return error
