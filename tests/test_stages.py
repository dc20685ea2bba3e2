"""The choices before training, against selections in loops on features of the NumPy oracle."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from helpers import Array, copper, oracle
from nearsight.config import FeatureSettings
from nearsight.errors import InputError
from nearsight.model.symmetry_functions import G2, G4, G5, Cutoff
from nearsight.selection.choose import choose_features, choose_images, elements_of
from nearsight.selection.cost import cost_of
from nearsight.structures.images import Image, read_images

REFERENCE_CELLS = Path(__file__).parent / "validation" / "data" / "amp_initial33_emt.xyz"


@pytest.fixture(scope="module")
def platinum() -> list[Image]:
    """The paper's 33 cells: 4 of four atoms, 9 of two, 10 of 32, 10 of 16 (made by Amp)."""
    return read_images(REFERENCE_CELLS)


@pytest.fixture(scope="module")
def alloy() -> list[Image]:
    """Ten ordered cells of copper and gold, and one of gold alone."""
    images = []
    for seed in range(10):
        atoms = bulk("Cu", a=3.8 + 0.02 * seed, cubic=True)
        atoms.symbols[: 1 + seed % 3] = "Au"
        atoms.rattle(0.05, seed=seed)
        images.append(copper.labelled(atoms))
    return [*images, copper.labelled(bulk("Au", cubic=True))]


# -- images


def by_oracle(images: list[Image], cutoff: float = 6.5) -> list[Array]:
    """The 78 features of every atom, scaled to [−1, 1] over the images."""
    grid: list[oracle.Function] = [
        oracle.Radial("Cu", eta, r_s) for eta in np.logspace(-3, 2, 20) for r_s in (0.0, 2.0, 4.0)
    ]
    grid += [
        oracle.Angular(("Cu", "Cu"), eta, zeta, gamma)
        for eta in (0.005, 0.1, 1.0)
        for zeta in (1.0, 4.0, 16.0)
        for gamma in (1.0, -1.0)
    ]
    assert len(grid) == 78
    found = [np.array(oracle.features(i.atoms, {"Cu": grid}, cutoff)) for i in images]
    low = np.min([f.min(axis=0) for f in found], axis=0)
    high = np.max([f.max(axis=0) for f in found], axis=0)
    return [2 * (f - low) / (high - low) - 1 for f in found]


def test_farthest_points_by_size_then_features() -> None:
    """Eq. 4 in loops, the sizes taking turns."""
    images = copper.cells()[::2]  # four of 4 atoms, two of 8
    rows = [np.concatenate([f.mean(axis=0), f.std(axis=0)]) for f in by_oracle(images)]
    sizes = [len(image.atoms) for image in images]
    assert Counter(sizes) == {4: 4, 8: 2}
    first = int(np.argmin(np.linalg.norm(rows - np.mean(rows, axis=0), axis=1)))
    expected = [first]
    for _ in range(3):
        turn = 12 - sizes[expected[-1]]  # 4 and 8 alternate
        left = [i for i in range(6) if i not in expected and sizes[i] == turn]
        distance = {i: min(np.linalg.norm(rows[i] - rows[j]) for j in expected) for i in left}
        expected.append(max(left, key=distance.__getitem__))
    assert choose_images(images, 4) == expected


def test_all_images_are_kept_if_they_are_few() -> None:
    images = copper.cells()
    assert choose_images(images, 11) == choose_images(images, 99) == list(range(11))


def test_every_size_is_represented(platinum: list[Image]) -> None:
    def sizes(count: int) -> dict[int, int]:
        chosen = choose_images(platinum, count)
        assert len(set(chosen)) == count
        return Counter(len(platinum[i].atoms) for i in chosen)

    assert sizes(4) == {2: 1, 4: 1, 16: 1, 32: 1}
    # all four cells of four atoms; the others share the rest evenly
    assert sorted(sizes(20).items())[1] == (4, 4)
    assert sorted(sizes(20).values()) == [4, 5, 5, 6]
    assert sizes(32) in [
        {2: 8, 4: 4, 16: 10, 32: 10}, {2: 9, 4: 4, 16: 9, 32: 10}, {2: 9, 4: 4, 16: 10, 32: 9},
    ]  # fmt: skip


