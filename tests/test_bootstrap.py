"""Multiplicities: their statistics and their determinism."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nearsight.training.bootstrap import draw_again, draw_initial, draw_later, leave_out

MEMBERS, IMAGES = 2000, 20


def test_initial_samples_have_as_many_slots_as_there_are_images() -> None:
    counts = draw_initial(7, 33, seed=0)
    assert counts.shape == (7, 33)
    assert counts.dtype == np.int64
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) == 33).all()


def test_initial_samples_are_bootstraps() -> None:
    """Multinomial: mean 1, variance 1 − 1/n, P(0) = (1 − 1/n)^n; bands of five standard errors."""
    counts = draw_initial(MEMBERS, IMAGES, seed=1)
    draws = MEMBERS * IMAGES
    assert counts.mean() == 1.0
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=5.0 / np.sqrt(MEMBERS))
    # variance of the sample variance of a Poisson-like count is about 3/draws
    assert counts.var() == pytest.approx(1.0 - 1.0 / IMAGES, abs=5.0 * np.sqrt(3.0 / draws))
    missing = (1.0 - 1.0 / IMAGES) ** IMAGES
    error = np.sqrt(missing * (1.0 - missing) / draws)
    assert (counts == 0).mean() == pytest.approx(missing, abs=5.0 * error)


@pytest.mark.parametrize("draw", [draw_later, draw_again])
def test_later_images_are_drawn_from_poisson_1(draw: Callable[..., Any]) -> None:
    counts = draw(MEMBERS, IMAGES, seed=1, iteration=3)
    assert counts.shape == (MEMBERS, IMAGES)
    assert counts.dtype == np.int64
    draws = MEMBERS * IMAGES
    for k, probability in enumerate(np.exp(-1.0) / np.array([1, 1, 2, 6, 24])):
        error = np.sqrt(probability * (1.0 - probability) / draws)
        assert (counts == k).mean() == pytest.approx(probability, abs=5.0 * error)
    # neither the images nor the members of a draw know of each other
    np.testing.assert_allclose(np.corrcoef(counts.T), np.eye(IMAGES), atol=5.0 / np.sqrt(MEMBERS))
    assert len(np.unique(counts, axis=0)) == MEMBERS


def test_no_new_image() -> None:
    assert draw_later(3, 0, seed=0, iteration=1).shape == (3, 0)
    assert draw_again(3, 0, seed=0, iteration=1).shape == (3, 0)


def test_same_seed_same_draws() -> None:
    np.testing.assert_array_equal(draw_initial(4, 9, 5), draw_initial(4, 9, 5))
    np.testing.assert_array_equal(draw_later(4, 9, 5, 2), draw_later(4, 9, 5, 2))
    np.testing.assert_array_equal(draw_again(4, 9, 5, 2), draw_again(4, 9, 5, 2))


def test_members_do_not_depend_on_how_many_there_are() -> None:
    np.testing.assert_array_equal(draw_initial(10, 9, 5)[:4], draw_initial(4, 9, 5))
    np.testing.assert_array_equal(draw_later(10, 9, 5, 2)[:4], draw_later(4, 9, 5, 2))


def test_every_draw_has_its_own_stream() -> None:
    draws = [draw_later(5, 40, seed, iteration) for seed in (0, 1) for iteration in (1, 2, 3)]
    draws += [draw_again(5, 40, seed, iteration) for seed in (0, 1) for iteration in (1, 2, 3)]
    draws += [draw_initial(5, 40, seed) for seed in (0, 1)]
    assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_every_chunk_is_left_out_of_one_sample() -> None:
    """In turn; what is no chunk stays as drawn."""
    drawn = draw_initial(3, 9, seed=4)
    chunk = np.array([False, False, True, True, True, False, True, True, True])
    counts = leave_out(drawn, chunk)
    np.testing.assert_array_equal(counts[:, ~chunk], drawn[:, ~chunk])
    np.testing.assert_array_equal(counts[:, chunk], 1 - np.tile(np.eye(3, dtype=int), 2))


def test_no_member_is_left_without_chunks() -> None:
    drawn = draw_initial(3, 5, seed=4)
    few = np.array([False, False, False, True, True])
    np.testing.assert_array_equal(leave_out(drawn, few), drawn)
