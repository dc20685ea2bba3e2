"""The neighbour list against ASE's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from helpers import Array
from helpers.structures import NAMES, structure
from nearsight import _core
from nearsight.errors import InputError
from nearsight.structures.images import core_structure

CUTOFFS = [2.717, 4.161, 6.513, 9.087]
"""Å; no structure has a distance within rounding of one of them."""


def bonds(atoms: Atoms, cutoff: float, threads: int = 1) -> tuple[Any, Array]:
    """(B, 5) integers i, j and the shift, and (B, 3) vectors, in the order of the list."""
    given = core_structure(atoms)
    neighbors = _core.NeighborList(given, cutoff, threads=threads)
    offsets, second, shifts, vectors = neighbors.bonds(given)
    np.testing.assert_array_equal(neighbors.counts(given), np.diff(offsets))
    first = np.repeat(np.arange(len(atoms)), np.diff(offsets))
    return np.column_stack([first, second, shifts]), vectors


def ase_bonds(atoms: Atoms, cutoff: float) -> tuple[Any, Array]:
    """The same from ASE, sorted in the same way."""
    first, second, shifts, vectors = neighbor_list("ijSD", atoms, cutoff)
    labels = np.column_stack([first, second, shifts])
    order = np.lexsort(labels.T[::-1])
    return labels[order], vectors[order]


def transformed(atoms: Atoms, seed: int) -> Atoms:
    """Rotated and translated at random, every atom moved by whole cell vectors."""
    rng = np.random.default_rng(seed)
    moved = atoms.copy()
    moved.positions += rng.integers(-3, 4, (len(atoms), 3)) * atoms.pbc @ np.asarray(atoms.cell)
    rotation = Rotation.random(rng=rng).as_matrix()
    moved.set_cell(np.asarray(atoms.cell) @ rotation.T)
    moved.positions = moved.positions @ rotation.T + rng.uniform(-20.0, 20.0, 3)
    return moved


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("name", NAMES)
def test_same_bonds_as_ase(name: str, cutoff: float, seed: int | None) -> None:
    atoms = structure(name) if seed is None else transformed(structure(name), seed)
    labels, vectors = bonds(atoms, cutoff)
    expected_labels, expected_vectors = ase_bonds(atoms, cutoff)
    np.testing.assert_array_equal(labels, expected_labels)
    # coordinates of up to 2e4 Å in "far apart" leave 4e-12 Å to every component
    np.testing.assert_allclose(vectors, expected_vectors, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_bonds_are_sorted_and_antisymmetric_to_the_last_bit(name: str) -> None:
    labels, vectors = bonds(structure(name), 6.513)
    order = np.lexsort(labels.T[::-1])
    np.testing.assert_array_equal(order, np.arange(len(labels)))
    backwards = np.column_stack([labels[:, 1], labels[:, 0], -labels[:, 2:]])
    order = np.lexsort(backwards.T[::-1])
    np.testing.assert_array_equal(backwards[order], labels)
    np.testing.assert_array_equal(-vectors[order], vectors)


def test_every_name_has_bonds() -> None:
    """So that no comparison above is one of two empty lists at every cutoff."""
    assert all(len(bonds(structure(name), CUTOFFS[1])[0]) > 0 for name in NAMES)


def test_threads_do_not_change_the_list() -> None:
    atoms = structure("supercell") * (3, 2, 2)
    one, two = bonds(atoms, 5.013, threads=1), bonds(atoms, 5.013, threads=2)
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_images_of_the_atom_itself() -> None:
    """One atom in a cell of 3 × 4 × 100 Å: by hand, which images lie within 5.5 Å."""
    atoms = Atoms("Pt", cell=[3.0, 4.0, 100.0], pbc=True)
    labels, vectors = bonds(atoms, 5.5)
    expected = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]]
    assert labels[:, 2:4].tolist() == expected
    assert np.linalg.norm(vectors, axis=1).tolist() == [5, 3, 5, 4, 4, 5, 3, 5]


def test_atoms_at_the_cutoff_are_no_neighbours() -> None:
    atoms = Atoms("Pt2", [[0, 0, 0], [3, 0, 0]])
    assert len(bonds(atoms, 3.0)[0]) == 0
    assert len(bonds(atoms, np.nextafter(3.0, 4.0))[0]) == 2


@pytest.mark.parametrize(
    ("offset", "periodic"), [(0.0, False), (1e5, False), (0.0, True), (1e3, True)]
)
def test_no_neighbour_just_within_the_cutoff_is_lost(offset: float, periodic: bool) -> None:
    """Atoms are looked for in single precision, which tells far less than one part in 1e9."""
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(300, 3))
    directions *= 6.0 * (1 - 1e-9) / np.linalg.norm(directions, axis=1)[:, None]
    atoms = Atoms("Pt301", [[0, 0, 0], *directions], cell=[40.0, 41.0, 43.0], pbc=periodic)
    atoms.positions += offset / 7 + rng.uniform(0, 40, size=3)
    within = np.linalg.norm(atoms.positions[1:] - atoms.positions[0], axis=1) < 6.0
    assert within.all()
    labels, _ = bonds(atoms, 6.0)
    assert (labels[:, 0] == 0).sum() == 300


def test_cell_vectors_that_are_not_periodic_are_not_used() -> None:
    atoms = structure("chain")
    expected = bonds(atoms, 6.513)
    for vectors in ([[6.9, 0, 0], [1, 1, 0], [1, 1, 0]], [[6.9, 0, 0], [0, 0, 0], [6.9, 0, 0]]):
        atoms.cell[:] = vectors
        found = bonds(atoms, 6.513)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


OVERLAPS = {
    "cluster": (Atoms("Pt3", [[0, 0, 0], [2, 0, 0], [2, 0, 5e-4]]), "atoms 1 and 2"),
    "over the boundary": (
        Atoms("Pt2", [[0, 0, 0], [3.9999, 8, -4]], cell=[4, 4, 4], pbc=True),
        "atoms 0 and 1",
    ),
}


@pytest.mark.parametrize("case", OVERLAPS)
@pytest.mark.parametrize("threads", [1, 2])
def test_overlapping_atoms(case: str, threads: int) -> None:
    atoms, who = OVERLAPS[case]
    with pytest.raises(ValueError, match=f"{who} overlap"):
        bonds(atoms, 0.4, threads)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cutoff": 0.0}, "cutoff"),
        ({"cutoff": np.nan}, "cutoff"),
        ({"positions": np.zeros((0, 3))}, "no atoms"),
        ({"positions": np.zeros((2, 4))}, r"positions must have shape \(n, 3\), got \(2, 4\)"),
        ({"positions": np.full((2, 3), np.inf)}, "atom 0 is not finite"),
        (
            {"positions": np.array([[0.0, 0, 0], [1e12, 0, 0]])},
            "atom 1 lies .* cells away; wrap the pos",
        ),
        ({"cell": np.diag([4.0, 4.0, 5e-3])}, "the cell is only 0.005000 Å high in one"),
        ({"cell": np.zeros(9)}, r"cell must have shape \(3, 3\), got \(9\)"),
        ({"cell": np.diag([4.0, 0.0, 4.0])}, "periodic in y"),
        ({"cell": np.ones((3, 3))}, "linearly dependent"),
        ({"pbc": np.ones(2, bool)}, r"pbc must have shape \(3\), got \(2\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    good = {
        "positions": np.array([[0.0, 0, 0], [2, 0, 0]]),
        "cell": 4.0 * np.eye(3),
        "pbc": np.ones(3, bool),
        "cutoff": 3.0,
    }
    given = good | arguments
    with pytest.raises(InputError, match=message):
        _core.NeighborList(
            _core.Structure(given["positions"], np.zeros(2), given["cell"], given["pbc"]),
            given["cutoff"],
        )