def test_the_order_of_images_and_atoms_does_not_matter(platinum: list[Image]) -> None:
    rng = np.random.default_rng(8)
    expected = choose_images(platinum, 20)
    places = rng.permutation(33)
    shuffled = []
    for place in places:
        image = platinum[place]
        order = rng.permutation(len(image.atoms))
        shuffled.append(Image(image.atoms[order], image.forces[order], image.energy))
    assert [int(places[i]) for i in choose_images(shuffled, 20)] == expected


def test_a_shorter_choice_begins_the_longer(platinum: list[Image]) -> None:
    assert choose_images(platinum, 20)[:7] == choose_images(platinum, 7)


# -- symmetry functions


def small_matrix(images: list[Image]) -> Array:
    """Unscaled features of `copper.GRID` by the oracle, (atoms, 14)."""
    grid: list[oracle.Function] = [
        oracle.Radial("Cu", eta, r_s) for eta in (0.5, 5.0, 50.0) for r_s in (0.0, 2.0)
    ]
    grid += [
        oracle.Angular(("Cu", "Cu"), eta, zeta, gamma)
        for eta in (0.005, 0.5)
        for zeta in (1.0, 4.0)
        for gamma in (1.0, -1.0)
    ]
    return np.concatenate([oracle.features(i.atoms, {"Cu": grid}, 5.0) for i in images])


GRID = [
    *(G2("Cu", eta, r_s) for eta in (0.5, 5.0, 50.0) for r_s in (0.0, 2.0)),
    *(
        G4(("Cu", "Cu"), eta, zeta, gamma)
        for eta in (0.005, 0.5)
        for zeta in (1.0, 4.0)
        for gamma in (1.0, -1.0)
    ),
]
"""The functions of `copper.GRID` in the order of the columns."""


def numbers(images: list[Image], settings: FeatureSettings) -> list[int]:
    """The chosen functions as places in the grid of `copper.GRID`."""
    choice = choose_features(images, settings)
    assert (choice.candidates, choice.selected) == (14, settings.count)
    return [GRID.index(f) for f in choice.symmetry_functions.functions["Cu"]]


def orthogonal_to(matrix: Array, column: int) -> Array:
    """Eq. 7."""
    taken = matrix[:, column] / np.linalg.norm(matrix[:, column])
    left = matrix - np.outer(taken, taken @ matrix)
    left[:, column] = 0.0
    return left


def six_by_cur(matrix: Array) -> list[int]:
    """Eqs. 5 to 7 on features scaled to [−1, 1]."""
    low, high = matrix.min(axis=0), matrix.max(axis=0)
    left = 2 * (matrix - low) / (high - low) - 1
    expected = []
    for _ in range(6):
        vectors = np.linalg.svd(left)[2][:3]
        scores = np.where(left.any(axis=0), (vectors**2).sum(axis=0), 0.0)
        expected.append(int(np.argmax(scores)))
        left = orthogonal_to(left, expected[-1])
    return expected


def test_cur_sees_the_features_as_the_networks_do() -> None:
    """Eqs. 5 to 7 on features scaled to [−1, 1], all of them, without Amp's preparation."""
    images = copper.cells()
    expected = six_by_cur(small_matrix(images))
    assert numbers(images, FeatureSettings(count=6, **copper.GRID)) == expected


def four_by_forces(matrix: Array, sizes: Array) -> list[int]:
    """SI 4.3 on features with their medians subtracted, those of little variance left out."""
    left = np.where(matrix.var(axis=0) > 1e-3, matrix - np.median(matrix, axis=0), 0.0)
    expected = []
    for _ in range(4):
        scores = [
            abs(np.corrcoef(column, sizes)[0, 1]) if column.any() else 0.0 for column in left.T
        ]
        expected.append(int(np.argmax(scores)))
        left = orthogonal_to(left, expected[-1])
    return expected


def test_force_correlation_takes_what_varies_with_the_forces() -> None:
    images = copper.cells()
    sizes = np.linalg.norm(np.concatenate([image.forces for image in images]), axis=1)
    settings = FeatureSettings(count=4, method="force-correlation", **copper.GRID)
    assert numbers(images, settings) == four_by_forces(small_matrix(images), sizes)


