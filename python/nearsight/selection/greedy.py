"""The greedy loop of all selections, and the checks of their arguments."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from nearsight.errors import InputError

__all__ = ["as_array", "as_matrix", "check_count", "first_highest", "greedy"]

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
State = TypeVar("State")

TIE = 1e-12
"""Scores this close to the highest, relative to it, are tied; the rounding of a sum is below it."""


def greedy(
    state: State,
    k: int,
    score: Callable[[State], Array],
    update: Callable[[State, int], State],
    start: int | None = None,
) -> Indices:
    """Take the item with the highest score, update the state, repeat.

    Parameters
    ----------
    state : any
        What the scores follow from.
    k : int
        How many items to take.
    score : callable
        State → scores of all items, (n,). An item of score −inf cannot be taken; a taken item
        must have it.
    update : callable
        State and the index of the item just taken → the next state.
    start : int, optional
        Taken first, whatever its score.

    Returns
    -------
    (k,) indices in order of selection, fewer when no item was left to take. Of tied items the one
    with the lowest index is taken.
    """
    chosen: list[int] = []
    while len(chosen) < k:
        if start is not None and not chosen:
            best = start
        else:
            scores = score(state)
            if np.isneginf(scores).all():
                break
            best = first_highest(scores)
        chosen.append(best)
        state = update(state, best)
    return np.array(chosen, dtype=np.intp)


def first_highest(scores: Array) -> int:
    """The lowest index whose score ties with the highest."""
    highest = scores.max()
    return int(np.argmax(scores >= highest - TIE * abs(highest)))


def as_array(values: npt.ArrayLike, name: str) -> Array:
    """``values`` as an array of numbers.

    Raises
    ------
    InputError
        If they are something else.
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be an array of numbers") from error


def as_matrix(values: npt.ArrayLike, name: str = "X") -> Array:
    """``values`` as an (n, d) array of finite numbers.

    Raises
    ------
    InputError
        If it is not two-dimensional, is empty, or holds something else than finite numbers.
    """
    matrix = as_array(values, name)
    if matrix.ndim != 2 or matrix.size == 0:
        raise InputError(
            f"{name} must be two-dimensional and not empty, got an array of shape {matrix.shape}"
        )
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        raise InputError(f"{name} must be finite, got {matrix[tuple(bad[0])]} in row {bad[0][0]}")
    return matrix


def check_count(count: int, maximum: int, of_what: str, name: str = "k") -> int:
    """``count`` as an int between 1 and ``maximum``.

    Raises
    ------
    InputError
        If it is not, naming ``of_what`` there are ``maximum``.
    """
    try:
        number = operator.index(count)
    except TypeError as error:
        raise InputError(f"{name} must be an integer, got {count!r}") from error
    if number < 1:
        raise InputError(f"{name} must be at least 1, got {number}")
    if number > maximum:
        raise InputError(f"{name} must be at most {maximum}, the number of {of_what}, got {number}")
    return number
