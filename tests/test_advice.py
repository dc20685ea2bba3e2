"""What is said before a run: settings that are rarely meant, lengths that are none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ase.io
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.cluster.octahedron import Octahedron

from helpers.cli import run_command
from helpers.recorder import Recorder, Stopped
from helpers.runs import make_workplace, tiny_config
from nearsight.config import Config
from nearsight.errors import InputError
from nearsight.learning.targets import Targets
from nearsight.run.advice import (
    advice,
    check_candidates,
    check_distances,
    check_lengths,
    is_in_a_box,
)
from nearsight.run.run import Run

PARTICLE = Octahedron("Cu", 6, 2)
IN_NM = PARTICLE.copy()
IN_NM.positions *= 0.1


def said(target: Atoms, **changes: object) -> list[str]:
    return advice(Config.parse(tiny_config(**changes)), Targets.of(target))


def test_nothing_is_said_of_what_is_usual() -> None:
    assert said(PARTICLE) == []
    assert said(bulk("Cu", cubic=True) * 4) == []


def test_networks_that_look_farther_than_chunks() -> None:
    assert said(PARTICLE, features={"cutoff": 12.0}, nft={"labels": "target"}) == []
    (sentence,) = said(PARTICLE, features={"cutoff": 12.0})
    assert "features.cutoff = 12 Å is more than nft.chunk_radius = 6.5 Å" in sentence
    some = {"validation_chunks": 2}
    (sentence,) = said(PARTICLE, capacity={"cutoff": [6.0, 12.0]}, nft=some)
    assert "capacity.cutoff = 12 Å is more than nft.chunk_radius = 6.5 Å" in sentence


def test_cutoffs_to_try_without_validation() -> None:
    tried = {"cutoff": [5.0]}
    assert said(PARTICLE, capacity=tried, nft={"validation_chunks": 1}) == []
    (sentence,) = said(PARTICLE, capacity=tried, nft={"validation_chunks": 0})
    assert sentence.startswith("nft.validation_chunks = 0: nothing tells the cutoffs")
    (sentence,) = said(
        PARTICLE, capacity=tried, nft={"labels": "target"}, geometries={"validation": 0}
    )
    assert sentence.startswith("geometries.validation = 0: nothing tells the cutoffs")


def test_targets_no_larger_than_a_chunk() -> None:
    carbon, sentence = sorted(said(molecule("C60"), nft={"chunk_radius": 8.0}))[::-1]
    assert "is no metal (C)" in carbon
    assert "the target (60 atoms) is no larger than a chunk" in sentence
    assert 'nft.labels = "target"' in sentence
    assert said(molecule("C60"), nft={"chunk_radius": 8.0, "labels": "target"}) == []
    assert said(molecule("C60"), nft={"chunk_radius": 6.9}) == [carbon]  # 7.1 Å across


def test_small_cells_whose_chunks_hold_images() -> None:
    """A neighbour sphere of 8 Å in copper has 4π/3 · 8³ · 4 / 3.61³ = 182 atoms on average."""
    cell = bulk("Cu", cubic=True) * 3
    (sentence,) = said(cell, nft={"chunk_radius": 8.0})
    size = int(re.findall(r"no larger than a chunk \((\d+) on average", sentence)[0])
    assert size == pytest.approx(182, rel=0.05)
    assert sentence.startswith("the target (108 atoms) is")
    assert said(bulk("Cu", cubic=True) * 4, nft={"chunk_radius": 8.0}) == []  # 256 atoms


def test_charges_that_do_not_cancel() -> None:
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 3
    for sodium, found in ((1.0, []), (0.9, ["the target has a charge of -10.8 e"])):
        charges = {"Na": sodium, "Cl": -1.0}
        sentences = [s for s in said(salt, baseline={"charges": charges}) if "charge of" in s]
        assert [sentence.partition(" by ")[0] for sentence in sentences] == found


def test_particles_in_a_box() -> None:
    boxed = PARTICLE.copy()
    boxed.center(vacuum=5.0)
    assert not is_in_a_box(boxed)
    boxed.pbc = True
    assert is_in_a_box(boxed)
    across = boxed.copy()
    across.positions += 7.0
    across.wrap()
    assert is_in_a_box(across)
    boxed.center(vacuum=3.5)
    assert not is_in_a_box(boxed)
    slab = bulk("Cu", cubic=True) * (3, 3, 3)
    slab.center(vacuum=10.0, axis=2)
    assert not is_in_a_box(slab)
    (sentence,) = said(_in_a_box())
    assert "the target is periodic, with more than 8 Å of empty space" in sentence


def _in_a_box() -> Atoms:
    boxed = PARTICLE.copy()
    boxed.center(vacuum=6.0)
    boxed.pbc = True
    return boxed


@pytest.mark.parametrize(
    "atoms",
    [
        PARTICLE,
        bulk("Cu") * 2,
        molecule("H2"),
        molecule("C60"),
        molecule("H2O"),
        bulk("NaCl", "rocksalt", 5.6),
    ],
)
def test_lengths_in_angstrom(atoms: Atoms) -> None:
    check_lengths(atoms, "target")
    check_distances(atoms, "target")


@pytest.mark.parametrize("command", ["new", "run"])
def test_two_atoms_on_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """They are named before anything is calculated; the tester's parent had failed on 49 atoms."""
    monkeypatch.chdir(tmp_path)
    atoms = PARTICLE.copy()
    atoms.positions[7] = atoms.positions[30] + [0.03, 0.0, 0.04]
    ase.io.write("particle.extxyz", atoms)
    Path("nft.toml").write_text(tiny_config())
    arguments = {"new": ("particle.extxyz", "-o", "new.toml"), "run": ("nft.toml",)}[command]
    code, out, err = run_command(command, *arguments)
    name = {"new": "particle.extxyz", "run": "target"}[command]
    sentence = f"{name}: atoms 7 (Cu) and 30 (Cu) overlap: 0.05 Å apart, where 2.55 Å are usual\n"
    assert (code, out, err) == (2, "", sentence)
    assert not Path("nft/parent.db").exists()