def test_forces_that_do_not_count_rank_nothing() -> None:
    """Those of weight zero, as of atoms whose force is not known, are no forces of zero."""
    images = []
    for image in copper.cells():
        sizes = np.linalg.norm(image.forces, axis=1)
        weights = (sizes <= np.median(sizes)).astype(float)
        forces = np.where(weights[:, None] > 0, image.forces, 0.0)
        images.append(replace(image, forces=forces, force_weights=weights))
    known = np.concatenate([image.force_weights for image in images]) > 0
    sizes = np.linalg.norm(np.concatenate([image.forces for image in images]), axis=1)
    matrix = small_matrix(images)
    expected = four_by_forces(matrix[known], sizes[known])
    assert expected != four_by_forces(matrix, sizes)
    settings = FeatureSettings(count=4, method="force-correlation", **copper.GRID)
    assert numbers(images, settings) == expected


def test_the_deviation_is_that_of_a_projection() -> None:
    images = copper.cells()
    settings = FeatureSettings(count=3, **copper.GRID)
    matrix = small_matrix(images)
    chosen = matrix[:, numbers(images, settings)]
    rest = matrix - chosen @ np.linalg.lstsq(chosen, matrix, rcond=None)[0]
    choice = choose_features(images, settings)
    deviation = np.linalg.norm(rest) / np.linalg.norm(matrix)
    assert choice.deviation == pytest.approx(deviation, rel=1e-6)
    assert choice.summary == (
        f"3 of 14 symmetry functions by cur, relative norm deviation {100 * deviation:.2g} %"
    )


def test_the_default_grid_is_that_of_the_paper(platinum: list[Image]) -> None:
    choice = choose_features(platinum[::3], FeatureSettings())
    assert (choice.candidates, choice.selected, choice.method) == (78, 21, "cur")
    assert choice.symmetry_functions.cutoff == Cutoff(6.5)


def test_elements_with_a_table_of_counts(alloy: list[Image]) -> None:
    assert elements_of(alloy) == ("Au", "Cu")
    settings = FeatureSettings(count={"Cu": 5, "Au": 7}, **copper.GRID)
    choice = choose_features(alloy, settings)
    functions = choice.symmetry_functions
    assert (functions.size("Cu"), functions.size("Au")) == (5, 7)
    # 6 radial functions of each element, 8 angular ones of each of three pairs, for two elements
    assert (choice.candidates, choice.selected) == (2 * (2 * 6 + 3 * 8), 12)
    for element, chosen in functions.functions.items():
        neighbours = [(f.element,) if isinstance(f, G2) else f.elements for f in chosen]
        assert {e for group in neighbours for e in group} == {"Cu", "Au"}, element


def test_elements_are_chosen_for_each_on_its_own(alloy: list[Image]) -> None:
    """An element's choice needs the features of its own atoms only."""
    both = choose_features(alloy, FeatureSettings(count=6, **copper.GRID))
    few = choose_features(alloy, FeatureSettings(count={"Cu": 6, "Au": 2}, **copper.GRID))
    chosen, other = both.symmetry_functions.functions, few.symmetry_functions.functions
    assert other["Cu"] == chosen["Cu"]
    assert other["Au"] == chosen["Au"][:2]


@pytest.mark.parametrize("method", ["cur", "force-correlation"])
def test_force_correlation_pairs_each_atom_with_its_own_force(
    alloy: list[Image], method: str
) -> None:
    """Atoms of two elements in any order give the same choice."""
    rng = np.random.default_rng(2)
    shuffled = [alloy[0]]  # whose order is that of the elements
    for image in alloy[1:]:
        order = rng.permutation(len(image.atoms))
        shuffled.append(Image(image.atoms[order], image.forces[order], image.energy))
    settings = FeatureSettings(count=4, method=method, **copper.GRID)  # type: ignore[arg-type]
    expected = choose_features(alloy, settings).symmetry_functions.functions
    found = choose_features(shuffled, settings).symmetry_functions.functions
    assert found == expected


def test_the_target_counts_without_labels() -> None:
    """Bulk cells and the target's atoms are rows alike: CUR of the oracle's features of both."""
    images, particle = copper.cells(), copper.particle()
    matrix = small_matrix([*images, Image(particle, np.zeros((1, 3)))])
    expected = six_by_cur(matrix)
    settings = FeatureSettings(count=6, **copper.GRID)
    chosen = choose_features(images, settings, [particle]).symmetry_functions.functions["Cu"]
    assert [GRID.index(f) for f in chosen] == expected
    assert expected != numbers(images, settings)


