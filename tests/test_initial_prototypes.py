"""Prototype crystals of the target's stoichiometry: structure, distances, what is left out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.cluster import Octahedron
from ase.neighborlist import neighbor_list

from helpers.recorder import Recorder
from nearsight import Parent
from nearsight.config import InitialSettings
from nearsight.errors import InputError
from nearsight.learning.initial_cells import Initialization
from nearsight.learning.initial_prototypes import label_prototypes, prototype_cells

QUIET = InitialSettings(
    recipe="clusters", prototype_cells=1, cluster_strains=(0.0,), minsep=1.0, posamp=1e-9
)


def free(atoms: Atoms) -> Atoms:
    return Atoms(atoms.symbols, atoms.positions)


TARGETS = {
    "Cu": free(bulk("Cu", cubic=True).repeat(3)),
    "MgO": free(bulk("MgO", "rocksalt", a=4.21, cubic=True).repeat(2)),
    "CaF2": free(bulk("CaF2", "fluorite", a=5.46, cubic=True).repeat(2)),
    "Li2O": free(bulk("OLi2", "fluorite", a=4.62, cubic=True).repeat(2)),
}


@pytest.mark.parametrize(
    ("name", "coordination"),
    [
        ("Cu", {"fcc": {12}, "bcc": {8}, "hcp": {12}, "diamond": {4}}),
        ("MgO", {"rocksalt": {6}, "cesiumchloride": {8}, "zincblende": {4}}),
        ("CaF2", {"fluorite": {8, 4}}),
        ("Li2O", {"fluorite": {8, 4}}),
    ],
)
def test_coordination_numbers_and_distances(name: str, coordination: dict[str, set[int]]) -> None:
    """Those of the textbooks, at the target's own distance between neighbours."""
    target = TARGETS[name]
    nearest = neighbor_list("d", target, 4.0).min()
    cells = prototype_cells([target], QUIET)
    assert [cell.info["prototype"] for cell in cells] == list(coordination)
    for cell in cells:
        i, j, distances = neighbor_list("ijd", cell, 1.05 * nearest)
        assert distances == pytest.approx(nearest, rel=1e-6)
        assert set(np.bincount(i)) == coordination[cell.info["prototype"]]
        assert len(cell) >= 8
        assert cell.pbc.all()
        if len(set(target.symbols)) == 2:
            assert all(cell.symbols[a] != cell.symbols[b] for a, b in zip(i, j, strict=True))


def test_a_particle_need_not_have_the_very_stoichiometry() -> None:
    particle = TARGETS["MgO"][:-3]
    assert "rocksalt" in {cell.info["prototype"] for cell in prototype_cells([particle], QUIET)}


def test_mixtures_have_the_target_s_proportions() -> None:
    alloy = TARGETS["Cu"].copy()
    alloy.symbols[:27] = "Au"  # a quarter
    cells = prototype_cells([alloy], QUIET.model_copy(update={"prototype_cells": 2}))
    assert [cell.info["prototype"] for cell in cells] == ["fcc"] * 2 + ["bcc"] * 2 + ["hcp"] * 2
    for cell in cells:
        assert cell.symbols.count("Au") == len(cell) / 4
    assert len({tuple(cell.numbers) for cell in cells}) > 3  # shuffled


def test_strains_rattles_and_the_seed() -> None:
    settings = InitialSettings(recipe="clusters", prototype_cells=5, minsep=1.5, posamp=0.05)
    one, same, other = (prototype_cells([TARGETS["MgO"]], settings, seed) for seed in (0, 0, 1))
    assert len(one) == 15
    volumes = np.array([cell.get_volume() for cell in one[:5]])
    strains = 1 + np.array(settings.cluster_strains)
    assert volumes / volumes[2] == pytest.approx(strains**3)
    np.testing.assert_array_equal(one[7].positions, same[7].positions)
    assert not np.allclose(one[7].positions, other[7].positions)
    with pytest.raises(InputError, match="lower posamp"):
        prototype_cells([TARGETS["MgO"]], settings.model_copy(update={"posamp": 3.0}))


class Hates(EMT):  # type: ignore[misc]
    """EMT that fails on hcp, and is told bcc to have come apart."""

    def calculate(self, atoms, properties, system_changes) -> None:  # type: ignore[no-untyped-def]
        angles = set(atoms.cell.angles().round())
        if 120 in angles:
            raise RuntimeError("no hexagons")
        super().calculate(atoms, properties, system_changes)
        coordination = Counter(neighbor_list("i", atoms, 2.65).tolist())
        if set(coordination.values()) == {8}:
            self.results["energy"] += 5.0 * len(atoms)
            self.results["free_energy"] = self.results["energy"]


def hates() -> Hates:
    return Hates()


def test_what_fails_and_what_has_come_apart_is_left_out_and_said() -> None:
    progress = Recorder()
    cells = prototype_cells([TARGETS["Cu"]], QUIET)
    images = label_prototypes(cells, Parent(hates), progress)
    assert [image.atoms.info["prototype"] for image in images] == ["fcc", "diamond"]
    assert any(
        "skipping a prototype cell" in note and "no hexagons" in note for note in progress.notes
    )
    assert any(note.startswith("bcc: 1 of 1 cells left out") for note in progress.notes)


def test_they_join_the_clusters_where_asked_for() -> None:
    target = free(Octahedron("Cu", 4, 1))
    settings = {"recipe": "clusters", "clusters": 3, "minsep": 2.0, "posamp": 0.03}
    without = Initialization.of(InitialSettings(**settings), ["Cu"], targets=[target]).run("emt")
    both = Initialization.of(
        InitialSettings(**settings, prototype_cells=2), ["Cu"], targets=[target]
    ).run("emt")
    assert len(without) == 3
    assert [image.atoms.info.get("prototype") for image in both[3:]] == [
        name for name in ("fcc", "bcc", "hcp", "diamond") for _ in range(2)
    ]
    for old, new in zip(without, both, strict=False):
        np.testing.assert_array_equal(old.forces, new.forces)
