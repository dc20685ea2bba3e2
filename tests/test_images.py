"""Structures and their labels: checked, turned into arrays, written and read."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian

from helpers import Array
from helpers.structures import NAMES, labelled_images, structure
from nearsight.errors import InputError
from nearsight.structures.images import (
    Image,
    check_structure,
    core_structure,
    read_images,
    read_structure,
    read_structures,
    write_images,
    write_structures,
)


def labelled(atoms: Atoms, **results: Any) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


# --- images ------------------------------------------------------------------------------------


def test_a_bulk_image_has_an_energy_and_all_forces() -> None:
    atoms = structure("bulk")
    forces = np.arange(12.0).reshape(4, 3)
    image = Image.from_atoms(labelled(atoms, energy=-3.0, forces=forces, stress=np.zeros(6)))
    assert not image.is_chunk
    assert image.energy == -3.0
    np.testing.assert_array_equal(image.forces, forces)
    assert image.atoms == structure("bulk")
    assert image.atoms.calc is None


def test_a_chunk_has_the_force_on_its_centre_alone() -> None:
    atoms = structure("cluster")
    atoms.info["nearsight_chunk"] = True
    image = Image.from_atoms(labelled(atoms, forces=np.ones((12, 3))))
    assert image.is_chunk
    assert image.energy is None
    np.testing.assert_array_equal(image.forces, np.ones((1, 3)))
    assert "nearsight_chunk" not in image.atoms.info
    again = image.to_atoms()
    assert again.info["nearsight_chunk"] is True
    np.testing.assert_array_equal(again.get_forces(), [[1.0] * 3, *[[0.0] * 3] * 11])


def test_forces_are_those_of_the_parent_whatever_is_constrained() -> None:
    atoms = structure("bulk")
    atoms.set_constraint(FixAtoms([0, 1, 2, 3]))
    image = Image.from_atoms(labelled(atoms, energy=0.0, forces=np.ones((4, 3))))
    np.testing.assert_array_equal(image.forces, np.ones((4, 3)))


def test_files_keep_what_is_held(tmp_path: Path) -> None:
    """ASE before 3.26 loses constraints in extended XYZ; 3.26 holds the other atoms as well."""
    atoms = structure("bulk")
    pushed = atoms.positions + 0.5
    expected = pushed.copy()
    expected[0] = atoms.positions[0]
    expected[1, :2] = atoms.positions[1, :2]
    atoms.set_constraint([FixAtoms([0]), FixCartesian([1], (True, True, False))])
    write_structures(tmp_path / "a.extxyz", [atoms])
    (again,) = read_structures(tmp_path / "a.extxyz")
    again.set_positions(pushed)
    np.testing.assert_allclose(again.positions, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("forces", "energy", "message"),
    [
        (np.zeros((2, 3)), None, r"must have shape \(1, 3\), got \(2, 3\)"),
        (np.zeros((1, 3)), 1.0, r"must have shape \(2, 3\), got \(1, 3\)"),
        (np.zeros(6), 1.0, r"must have shape \(2, 3\), got \(6,\)"),
        (np.full((2, 3), np.nan), 1.0, "forces of an image must be finite"),
        (np.full((2, 3), 1e300), 1.0, r"forces of an image must be finite, 1e\+07 eV/Å at most"),
        (np.zeros((2, 3)), np.inf, "the energy of an image must be finite"),
        (np.zeros((2, 3)), -1e300, r"the energy of an image must be finite, 1e\+07 eV per atom"),
    ],
    ids=["chunk", "bulk", "flat", "nan", "huge", "energy", "huge energy"],
)
def test_labels_that_do_not_fit(forces: Array, energy: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Image(Atoms("Pt2", [[0, 0, 0], [2, 0, 0]]), forces, energy)


def test_labels_that_are_missing() -> None:
    atoms = structure("tiny")
    with pytest.raises(InputError, match=r"Pt2 .*no forces"):
        Image.from_atoms(atoms)
    with pytest.raises(InputError, match=r"Pt2 .*no forces"):
        Image.from_atoms(labelled(atoms, energy=1.0))
    with pytest.raises(InputError, match=r"Pt2 .*no energy"):
        Image.from_atoms(labelled(atoms, forces=np.zeros((2, 3))))


# --- checks ------------------------------------------------------------------------------------

GOOD = {"symbols": "Pt2", "positions": [[0, 0, 0], [2, 0, 0]], "cell": [4, 5, 6], "pbc": True}

REFUSED = {
    "empty": ({"symbols": "", "positions": []}, "^it has no atoms"),
    "nan": ({"positions": [[0, 0, 0], [0, np.nan, 0]]}, "^it: .*atom 1 is not finite"),
    "infinite": ({"positions": [[np.inf, 0, 0], [0, 0, 0]]}, "^it: .*atom 0 is not finite"),
    "no cell": ({"cell": None}, "^it is periodic in xyz"),
    "half a cell": ({"cell": [4, 5, 0]}, "^it is periodic in z "),
    "cell nan": ({"cell": [4, 5, np.nan]}, "^it: the cell is not finite$"),
    "flat cell": (
        {"cell": [[4, 0, 0], [0, 4, 0], [4, 4, 0]]},
        "^it: the periodic cell vectors are linearly dependent$",
    ),
    "element": ({"symbols": "PtPb"}, "^it contains Pb"),
    "one place": (
        {"positions": [[0, 0, 0], [0, 0, 9e-4]]},
        "^it: atoms 0 and 1 overlap",
    ),
    "one place over the boundary": (
        {"positions": [[0, 0, 0], [8, -5, 6.0005]]},
        "^it: atoms 0 and 1 overlap",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_structures_that_are_refused(case: str) -> None:
    check_structure(Atoms(**GOOD), ["Pt", "Au"], "it")
    change, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        check_structure(Atoms(**(GOOD | change)), ["Pt", "Au"], "it")


@pytest.mark.parametrize("name", NAMES)
def test_structures_that_are_accepted(name: str) -> None:
    check_structure(structure(name))


@pytest.mark.parametrize("number", [-1, 119, 2**30])
def test_numbers_of_no_element(number: int) -> None:
    atoms = Atoms("Pt2", [[0, 0, 0], [0, 0, 2.5]])
    atoms.numbers[1] = number
    for elements in (None, ["Pt"]):
        with pytest.raises(InputError, match=f"^structure: {number} is the atomic number of no el"):
            check_structure(atoms, elements)


def test_a_single_atom_is_a_structure() -> None:
    check_structure(Atoms("Pt"))


def test_an_atom_that_stands_alone() -> None:
    atoms = Atoms("Pt2Au", [[0, 0, 0], [2, 0, 0], [9, 0, 0]])
    check_structure(atoms, name="it", radius=7.5)
    with pytest.raises(InputError, match=r"it: atom 2 \(Au\) .*6\.5 Å"):
        check_structure(atoms, name="it", radius=6.5)
    check_structure(atoms, name="it", radius=6.5, indices=[0, 1])
    atoms.cell, atoms.pbc = [[11, 0, 0], [0, 0, 0], [0, 0, 0]], [True, False, False]
    check_structure(atoms, name="it", radius=6.5)


def test_a_structure_as_the_core_takes_it() -> None:
    atoms = structure("sheet", 2)
    given = core_structure(atoms, ["Au", "Cu", "Pt"])
    assert len(given) == len(atoms)
    assert given.species.tolist() == [2, 0, 2, 0]
    assert given.species.dtype == np.int32
    assert given.pbc.tolist() == [True, False, True]
    np.testing.assert_array_equal(given.positions, atoms.positions)
    np.testing.assert_array_equal(given.cell, np.asarray(atoms.cell))
    np.testing.assert_allclose(given.volume, abs(np.linalg.det(atoms.cell)), rtol=1e-15)


def test_what_comes_from_the_core_changes_nothing_in_it() -> None:
    given = core_structure(structure("sheet", 2))
    given.positions[:] = np.nan
    assert np.isfinite(given.positions).all()


def test_a_structure_that_moves_is_checked_again() -> None:
    atoms = structure("sheet", 2)
    given = core_structure(atoms, name="it")
    moved = given.moved(atoms.positions + 0.5)
    np.testing.assert_array_equal(moved.positions, atoms.positions + 0.5)
    np.testing.assert_array_equal(moved.species, given.species)
    with pytest.raises(InputError, match=r"^it: the position of atom 0 is not finite$"):
        given.moved(np.full((4, 3), np.nan))
    with pytest.raises(InputError, match=r"^it: 3 positions for 4 atoms$"):
        given.moved(atoms.positions[1:])


# --- files -------------------------------------------------------------------------------------


def test_no_thread_goes_on_working_after_a_look_at_the_positions() -> None:
    """Threads of BLAS wait busily for more work, in the place of those of the force call."""
    atoms = Atoms("Pt20000", positions=np.random.default_rng(0).uniform(size=(20000, 3)))
    given = core_structure(atoms, ["Pt"])
    time.sleep(0.3)  # whatever came before
    given.moved(atoms.positions)
    begin = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - begin < 0.03


def test_images_in_a_file(tmp_path: Path) -> None:
    """Extended XYZ holds eight decimals."""
    images = labelled_images(2)
    write_images(tmp_path / "a.extxyz", images)
    again = read_images(tmp_path / "a.extxyz")
    assert [i.is_chunk for i in again] == [i.is_chunk for i in images]
    for one, two in zip(images, again, strict=True):
        assert two.atoms.get_chemical_symbols() == one.atoms.get_chemical_symbols()
        assert (two.atoms.pbc == one.atoms.pbc).all()
        np.testing.assert_allclose(two.atoms.positions, one.atoms.positions, atol=5.1e-9)
        np.testing.assert_allclose(two.atoms.cell, one.atoms.cell, atol=5.1e-9)
        np.testing.assert_allclose(two.forces, one.forces, atol=5.1e-9)
        assert two.energy == pytest.approx(one.energy, abs=1e-8)
    # what was read is written as it was
    write_images(tmp_path / "b.extxyz", again)
    assert (tmp_path / "b.extxyz").read_bytes() == (tmp_path / "a.extxyz").read_bytes()


def test_structures_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.extxyz"
    write_structures(path, [structure("tiny"), structure("slab")])
    assert [len(a) for a in read_structures(path)] == [2, 12]
    assert len(read_structure(path)) == 12
    assert [len(a) for a in read_structures(f"{path}@0")] == [2]


def test_a_database_and_a_selection_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    ase.io.write(path, [structure("tiny"), structure("slab")])
    assert [len(a) for a in read_structures(path)] == [2, 12]
    assert [len(a) for a in read_structures(f"{path}@id=2")] == [12]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.xyz"):
        read_structures(tmp_path / "nowhere.xyz")
    broken = tmp_path / "broken.xyz"
    broken.write_text("3\n\nPt 0 0 0\nPt 2 0\n")
    with pytest.raises(InputError, match=r"broken\.xyz: ASE cannot read it \(\w+") as caught:
        read_structures(broken)
    assert "\n" not in str(caught.value)
    (tmp_path / "some.pdf").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"some\.pdf"):
        read_structures(tmp_path / "some.pdf")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xyz")
    with pytest.raises(InputError, match=r"pipe\.xyz: not a file$"):
        read_structures(tmp_path / "pipe.xyz")
    with pytest.raises(InputError, match="no such file"):
        read_structures("a\0b.xyz")
    (tmp_path / "data").write_text("LAMMPS data file\n\n2 atoms\n")
    with pytest.raises(InputError, match=r"where you know the format, name it as ASE does"):
        read_structures(tmp_path / "data")


def test_the_message_names_file_and_structure(tmp_path: Path) -> None:
    path = tmp_path / "a.extxyz"
    write_structures(path, [labelled(structure("tiny"), energy=1.0, forces=np.zeros((2, 3)))] * 2)
    with path.open("a") as stream:
        stream.write("2\nProperties=species:S:1:pos:R:3\nPt 0 0 0\nPt 2 0 0\n")
    with pytest.raises(InputError, match=r"a\.extxyz, structure 2: .*Pt2"):
        read_images(path)
    path.write_text("2\nProperties=species:S:1:pos:R:3\nPt 2 0 0\nPt 2 0 0\n")
    with pytest.raises(InputError, match=r"a\.extxyz, structure 0: atoms 0 and 1 overlap"):
        read_images(path)
    with pytest.raises(InputError, match=r"a\.extxyz: atoms 0 and 1 overlap"):
        read_structure(path)
