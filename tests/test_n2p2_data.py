"""Labelled structures in and out of n2p2's input.data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree

from helpers.cli import run_command
from helpers.structures import structure
from nearsight.errors import InputError
from nearsight.structures.images import read_images, read_structures
from nearsight.structures.n2p2_data import read_n2p2_data, write_n2p2_data
from nearsight.structures.units import Units

SHIPPED = Path(__file__).parents[1] / ".." / "shared" / "reference" / "n2p2_shipped"
WATER = """\
# a file of two
begin set=test
comment   water, end of the world
lattice 20 0 0
lattice 0 21.5 0
lattice 1.0E+00 0 22
atom 0.5 0.25 -1.5 O -0.8 0.0 0.1 0.2 -0.3
atom 1.5 0.25 -1.5 H 0.4 0.0 -0.1 0.0 0.3
energy -76.5
charge 0.0
end

begin
atom 0 0 0 O 0 0 0 0 0
energy -75
charge -1
end
"""


def test_reading(tmp_path: Path) -> None:
    place = tmp_path / "input.data"
    place.write_text(WATER)
    first, second = read_n2p2_data(place, Units("bohr", "hartree"))
    assert str(first.symbols) == "OH"
    np.testing.assert_allclose(first.positions[0], np.array([0.5, 0.25, -1.5]) * Bohr, rtol=1e-15)
    np.testing.assert_allclose(first.cell[2], np.array([1, 0, 22]) * Bohr, rtol=1e-15)
    assert first.pbc.all()
    assert not second.pbc.any()
    forces = np.array([[0.1, 0.2, -0.3], [-0.1, 0, 0.3]]) * Hartree / Bohr
    np.testing.assert_allclose(first.get_forces(), forces, rtol=1e-15)
    assert first.get_potential_energy() == -76.5 * Hartree
    assert first.get_initial_charges().tolist() == [-0.8, 0.4]
    assert first.info == {"n2p2_set": "test"}
    assert second.info == {"charge": -1.0}


def test_training_data(tmp_path: Path) -> None:
    """Wherever structures are read, in eV and Å."""
    place = tmp_path / "input.data"
    place.write_text(WATER.replace("atom 0 0 0 O 0 0 0 0 0", "atom 0 0 0 O 0 0 0 0 0\natom 1 0 0 "
                                   "H 0 0 0 0 0"))  # fmt: skip
    images = read_images(place)
    assert [image.energy for image in images] == [-76.5, -75.0]
    np.testing.assert_array_equal(images[0].forces[1], [-0.1, 0, 0.3])
    assert len(read_structures(f"{place}@-1")) == 1


def labelled(atoms: Atoms, seed: int) -> Atoms:
    rng = np.random.default_rng(seed)
    forces, energy = rng.normal(size=(len(atoms), 3)), float(rng.normal())
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


@pytest.mark.parametrize("units", [Units(), Units("bohr", "hartree")])
def test_round_trip_to_the_last_bit(units: Units, tmp_path: Path) -> None:
    place = tmp_path / "input.data"
    names = ("cluster", "skewed", "left-handed", "supercell")
    given = [labelled(structure(name, 2), n) for n, name in enumerate(names)]
    write_n2p2_data(place, given, units)
    for one, two in zip(given, read_n2p2_data(place, units), strict=True):
        np.testing.assert_array_equal(one.numbers, two.numbers)
        np.testing.assert_array_equal(one.positions, two.positions)
        np.testing.assert_array_equal(one.cell, two.cell)
        np.testing.assert_array_equal(one.pbc, two.pbc)
        np.testing.assert_array_equal(one.get_forces(), two.get_forces())
        assert one.get_potential_energy() == two.get_potential_energy()


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="files that n2p2 ships are not there")
@pytest.mark.parametrize("name", ["DMABN_SCAN", "Ethylbenzene_SCAN", "H2O_BLYP"])
def test_files_that_n2p2_ships(name: str, tmp_path: Path) -> None:
    """Read, written, read again."""
    units = Units("bohr", "hartree")
    given = read_n2p2_data(SHIPPED / name / "input.data", units)
    for atoms in given:
        atoms.calc.results.setdefault("energy", 0.0)
    write_n2p2_data(tmp_path / "input.data", given, units)
    for one, two in zip(given, read_n2p2_data(tmp_path / "input.data", units), strict=True):
        np.testing.assert_array_equal(one.positions, two.positions)
        np.testing.assert_array_equal(one.get_forces(), two.get_forces())
        np.testing.assert_array_equal(one.cell, two.cell)


BAD = {
    "cut off": (WATER[:-5], "ends within a structure"),
    "atom": (WATER.replace("0.0 0.1 0.2 -0.3", "0.0 0.1 0.2"), "line 7: expected atom x y z"),
    "number": (WATER.replace("-76.5", "low"), "line 9: expected a number, found 'low'"),
    "element": (WATER.replace("-1.5 H", "-1.5 Hx"), "'Hx' is no element"),
    "lattice": (WATER.replace("lattice 0 21.5 0\n", ""), "2 lattice vectors, expected three"),
    "keyword": (WATER.replace("charge 0.0", "spin 1"), "unknown keyword 'spin'"),
    "outside": (WATER + "energy 1\n", "energy stands outside of begin and end"),
    "within": (WATER.replace("energy -76.5", "begin"), "begin stands before the end"),
    "no atoms": ("begin\nenergy 1\nend\n", "a structure without atoms"),
    "two energies": (WATER.replace("charge 0.0", "energy 1"), "expected one energy"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_refused(name: str, tmp_path: Path) -> None:
    text, sentence = BAD[name]
    (tmp_path / "input.data").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_structures(tmp_path / "input.data")


def test_structures_that_are_not_written(tmp_path: Path) -> None:
    place = tmp_path / "input.data"
    slab = labelled(structure("slab"), 0)
    with pytest.raises(InputError, match="structure 0: periodic in 2 of 3 directions"):
        write_n2p2_data(place, [slab])
    with pytest.raises(InputError, match="structure 0 carries no forces"):
        write_n2p2_data(place, [structure("cluster")])
    chunk = labelled(structure("cluster"), 0)
    chunk.arrays["force_weights"] = np.eye(1, len(chunk))[0]
    with pytest.raises(InputError, match="only some of its forces count"):
        write_n2p2_data(place, [chunk])
    far = labelled(structure("cluster"), 0)
    far.positions[0, 0] = np.inf
    with pytest.raises(InputError, match="structure 0: its positions, cell or charges are not"):
        write_n2p2_data(place, [far])
    assert not place.exists()


def test_commands(tmp_path: Path) -> None:
    place, out, back = tmp_path / "input.data", tmp_path / "a.extxyz", tmp_path / "again.data"
    place.write_text(WATER)
    units = ["--length-unit", "bohr", "--energy-unit", "hartree"]
    done = run_command("import", place, "-o", out, *units)
    assert done.code == 0, done.err
    assert "2 structures" in done.out
    assert read_structures(out)[0].get_potential_energy() == pytest.approx(-76.5 * Hartree)
    done = run_command("export", out, back, *units)
    assert done.code == 0, done.err
    first = read_n2p2_data(back, Units("bohr", "hartree"))[0]
    np.testing.assert_allclose(first.positions[0], np.array([0.5, 0.25, -1.5]) * Bohr, atol=1e-8)
