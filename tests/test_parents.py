"""Parents: what is accepted and calculated, and that the database neither loses nor invents."""

from __future__ import annotations

import functools
import json
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers.faulty import FAULTY, FaultyEMT, Script
from helpers.parents import bits
from nearsight.config import ExecutorSettings
from nearsight.errors import InputError, ParentError
from nearsight.parents import Parent, ParentCalculator, as_parent, database_file
from nearsight.parents.database import ParentDatabase, ParentResult, fingerprint

NOT_CALLABLE = 1
NAMES = (
    "must be the name of a code ('emt', 'gpaw', 'espresso', 'vasp' and others of ASE's names) or "
    "'package.module:factory'"
)


def scripted(lacks: Sequence[str] = (), **results: Any) -> Callable[[], Calculator]:
    return lambda: FaultyEMT(lacks=lacks, results=results)


@pytest.fixture
def rattled() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    return atoms


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "parent.db"


# -- what a parent calculates


@pytest.mark.parametrize(
    "calculator", ["emt", "ase.calculators.emt:EMT", EMT, EMT(), lambda: EMT()]
)
def test_gives_what_the_calculator_gives(calculator: Any, rattled: Atoms) -> None:
    result = Parent(calculator).calculate(rattled, stress=True)
    rattled.calc = EMT()
    assert result.energy == rattled.get_potential_energy()
    np.testing.assert_array_equal(result.forces, rattled.get_forces())
    assert result.stress is not None
    np.testing.assert_array_equal(result.stress, rattled.get_stress())
    assert result.seconds > 0
    assert not result.cached


def test_stress_only_when_asked(rattled: Atoms) -> None:
    assert Parent("emt").calculate(rattled).stress is None


def test_a_result_does_not_depend_on_what_came_before(rattled: Atoms) -> None:
    expected = bits(Parent("emt").calculate(rattled))
    for parent in (Parent("emt"), Parent(EMT())):
        nearby = rattled.copy()
        nearby.rattle(0.01, seed=4)  # near enough for a neighbour list to be taken over
        parent.calculate(nearby)
        parent.calculate(bulk("Pt"))
        parent.calculate(nearby)
        assert bits(parent.calculate(rattled)) == expected
        assert parent.calculations == 4


def test_constraints_are_disregarded_and_the_structure_is_left_alone(rattled: Atoms) -> None:
    free = Parent("emt").calculate(rattled)
    rattled.set_constraint(FixAtoms([0, 1, 2, 3]))
    before = rattled.copy()
    assert bits(Parent("emt").calculate(rattled)) == bits(free)
    assert rattled == before
    assert rattled.calc is None
    assert len(rattled.constraints) == 1


def test_takes_the_energy_the_forces_derive_from(rattled: Atoms) -> None:
    assert Parent(scripted(energy=1.0, free_energy=2.0)).calculate(rattled).energy == 2.0
    energy_only = scripted(lacks=("free_energy", "stress"), energy=1.0)
    assert Parent(energy_only).calculate(rattled).energy == 1.0


def test_arguments_reach_the_calculator(rattled: Atoms) -> None:
    parent = Parent("emt", {"asap_cutoff": True})
    assert parent.settings == {"calculator": "emt", "arguments": {"asap_cutoff": True}}
    rattled.calc = EMT(asap_cutoff=True)
    assert parent.calculate(rattled).energy == rattled.get_potential_energy()


@pytest.mark.parametrize(
    ("calculator", "name", "arguments"),
    [
        ("emt", "emt", {}),
        (EMT, "ase.calculators.emt:EMT", {}),
        (EMT(asap_cutoff=True), "ase.calculators.emt:EMT", {"asap_cutoff": True}),
        (functools.partial(EMT), "functools:partial", {}),
    ],
)
def test_settings_say_which_parent_it_is(
    calculator: Any, name: str, arguments: dict[str, Any]
) -> None:
    found = Parent(calculator).settings
    assert found == {"calculator": name, "arguments": arguments}
    assert json.loads(json.dumps(found)) == found


