"""Chunks: what is cut out, in which order, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms
from ase.neighborlist import neighbor_list

from nearsight.errors import InputError
from nearsight.structures.chunks import extract_chunk, extract_chunks, trim_to_stoichiometry
from nearsight.structures.images import read_structure

ROUNDING = 1e-12  # Å; coordinates are a few tens of Å, with 16 digits


def shifted_images() -> Atoms:
    """A cell whose atoms lie whole cells apart from where they are usually written."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.positions += np.array([[3, 0, 0], [0, -2, 0], [0, 0, 5], [1, 1, -1]]) @ atoms.cell
    return atoms


STRUCTURES = {
    "molecule": (molecule("CH3CH2OH"), 2.0),
    "primitive cell": (bulk("Pt"), 8.0),
    "two elements, small cell": (bulk("NaCl", "rocksalt", a=5.64), 6.5),
    "skewed cell": (
        Atoms("CO", [[0, 0, 0], [1, 0.3, 0.2]], cell=[[3, 0, 0], [2.9, 1, 0], [1, 2, 4]], pbc=True),
        6.3,
    ),
    "left-handed cell": (
        Atoms("H2", [[0, 0, 0], [0.7, 0, 0]], cell=np.diag([3, 3, -4]), pbc=1),
        5.2,
    ),
    "slab": (fcc111("Al", (2, 2, 3), vacuum=6.0), 6.1),
    "wire": (Atoms("Au", cell=[0, 0, 2.6], pbc=[False, False, True]), 8.0),
    "atoms outside the cell": (shifted_images(), 6.0),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_holds_what_the_neighbour_list_of_ase_finds(name: str) -> None:
    atoms, radius = STRUCTURES[name]
    i, j, shifts, vectors = neighbor_list("ijSD", atoms, radius)
    for index, chunk in enumerate(extract_chunks(atoms, range(len(atoms)), radius)):
        mine = i == index
        # the documented order: by index, then by cell shift
        order = np.lexsort((*shifts[mine].T[::-1], j[mine]))
        expected = vectors[mine][order]
        np.testing.assert_array_equal(chunk.numbers[1:], atoms.numbers[j[mine][order]])
        np.testing.assert_allclose(
            chunk.positions[1:] - chunk.positions[0], expected, rtol=0, atol=ROUNDING
        )
        assert chunk.numbers[0] == atoms.numbers[index]


def test_numbers_of_atoms_in_pt260(pt260: Atoms) -> None:
    # Fig. S7a of the paper, atom 29
    counts = [len(extract_chunk(pt260, 29, radius)) for radius in (3.5, 4.5, 5.5, 6.5, 7.5, 8.5)]
    assert counts == [13, 19, 40, 63, 83, 110]


def test_box_is_the_extent_and_twice_the_vacuum(pt260: Atoms) -> None:
    for vacuum in (5.0, 3.25, 0.0):
        chunk = extract_chunk(pt260, 29, 6.5, vacuum)
        low, high = chunk.positions.min(axis=0), chunk.positions.max(axis=0)
        np.testing.assert_allclose(low, vacuum, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(
            chunk.cell, np.diag(high - low + 2 * vacuum), rtol=0, atol=ROUNDING
        )
        assert not chunk.pbc.any()


def test_the_vacuum_is_five_angstrom_by_default(pt260: Atoms) -> None:
    assert extract_chunk(pt260, 0, 4.0) == extract_chunk(pt260, 0, 4.0, vacuum=5.0)


def test_keeps_moments_charges_and_tags_and_drops_constraints() -> None:
    atoms = bulk("FeO", "rocksalt", a=4.3, cubic=True)
    atoms.set_initial_magnetic_moments(np.arange(8) - 3.5)
    atoms.set_initial_charges(np.arange(8) / 8)
    atoms.set_tags(range(8))
    atoms.set_constraint(FixAtoms([0, 1]))
    chunk = extract_chunk(atoms, 5, 4.5)
    tags = chunk.get_tags()
    assert len(chunk) > 8  # so some atoms come more than once
    assert set(tags) == set(range(8))
    np.testing.assert_array_equal(chunk.numbers, atoms.numbers[tags])
    np.testing.assert_array_equal(chunk.get_initial_magnetic_moments(), tags - 3.5)
    np.testing.assert_array_equal(chunk.get_initial_charges(), tags / 8)
    assert chunk.constraints == []
    assert chunk.info == {"source_index": 5, "chunk_radius": 4.5}


def test_noncollinear_moments_are_kept() -> None:
    atoms = Atoms("Fe2", [[0, 0, 0], [2, 0, 0]], magmoms=[[0, 0, 1], [0, 2, 0]])
    moments = extract_chunk(atoms, 1, 3.0).get_initial_magnetic_moments()
    np.testing.assert_array_equal(moments, [[0, 2, 0], [0, 0, 1]])


def test_no_moments_are_invented(pt260: Atoms) -> None:
    assert not extract_chunk(pt260, 0, 4.0).has("initial_magmoms")


def test_the_source_is_left_as_it_was(pt260: Atoms, pt260_original: Atoms) -> None:
    extract_chunks(pt260, [0, 7], 6.5)
    assert pt260 == pt260_original


def test_several_at_once_are_the_same_as_one_by_one(pt260: Atoms) -> None:
    indices = [200, 3, 29, 3]
    together = extract_chunks(pt260, indices, 6.5)
    for index, chunk in zip(indices, together, strict=True):
        alone = extract_chunk(pt260, index, 6.5)
        np.testing.assert_array_equal(chunk.positions, alone.positions)
        np.testing.assert_array_equal(np.asarray(chunk.cell), np.asarray(alone.cell))
        assert chunk.info["source_index"] == index


def test_an_atom_exactly_at_the_radius_belongs_to_the_chunk() -> None:
    atoms = Atoms("H3", [[0, 0, 0], [2, 0, 0], [2.5, 0, 0]])
    assert len(extract_chunk(atoms, 0, 2.0)) == 2


def test_no_chunks_of_no_atoms(pt260: Atoms) -> None:
    assert extract_chunks(pt260, [], 6.5) == []


@pytest.mark.parametrize(
    ("index", "radius", "vacuum", "message"),
    [
        (260, 8.0, 5.0, "there is no atom 260: the structure has atoms 0 to 259"),
        (-1, 8.0, 5.0, "there is no atom -1: the structure has atoms 0 to 259"),
        (1.0, 8.0, 5.0, "atom indices must be whole numbers, got [1.0]"),
        (True, 8.0, 5.0, "atom indices must be whole numbers, got [True]"),
        (0, 0.0, 5.0, "the chunk radius must be a positive number (Å), got 0.0"),
        (0, -8.0, 5.0, "the chunk radius must be a positive number (Å), got -8.0"),
        (0, np.inf, 5.0, "the chunk radius must be a positive number (Å), got inf"),
        (0, np.nan, 5.0, "the chunk radius must be a positive number (Å), got nan"),
        (0, 8.0, -1.0, "the vacuum around a chunk must not be negative (Å), got -1.0"),
        (0, 8.0, np.nan, "the vacuum around a chunk must not be negative (Å), got nan"),
        (
            12,
            1.0,
            5.0,
            "atom 12 (Pt) has no neighbour within 1 Å: take a larger chunk radius",
        ),
    ],
)
def test_invalid_arguments_are_refused(
    pt260: Atoms, index: int, radius: float, vacuum: float, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        extract_chunk(pt260, index, radius, vacuum)
    assert str(caught.value) == message


@pytest.mark.parametrize("pbc", [False, [True, False, False]])
def test_cell_vectors_of_other_directions_mean_nothing(pbc: bool | list[bool]) -> None:
    """As left over from where a particle was cut out: equal ones, or none that are independent."""
    atoms = molecule("C60")
    atoms.pbc = pbc
    atoms.cell = [20.0, 0.0, 0.0]
    expected = extract_chunk(atoms, 3, 4.0)
    for left_over in ([[20, 0, 0], [5, 1, 0], [5, 1, 0]], [[20, 0, 0], [20, 0, 0], [1e9, 0, 0]]):
        atoms.cell = left_over
        np.testing.assert_array_equal(extract_chunk(atoms, 3, 4.0).positions, expected.positions)


@pytest.mark.parametrize("n", [14, 1000])
def test_a_skewed_cell_has_the_same_chunks(n: int) -> None:
    """In some order: that of images of one atom is by shifts in the cell as it is written."""
    straight = bulk("Cu", cubic=True) * (2, 1, 1)
    straight.rattle(0.1, seed=1)
    skewed = straight.copy()
    cell = straight.cell.array
    skewed.set_cell([cell[0], cell[1] + n * cell[0], cell[2] - n * cell[0] + 2 * n * cell[1]])
    for index in range(len(straight)):
        vectors = []
        for atoms in (straight, skewed):
            chunk = extract_chunk(atoms, index, 6.0)
            found = chunk.positions[1:] - chunk.positions[0]
            vectors.append(found[np.lexsort(found.round(6).T)])
        np.testing.assert_allclose(vectors[1], vectors[0], rtol=0, atol=1e-12 * n)


def test_a_structure_without_atoms_is_refused() -> None:
    with pytest.raises(InputError, match="no atoms"):
        extract_chunks(Atoms(), [0], 8.0)


def test_the_example_is_the_target_of_the_paper(pt260: Atoms) -> None:
    written = read_structure(Path(__file__).parents[1] / "examples" / "pt260.extxyz")
    assert written.symbols.get_chemical_formula() == "Pt260"
    assert not written.pbc.any()
    assert written.calc is None
    np.testing.assert_allclose(written.positions, pt260.positions, rtol=0, atol=5.1e-9)


# -- stoichiometry


@pytest.mark.parametrize("crystal", ["rocksalt", "fluorite"])
def test_a_trimmed_chunk_has_the_stoichiometry_of_the_target(crystal: str) -> None:
    atoms = bulk("CaF2" if crystal == "fluorite" else "MgO", crystal, a=5.0, cubic=True)
    atoms.rattle(0.05, seed=1)
    for index in (0, len(atoms) - 1):
        whole = extract_chunk(atoms, index, 7.0, 4.0)
        chunk = trim_to_stoichiometry(whole, Counter(atoms.symbols), 4.0)
        metal, other = Counter(chunk.symbols).values()
        assert {metal / other, other / metal} & {2.0 if crystal == "fluorite" else 1.0}
        assert 0 < len(chunk) < len(whole)
        # one kind is complete but for less than a formula unit
        lost = Counter(whole.symbols) - Counter(chunk.symbols)
        assert min(lost[e] for e in set(atoms.symbols)) < 3
        assert chunk.symbols[0] == atoms.symbols[index]
        # what is left out of an element is farther away than what stays
        away, apart = (np.linalg.norm(a.positions - a.positions[0], axis=1) for a in (whole, chunk))
        for element in set(atoms.symbols):
            mine = np.sort(away[whole.symbols == element])
            count = int((chunk.symbols == element).sum())
            np.testing.assert_allclose(np.sort(apart[chunk.symbols == element]), mine[:count])
        np.testing.assert_allclose(chunk.positions.min(axis=0), 4.0)
        np.testing.assert_allclose(chunk.cell.lengths(), np.ptp(chunk.positions, axis=0) + 8.0)
        assert chunk.info == whole.info


def test_a_chunk_without_a_formula_unit() -> None:
    chunk = extract_chunk(bulk("Pt", cubic=True), 0, 3.0)
    with pytest.raises(InputError, match=r"it does not hold Pt200Au1; take a larger"):
        trim_to_stoichiometry(chunk, {"Pt": 200, "Au": 1}, 5.0)
