"""Selection: properties that must hold, naive implementations to compare with, and messages."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import Array
from nearsight.errors import InputError
from nearsight.model.symmetry_functions import G2, G4, G5, SymmetryFunctions
from nearsight.selection import (
    cur,
    farthest_point_sampling,
    force_correlation,
    image_descriptor,
    relative_norm_deviation,
)
from nearsight.selection.cost import cost_of, marginal_costs

SEEDS = st.integers(min_value=0, max_value=2**32 - 1)
quick = settings(max_examples=30, deadline=None, derandomize=True)

CELLS = np.repeat([2, 4, 16, 32], [9, 4, 10, 10])
"""Atoms of the 33 initial cells of the paper."""


def points(seed: int, rows: int = 25, columns: int = 4) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, columns))


def correlated_columns(seed: int, rows: int = 40, columns: int = 12) -> Array:
    """Columns on different scales that resemble each other, as symmetry functions do."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((rows, 3)) @ rng.standard_normal((3, columns))
    own = rng.standard_normal((rows, columns))
    return (common + 0.3 * own) * rng.uniform(0.2, 20.0, columns) + rng.uniform(-5, 5, columns)


# --- farthest point sampling -------------------------------------------------------------------


def test_farthest_points_on_a_line() -> None:
    # mean 4.2: row 2 is closest; farthest from it is 10, then 0 (4 away), then 7.5, then 0.5
    X = [[0.0], [7.5], [4.0], [10.0], [-0.5]]
    assert farthest_point_sampling(X, 5).tolist() == [2, 3, 4, 1, 0]
    assert farthest_point_sampling(X, 3, start=0).tolist() == [0, 3, 2]


def test_ties_go_to_the_lowest_index() -> None:
    assert farthest_point_sampling([[0.0], [5.0], [10.0]], 3).tolist() == [1, 0, 2]
    # 0.1 + 0.2 and 0.3 differ in the last bit only, which must not decide
    assert farthest_point_sampling([[0.0], [0.3], [-(0.1 + 0.2)]], 2, start=0).tolist() == [0, 1]


def naive_farthest_points(X: Array, k: int, groups: Any, start: int) -> list[int]:
    """Eq. 4 in loops; the groups take turns."""
    turns = [groups[start]]
    while len(turns) < len(set(groups)):
        left = sorted(set(groups) - set(turns))
        turns.append(max(left, key=lambda g: min(abs(g - t) for t in turns)))
    chosen = [start]
    count = {g: int(g == groups[start]) for g in turns}
    while len(chosen) < k:
        open_groups = [g for g in turns if count[g] < list(groups).count(g)]
        group = min(open_groups, key=lambda g: count[g])
        left = [i for i in range(len(X)) if groups[i] == group and i not in chosen]
        best = max(left, key=lambda i: min(np.linalg.norm(X[i] - X[j]) for j in chosen))
        chosen.append(best)
        count[group] += 1
    return chosen


@quick
@given(SEEDS, st.integers(1, 25), st.integers(1, 5))
def test_farthest_points_agree_with_loops(seed: int, k: int, n_groups: int) -> None:
    X = points(seed)
    groups = np.random.default_rng(seed).integers(n_groups, size=len(X)) ** 2
    start = int(np.argmin(np.linalg.norm(X - X.mean(axis=0), axis=1)))
    expected = naive_farthest_points(X, k, groups.tolist(), start)
    assert farthest_point_sampling(X, k, groups).tolist() == expected
    everything = naive_farthest_points(X, k, [0] * len(X), start)
    assert farthest_point_sampling(X, k).tolist() == everything


@pytest.mark.parametrize("spread", [1e-9, 1e-4, 1.0])
def test_farthest_points_that_single_precision_cannot_tell_apart(spread: float) -> None:
    """Two heaps of points, each of which is one point in single precision, in 20 dimensions."""
    rng = np.random.default_rng(7)
    X = spread * rng.normal(size=(60, 20)) + np.repeat(rng.normal(size=(2, 20)), 30, axis=0)
    expected = naive_farthest_points(X, 60, [0] * 60, 3)
    assert farthest_point_sampling(X, 60, start=3).tolist() == expected


@quick
@given(SEEDS, st.integers(1, 32), st.booleans())
def test_a_shorter_choice_of_points_begins_the_longer(seed: int, k: int, grouped: bool) -> None:
    X = points(seed, rows=33)
    groups = CELLS if grouped else None
    longest = farthest_point_sampling(X, 33, groups)
    assert sorted(longest) == list(range(33))
    assert farthest_point_sampling(X, k, groups).tolist() == longest[:k].tolist()


