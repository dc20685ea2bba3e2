"""Part of a matrix that the chosen columns do not represent."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt
from scipy.linalg import orth

from nearsight.errors import InputError
from nearsight.selection.greedy import as_matrix

__all__ = ["relative_norm_deviation"]


def relative_norm_deviation(X: npt.ArrayLike, columns: Iterable[SupportsIndex]) -> float:
    """ε = ‖X − CUR‖_F / ‖X‖_F (SI eq. 8) for chosen columns C and all rows, R = X.

    Then CUR = C C⁺ X, the projection of X on the span of the chosen columns. It is computed from
    an orthonormal basis of that span: the pseudo-inverses of eq. 8 lose three digits for the
    nearly dependent columns that symmetry functions are.

    Parameters
    ----------
    X : (n, p) array_like
        The unscaled, uncentred matrix with all its columns: this is what the
        published figures refer to.
    columns : (k,) iterable of int
        Indices of columns of X.

    Returns
    -------
    float from 0 to 1; 0 if every column of X is a combination of the chosen ones.

    Raises
    ------
    InputError
        If X is not a finite matrix or is zero, or columns are no indices of its columns.
    """
    matrix = as_matrix(X)
    try:
        indices = [operator.index(column) for column in columns]
    except TypeError as error:
        raise InputError("columns must be a list of integers") from error
    outside = [index for index in indices if not 0 <= index < matrix.shape[1]]
    if outside:
        raise InputError(
            f"columns must be from 0 to {matrix.shape[1] - 1}, the last of X, got {outside[0]}"
        )
    if not indices:
        raise InputError("columns must name at least one column of X, got none")
    norm = np.linalg.norm(matrix)
    if norm == 0.0:
        raise InputError("X is zero, so no deviation relative to it exists")
    basis = orth(matrix[:, indices])
    return float(np.linalg.norm(matrix - basis @ (basis.T @ matrix)) / norm)
