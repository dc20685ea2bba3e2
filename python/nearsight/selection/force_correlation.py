"""Force correlation: the columns that vary most closely with the size of the forces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearsight.errors import InputError
from nearsight.selection.columns import (
    MIN_VARIANCE,
    prepare_columns,
    rounding_noise,
    select_columns,
)
from nearsight.selection.greedy import Array, Indices, as_array, as_matrix

__all__ = ["force_correlation"]


def force_correlation(
    X: npt.ArrayLike,
    forces: npt.ArrayLike,
    k: int,
    *,
    min_variance: float = MIN_VARIANCE,
    scale: bool = True,
    at_most: bool = False,
) -> Indices:
    """Choose k columns of X by their correlation with the forces (SI section 4.3).

    The score of a column is the absolute Pearson correlation of it with the magnitudes of the
    forces. The column of highest score is taken, the others are made orthogonal to it (eq. 7),
    and the scores are computed anew; the forces stay as they are. Columns are prepared as in
    `cur`.

    Parameters
    ----------
    X : (n, p) array_like
        Unscaled features, one row per atom; atoms of one element.
    forces : (n, 3) or (n,) array_like, eV/Å
        Force vectors of the same atoms, or their magnitudes.
    k : int
        How many columns to choose.
    min_variance : float
        Columns whose variance is not above this are never chosen (Amp: 1e-3).
    scale : bool
        Whether to subtract the columns' medians and divide by their interquartile ranges. The
        division changes no score; subtracting the medians does, through eq. 7.
    at_most : bool
        Whether to choose fewer where no k columns vary enough and are linearly independent.

    Returns
    -------
    (k,) int array, indices of columns of X in order of selection. Of columns with equal scores
    the first is taken.

    Raises
    ------
    InputError
        If X is not a finite matrix, the forces do not fit it or are all of one size, k is below
        1, or k exceeds the number of columns that vary enough, or of those that are linearly
        independent, unless ``at_most``.
    """
    matrix = as_matrix(X)
    magnitudes = _magnitudes(forces, len(matrix))
    deviations = magnitudes - magnitudes.mean()
    size = np.linalg.norm(deviations)
    if size <= len(deviations) * np.finfo(float).eps * np.abs(magnitudes).max():
        raise InputError("forces all have the same magnitude, so nothing correlates with them")
    direction = deviations / size
    usable, matrix = prepare_columns(matrix, k, min_variance, scale, at_most)
    noise = rounding_noise(matrix)
    return usable[
        select_columns(matrix, k, lambda left: _correlation(left, direction, noise), at_most)
    ]


def _correlation(left: Array, direction: Array, noise: Array) -> Array:
    """Absolute Pearson correlation with ``direction``, which is centred and of norm 1."""
    norms = np.linalg.norm(left - left.mean(axis=0), axis=0)
    # What is left of a column may be constant: it correlates with nothing.
    varies = norms > noise
    return np.where(varies, np.abs(direction @ left) / np.where(varies, norms, 1.0), 0.0)


def _magnitudes(forces: npt.ArrayLike, n: int) -> Array:
    values = as_array(forces, "forces")
    if values.shape not in {(n,), (n, 3)}:
        raise InputError(
            f"forces must have shape ({n}, 3) or ({n},), one row per row of X, got {values.shape}"
        )
    vectors = as_matrix(values.reshape(n, -1), "forces")
    magnitudes: Array = np.linalg.norm(vectors, axis=1)
    return magnitudes