@quick
@given(SEEDS, st.booleans())
def test_permuted_rows_permute_the_choice_of_points(seed: int, grouped: bool) -> None:
    X = points(seed, rows=33)
    order = np.random.default_rng(seed + 1).permutation(33)
    groups = CELLS if grouped else None
    permuted = farthest_point_sampling(X[order], 20, CELLS[order] if grouped else None)
    assert order[permuted].tolist() == farthest_point_sampling(X, 20, groups).tolist()


@quick
@given(SEEDS)
def test_duplicates_come_after_all_distinct_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    distinct = points(seed, rows=8)
    source = rng.permutation(np.concatenate([np.arange(8), rng.integers(8, size=12)]))
    chosen = farthest_point_sampling(distinct[source], 20)
    assert sorted(source[chosen[:8]]) == list(range(8))
    assert sorted(chosen) == list(range(20))


@quick
@given(SEEDS, st.integers(4, 33))
def test_groups_share_evenly(seed: int, k: int) -> None:
    chosen = farthest_point_sampling(points(seed, rows=33), k, CELLS)
    taken = {n: int((CELLS[chosen] == n).sum()) for n in (2, 4, 16, 32)}
    assert min(taken.values()) >= 1
    unfinished = [taken[n] for n in taken if taken[n] < CELLS.tolist().count(n)]
    if unfinished:
        assert max(taken.values()) - min(unfinished) <= 1


# --- descriptors of images ---------------------------------------------------------------------


def test_image_descriptor_of_two_elements() -> None:
    first = {"Pt": [[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]], "Au": [[7.0]]}
    second = {"Pt": [[2.0, 20.0]]}
    third = {"Pt": np.empty((0, 2)), "Au": [[1.0], [3.0]]}
    # Au first: fraction, mean, deviation; where it is missing, the averages of the others
    au = [[0.25, 7.0, 0.0], [0.0, 4.5, 0.5], [1.0, 2.0, 1.0]]
    deviations = [np.sqrt(8.0 / 3.0), np.sqrt(200.0)]
    pt = [
        [0.75, 3.0, 20.0, *deviations],
        [1.0, 2.0, 20.0, 0.0, 0.0],
        [0.0, 2.5, 20.0, *np.divide(deviations, 2.0)],
    ]
    descriptor = image_descriptor([first, second, third])
    np.testing.assert_allclose(descriptor, np.hstack([au, pt]), rtol=1e-14)


