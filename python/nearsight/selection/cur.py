"""CUR: the columns closest to the leading right singular vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from nearsight.selection.columns import MIN_VARIANCE, prepare_columns, select_columns
from nearsight.selection.greedy import Array, Indices, as_matrix, check_count

__all__ = ["cur"]


def cur(
    X: npt.ArrayLike,
    k: int,
    n_vectors: int = 3,
    *,
    min_variance: float = MIN_VARIANCE,
    scale: bool = True,
    at_most: bool = False,
    costs: Callable[[Sequence[int]], Array] | None = None,
) -> Indices:
    """Choose k columns of X by their importance scores (SI eqs. 5 to 7).

    The importance of a column is its mean squared weight in the leading right singular vectors
    (eq. 6). The column of highest importance is taken, the others are made orthogonal to it
    (eq. 7), and the scores are computed anew. Columns are prepared as in Amp: those of little
    variance are left out, the others have their median subtracted and are divided by their
    interquartile range. To choose rows, pass the transpose.

    Parameters
    ----------
    X : (n, p) array_like
        For example unscaled features, one row per atom of one element.
    k : int
        How many columns to choose.
    n_vectors : int
        How many singular vectors count (Amp: 3).
    min_variance : float
        Columns whose variance is not above this are never chosen (Amp: 1e-3).
    scale : bool
        Whether to scale the columns; if False they are taken as they are, not even centred.
    at_most : bool
        Whether to choose fewer where no k columns vary enough and are linearly independent.
    costs : callable, optional
        Columns taken → what each column would cost after them, (p,), all positive: importance is
        divided by it.

    Returns
    -------
    (k,) int array, indices of columns of X in order of selection. Of columns with equal scores
    the first is taken.

    Raises
    ------
    InputError
        If X is not a finite matrix, n_vectors or k is below 1, or k exceeds the number of columns
        that vary enough, or of those that are linearly independent, unless ``at_most``.
    """
    matrix = as_matrix(X)
    n_vectors = check_count(n_vectors, matrix.shape[1], "columns of X", "n_vectors")
    usable, matrix = prepare_columns(matrix, k, min_variance, scale, at_most)
    # The triangle of X = QR has the same right singular vectors and column products as X.
    triangle = np.linalg.qr(matrix).R

    def costs_of_usable(chosen: Sequence[int]) -> Array:
        assert costs is not None
        of_all: Array = costs([int(usable[i]) for i in chosen])
        return of_all[usable]

    return usable[
        select_columns(
            triangle,
            k,
            lambda left: _importance(left, n_vectors),
            at_most,
            None if costs is None else costs_of_usable,
        )
    ]


def _importance(left: Array, n_vectors: int) -> Array:
    """Eq. 6; vectors of zero singular value are arbitrary and do not count."""
    _, values, vectors = np.linalg.svd(left, full_matrices=False)
    noise = max(left.shape) * np.finfo(float).eps * values[0]
    leading = vectors[:n_vectors][values[:n_vectors] > noise]
    importance: Array = np.square(leading).sum(axis=0) / n_vectors
    return importance
