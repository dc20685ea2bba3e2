"""The commands on a database of parent calculations: ``nearsight labels``."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from helpers.cli import run_command as run
from helpers.parents import bits
from nearsight.learning.targets import Targets
from nearsight.parents import Origin, Parent
from nearsight.structures.images import read_images


def cell(seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of three cells and two chunks."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "parent.db"
    parent = Parent("emt", database=path)
    parent.calculate_many([cell(n) for n in range(3)], True, origin=Origin("cell", "initial"))
    target = bulk("Cu", cubic=True).repeat(2)
    target.rattle(0.05, seed=7)
    chunks = Targets((cell(0), target)).extract([4, 9], 3.0, 4.0)
    parent.calculate_many(chunks, origin=Origin(stage="nft", iteration=2))
    return path


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_list_says_where_every_row_comes_from(path: Path) -> None:
    code, out, _ = run("labels", "list", path)
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert ["1", "Cu4", "cell", "initial", "–"] in [row[:5] for row in rows]
    assert ["5", "Cu13", "chunk", "nft", "2", "atom", "5", "of", "target", "1"] in [
        row[:10] for row in rows
    ]
    assert "5 calculations (3 cell, 2 chunk)" in out
    assert '5 by emt {"arguments": {}}' in out
    for option in (("--role", "chunk"), ("--last", "2")):
        assert "2 calculations (2 chunk)" in run("labels", "list", path, *option).out


def test_the_folder_of_a_run_will_do(path: Path) -> None:
    assert run("labels", "list", path.parent).out == run("labels", "list", path).out


def test_export_writes_what_the_calculator_gives(path: Path, tmp_path: Path) -> None:
    assert run("labels", "export", path, "all.extxyz") == (0, "all.extxyz: 5 structures\n", "")
    for atoms in ase.io.read(tmp_path / "all.extxyz", ":"):
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        bare.calc = EMT()
        # extended XYZ keeps eight decimals
        np.testing.assert_allclose(atoms.get_forces(), bare.get_forces(), atol=1e-6)
        assert atoms.get_potential_energy() == pytest.approx(bare.get_potential_energy(), abs=1e-6)
        assert atoms.info["role"] == ("cell" if atoms.pbc.all() else "chunk")


def test_export_with_the_names_of_references(path: Path) -> None:
    run("labels", "export", path, "all.extxyz", "--reference-names", "--role", "cell")
    found = ase.io.read("all.extxyz", ":")
    assert len(found) == 3
    for n, atoms in enumerate(found):
        expected = cell(n)
        expected.calc = EMT()
        assert atoms.calc is None
        assert atoms.info["REF_energy"] == expected.get_potential_energy()
        np.testing.assert_allclose(atoms.arrays["REF_forces"], expected.get_forces(), atol=1e-8)
        np.testing.assert_allclose(atoms.info["REF_stress"], expected.get_stress(), atol=1e-12)


def test_exported_centres_train_nearsight_and_others(path: Path) -> None:
    run("labels", "export", path, "all.extxyz", "--centres")
    for atoms in ase.io.read("all.extxyz", ":"):
        weights = atoms.arrays.get("force_weights")
        assert (weights is None) == atoms.pbc.all()
        assert weights is None or (weights[0] == 1 and not weights[1:].any())
    assert [image.is_chunk for image in read_images("all.extxyz")] == [False] * 3 + [True] * 2


@pytest.mark.parametrize("names", [[], ["--reference-names"]])
def test_exported_centres_are_read_back_as_chunks(path: Path, names: list[str]) -> None:
    """In the style of MACE, too: no energy, one force, whatever the others are."""
    run("labels", "export", path, "all.extxyz", "--centres", "--role", "chunk", *names)
    column = "REF_forces_atomic_weights" if names else "force_weights"
    given = ase.io.read("all.extxyz", ":")
    for atoms, image in zip(given, read_images("all.extxyz"), strict=True):
        assert atoms.arrays[column].tolist() == [1.0] + [0.0] * (len(atoms) - 1)
        assert atoms.info["config_energy_weight"] == 0.0
        forces = atoms.arrays["REF_forces"] if names else atoms.calc.results["forces"]
        assert image.energy is None
        np.testing.assert_array_equal(image.forces, forces[:1])


@pytest.mark.parametrize("arguments", [("list",), ("export", "none.extxyz")])
def test_a_role_that_nothing_has_is_said(path: Path, arguments: tuple[str, ...]) -> None:
    command, *file = arguments
    code, out, err = run("labels", command, path, *file, "--role", "whole")
    sentence = f"{path}: no calculation of that role; roles there are: cell, chunk\n"
    assert (code, out, err) == (2, "", sentence)
    assert not Path("none.extxyz").exists()


WRITER = """
import sys, time
from ase.build import bulk
from nearsight.parents import Parent
parent = Parent("emt", database=sys.argv[1])
for n in range(10_000):
    atoms = bulk("Ag")
    atoms.rattle(0.1, seed=n)
    parent.calculate(atoms)
    print(n, flush=True)
"""


def test_a_copy_of_a_database_in_use_is_whole(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        for n in range(3):
            writer.stdout.readline()
            assert run("labels", "copy", path, f"copy{n}.db").code == 0
            assert run("labels", "verify", f"copy{n}.db").code == 0
            assert len(ase.db.connect(f"copy{n}.db")) >= 6 + n
    finally:
        writer.kill()
        writer.communicate()


def test_a_copy_takes_back_what_a_killed_writer_left_half_done(path: Path, tmp_path: Path) -> None:
    killed = f"""