@quick
@given(SEEDS)
def test_image_descriptor_ignores_the_order_of_atoms(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [{"Pt": points(seed, rows=7), "Au": points(seed + 1, rows=3)}]
    images.append({"Pt": points(seed + 2, rows=5)})
    shuffled = [{e: rng.permutation(G) for e, G in image.items()} for image in images]
    np.testing.assert_allclose(
        image_descriptor(shuffled), image_descriptor(images), rtol=1e-13, atol=1e-15
    )


# --- CUR ---------------------------------------------------------------------------------------


def scaled(X: Array) -> Array:
    return (X - np.median(X, axis=0)) / scipy.stats.iqr(X, axis=0)


def without(X: Array, column: int) -> Array:
    """Eq. 7, column by column; the column itself becomes zero."""
    taken = X[:, column]
    rest = [x - taken * (taken @ x) / (taken @ taken) for x in X.T]
    rest[column] = np.zeros(len(X))
    return np.transpose(rest)


def naive_selection(X: Array, k: int, score: Callable[[Array, int], float]) -> list[int]:
    chosen = []
    for _ in range(k):
        scores = [-1.0 if j in chosen else score(X, j) for j in range(X.shape[1])]
        chosen.append(int(np.argmax(scores)))
        X = without(X, chosen[-1])
    return chosen


def importance(X: Array, column: int, n_vectors: int = 3) -> float:
    """Eq. 6 from the eigenvectors of XᵀX."""
    vectors = np.linalg.eigh(X.T @ X)[1][:, ::-1]
    return np.mean(vectors[column, :n_vectors] ** 2)


def correlation(forces: Array) -> Callable[[Array, int], float]:
    def score(X: Array, column: int) -> float:
        x = X[:, column]
        return abs(np.corrcoef(x, forces)[0, 1]) if x.any() else 0.0

    return score


def of_kind(kind: type[G4] | type[G5]) -> Callable[..., list[G4 | G5]]:
    def made(*eta: float, zeta: tuple[int, ...], r_s: tuple[float, ...] = (0.0,)) -> list[G4 | G5]:
        grid = itertools.product(eta, zeta, (1.0, -1.0), r_s)
        return [kind(("Pt", "Pt"), *f) for f in grid]

    return made


G4S, G5S = of_kind(G4), of_kind(G5)
SHELLS = (2.4, 2.7, 3.0, 3.3)


def test_cur_takes_orthogonal_columns_by_their_norms() -> None:
    X = np.diag([3.0, 1.0, 4.0, 2.0])
    chosen = cur(X, 4, n_vectors=1, min_variance=0.0, scale=False)
    assert chosen.tolist() == [2, 0, 3, 1]


def test_cur_divides_importance_by_cost() -> None:
    """Of orthogonal columns the leading one has importance 1, the next then, and so on."""
    X = np.diag([3.0, 1.0, 4.0, 2.0])
    seen: list[list[int]] = []

    def costs(chosen: Sequence[int]) -> Array:
        seen.append(list(chosen))
        return np.array([1.0, 1.0, 100.0 if 0 not in chosen else 0.1, 1.0])

    chosen = cur(X, 4, n_vectors=2, min_variance=0.0, scale=False, costs=costs)
    # two vectors count: columns 2 and 0 are as important, then 2 and 3, then 3 and 1
    assert chosen.tolist() == [0, 2, 1, 3]
    assert seen == [[], [0], [0, 2], [0, 2, 1]]


def test_equal_costs_change_nothing() -> None:
    X = correlated_columns(0)
    assert cur(X, 8, costs=lambda _: np.full(X.shape[1], 7.0)).tolist() == cur(X, 8).tolist()


MEASURED = {
    "11 G2": (1.49, [G2("Pt", 1.0, 0.1 * i) for i in range(11)]),
    "2 G5, ζ 1": (0.43, G5S(0.005, zeta=(1,))),
    "2 G5, ζ 4": (0.93, G5S(0.005, zeta=(4,))),
    "6 G5": (1.61, G5S(0.005, zeta=(1, 2, 4))),
    "12 G5": (3.36, G5S(0.005, 1.0, zeta=(1, 2, 4))),
    "2 G5 without moments": (7.98, G5S(0.005, zeta=(16,))),
    "2 G4": (6.38, G4S(0.005, zeta=(1,))),
    "4 G4": (8.01, G4S(0.005, zeta=(1, 4))),
    "8 G4": (11.83, G4S(0.005, 1.0, zeta=(1, 4))),
    "12 G4": (17.45, G4S(0.005, 0.1, 1.0, zeta=(1, 4))),
    "6 G5 of a shell": (1.9, G5S(100.0, zeta=(1, 2, 4), r_s=(2.4,))),
    "8 G5 of four shells": (1.9, G5S(100.0, zeta=(1,), r_s=SHELLS)),
    "24 G5 of four shells": (6.6, G5S(100.0, zeta=(1, 2, 4), r_s=SHELLS)),
    "2 G5 of a shell without moments": (8.7, G5S(100.0, zeta=(16,), r_s=(2.4,))),
    "2 G4 of a shell": (10.3, G4S(100.0, zeta=(1,), r_s=(2.4,))),
    "4 G4 of two shells": (14.5, G4S(100.0, zeta=(1,), r_s=SHELLS[:2])),
    "16 G4 of four shells": (27.9, G4S(100.0, zeta=(1, 4), r_s=SHELLS)),
    "4 G4, 8 of four shells": (
        25.3,
        [*G4S(0.005, 1.0, zeta=(1,)), *G4S(100.0, zeta=(1,), r_s=SHELLS)],
    ),
}
"""µs per atom that they add to a force call with 11 G2, Pt1415, 6.5 Å, ten members."""


@pytest.mark.parametrize("case", MEASURED)
def test_costs_are_those_measured(case: str) -> None:
    measured, given = MEASURED[case]
    functions = SymmetryFunctions({"Pt": given}, 6.5)
    assert cost_of(functions, given) == pytest.approx(measured, rel=0.2)


def test_costs_grow_with_the_neighbours_and_their_pairs() -> None:
    radial, pairs, moments = [G2("Pt", 1.0)], G4S(0.005, zeta=(1,)), G5S(0.005, zeta=(1,))
    given = [*radial, *pairs, *moments]
    plain = SymmetryFunctions({"Pt": given}, 6.0)
    for powers, cutoffs in ((3, 6, 3), (3.0, 3.0)), ((0, 6, 3), (6.0, 3.0)):
        small = SymmetryFunctions({"Pt": given}, *cutoffs)
        for power, part in zip(powers, (radial, pairs, moments), strict=True):
            assert cost_of(plain, part) / cost_of(small, part) == pytest.approx(2.0**power)


def test_marginal_costs_add_up() -> None:
    given = [G2("Au", 1.0), *G4S(0.005, 1.0, zeta=(1, 4)), *G5S(0.005, zeta=(1, 2))]
    functions = SymmetryFunctions({"Pt": given, "Au": [G2("Au", 1.0)]}, 6.0, 5.0)
    total = 0.0
    for n in range(len(given)):
        total += marginal_costs(functions, "Pt", range(n))[n]
        assert total == pytest.approx(cost_of(functions, given[: n + 1]))
    assert (marginal_costs(functions, "Pt", []) > 0).all()


@quick
@given(SEEDS, st.integers(1, 4))
def test_cur_agrees_with_loops(seed: int, n_vectors: int) -> None:
    X = correlated_columns(seed)
    score = lambda X, column: importance(X, column, n_vectors)  # noqa: E731
    assert cur(X, 8, n_vectors).tolist() == naive_selection(scaled(X), 8, score)
    assert cur(X, 8, n_vectors, scale=False).tolist() == naive_selection(X, 8, score)


@quick
@given(SEEDS)
def test_cur_chooses_rows_of_the_transpose(seed: int) -> None:
    X = points(seed, rows=30, columns=8)
    expected = naive_selection(X.T, 5, importance)
    assert cur(X.T, 5, min_variance=0.0, scale=False).tolist() == expected


@quick
@given(SEEDS)
def test_force_correlation_agrees_with_loops(seed: int) -> None:
    X = correlated_columns(seed)
    vectors = np.random.default_rng(seed).standard_normal((len(X), 3))
    magnitudes = np.sqrt((vectors**2).sum(axis=1))
    expected = naive_selection(scaled(X), 8, correlation(magnitudes))
    assert force_correlation(X, vectors, 8).tolist() == expected
    assert force_correlation(X, magnitudes, 8).tolist() == expected
    expected = naive_selection(X, 8, correlation(magnitudes))
    assert force_correlation(X, vectors, 8, scale=False).tolist() == expected


@quick
@given(SEEDS, st.integers(0, 11))
def test_a_column_equal_to_the_forces_is_taken_first(seed: int, column: int) -> None:
    X = correlated_columns(seed)
    forces = np.random.default_rng(seed).uniform(0.1, 2.0, len(X))
    X[:, column] = 2.0 - 3.0 * forces  # correlation −1
    assert force_correlation(X, forces, 1).tolist() == [column]


def by_cur(X: Array, k: int) -> Any:
    return cur(X, k)


def by_forces(X: Array, k: int) -> Any:
    """Force correlation with forces that belong to the rows: permuted rows carry theirs along."""
    return force_correlation(X, np.abs(X).sum(axis=1), k)


@pytest.fixture(params=[by_cur, by_forces])
def select(request: pytest.FixtureRequest) -> Callable[[Array, int], Any]:
    return request.param


@pytest.mark.parametrize("seed", range(10))
def test_a_shorter_choice_of_columns_begins_the_longer(
    select: Callable[[Array, int], Any], seed: int
) -> None:
    X = correlated_columns(seed)
    longest = select(X, 12)
    assert sorted(longest) == list(range(12))
    for k in range(1, 12):
        assert select(X, k).tolist() == longest[:k].tolist()


@pytest.mark.parametrize("seed", range(10))
def test_order_of_rows_and_columns_does_not_matter(
    select: Callable[[Array, int], Any], seed: int
) -> None:
    X = correlated_columns(seed)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(40), rng.permutation(12)
    assert select(X[rows], 9).tolist() == select(X, 9).tolist()
    assert columns[select(X[:, columns], 9)].tolist() == select(X, 9).tolist()


@pytest.mark.parametrize("seed", range(10))
def test_units_of_a_column_do_not_matter(seed: int) -> None:
    X = correlated_columns(seed)
    rng = np.random.default_rng(seed)
    other = X * rng.choice([-2.0, 0.5, 8.0], 12) + rng.uniform(-3, 3, 12)
    assert cur(other, 8).tolist() == cur(X, 8).tolist()
    forces = np.abs(points(seed, rows=40, columns=1)[:, 0])
    chosen = force_correlation(X, forces, 8)
    assert force_correlation(other, forces, 8).tolist() == chosen.tolist()


def test_flat_columns_are_never_chosen(select: Callable[[Array, int], Any]) -> None:
    X = correlated_columns(0)
    X[:, 3] = 0.1  # constant: its computed variance is rounding noise
    X[:, 7] = 1.0 + 0.01 * np.sign(X[:, 7])  # variance 1e-4
    chosen = select(X, 10)
    assert sorted(chosen) == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    with pytest.raises(InputError, match="at most 10, the number of columns of X that vary by"):
        select(X, 11)
    assert 3 not in cur(X, 11, min_variance=0.0)
    with pytest.raises(InputError, match="at most 11, the number of columns of X that vary by"):
        cur(X, 12, min_variance=0.0)


def test_a_column_of_zero_interquartile_range_is_usable(
    select: Callable[[Array, int], Any],
) -> None:
    X = correlated_columns(0)
    X[:, 5] = 0.0
    X[:4, 5] = [1.0, 3.0, -2.0, 5.0]
    assert sorted(select(X, 12)) == list(range(12))


def test_dependent_columns_are_never_chosen(select: Callable[[Array, int], Any]) -> None:
    X = correlated_columns(0, columns=4)
    X = np.hstack([X, 2.0 * X[:, ::-1] + 3.0])
    chosen = select(X, 4)
    assert sorted(np.minimum(chosen, 7 - chosen)) == [0, 1, 2, 3]  # one of each pair
    with pytest.raises(InputError, match="at most 4, the number of linearly independent columns"):
        select(X, 5)


@pytest.mark.parametrize(
    "select",
    [
        lambda X, k: cur(X, k, at_most=True),
        lambda X, k: force_correlation(X, np.arange(len(X)), k, at_most=True),
    ],
)
def test_fewer_columns_where_no_more_are_independent(
    select: Callable[[Array, int], Any],
) -> None:
    X = correlated_columns(0, columns=4)
    constant = np.ones((len(X), 1))
    X = np.hstack([X, 2.0 * X[:, ::-1] + 3.0, constant])
    assert select(X, 9).tolist() == select(X, 4).tolist()
    with pytest.raises(InputError, match="at most 0, the number of columns of X that vary"):
        select(np.tile(constant, 4), 1)


@pytest.mark.parametrize("seed", range(10))
def test_a_column_of_which_a_constant_is_left_correlates_with_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    half = rng.standard_normal(10)
    balanced = np.concatenate([half, -half])  # orthogonal to constants
    other = rng.standard_normal(20)
    forces = balanced + 0.1 * rng.standard_normal(20) + 10.0
    X = np.column_stack([balanced, balanced + 5.0, other])
    assert force_correlation(X, forces, 2, scale=False).tolist() == [0, 2]


def test_arbitrary_singular_vectors_do_not_count() -> None:
    """Columns of a matrix of rank 1: the singular vectors after the first could be any."""
    X = np.outer(points(0)[:, 0], [1.0, 2.0, 3.0])
    assert cur(X, 1, n_vectors=3, min_variance=0.0, scale=False).tolist() == [2]


def test_as_many_columns_as_are_independent() -> None:
    X = points(0, rows=3, columns=10)
    with pytest.raises(InputError, match="at most 3, the number of linearly independent columns"):
        cur(X, 4, scale=False)


# --- relative norm deviation -------------------------------------------------------------------


def test_deviation_of_orthogonal_columns() -> None:
    assert relative_norm_deviation(np.diag([3.0, 4.0]), [0]) == pytest.approx(0.8, rel=1e-15)


@quick
@given(SEEDS, st.integers(1, 12))
def test_deviation_is_eq_8(seed: int, k: int) -> None:
    X = correlated_columns(seed)
    columns = np.random.default_rng(seed).permutation(12)[:k]
    C, R = X[:, columns], X
    U = np.linalg.pinv(C) @ X @ np.linalg.pinv(R)
    expected = np.linalg.norm(X - C @ U @ R) / np.linalg.norm(X)
    assert relative_norm_deviation(X, columns) == pytest.approx(expected, rel=1e-9, abs=1e-13)


@quick
@given(SEEDS)
def test_deviation_falls_to_zero(seed: int) -> None:
    X = correlated_columns(seed)
    chosen = cur(X, 12)
    deviations = [relative_norm_deviation(X, chosen[:k]) for k in range(1, 13)]
    assert (np.diff(deviations) < 0.0).all()
    assert deviations[-2] > 1e-6
    assert deviations[-1] < 1e-14


def test_deviation_ignores_dependent_and_repeated_columns() -> None:
    X = correlated_columns(0)
    X[:, 1] = -3.0 * X[:, 0]
    X[:, 2] = X[:, 0] + X[:, 3]
    expected = relative_norm_deviation(X, [0, 3])
    assert relative_norm_deviation(X, [0, 1, 2, 3, 3]) == pytest.approx(expected, rel=1e-12)


# --- messages ----------------------------------------------------------------------------------

X = correlated_columns(0)
HOLED = np.where(np.arange(12) == 2, np.nan, X)
FORCES = np.linspace(0.0, 1.0, 40)
PT = np.ones((3, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: farthest_point_sampling([1.0, 2.0], 1), r"two-dimensional .* shape \(2,\)"),
        (lambda: farthest_point_sampling(np.empty((0, 3)), 1), r"not empty, .* shape \(0, 3\)"),
        (lambda: farthest_point_sampling([["a"]], 1), "X must be an array of numbers"),
        (lambda: farthest_point_sampling(HOLED, 1), "X must be finite, got nan in row 0"),
        (lambda: farthest_point_sampling(X, 0), "k must be at least 1, got 0"),
        (lambda: farthest_point_sampling(X, 2.0), "k must be an integer, got 2.0"),
        (lambda: farthest_point_sampling(X, 41), "at most 40, the number of rows of X, got 41"),
        (lambda: farthest_point_sampling(X, 2, start=40), "start must be .* 0 to 39, got 40"),
        (lambda: farthest_point_sampling(X, 2, start=1.0), "start must be .* 0 to 39, got 1.0"),
        (lambda: farthest_point_sampling(X, 2, [1, 2]), r"groups must have shape \(40,\), .*2"),
        (lambda: farthest_point_sampling(X, 2, [np.inf] * 40), "groups must be finite, got inf"),
        (lambda: farthest_point_sampling(X, 2, ["a"] * 40), "groups must be an array of numbers"),
        (lambda: cur(HOLED, 1), "X must be finite, got nan in row 0"),
        (lambda: cur(X, 0), "k must be at least 1, got 0"),
        (lambda: cur(X, 13), "k must be at most 12, the number of columns of X, got 13"),
        (lambda: cur(X, 3, 0), "n_vectors must be at least 1, got 0"),
        (lambda: cur(X, 3, min_variance=-1.0), "min_variance must not be negative, got -1.0"),
        (lambda: cur(X, 3, min_variance=np.nan), "min_variance must not be negative, got nan"),
        (lambda: cur(1e-3 * X, 3), "at most [0-9]+, the number of columns of X that vary by more"),
        (lambda: force_correlation(X, FORCES[1:], 1), r"forces must have .* \(40,\), .*\(39,\)"),
        (lambda: force_correlation(X, FORCES - np.inf, 1), "forces must be finite, got -inf"),
        (lambda: force_correlation(X, np.full(40, 0.1), 1), "forces all have the same magnitude"),
        (lambda: force_correlation(X[0], FORCES, 1), "X must be two-dimensional"),
        (lambda: force_correlation(X, FORCES, 13), "k must be at most 12"),
        (lambda: relative_norm_deviation(X, [12]), "from 0 to 11, the last of X, got 12"),
        (lambda: relative_norm_deviation(X, [-1]), "from 0 to 11, the last of X, got -1"),
        (lambda: relative_norm_deviation(X, [0.5]), "columns must be a list of integers"),
        (lambda: relative_norm_deviation(X, []), "columns must name at least one column"),
        (lambda: relative_norm_deviation(0.0 * X, [0]), "X is zero"),
        (lambda: image_descriptor([]), "images must hold at least one image, got none"),
        (lambda: image_descriptor([{"Pt": PT}, {"Pt": []}]), "image 1 has no atoms"),
        (lambda: image_descriptor([{"Pt": PT[0]}]), "features of Pt in image 0 must be two-dim"),
        (lambda: image_descriptor([{"Pt": PT * np.nan}]), "features of Pt in image 0 must be fin"),
        (lambda: image_descriptor([{"Pt": PT}, {"Pt": PT[:, :1]}]), "features of Pt, got 1, 2"),
    ],
)
def test_bad_input_is_named(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_input_is_not_changed() -> None:
    before = X.copy()
    farthest_point_sampling(X, 5, FORCES)
    chosen = cur(X, 5, scale=False)
    force_correlation(X, FORCES, 5, scale=False)
    relative_norm_deviation(X, chosen)
    assert np.array_equal(X, before)