def test_targets_that_cannot_count(alloy: list[Image]) -> None:
    images = copper.cells()
    with pytest.raises(InputError, match="targets without forces can be ranked by cur only"):
        choose_features(
            images,
            FeatureSettings(count=3, method="force-correlation", **copper.GRID),
            [copper.particle()],
        )
    with pytest.raises(InputError, match="target 0 contains Au"):
        choose_features(images, FeatureSettings(count=3, **copper.GRID), [alloy[0].atoms])
    with pytest.raises(ValueError, match='with_target needs method = "cur"'):
        FeatureSettings(with_target=True, method="force-correlation")


def test_the_cutoff_function_is_kept() -> None:
    settings = FeatureSettings(count=3, cutoff_function="polynomial", gamma=3.0, **copper.GRID)
    functions = choose_features(copper.cells(), settings).symmetry_functions
    assert functions.cutoff == Cutoff(5.0, "polynomial", 3.0)


def test_the_angular_functions_may_be_g5_and_have_a_cutoff_of_their_own() -> None:
    settings = FeatureSettings(
        count=9, angular_cutoff=4.0, g5_eta=(0.5,), **copper.GRID | {"g4_eta": ()}
    )
    choice = choose_features(copper.cells(), settings)
    functions = choice.symmetry_functions
    assert choice.candidates == 6 + 6
    assert functions.angular_cutoff == Cutoff(4.0)
    angular = {f for f in functions.functions["Cu"] if not isinstance(f, G2)}
    assert angular <= {G5(("Cu", "Cu"), 0.5, z, g) for z in (1.0, 2.0, 4.0) for g in (1.0, -1.0)}
    assert len(angular) >= 3


def test_by_cost_cheap_functions_come_first() -> None:
    grid = copper.GRID | {"g5_eta": (0.5,)}
    plain, cheap = (
        choose_features(copper.cells(), FeatureSettings(count=6, by_cost=by_cost, **grid))
        for by_cost in (False, True)
    )
    assert (plain.method, cheap.method) == ("cur", "cur and cost")
    costs = [
        cost_of(c.symmetry_functions, c.symmetry_functions.functions["Cu"]) for c in (plain, cheap)
    ]
    assert costs[1] < 0.6 * costs[0]
    with pytest.raises(ValueError, match='by_cost needs method = "cur"'):
        FeatureSettings(by_cost=True, method="force-correlation")


def test_fewer_functions_where_the_cells_tell_fewer_apart() -> None:
    # Three kinds of atoms, the extremes scaled to -1 and 1: two columns are independent.
    images = [copper.labelled(bulk("Cu", a=a)) for a in (3.5, 3.6, 3.7)]
    choice = choose_features(images, FeatureSettings(count=3, **copper.GRID))
    assert choice.selected == len(choice.symmetry_functions) == 2
    assert choice.summary.endswith("; 2 of 3 wanted for Cu: the cells tell no more apart")


def test_what_cannot_be_chosen(alloy: list[Image]) -> None:
    images = copper.cells()
    chunk = Image(copper.particle(), np.zeros((1, 3)))
    cases: list[tuple[list[Image], FeatureSettings, str]] = [
        (alloy, FeatureSettings(count={"Cu": 5}, **copper.GRID),
         "features.count has no number for Au"),
        (images, FeatureSettings(count=15, **copper.GRID),
         "features.count must be at most 14 for Cu, the number of its candidates (of g2_eta, "),
        ([*images, chunk], FeatureSettings(count=3, method="force-correlation", **copper.GRID),
         "force correlation needs the forces on all atoms, not chunks"),
        ([copper.labelled(bulk("Cu"))], FeatureSettings(count=3, **copper.GRID),
         "3 symmetry functions for Cu cannot be chosen: "),
    ]  # fmt: skip
    for given, settings, sentence in cases:
        with pytest.raises(InputError) as caught:
            choose_features(given, settings)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)


def test_images_read_from_a_file_give_the_same_choice(tmp_path: Path) -> None:
    images = copper.cells()
    ase.io.write(tmp_path / "cells.traj", [image.to_atoms() for image in images])
    found = read_images(tmp_path / "cells.traj")
    assert choose_images(found, 5) == choose_images(images, 5)
    assert isinstance(found[0].atoms, Atoms)
