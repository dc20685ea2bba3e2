"""Clusters cut from the target: composition, sizes, distances, seeds, labels."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.spatial.distance import pdist

from nearsight import Parent
from nearsight.config import InitialSettings
from nearsight.errors import InputError
from nearsight.learning.initial_cells import Initialization
from nearsight.learning.initial_clusters import cut_clusters, label_clusters
from nearsight.run.suggest import suggest_config

SETTINGS = InitialSettings(recipe="clusters", clusters=12, minsep=1.5, posamp=0.05)


def magnesia() -> Atoms:
    atoms = bulk("MgO", "rocksalt", a=4.21, cubic=True).repeat(3)
    atoms.pbc = False
    return atoms


def test_sizes_go_round_and_proportions_are_those_of_the_target() -> None:
    clusters = cut_clusters([magnesia()], SETTINGS)
    assert [len(c) for c in clusters] == [
        8,
        13,
        20,
        30,
    ] * 3
    for cluster in clusters:
        assert abs(cluster.symbols.count("Mg") - cluster.symbols.count("O")) <= 1
        assert not cluster.pbc.any()
        assert not cluster.cell.any()


def test_strains_and_rattles() -> None:
    quiet = InitialSettings(clusters=20, minsep=1.5, posamp=1e-6)
    nearest = bulk("Cu").cell.lengths()[0]
    found = {
        round(pdist(c.positions).min() / nearest - 1, 3) for c in cut_clusters([bulk("Cu")], quiet)
    }
    assert found == {-0.05, -0.02, 0.0, 0.03, 0.06}
    rattled = cut_clusters([magnesia()], SETTINGS)
    assert min(pdist(c.positions).min() for c in rattled) >= 1.5


def test_the_seed_decides() -> None:
    one, same, other = (cut_clusters([magnesia()], SETTINGS, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[3].positions, same[3].positions)
    assert one[3].positions.shape != other[3].positions.shape or not np.allclose(
        one[3].positions, other[3].positions
    )


def test_a_small_target_gives_what_it_has() -> None:
    clusters = cut_clusters(
        [Atoms("Cu4", [[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [0, 0, 2.5]])], SETTINGS
    )
    assert {len(c) for c in clusters} == {4}


def test_too_much_rattling_is_refused() -> None:
    with pytest.raises(InputError, match="lower posamp"):
        cut_clusters([magnesia()], InitialSettings(minsep=2.0, posamp=3.0))


def test_labels_are_the_parent_s() -> None:
    clusters = cut_clusters([bulk("Cu", cubic=True)], SETTINGS)
    images = label_clusters(clusters, Parent("emt"))
    assert len(images) == len(clusters)
    assert all(image.forces.shape == (len(image.atoms), 3) for image in images)


def test_new_proposes_them_where_no_metal_s_crystal_suits() -> None:
    assert suggest_config(magnesia(), "mgo.xyz", "emt").initial.recipe == "clusters"
    assert suggest_config(bulk("Cu", cubic=True), "cu.xyz", "emt").initial.recipe == "crystals"


@pytest.mark.parametrize("given", [SETTINGS, SETTINGS.model_copy(update={"recipe": "crystals"})])
def test_a_run_tries_its_parent_on_what_it_begins_with(given: InitialSettings) -> None:
    """Clusters, for which no stress is needed; or crystals."""
    target = bulk("Cu", cubic=True)
    made = Initialization.of(given, ["Cu"], targets=[target])
    structures, stress, _ = made.first()
    if given.recipe == "crystals":
        assert stress
        assert all(atoms.pbc.all() for atoms in structures)
        return
    assert not stress
    images = made.run("emt")
    assert len(images) == len(structures) == SETTINGS.clusters
    for image, atoms in zip(images, structures, strict=True):
        np.testing.assert_array_equal(image.atoms.positions, atoms.positions)


def test_without_a_target_there_is_nothing_to_cut() -> None:
    with pytest.raises(InputError, match="cuts the first structures from a target"):
        Initialization.of(SETTINGS, ["Cu"])