import os, sqlite3
connection = sqlite3.connect({str(path)!r})
connection.execute("PRAGMA cache_size = 1")  # so that it writes before it commits
connection.execute("UPDATE systems SET energy = 0, username = hex(randomblob(20000))")
os._exit(9)
"""
    before = [row.energy for row in ase.db.connect(path).select()]
    subprocess.run([sys.executable, "-c", killed], check=False)
    assert Path(f"{path}-journal").exists()
    assert run("labels", "copy", path, "copy.db").code == 0
    assert [row.energy for row in ase.db.connect("copy.db").select()] == before
    assert run("labels", "verify", "copy.db").code == 0


def test_copy_overwrites_only_when_told(path: Path) -> None:
    Path("copy.db").write_text("precious")
    code, _, err = run("labels", "copy", path, "copy.db")
    assert (code, err) == (2, "copy.db: exists already; give --force to overwrite it\n")
    assert Path("copy.db").read_text() == "precious"
    assert run("labels", "copy", path, "copy.db", "--force").code == 0
    assert len(ase.db.connect("copy.db")) == 5


def test_verify_finds_nothing_in_a_whole_database(path: Path) -> None:
    before = path.read_bytes()
    code, out, err = run("labels", "verify", path, "--again", "2")
    assert (code, err) == (0, "")
    assert f"{path}: 5 rows, 0 damaged" in out
    assert "2 of 2 calculated again, largest difference of a force 0.0000 meV/Å" in out
    assert path.read_bytes() == before


def test_verify_names_damaged_rows_and_repairs_when_told(path: Path) -> None:
    change(path, "UPDATE systems SET energy = energy + 1 WHERE id = 2")
    change(path, "UPDATE text_key_values SET value = 'x' WHERE key = 'fingerprint' AND id = 3")
    change(path, "DELETE FROM systems WHERE id = 4")
    code, out, err = run("labels", "verify", path)
    assert code == 2
    assert [line.strip().split(maxsplit=1) for line in out.splitlines()[1:4]] == [
        ["2", "its digest does not match what it holds"],
        ["3", "its key does not lead to it"],
        ["4", "it is gone"],
    ]
    assert err.startswith(f"{path}: 3 damaged rows; --repair removes")
    code, out, _ = run("labels", "verify", path, "--repair")
    assert code == 0
    assert "2 rows removed, 1 found again by their keys" in out
    assert run("labels", "verify", path).code == 0
    parent = Parent("emt", database=path)
    results = parent.calculate_many([cell(n) for n in range(3)], stress=True)
    assert [result.cached for result in results] == [True, False, True]  # type: ignore[union-attr]
    expected = Parent("emt").calculate_many([cell(n) for n in range(3)], stress=True)
    assert list(map(bits, results)) == list(map(bits, expected))  # type: ignore[arg-type]


def test_verify_states_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    source = "import ase.calculators.lj as lj\nmake = lambda: lj.LennardJones(epsilon={})\n"
    module = tmp_path / "changing_parent.py"
    module.write_text(source.format(0.1))
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 1.1]])
    result = Parent("changing_parent:make", database="parent.db").calculate(atoms)
    module.write_text(source.format(0.2))  # the function is another one now
    del sys.modules["changing_parent"]
    code, out, _ = run("labels", "verify", "parent.db", "--again", "5")
    assert code == 0
    # twice the energy and twice the forces
    change = 1000 * np.linalg.norm(result.forces[0])
    assert f"1 of 1 calculated again, largest difference of a force {change:.4f} meV/Å" in out
    assert f"{500 * result.energy:.4f}" in out
    assert "the forces of row 1 are the slope of its energy" in out  # both are the new ones


def test_verify_tells_forces_that_are_not_the_slope_of_the_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forces in Ry/Bohr taken for eV/Å: a factor of 25.7; the parent itself gives them so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rydberg_parent.py").write_text(
        "from ase.calculators.emt import EMT\n"
        "from ase.units import Bohr, Ry\n"
        "class Rydberg(EMT):\n"
        "    def calculate(self, *given, **named):\n"
        "        super().calculate(*given, **named)\n"
        "        self.results['forces'] = self.results['forces'] / (Ry / Bohr)\n"
    )
    for name, sentence in (
        ("rydberg_parent:Rydberg", " times that (25.7: forces in Ry/Bohr"),
        ("emt", " are the slope of its energy: "),
    ):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=1)
        Parent(name, database=f"{name[:3]}.db").calculate(atoms)
        code, out, _ = run("labels", "verify", f"{name[:3]}.db", "--again", "1")
        assert code == 0
        assert sentence in out.replace("\n", " ")
        if name != "emt":
            assert float(out.split(" times that")[0].split()[-1]) == pytest.approx(25.711, abs=0.01)


def test_verify_says_what_cannot_be_calculated_again(path: Path) -> None:
    Parent("helpers.faulty:FaultyEMT", database=path).calculate(cell(5))
    import helpers.faulty

    maker = helpers.faulty.FaultyEMT
    try:
        del helpers.faulty.FaultyEMT
        code, out, _ = run("labels", "verify", path, "--again", "6")
    finally:
        helpers.faulty.FaultyEMT = maker  # type: ignore[misc]
    assert code == 0
    assert "failed: " in out
    assert "5 of 6 calculated again" in out


@pytest.mark.parametrize("command", ["list", "verify"])
def test_a_missing_database_is_not_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("labels", command, "none.db") == (2, "", "none.db: no such file\n")
    assert run("labels", command, ".") == (2, "", "parent.db: no such file\n")
    assert list(tmp_path.iterdir()) == []
