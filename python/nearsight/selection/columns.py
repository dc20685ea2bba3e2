"""Selection of columns of a matrix: candidates, scale, and orthogonalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nearsight.errors import InputError
from nearsight.selection.greedy import Array, Indices, check_count, greedy

__all__ = ["MIN_VARIANCE", "prepare_columns", "rounding_noise", "select_columns"]

Remainder = tuple[Array, list[int]]
"""What is left of the columns, and those taken."""

MIN_VARIANCE = 1e-3
"""Columns of the unscaled matrix with no more variance than this are left out (Amp's value)."""


def prepare_columns(
    X: Array,
    k: int,
    min_variance: float = MIN_VARIANCE,
    scale: bool = True,
    at_most: bool = False,
) -> tuple[Indices, Array]:
    """The columns that may be chosen, and the matrix of them to choose from.

    Parameters
    ----------
    X : (n, p) float64, checked
    k : int
        Number of columns to choose.
    min_variance : float
        Columns whose (population) variance in ``X`` is not above this cannot be chosen; constant
        columns never can.
    scale : bool
        Subtract each column's median and divide by its interquartile range. A column whose
        interquartile range is zero (more than half of its values are the same) is divided by its
        standard deviation instead.
    at_most : bool
        Whether fewer than ``k`` columns will do.

    Returns
    -------
    usable : (m,) indices of the columns that may be chosen, ascending
    matrix : (n, m) those columns, scaled

    Raises
    ------
    InputError
        If ``min_variance`` is negative, or fewer columns than needed may be chosen.
    """
    if not min_variance >= 0.0:
        raise InputError(f"min_variance must not be negative, got {min_variance}")
    check_count(k, X.shape[1], "columns of X")
    rounding = len(X) * np.finfo(float).eps * np.abs(X).max(axis=0)
    usable = np.flatnonzero(X.var(axis=0) > np.maximum(min_variance, rounding**2))
    needed = 1 if at_most else k
    check_count(needed, len(usable), f"columns of X that vary by more than {min_variance:g}")
    matrix = X[:, usable]
    if scale:
        low, median, high = np.percentile(matrix, [25, 50, 75], axis=0)
        spread = np.where(high - low > rounding[usable], high - low, matrix.std(axis=0))
        matrix = (matrix - median) / spread
    return usable, matrix


def rounding_noise(matrix: Array) -> Array:
    """Norms, (m,), below which the remainder of each column is only rounding."""
    noise: Array = max(matrix.shape) * np.finfo(float).eps * np.linalg.norm(matrix, axis=0)
    return noise


def select_columns(
    matrix: Array,
    k: int,
    score: Callable[[Array], Array],
    at_most: bool = False,
    costs: Callable[[Sequence[int]], Array] | None = None,
) -> Indices:
    """Take the best column, make all others orthogonal to it (eq. 7), repeat.

    Parameters
    ----------
    matrix : (n, m) float64
    k : int
    score : callable
        What is left of the columns, (n, m) → their scores, (m,). Taken and used-up columns are
        zero; their scores do not matter.
    at_most : bool
        Whether fewer than ``k`` columns will do.
    costs : callable, optional
        Columns taken → what each would cost after them, (m,): scores are divided by it.

    Returns
    -------
    (k,) indices of columns in order of selection.

    Raises
    ------
    InputError
        If all columns are combinations of fewer than ``k`` of them, unless ``at_most``.
    """
    noise = rounding_noise(matrix)

    def score_of_left(state: Remainder) -> Array:
        left, chosen = state
        scores = score(left)
        if costs is not None:
            scores = scores / costs(chosen)
        return np.where(left.any(axis=0), scores, -np.inf)

    def orthogonalise(state: Remainder, index: int) -> Remainder:
        left, chosen = state
        taken = left[:, index] / np.linalg.norm(left[:, index])
        left = left - np.outer(taken, taken @ left)
        left[:, index] = 0.0
        left[:, np.linalg.norm(left, axis=0) <= noise] = 0.0
        return left, [*chosen, index]

    start: Remainder = (matrix, [])
    chosen = greedy(start, k, score_of_left, orthogonalise)
    if len(chosen) < k and not at_most:
        raise InputError(
            f"k must be at most {len(chosen)}, the number of linearly independent columns of X, "
            f"got {k}"
        )
    return chosen
