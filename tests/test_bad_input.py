"""What a user can get wrong: the command line answers with one sentence and changes nothing.

Structures, labels, potentials, parents, configurations and file names, each through every command
that takes them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixedPlane

from helpers import copper
from helpers.cli import python, run_command
from helpers.faulty import FAULTY, Script
from helpers.runs import GIVEN, tiny_config, write_given
from nearsight.config import Config, EnsembleSettings, NetworkSettings, TrainingSettings
from nearsight.model.ensemble import Ensemble
from nearsight.structures.images import Image, read_structures, write_images
from nearsight.training.fit import train_ensemble

Refused = Callable[..., str]

OF_A_BEGUN_RUN = [
    "nft", "nft/config.toml", "nft/parent.db", "nft/run.lock", "nft/run.log", "nft/status.json",
    "nft/target.extxyz",
]  # fmt: skip

CONFIG = tiny_config(GIVEN, nft={"chunks_per_iteration": None})
NO_CALCULATOR = 1


def with_parent(parent: str, **arguments: Any) -> str:
    """Text of the configuration with another parent."""
    table = {"calculator": parent, "arguments": arguments or None}
    return tiny_config(GIVEN, parent=table, nft={"chunks_per_iteration": None})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files of every kind."""
    folder = tmp_path_factory.mktemp("made")
    ase.io.write(folder / "particle.extxyz", copper.particle())
    write_given(folder)
    train_ensemble(
        copper.cells(),
        copper.functions(),
        NetworkSettings(hidden_layers=(3,)),
        TrainingSettings(initial_iterations=3),
        EnsembleSettings(members=2),
    ).save(folder / "ensemble.json")
    (folder / "nft.toml").write_text(CONFIG)
    (folder / "folder").mkdir()
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with copies of the good files."""
    for path in made.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        else:
            (tmp_path / path.name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(folder: Path) -> Refused:
    """Runs a command that must fail; gives its sentence."""

    def refused(*arguments: str, leaves: Sequence[str] = ()) -> str:
        before = content(folder)
        code, out, err = run_command(*arguments)
        assert (code, out) == (2, ""), err
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        after = content(folder)
        assert {name: after.get(name) for name in before} == before
        assert sorted(after.keys() - before.keys()) == sorted(leaves)
        return err.strip()

    return refused


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


# -- structures

TAKE_A_STRUCTURE = {
    "run": ("run", "nft.toml"),
    "new": ("new", "bad.xyz", "-o", "new.toml"),
    "evaluate": ("evaluate", "ensemble.json", "bad.xyz", "-o", "out.extxyz"),
    "relax": ("relax", "ensemble.json", "bad.xyz", "--trajectory", "out.traj"),
    "locality": ("locality", "bad.xyz", "--atoms", "all", "-o", "scan.json"),
    "train": ("train", "cells.extxyz", "functions.json", "--target", "bad.xyz", "-o", "out.json"),
    "nft": ("nft", "bad.xyz", "cells.extxyz", "functions.json"),
}

BAD_STRUCTURES = {
    "NaN": ("3\n\nCu 0 0 0\nCu 0 0 2.5\nCu 0 nan 2\n", "the position of atom 2 is not finite"),
    "infinite": ("2\n\nCu 0 0 0\nCu 0 0 inf\n", "the position of atom 1 is not finite"),
    "no element": ("2\n\nCu 0 0 0\nQq 0 0 2\n", "ASE cannot read it (KeyError: 'Qq')"),
    "one place": ("3\n\nCu 0 0 0\nCu 0 0 2\nCu 0 0 2\n", "atoms 1 and 2 overlap"),
    "nearly": ("2\n\nCu 0 0 0\nCu 0 0 0.0009\n", "atoms 0 and 1 overlap"),
    "one place by a period": (
        '2\nLattice="4 0 0 0 4 0 0 0 4" pbc="T T T"\nCu 0 0 0\nCu 4 0 -4\n',
        "atoms 0 and 1 overlap",
    ),
    "alone": ("3\n\nCu 0 0 0\nCu 0 0 2.5\nCu 0 0 40\n", "atom 2 (Cu) has no neighbour within "),
    "one atom": ("1\n\nCu 0 0 0\n", "atom 0 (Cu) has no neighbour within "),
    "no atoms": ("0\n\n", "has no atoms"),
    "empty": ("", "ASE cannot read it (UnknownFileTypeError"),
    "no cell": ('2\npbc="T F T"\nCu 0 0 0\nCu 0 0 2\n', "is periodic in xz but has no cell vector"),
    "flat cell": (
        '2\nLattice="4 0 0 4 0 0 0 0 4" pbc="T T T"\nCu 0 0 0\nCu 0 0 2\n',
        "the periodic cell vectors are linearly dependent",
    ),
    "NaN in the cell": (
        '2\nLattice="4 0 0 0 nan 0 0 0 4" pbc="T T T"\nCu 0 0 0\nCu 0 0 2\n',
        "the cell is not finite",
    ),
    "torn": ("5\n\nCu 0 0 0\nCu 0 0 2\n", "ASE cannot read it"),
    "torn in a line": ("2\n\nCu 0 0 0\nCu 0 0", "ASE cannot read it"),
    "words": ("It was a dark\nand stormy night.\n", "ASE cannot read it"),
}


@pytest.mark.parametrize("command", TAKE_A_STRUCTURE)
@pytest.mark.parametrize("case", BAD_STRUCTURES)
def test_damaged_structures_are_named(refused: Refused, command: str, case: str) -> None:
    text, sentence = BAD_STRUCTURES[case]
    Path("bad.xyz").write_text(text)
    Path("nft.toml").write_text(CONFIG.replace("particle.extxyz", "bad.xyz"))
    if "has no neighbour" in sentence and command in ("evaluate", "relax"):
        return  # where it is evaluated, and marked
    leaves = {  # the folder of a training is made once its files have been read
        ("nft", "alone"): ["nft", "nft/parent.db"],
        ("nft", "one atom"): ["nft", "nft/parent.db"],
    }
    said = refused(*TAKE_A_STRUCTURE[command], leaves=leaves.get((command, case), []))
    assert sentence in said
    if not (command == "locality" and "has no neighbour" in said):
        assert said.partition(":")[0].partition(" ")[0].rstrip(",").endswith(("bad.xyz", "target"))


@pytest.mark.parametrize("command", ["run", "evaluate", "relax", "train", "nft"])
def test_elements_that_are_not_known(refused: Refused, command: str) -> None:
    target = copper.particle()
    target.symbols[3] = "Au"
    ase.io.write("bad.xyz", target)
    Path("nft.toml").write_text(CONFIG.replace("particle.extxyz", "bad.xyz"))
    leaves = ["nft", "nft/parent.db"] if command == "nft" else []
    assert "contains Au, but only Cu is known here" in refused(
        *TAKE_A_STRUCTURE[command], leaves=leaves
    )


def test_a_bad_structure_among_good_ones(refused: Refused) -> None:
    double = copper.particle()
    double.positions[7] = double.positions[2]
    ase.io.write("several.extxyz", [copper.particle(), double, copper.particle()])
    sentence = refused("evaluate", "ensemble.json", "several.extxyz")
    assert sentence.startswith("several.extxyz, structure 1: atoms 2 and 7 ")


# -- labels

TAKE_IMAGES = {
    "train": ("train", "bad.extxyz", "functions.json"),
    "select-images": ("select-images", "bad.extxyz", "--count", "2"),
    "select-features": ("select-features", "bad.extxyz", "--count", "2"),
    "nft": ("nft", "particle.extxyz", "bad.extxyz", "functions.json"),
}


def bad_images(case: str) -> str:
    """Writes images of which one is bad; what is wrong with it."""
    frames = [image.to_atoms() for image in copper.cells()[:4]]
    labels = dict(frames[3].calc.results)
    sentence = {
        "no labels": "structure 3: structure Cu4 carries no forces",
        "no energy": "structure 3: structure Cu4 carries no energy",
        "NaN force": "structure 3: its forces are not finite",
        "NaN energy": "structure 3: structure Cu4 carries no energy",
        "one place": "structure 3: atoms 0 and 1 overlap",
    }[case]
    if case == "one place":
        frames[3].positions[1] = frames[3].positions[0]
    elif case == "NaN force":
        labels["forces"] = np.where(np.eye(4, 3), np.nan, 0.0)  # whole rows leave atoms out
    elif case == "NaN energy":
        labels["energy"] = np.nan
    else:
        del labels["energy"]
    frames[3].calc = SinglePointCalculator(frames[3], **labels)
    if case == "no labels":
        frames[3].calc = None
    ase.io.write("bad.extxyz", frames)
    return sentence


BAD_LABELS = ["no labels", "no energy", "NaN force", "NaN energy", "one place"]


@pytest.mark.parametrize("command", TAKE_IMAGES)
@pytest.mark.parametrize("case", BAD_LABELS)
def test_images(refused: Refused, command: str, case: str) -> None:
    sentence = bad_images(case)
    assert refused(*TAKE_IMAGES[command]).startswith(f"bad.extxyz, {sentence}")


@pytest.mark.parametrize("case", BAD_LABELS[1:])  # the parent labels what has no labels
def test_images_of_a_run(refused: Refused, case: str) -> None:
    sentence = bad_images(case)
    Path("nft.toml").write_text(CONFIG.replace("cells.extxyz", "bad.extxyz"))
    assert f"bad.extxyz, {sentence}" in refused("run", "nft.toml", leaves=OF_A_BEGUN_RUN)


@pytest.mark.parametrize("command", [*TAKE_IMAGES, "run"])
def test_torn_image_files_are_named(refused: Refused, command: str) -> None:
    text = Path("cells.extxyz").read_text()
    Path("bad.extxyz").write_text(text[: text.rindex("\n", 0, len(text) - 1)])
    Path("nft.toml").write_text(CONFIG.replace("cells.extxyz", "bad.extxyz"))
    arguments = {**TAKE_IMAGES, "run": ("run", "nft.toml")}[command]
    # the structures are read for the first calculation, before anything is written of the work
    begun = {"nft/run.log", "nft/status.json"}
    leaves = [each for each in OF_A_BEGUN_RUN if each not in begun] if command == "run" else []
    assert "bad.extxyz: ASE cannot read it" in refused(*arguments, leaves=leaves)


def test_atoms_alone_are_evaluated_and_marked(folder: Path) -> None:
    """In the output, in a sentence, and for what is relaxed; an image of one is trained on."""
    alone = Image(Atoms("Cu"), np.zeros((1, 3)), 0.0)
    write_images("with.extxyz", [*copper.cells(), alone])
    code, _, err = run_command("train", "with.extxyz", "functions.json", "-o", "trained.json")
    assert (code, err) == (0, "")
    Path("bad.xyz").write_text("3\n\nCu 0 0 0\nCu 0 0 2.5\nCu 0 0 40\n")
    for command, file, ends in (("evaluate", "out.extxyz", 0), ("relax", "relaxed.extxyz", 3)):
        code, out, err = run_command(command, "trained.json", "bad.xyz", "-o", file)
        assert (code, err) == (ends, "")
        assert "isolated, without neighbours within 4.5 Å: 2 (Cu)\n" in out
        assert "outside what the potential has labels of, grade up to " in out
        atoms = ase.io.read(file)
        assert atoms.arrays["isolated"].tolist() == [False, False, True]
        assert not atoms.get_forces()[2].any()
        assert atoms.arrays["extrapolation"][2] > 1.0
        assert atoms.arrays["uncertainty"][2] > 0.0


def test_files_of_relaxations_keep_what_is_known(refused: Refused) -> None:
    """Energy, forces, uncertainties and constraints, in the format the name asks for."""
    atoms = copper.particle()
    atoms.set_constraint([FixAtoms([0]), FixedPlane([1], [0, 0, 1])])
    ase.io.write("held.traj", atoms)
    options = ("--max-steps", "1")
    for name in ("out.cif", "out", "out.vasp"):
        sentence = refused("relax", "ensemble.json", "held.traj", "-o", name, *options)
        assert sentence.startswith(f"{name}: must end in .extxyz or .xyz or .traj, formats that k")
    sentence = refused("relax", "ensemble.json", "held.traj", "-o", "out.extxyz", *options)
    assert "cannot keep constraints of the kind FixedPlane" in sentence
    assert sentence.endswith("(a .traj keeps all)")
    assert run_command("relax", "ensemble.json", "held.traj", "-o", "out.traj", *options)[0] == 3
    found = ase.io.read("out.traj")
    assert [type(c).__name__ for c in found.constraints] == ["FixAtoms", "FixedPlane"]
    assert run_command("relax", "ensemble.json", "particle.extxyz", "-o", "a.xyz", *options)[0] == 3
    plain = ase.io.read("a.xyz")
    ensemble = Ensemble.load("ensemble.json")
    for atoms, kept in ((found, found.info), (plain, plain.arrays)):
        expected = ensemble.evaluate(atoms)
        assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-6)
        forces = atoms.get_forces(apply_constraint=False)
        np.testing.assert_allclose(forces, expected.forces, atol=1e-6)
        for name in ("uncertainty", "uncertainty_raw"):
            np.testing.assert_allclose(kept[name], getattr(expected, name), atol=1e-6)
        assert atoms.info["nearsight_potential"] == ensemble.digest


def test_predictions_are_no_labels(folder: Path) -> None:
    """Of what an ensemble has evaluated, no errors "against the labels" are shown."""
    ase.io.write("labelled.extxyz", copper.cells()[0].to_atoms())
    _, out, _ = run_command("evaluate", "ensemble.json", "labelled.extxyz", "-o", "own.extxyz")
    assert "against the labels" in out
    options = ("--max-steps", "1", "--trajectory", "own.traj", "-o", "end.traj")
    assert run_command("relax", "ensemble.json", "particle.extxyz", *options)[0] == 3
    for name in ("own.extxyz", "own.traj", "end.traj"):
        code, out, _ = run_command("evaluate", "ensemble.json", name)
        assert code == 0
        assert "against the labels" not in out


def test_any_name_of_a_folder(folder: Path) -> None:
    """ "@" begins a selection in the name of a file alone, where there is no such file."""
    place = folder / "me@home" / "a@b"
    place.mkdir(parents=True)
    frames = [copper.particle(), copper.cells()[0].atoms]
    ase.io.write(place / "two.extxyz", frames)
    (place / "two@1.xyz").write_bytes((place / "two.extxyz").read_bytes())
    for name, count in (
        ("two.extxyz", 2), ("two.extxyz@0", 1), ("two@1.xyz", 2), ("two@1.xyz@-1:", 1)
    ):  # fmt: skip
        assert len(read_structures(place / name)) == count
    code, _, err = run_command("new", str(place / "two.extxyz@0"), "-o", str(place / "nft.toml"))
    assert (code, err) == (0, "")
    assert Config.load(place / "nft.toml").target.structure == place / "two.extxyz@0"
    for name, sentence in (
        ("two.extxyz@5", "two.extxyz: there is no structure 5 in it"),
        ("two.extxyz@x", "two.extxyz: ASE cannot read it ("),
        ("none@1", "none: no such file"),
    ):
        code, _, err = run_command("evaluate", "ensemble.json", str(place / name))
        assert code == 2
        assert err.startswith(f"{place}/{sentence}")
        assert err.count("\n") == 1


# -- potentials and symmetry functions

DAMAGES = {
    "torn": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "of the future": lambda text: re.sub(r'"version": \d', '"version": 9', text, count=1),
    "of another kind": lambda text: text.replace('"format": "nearsight-', '"format": "farsight-'),
    "not JSON of ours": lambda text: "[1, 2]",
    "incomplete": lambda text: text.replace('"cutoff"', '"offcut"'),
    "of no version": lambda text: re.sub(r'"version": \d', '"version": "one"', text, count=1),
}
SAYS = {
    "torn": "not valid JSON (truncated or corrupted",
    "empty": "not valid JSON (truncated or corrupted",
    "of the future": "written by a newer nearsight (file version 9, this one reads up to ",
    "of another kind": "not a file of format 'nearsight-",
    "not JSON of ours": "not a file of format 'nearsight-",
    "incomplete": "incomplete or damaged",
    "of no version": "no valid version number (found 'one')",
}
TAKE_A_NEARSIGHT_FILE = {
    "evaluate": ("ensemble.json", ("evaluate", "bad.json", "particle.extxyz")),
    "relax": ("ensemble.json", ("relax", "bad.json", "particle.extxyz")),
    "train": ("functions.json", ("train", "cells.extxyz", "bad.json")),
    "nft": ("functions.json", ("nft", "particle.extxyz", "cells.extxyz", "bad.json")),
    "run": ("functions.json", ("run", "nft.toml")),
}


@pytest.mark.parametrize("command", TAKE_A_NEARSIGHT_FILE)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_nearsight_file_is_named(refused: Refused, command: str, damage: str) -> None:
    good, arguments = TAKE_A_NEARSIGHT_FILE[command]
    Path("bad.json").write_text(DAMAGES[damage](Path(good).read_text()))
    Path("nft.toml").write_text(CONFIG.replace("functions.json", "bad.json"))
    said = refused(*arguments)
    assert SAYS[damage] in said
    assert "bad.json" in said


def test_a_potential_of_numbers_that_do_not_fit(refused: Refused) -> None:
    content = json.loads(Path("ensemble.json").read_text())
    content["members"][1]["Cu"]["layers"][0]["bias"].pop()
    Path("bad.json").write_text(json.dumps(content))
    assert refused("evaluate", "bad.json", "particle.extxyz").startswith("bad.json: ")


# -- parents


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raise", "RuntimeError: SCF did not converge"),
        ("nan", "forces not finite"),
        ("infinite energy", "energy not finite"),
        ("keep one force", "forces of shape (1, 3), not ("),
    ],
)
@pytest.mark.parametrize("command", ["run", "locality", "init", "nft"])
def test_parents_that_fail(refused: Refused, command: str, fault: str, words: str) -> None:
    faults = {"*": fault}
    Path("nft.toml").write_text(with_parent(FAULTY, faults=faults))
    parent = ("--parent", FAULTY, "--parent-arguments", json.dumps({"faults": faults}))
    made = ["ensemble.json", "evaluation.json"]
    folder = ["nft", "nft/parent.db", "nft/run.log"]
    folder += ["nft/iteration-000", *(f"nft/iteration-000/{name}" for name in made)]
    files = ["config.toml", "failures.json", "initial.extxyz", "run.lock", "selected.extxyz",
             "stages.json", "status.json", "symmetry_functions.json", "target.extxyz"]  # fmt: skip
    arguments, leaves = {
        "run": (("run", "nft.toml"), [*folder, *(f"nft/{name}" for name in files)]),
        "locality": (("locality", "particle.extxyz", *parent), []),
        "init": (("init", "Cu", "--a0", "3.7", *parent), []),
        "nft": (
            ("nft", "particle.extxyz", "cells.extxyz", "functions.json", *parent,
             "--members", "2", "--initial-iterations", "2"),
            folder,
        ),
    }[command]  # fmt: skip
    said = refused(*arguments, leaves=leaves)
    what = {
        "run": "all 4 chunks asked for, the last one ",
        "nft": "all 16 chunks asked for, the last one ",
        "locality": "all 7 structures of the locality scan, the first one ",
    }.get(command, "")
    assert said.startswith(f"parent {FAULTY} failed on {what}Cu")
    assert words in said
    assert ("delete nft/failures.json to try again" in said) == (command == "run")


@pytest.mark.parametrize(
    ("parent", "words"),
    [
        ("emmt", "did you mean emt?"),
        ("test_bad_input:Missing", "has no 'Missing'"),
        ("test_bad_input:NO_CALCULATOR", "NO_CALCULATOR is not a function or class"),
        ("helpers.faulty:Script", "missing 1 required positional argument: 'path'"),
        ("test_bad_input:CONFIG.nothing", "has no 'CONFIG.nothing'"),
        ("no_such_module_here:EMT", "put no_such_module_here.py beside the configuration"),
    ],
)
@pytest.mark.parametrize("command", ["run", "locality", "init", "new"])
def test_parents_that_are_none(refused: Refused, command: str, parent: str, words: str) -> None:
    Path("nft.toml").write_text(with_parent(parent))
    arguments = {
        "run": ("run", "nft.toml"),
        "locality": ("locality", "particle.extxyz", "--parent", parent),
        "init": ("init", "Cu", "--parent", parent),
        "new": ("new", "particle.extxyz", "-o", "new.toml", "--parent", parent),
    }[command]
    assert words in refused(*arguments)


def test_the_parent_is_mended_and_the_run_goes_on(refused: Refused) -> None:
    """What a failed run has finished is used by the next one."""
    script = Script(Path("script.json"))
    script.write({"*": "raise"})
    Path("nft.toml").write_text(with_parent(FAULTY, script=str(script.path)))
    result = run_command("run", "nft.toml")
    assert "SCF did not converge" in result.err
    first = Path("nft/iteration-000/ensemble.json").stat().st_mtime_ns
    Path("nft/failures.json").unlink()
    script.write()
    assert run_command("run", "nft.toml").code == 0
    assert Path("nft/best.json").exists()
    assert Path("nft/iteration-000/ensemble.json").stat().st_mtime_ns == first
    # and what is finished survives what is done wrong afterwards
    target = copper.particle()
    target.positions[0] = np.nan
    ase.io.write("particle.extxyz", target)
    assert "the position of atom 0 is not finite" in refused("run", "nft.toml")


# -- configurations


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("count = 4", "cuont = 4"), "line 6: unknown key images.cuont; did you mean count?"),
        (("[images]", "[image]"), "line 5: unknown key image; did you mean images?"),
        (("count = 4", "count = 0"), "line 6: images.count must be at least 1, got 0"),
        (("count = 4", 'count = "4"'), "line 6: images.count must be a whole number, got '4'"),
        (("count = 4", "count = 4.5"), "line 6: images.count must be a whole number, got 4.5"),
        (("= 6.5", "= nan"), "nft.chunk_radius must be "),
        (("count = 4", "count = "), "not valid TOML"),
        (('"particle.extxyz"', '"nowhere.extxyz"'), "there is no "),
        (('"particle.extxyz"', '"folder"'), "must be an existing file"),
        (('"functions.json"', '"nowhere.json"'), "there is no "),
        (('structure = "particle.extxyz"\n', ""), "target.structure"),
    ],
)  # fmt: skip
def test_invalid_configurations_are_refused(
    refused: Refused, change: tuple[str, str], sentence: str
) -> None:
    assert change[0] in CONFIG
    Path("nft.toml").write_text(CONFIG.replace(*change))
    said = refused("run", "nft.toml")
    assert said.startswith("nft.toml")
    assert sentence in said


def test_a_configuration_that_is_no_text(refused: Refused) -> None:
    Path("nft.toml").write_bytes(b"\xff\xfe\x00[target]")
    assert refused("run", "nft.toml").startswith("nft.toml: must be UTF-8 text")


# -- file names

COMMANDS = {
    "run": ("run", "FILE"),
    "evaluate": ("evaluate", "FILE", "particle.extxyz"),
    "evaluate structures": ("evaluate", "ensemble.json", "FILE"),
    "relax": ("relax", "FILE", "particle.extxyz"),
    "relax structure": ("relax", "ensemble.json", "FILE"),
    "locality": ("locality", "FILE"),
    "select-images": ("select-images", "FILE"),
    "select-features": ("select-features", "FILE"),
    "train": ("train", "FILE", "functions.json"),
    "train functions": ("train", "cells.extxyz", "FILE"),
    "train target": ("train", "cells.extxyz", "functions.json", "--target", "FILE"),
    "nft": ("nft", "FILE", "cells.extxyz", "functions.json"),
    "nft images": ("nft", "particle.extxyz", "FILE", "functions.json"),
    "nft functions": ("nft", "particle.extxyz", "cells.extxyz", "FILE"),
    "new": ("new", "FILE", "-o", "new.toml"),
    "info": ("info", "FILE"),
    "report": ("report", "FILE"),
}


@pytest.mark.parametrize("name", ["nowhere", "folder"])
@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_are_not_there(refused: Refused, command: str, name: str) -> None:
    arguments = [name if each == "FILE" else each for each in COMMANDS[command]]
    assert refused(*arguments).startswith(name)


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "ensemble.json", "particle.extxyz", "-o"),
        ("relax", "ensemble.json", "particle.extxyz", "-o"),
        ("relax", "ensemble.json", "particle.extxyz", "--trajectory"),
        ("locality", "particle.extxyz", "-o"),
        ("locality", "particle.extxyz", "--figure"),
        ("train", "cells.extxyz", "functions.json", "-o"),
        ("select-images", "cells.extxyz", "-o"),
        ("select-features", "cells.extxyz", "-o"),
        ("init", "Cu", "-o"),
        ("new", "particle.extxyz", "-o"),
        ("import", "n2p2", "-o"),
        ("export", "cells.extxyz"),
        ("lammps", "input", "ensemble.json", "particle.extxyz", "-o"),
        ("labels", "export", "parent.db"),
        ("labels", "copy", "parent.db"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("place", ["folder", "nowhere/file", "/proc/file", "pipe"])
def test_results_that_cannot_be_written(
    refused: Refused, arguments: tuple[str, ...], place: str
) -> None:
    """It is said first, with inputs that are not there; in /proc not even root may write."""
    for file in filter(Path.is_file, Path().iterdir()):
        file.unlink()
    os.mkfifo("pipe")  # as /dev/null: a file would take its place
    assert refused(*arguments, place).startswith(f"{place}: ")


RELAX = ("relax", "ensemble.json", "particle.extxyz")


@pytest.mark.parametrize(
    ("arguments", "other"),
    [
        (("evaluate", "ensemble.json", "particle.extxyz@0", "-o", "particle.extxyz"), None),
        (("evaluate", "ensemble.json", "particle.extxyz", "-o", "ensemble.json"), None),
        ((*RELAX, "-o", "particle.extxyz"), None),
        ((*RELAX, "-o", "link.extxyz"), "particle.extxyz"),
        ((*RELAX, "-o", "folder/../particle.extxyz"), "particle.extxyz"),
        ((*RELAX, "--trajectory", "particle.extxyz"), None),
        ((*RELAX, "-o", "new.traj", "--trajectory", "new.traj"), None),
        (("locality", "particle.extxyz", "-o", "particle.extxyz"), None),
        (("locality", "particle.extxyz", "-o", "new", "--figure", "new"), None),
        (("select-images", "cells.extxyz", "-o", "cells.extxyz"), None),
        (("select-features", "cells.extxyz", "-o", "cells.extxyz"), None),
        (("train", "cells.extxyz", "functions.json", "-o", "functions.json"), None),
        (("new", "particle.extxyz", "--force", "-o", "particle.extxyz"), None),
        (("import", "functions.json", "-o", "functions.json"), None),
        (("export", "cells.extxyz", "--force", "cells.extxyz"), None),
        (("lammps", "input", "ensemble.json", "in.data", "-o", "in"), "in.data"),
        (("labels", "copy", "parent.db", "--force", "parent.db"), None),
        (("labels", "export", "folder", "--force", "folder/parent.db"), None),
    ],
    ids=str,
)
def test_no_result_is_written_over_what_it_is_made_of(
    refused: Refused, arguments: tuple[str, ...], other: str | None
) -> None:
    Path("link.extxyz").symlink_to("particle.extxyz")
    other = other or arguments[-1]
    assert f": must be another file than {other}" in refused(*arguments)


def test_a_folder_that_is_a_file(refused: Refused) -> None:
    sentence = "cells.extxyz: must be a folder (give another one with --workdir)"
    assert refused("run", "nft.toml", "--workdir", "cells.extxyz") == sentence
    arguments = ("particle.extxyz", "cells.extxyz", "functions.json")
    assert refused("nft", *arguments, "--workdir", "cells.extxyz") == sentence


def test_a_process_of_its_own_gives_the_same_sentence(folder: Path) -> None:
    """In a process of its own, as a user sees it."""
    sentence = "nowhere.toml: cannot be read (No such file or directory)\n"
    assert python("-m", "nearsight", "run", "nowhere.toml") == (2, "", sentence)