def test_as_parent_leaves_a_parent_as_it_is(emt_parent: Parent) -> None:
    assert as_parent(emt_parent) is emt_parent
    assert as_parent("emt").settings["calculator"] == "emt"
    assert as_parent(EMT).settings["calculator"] == "ase.calculators.emt:EMT"


def test_a_factory_in_a_file_of_ones_own(
    rattled: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from ase.calculators.emt import EMT\ndef make(cut):\n    return EMT(asap_cutoff=cut)\n"
    )
    (tmp_path / "own_parent.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    result = Parent("own_parent:make", {"cut": True}).calculate(rattled)
    assert bits(result) == bits(Parent("emt", {"asap_cutoff": True}).calculate(rattled))


# -- what is refused


@pytest.mark.parametrize(
    ("calculator", "arguments", "message"),
    [
        (
            "EMTT",
            None,
            f"parent calculator {NAMES}, got 'EMTT'; did you mean emt?",
        ),
        ("vaps", None, f"parent calculator {NAMES}, got 'vaps'; did you mean vasp?"),
        ("Espreso", None, f"parent calculator {NAMES}, got 'Espreso'; did you mean espresso?"),
        ("", None, f"parent calculator {NAMES}, got ''"),
        (":f", None, f"parent calculator {NAMES}, got ':f'"),
        (
            "no_such_package.module:factory",
            None,
            (
                "parent calculator 'no_such_package.module:factory': module no_such_package.module "
                "cannot be imported (ModuleNotFoundError: No module named 'no_such_package')"
            ),
        ),
        (
            "ase.calculators.emt:ETM",
            None,
            (
                "parent calculator 'ase.calculators.emt:ETM': module ase.calculators.emt has no "
                "'ETM'; did you mean EMT?"
            ),
        ),
        (
            "ase.calculators.emt:parameters",
            None,
            (
                "parent calculator 'ase.calculators.emt:parameters': "
                "parameters is not a function or class"
            ),
        ),
        (
            "builtins:int",
            None,
            "parent calculator builtins:int does not make an ASE calculator",
        ),
        (
            NOT_CALLABLE,
            None,
            "parent calculator must be a name, a callable or an ASE calculator, got 1",
        ),
        (
            EMT(),
            {"asap_cutoff": True},
            "arguments cannot go with a ready calculator (EMT); give them to its constructor",
        ),
        (
            "emt",
            {"mode": {1, 2}},
            "arguments of parent calculator emt: Object of type set is not JSON serializable",
        ),
        (
            "emt",
            {"mode": float("nan")},
            "arguments of parent calculator emt: Out of range float values are not JSON compliant",
        ),
    ],
)
def test_refuses_at_construction(calculator: Any, arguments: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Parent(calculator, arguments)
    assert str(caught.value).startswith(message)


def test_refuses_arguments_the_factory_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strict_parent.py").write_text("def make(cutoff): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as caught:
        Parent("strict_parent:make", {"cutof": 3.0})
    assert "strict_parent:make" in str(caught.value)
    assert "(cutof=3.0): TypeError: make() got an unexpected keyword arg" in str(caught.value)


def test_refuses_a_module_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_parent.py").write_text("def make(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"broken_parent cannot be imported \(SyntaxError"):
        Parent("broken_parent:make")


@pytest.mark.parametrize("ends", ["raise SystemExit(0)", "def make(): raise SystemExit(0)"])
def test_refuses_a_module_that_ends_the_program(
    ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a script does that parses its command line."""
    name = f"ending_parent_{len(ends)}"
    (tmp_path / f"{name}.py").write_text(f"{ends}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"cannot be (imported|made).*SystemExit: 0"):
        Parent(f"{name}:make")


class Factory:
    def make(self) -> EMT:
        return EMT()


@pytest.mark.parametrize(
    "calculator",
    [EMT(), lambda: EMT(), functools.partial(EMT), Factory().make],
    ids=["calculator", "lambda", "partial", "method"],
)
def test_refuses_a_database_for_a_parent_without_a_name(calculator: Any, path: Path) -> None:
    with pytest.raises(InputError, match="a database of parent calculations needs a parent given"):
        Parent(calculator, database=path)
    assert not path.exists()


def test_takes_a_database_for_a_function_with_a_name(path: Path, rattled: Atoms) -> None:
    assert Parent(EMT, database=path).calculate(rattled).cached is False
    assert Parent("ase.calculators.emt:EMT", database=path).calculate(rattled).cached is True


def test_a_structure_without_atoms_is_refused(emt_parent: Parent) -> None:
    with pytest.raises(InputError, match="no atoms"):
        emt_parent.calculate(Atoms())


# -- what fails


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (lambda: FaultyEMT({"*": "raise"}), "RuntimeError: SCF did not converge"),
        (scripted(free_energy=np.nan), "energy not finite"),
        (scripted(free_energy=np.inf), "energy not finite"),
        (scripted(free_energy=-1e300), "an energy of -1e+300 eV, beyond 1e+07 eV per atom"),
        (scripted(free_energy=np.complex128(1.0)), "ValueError: energy not of real numbers"),
        (scripted(free_energy="-1.5"), "ValueError: energy not of real numbers"),
        (scripted(free_energy=True), "ValueError: energy not of real numbers"),
        (scripted(free_energy=[1.0]), "ValueError: energy of shape (1,), not ()"),
        (scripted(forces=np.zeros((4, 3), bool)), "ValueError: forces not of real numbers"),
        (scripted(forces=np.full((4, 3), np.nan)), "forces not finite"),
        (scripted(forces=[[0, 0, np.inf]] * 4), "forces not finite"),
        (scripted(forces=np.zeros((3, 3))), "forces of shape (3, 3), not (4, 3)"),
        (scripted(stress=np.full(6, np.nan)), "stress not finite"),
        (
            scripted(lacks=("free_energy", "stress")),
            "NotImplementedError: it gives no stress, which relaxing a cell needs",
        ),
    ],
)
def test_a_failure_names_the_structure(factory: Any, reason: str, rattled: Atoms) -> None:
    parent = Parent(factory)
    with pytest.raises(ParentError) as caught:
        parent.calculate(rattled, stress=True)
    name = parent.settings["calculator"]
    assert str(caught.value) == f"parent {name} failed on Cu4 (4 atoms): {reason}"


def test_an_element_the_parent_does_not_know(emt_parent: Parent) -> None:
    with pytest.raises(ParentError) as caught:
        emt_parent.calculate(Atoms("Fe"))
    assert "failed on Fe (1 atom): NotImplementedError: No EMT" in str(caught.value)


@pytest.mark.parametrize("fault", ["nan", "infinite force", "raise"])
def test_a_failure_is_not_stored(fault: str, rattled: Atoms, path: Path) -> None:
    script = Script(path.with_name("script.json"))
    arguments = {"script": str(script.path)}
    script.write({"*": fault})
    with pytest.raises(ParentError):
        Parent(FAULTY, arguments, path).calculate(rattled)
    script.write()
    parent = Parent(FAULTY, arguments, path)
    result = parent.calculate(rattled)
    assert not result.cached
    assert bits(result) == bits(Parent("emt").calculate(rattled))
    assert parent.calculate(rattled).cached


# -- the database


def test_what_is_known_is_read_back_bit_for_bit(rattled: Atoms, path: Path) -> None:
    first = Parent("emt", database=path)
    computed = first.calculate(rattled, stress=True)
    for parent in (first, Parent("emt", database=path)):
        read = parent.calculate(rattled, stress=True)
        assert read.cached
        assert bits(read) == bits(computed)
        assert read.seconds == computed.seconds
    assert first.calculations == 1
    read.forces[:] = 0.0  # a caller may do with a result what it likes
    assert bits(first.calculate(rattled, stress=True)) == bits(computed)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> ParentDatabase:
    return ParentDatabase(tmp_path_factory.mktemp("doubles") / "parent.db")


# ASE squares forces and stresses as it writes them
doubles = st.floats(-1e150, 1e150)


@settings(max_examples=50, deadline=None)
@given(doubles, arrays(float, (2, 3), elements=doubles), arrays(float, 6, elements=doubles))
def test_every_double_survives(
    database: ParentDatabase, energy: float, forces: Any, stress: Any
) -> None:
    result = ParentResult(energy + 0.0, forces, 1.5, cached=False, stress=stress)
    database.write("sha256-1", Atoms("H2", [[0, 0, 0], [0, 0, 1]]), result, {})
    read = database.read("sha256-1", 2)
    assert read is not None
    assert bits(read) == bits(result)


def test_a_negative_zero_becomes_a_zero(rattled: Atoms) -> None:
    result = Parent(scripted(free_energy=-0.0)).calculate(rattled)
    assert struct.pack("<d", result.energy) == struct.pack("<d", 0.0)


def nudge(array: Any) -> None:
    array.flat[0] = np.nextafter(array.flat[0], np.inf)


CHANGES: dict[str, Callable[[Atoms], object]] = {
    "last bit of a position": lambda atoms: nudge(atoms.positions),
    "last bit of the cell": lambda atoms: atoms.set_cell(
        np.asarray(atoms.cell) + np.diag([np.spacing(atoms.cell[0, 0]), 0, 0])
    ),
    "an element": lambda atoms: atoms.set_chemical_symbols(["Ag", *atoms.symbols[1:]]),
    "periodicity": lambda atoms: atoms.set_pbc([True, True, False]),
    "magnetic moments": lambda atoms: atoms.set_initial_magnetic_moments([0, 0, 0, 1e-9]),
    "charges": lambda atoms: atoms.set_initial_charges([0, 0, 0, 1e-9]),
    "order of the atoms": lambda atoms: atoms.set_positions(atoms.positions[::-1]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_structure_is_another_calculation(what: str, rattled: Atoms, path: Path) -> None:
    parent = Parent("emt", database=path)
    parent.calculate(rattled)
    changed = rattled.copy()
    CHANGES[what](changed)
    assert fingerprint(changed, "emt") != fingerprint(rattled, "emt")
    assert not parent.calculate(changed).cached
    assert parent.calculate(rattled).cached


def test_what_does_not_matter_is_not_another_calculation(rattled: Atoms, path: Path) -> None:
    parent = Parent("emt", database=path)
    parent.calculate(rattled)
    rattled.info["name"] = "copper"
    rattled.set_tags([1, 2, 3, 4])
    rattled.set_constraint(FixAtoms([0]))
    assert parent.calculate(rattled).cached


def test_another_parent_does_not_read_it(rattled: Atoms, path: Path) -> None:
    Parent("emt", database=path).calculate(rattled)
    for parent in (
        Parent("emt", {"asap_cutoff": True}, path),
        Parent("ase.calculators.emt:EMT", database=path),
    ):
        assert not parent.calculate(rattled).cached
    assert Parent("emt", {}, path).calculate(rattled).cached


def test_the_order_of_arguments_does_not_matter(rattled: Atoms, path: Path) -> None:
    forward, backward = {"sigma": 2.5, "epsilon": 0.1}, {"epsilon": 0.1, "sigma": 2.5}
    Parent("ase.calculators.lj:LennardJones", forward, path).calculate(rattled)
    again = Parent("ase.calculators.lj:LennardJones", backward, path)
    assert again.calculate(rattled).cached


def test_a_missing_stress_is_calculated_once(rattled: Atoms, path: Path) -> None:
    parent = Parent("emt", database=path)
    without = parent.calculate(rattled)
    with_stress = parent.calculate(rattled, stress=True)
    assert not with_stress.cached
    assert parent.calculate(rattled, stress=True).cached
    assert parent.calculate(rattled).cached
    assert parent.calculations == 2
    assert bits(with_stress)[:2] == bits(without)[:2]
    assert len(ase.db.connect(path)) == 1


def test_noncollinear_moments_can_be_stored(path: Path) -> None:
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]], magmoms=[[0, 0, 1], [0, 1, 0]])
    parent = Parent("emt", database=path)
    assert bits(parent.calculate(atoms)) == bits(parent.calculate(atoms))
    assert parent.calculations == 1


def test_is_an_ase_database_others_can_read(rattled: Atoms, path: Path) -> None:
    result = Parent("emt", {"asap_cutoff": True}, path).calculate(rattled)
    row = ase.db.connect(path).get(id=1)
    assert row.toatoms() == rattled
    assert row.energy == result.energy
    assert row.seconds == result.seconds
    assert row.data["settings"] == {"calculator": "emt", "arguments": {"asap_cutoff": True}}


KILLED = """
import os, sys
from ase.build import bulk
from nearsight.parents import Parent
parent = Parent("emt", database=sys.argv[1])
parent.calculate(bulk("Cu"))
os._exit(9)
"""


def test_a_killed_run_keeps_every_result_it_has_had(path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == 9
    assert Parent("emt", database=path).calculate(bulk("Cu")).cached
    assert [file.name for file in path.parent.iterdir()] == ["parent.db"]  # no lock stays behind


def test_counts_what_is_known(rattled: Atoms, path: Path) -> None:
    assert Parent("emt", database=path).known == 0
    for parent in (Parent("emt"), Parent("emt", database=path)):
        parent.calculate(rattled)
        parent.calculate(bulk("Cu"))
        assert parent.known == 2
    assert Parent("emt", database=path).known == 2


# -- databases that cannot be used


@pytest.fixture
def filled(path: Path) -> Path:
    parent = Parent("emt", database=path)
    for symbol in ("Cu", "Ag", "Au", "Pt", "Pd", "Ni"):
        parent.calculate(bulk(symbol, cubic=True), stress=True)
    return path


def test_a_truncated_database(filled: Path) -> None:
    whole = filled.read_bytes()
    for part in (0.9, 0.5, 0.1):
        filled.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(
            InputError, match="truncated or corrupted database of parent calculations"
        ):
            Parent("emt", database=filled)
    filled.write_bytes(whole)
    assert Parent("emt", database=filled).calculate(bulk("Cu", cubic=True)).cached


def test_an_empty_file_is_a_new_database(path: Path) -> None:
    path.touch()
    assert not Parent("emt", database=path).calculate(bulk("Cu")).cached
    assert Parent("emt", database=path).calculate(bulk("Cu")).cached


@pytest.mark.parametrize("content", [b"positions of atoms\n" * 100, bytes(range(256)) * 40])
def test_a_file_of_another_kind(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"truncated or corrupted database .* \(file is not a database\)"
    ):
        Parent("emt", database=path)
    assert path.read_bytes() == content


def test_an_sqlite_file_of_another_kind(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE results (x REAL)")
    with pytest.raises(InputError, match=r"parent\.db: an SQLite file, but no ASE database"):
        Parent("emt", database=path)


def test_an_ase_database_of_other_things(path: Path) -> None:
    ase.db.connect(path).write(molecule("H2O"))
    with pytest.raises(InputError, match="an ASE database, but not one of parent calculations"):
        Parent("emt", database=path)
    assert len(ase.db.connect(path)) == 1


def test_a_database_of_a_newer_version(filled: Path) -> None:
    ase.db.connect(filled).metadata = {"format": "nearsight-parent", "version": 3}
    with pytest.raises(InputError, match=r"written by a newer nearsight .file version 3, this one"):
        Parent("emt", database=filled)


def test_a_database_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"parent\.db: cannot be made, there is no folder"):
        Parent("emt", database=tmp_path / "missing" / "parent.db")


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the database cannot be used .unable to open database"):
        Parent("emt", database=tmp_path)


@pytest.mark.parametrize(
    ("column", "value"), [("forces", b"12345678"), ("energy", None), ("key_value_pairs", "{")]
)
def test_a_damaged_row(column: str, value: Any, filled: Path) -> None:
    parent = Parent("emt", database=filled)
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.execute(f"UPDATE systems SET {column} = ?", (value,))
    with pytest.raises(InputError, match=r"parent\.db: row 1 is damaged \(it cannot be read"):
        parent.calculate(bulk("Cu", cubic=True))


@pytest.mark.parametrize(
    ("pragma", "reason"),
    [
        ("query_only = ON", "attempt to write a readonly database"),
        ("max_page_count = 1", "database or disk is full"),
    ],
)
def test_a_database_that_cannot_be_written(
    pragma: str, reason: str, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = Parent("emt", database=filled, engine=ExecutorSettings(patience=1e-9))
    connect = database_file._connect

    def hindered(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute(f"PRAGMA {pragma}")
        return connection

    many = bulk("Cu").repeat(8)  # more than the free space in the last page
    monkeypatch.setattr(database_file, "_connect", hindered)
    with pytest.raises(InputError) as caught:
        parent.calculate(many)
    assert str(caught.value) == f"{filled}: the database cannot be used ({reason})"
    monkeypatch.undo()
    assert len(ase.db.connect(filled)) == 6
    assert not parent.calculate(many).cached


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite waits for a moment only."""
    monkeypatch.setattr(database_file, "LOCKED", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_locked_database(filled: Path) -> None:
    parent = Parent("emt", database=filled, engine=ExecutorSettings(patience=1e-9))
    with closing(sqlite3.connect(filled)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match=r"cannot be used .database is locked"):
            parent.calculate(bulk("Cu"))
        other.rollback()
    assert not parent.calculate(bulk("Cu")).cached


def test_a_copy_is_as_good_as_the_original(filled: Path, tmp_path: Path) -> None:
    shutil.copy(filled, tmp_path / "copy.db")
    assert Parent("emt", database=tmp_path / "copy.db").calculate(bulk("Ni", cubic=True)).cached


# -- the parent as an ASE calculator


def relax(atoms: Atoms, calculator: Calculator) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = calculator
    with BFGS(atoms, logfile=None) as optimizer:
        optimizer.run(fmax=0.05)
    return atoms


def test_a_relaxation_through_the_parent_is_that_with_the_calculator(path: Path) -> None:
    start = molecule("H2O")
    expected = relax(start, EMT())
    parent = Parent("emt", database=path)
    np.testing.assert_array_equal(
        relax(start, ParentCalculator(parent)).positions, expected.positions
    )
    steps = parent.calculations
    assert steps > 3
    np.testing.assert_array_equal(
        relax(start, ParentCalculator(parent)).positions, expected.positions
    )
    assert parent.calculations == steps


def test_gives_stress_when_asked_for_it(rattled: Atoms) -> None:
    parent = Parent("emt")
    rattled.calc = ParentCalculator(parent)
    energy = rattled.get_potential_energy()
    stress = rattled.get_stress()
    assert parent.calculations == 2
    rattled.calc = ParentCalculator(parent, stress=True)
    assert rattled.get_potential_energy() == energy
    assert rattled.get_potential_energy(force_consistent=True) == energy
    np.testing.assert_array_equal(rattled.get_stress(), stress)
    assert parent.calculations == 3
    rattled.calc = EMT()
    np.testing.assert_array_equal(rattled.get_stress(), stress)


def test_a_failure_passes_through_ase(rattled: Atoms) -> None:
    rattled.calc = ParentCalculator(Parent(FaultyEMT, {"faults": {"*": "raise"}}))
    with pytest.raises(ParentError, match="SCF did not converge"):
        rattled.get_forces()