def test_lengths_in_nanometres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("nm.xyz", IN_NM)
    code, _, err = run_command("new", "nm.xyz")
    assert code == 2
    assert err == (
        "nm.xyz: most atoms have a neighbour within 0.77 Å, where 2.55 Å are usual; lengths must "
        "be in Å (10 for each nm)\n"
    )
    assert not Path("nft.toml").exists()
    crystal = bulk("Cu", cubic=True) * 2
    crystal.set_cell(0.1 * crystal.cell.array, scale_atoms=True)
    with pytest.raises(InputError, match="lengths must be in Å"):
        check_lengths(crystal, "target")


def test_lengths_in_bohr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bohr = PARTICLE.copy()
    bohr.positions /= 0.529177
    ase.io.write("bohr.xyz", bohr)
    code, _, err = run_command("new", "bohr.xyz")
    assert code == 2
    assert err == (
        "bohr.xyz: most atoms have no neighbour within 4.08 Å, 1.6 times the usual distance; "
        "lengths must be in Å (0.529 for each Bohr)\n"
    )


def test_periodic_images_that_feel_each_other() -> None:
    slab = bulk("Cu", cubic=True) * (3, 3, 3)
    assert said(slab) == []
    slab.center(vacuum=2.5, axis=2)  # 5 Å between the layers
    (sentence,) = said(slab)
    assert "periodic along c with 5.0 Å of empty space: too much for a crystal" in sentence
    slab.center(vacuum=5.0, axis=2)
    assert said(slab) == []


def test_what_chunks_may_have_otherwise() -> None:
    assert said(PARTICLE) == []
    charged, magnetic = PARTICLE.copy(), PARTICLE.copy()
    charged.info["charge"] = 1
    magnetic.set_initial_magnetic_moments([1.0] * len(magnetic))
    assert "the charge of the target is that of the whole" in said(charged)[0]
    assert "the target is magnetic" in said(magnetic)[0]
    assert said(charged, nft={"labels": "target"}) == []
    oxide = bulk("MgO", "rocksalt", 4.2, cubic=True) * 3
    assert "the target is no metal (O)" in said(oxide, features={"count": 4})[0]


def test_new_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("POSCAR", _in_a_box())
    code, out, _ = run_command("new", "POSCAR")
    assert code == 0
    assert "\nThe target is periodic, with more than 8 Å of empty space in all dir" in out


@pytest.mark.parametrize(
    ("features", "cutoff", "sentence"),
    [
        ({"g2_r_s": [0.0, 3.0]}, [4.0, 3.0], "must be above all of features.g2_r_s, got 3 Å and 3"),
        (
            {"g2_r_s": [0.0], "g4_r_s": [3.5]},
            [4.5, 3.5],
            "must be above all of features.g4_r_s, got 3.5 Å and 3.5",
        ),
        ({"symmetry_functions": "f.json"}, [4.0], "needs candidates to choose from: leave it out"),
    ],
)
def test_cutoffs_to_try(features: dict[str, Any], cutoff: list[float], sentence: str) -> None:
    given = {"count": None, "cutoff": None} if "symmetry_functions" in features else {}
    text = tiny_config(features=given | features, capacity={"cutoff": cutoff})
    with pytest.raises(InputError, match=f"capacity.cutoff {sentence}"):
        check_candidates(Config.parse(text), ("Cu",))


def test_more_functions_than_candidates(tmp_path: Path) -> None:
    check_candidates(Config.parse(tiny_config(features={"count": 78})), ("Cu",))
    with pytest.raises(InputError, match=r"features\.angular_count must be 1 to 18 for Cu"):
        check_candidates(
            Config.parse(tiny_config(features={"count": 30, "angular_count": 19})), ("Cu",)
        )
    config = make_workplace(tmp_path, tiny_config(features={"count": 4000}))
    with pytest.raises(InputError, match=r"features\.count must be at most 78 for Cu"):
        Run(config, tmp_path / "nft")
    assert not (tmp_path / "nft").exists()


def test_more_cells_than_there_are(tmp_path: Path) -> None:
    config = make_workplace(tmp_path, tiny_config(images={"count": 3000}, features={"cutoff": 7.0}))
    progress = Recorder(stage="Symmetry functions")
    with pytest.raises(Stopped):
        Run(config, tmp_path / "nft", progress).execute()
    cells = len(ase.io.read(tmp_path / "nft" / "initial.extxyz", ":"))
    assert any(f"images.count = 3000, but there are {cells} cells" in n for n in progress.notes)
    assert "features.cutoff = 7 Å" in progress.notes[0]
