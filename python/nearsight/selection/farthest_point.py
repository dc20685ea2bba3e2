"""Farthest point sampling of images, and the vectors that represent them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearsight.errors import InputError
from nearsight.selection.greedy import (
    Array,
    Indices,
    as_array,
    as_matrix,
    check_count,
    first_highest,
    greedy,
)

__all__ = ["farthest_point_sampling", "image_descriptor"]


class _Coverage(NamedTuple):
    """Distance of every row from the chosen rows, (n,), and chosen rows per group, (groups,)."""

    distance: Array
    taken: Indices


def farthest_point_sampling(
    X: npt.ArrayLike,
    k: int,
    groups: npt.ArrayLike | None = None,
    start: int | None = None,
) -> Indices:
    """Choose k rows of X, each as far as possible from those already chosen (SI eq. 4).

    The first row is ``start``, by default the row closest to the mean of all rows. From then on
    the row is taken whose Euclidean distance to the nearest chosen row is largest.

    With groups the choice has two levels. The first level decides which group gives the next row:
    the groups take turns, in an order that is itself farthest point sampling of their values,
    starting from the group of the first row; a group that has no row left is passed over. The
    second level decides which of the group's rows: eq. 4, with the distances to all chosen rows
    of whatever group. So every group is represented once k reaches the number of groups, and no
    group has two rows more than another that still has rows to give. (By distance alone the
    strained small cells, far apart in feature space, would leave few places to the rattled large
    ones, which lie close together but are the ones with forces.)

    Parameters
    ----------
    X : (n, d) array_like
        One row per image, for example from `image_descriptor`. Distances are taken as they are:
        scale the columns first.
    k : int
        How many rows to choose.
    groups : (n,) array_like of numbers, optional
        First-level value of each row, for example the number of atoms. Rows of equal value form a
        group.
    start : int, optional
        The first row.

    Returns
    -------
    (k,) int array, indices of rows in order of selection. Of rows at equal distance the first is
    taken; other than that the order of the rows does not matter. Duplicates of chosen rows are
    taken only when their group has nothing else left.

    Raises
    ------
    InputError
        If X or groups are not finite arrays of fitting shapes, k is below 1 or exceeds the number
        of rows, or start is no row of X.
    """
    matrix = as_matrix(X)
    n = len(matrix)
    k = check_count(k, n, "rows of X")
    centred = matrix - matrix.mean(axis=0)
    if start is None:
        start = first_highest(-np.sqrt(np.einsum("ij,ij->i", centred, centred)))
    elif not isinstance(start, int | np.integer) or start not in range(n):
        raise InputError(f"start must be a row of X, 0 to {n - 1}, got {start!r}")
    group = _order_groups(groups, n, start)
    sizes = np.bincount(group)

    def score(coverage: _Coverage) -> Array:
        has_rows = coverage.taken < sizes
        turn = int(np.argmin(np.where(has_rows, coverage.taken, n)))
        return np.where(group == turn, coverage.distance, -np.inf)

    nearer = _Screen(centred)

    def update(coverage: _Coverage, index: int) -> _Coverage:
        distance = coverage.distance.copy()
        rows = nearer.than(distance, index)
        found = np.linalg.norm(matrix[rows] - matrix[index], axis=1)
        distance[rows] = np.minimum(distance[rows], found)
        distance[index] = -np.inf
        taken = coverage.taken.copy()
        taken[group[index]] += 1
        return _Coverage(distance, taken)

    nothing = _Coverage(np.full(n, np.inf), np.zeros(len(sizes), dtype=np.intp))
    return greedy(nothing, k, score, update, start)


class _Screen:
    """Finds the rows that may lie nearer to a given one than some distance, in single precision.

    Of n rows the k-th chosen one is the nearest for some n/k: only their distances are needed.

    Parameters
    ----------
    centred : (n, d) float64
        The rows less their mean.
    """

    def __init__(self, centred: Array) -> None:
        self._unit = float(np.abs(centred).max()) or 1.0
        # column by column: products with one row are then made for many rows at once
        self._columns = np.asarray((centred / self._unit).T, dtype=np.float32, order="C")
        self._squares = np.einsum("ji,ji->i", self._columns, self._columns)
        # of the sum of the d products and of rounding to single precision, each in units of both
        self._error = (centred.shape[1] + 8) * float(np.finfo(np.float32).eps)

    def than(self, distance: Array, index: int) -> Indices:
        """Rows that may be nearer to row ``index`` than their ``distance``, (n,)."""
        both = self._squares + self._squares[index]
        apart = both - 2.0 * (self._columns[:, index] @ self._columns)
        known = np.maximum(distance / self._unit, 0.0)
        return np.flatnonzero(apart <= known**2 + self._error * both)


def _order_groups(groups: npt.ArrayLike | None, n: int, start: int) -> Indices:
    """Group of every row, (n,), numbered in the order of the groups' turns."""
    if groups is None:
        return np.zeros(n, dtype=np.intp)
    labels = as_array(groups, "groups")
    if labels.shape != (n,):
        raise InputError(f"groups must have shape ({n},), one per row of X, got {labels.shape}")
    values, number = np.unique(as_matrix(labels[:, None], "groups")[:, 0], return_inverse=True)
    order = farthest_point_sampling(values[:, None], len(values), start=int(number[start]))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[number]


def image_descriptor(images: Sequence[Mapping[str, npt.ArrayLike]]) -> Array:
    """One vector per image that does not depend on the order of its atoms.

    For each element, in alphabetical order: the fraction of the image's atoms that are of it, the
    mean of every feature over them, and the (population) standard deviation of every feature.
    Where an image has no atom of an element, the fraction is 0 and the means and deviations are
    the averages over the images that have some: the difference then shows in the fraction alone,
    and does not hang on where the zero of a feature happens to lie.

    Parameters
    ----------
    images : sequence of {element: (n_atoms_of_it, n_features)}
        What `SymmetryFunctions.compute` returns for each image, scaled if the result is to be
        used for distances. An element that an image lacks may be left out or have no rows.

    Returns
    -------
    (n_images, d) float64 array, d = Σ over elements of 1 + 2 n_features.

    Raises
    ------
    InputError
        If there is no image, an image has no atoms, a feature is not finite, or the number of
        features of an element is not the same in all images.
    """
    if len(images) == 0:
        raise InputError("images must hold at least one image, got none")
    present = [_present_elements(image, number) for number, image in enumerate(images)]
    totals = np.array([sum(map(len, features.values())) for features in present])
    elements = sorted(set().union(*present))
    return np.hstack([_element_block(element, present, totals) for element in elements])


def _present_elements(image: Mapping[str, npt.ArrayLike], number: int) -> dict[str, Array]:
    """The features of the elements that the image has."""
    features = {}
    for element, values in image.items():
        name = f"features of {element} in image {number}"
        if as_array(values, name).size:
            features[element] = as_matrix(values, name)
    if not features:
        raise InputError(f"image {number} has no atoms")
    return features


def _element_block(element: str, images: Sequence[Mapping[str, Array]], totals: Indices) -> Array:
    """Fraction, means and standard deviations of one element, (n_images, 1 + 2 n_features)."""
    has = [number for number, image in enumerate(images) if element in image]
    widths = {images[number][element].shape[1] for number in has}
    if len(widths) > 1:
        raise InputError(
            f"all images must have the same number of features of {element}, "
            f"got {', '.join(map(str, sorted(widths)))}"
        )
    statistics = np.array(
        [np.hstack([(m := images[number][element]).mean(axis=0), m.std(axis=0)]) for number in has]
    )
    block = np.empty((len(images), 1 + statistics.shape[1]))
    block[:, 0] = [len(image.get(element, ())) for image in images] / totals
    block[:, 1:] = statistics.mean(axis=0)
    block[has, 1:] = statistics
    return block
