"""The commands for single stages on ordinary files, one after the other, and what they refuse."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from helpers.cli import Run, python, run_command
from helpers.faulty import FAULTY
from helpers.runs import GIVEN, tiny_config
from nearsight.files.records import Verdict
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.structures.images import read_images

TRAINING = ("--members", "3", "--hidden-layers", "4", "--initial-iterations", "8")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of all stages up to an ensemble for copper."""
    folder = tmp_path_factory.mktemp("files")
    particle = bulk("Cu", cubic=True).repeat(2)
    particle.pbc = False
    particle.rattle(0.1, seed=1)
    ase.io.write(folder / "particle.xyz", particle)
    for line in (
        "init Cu --a0 3.7 --minsep 2.2 --space-groups 225 --n-rattled 3",
        "select-images initial.extxyz --count 5",
        "select-features selected.extxyz --count 6 --cutoff 5",
        "train selected.extxyz symmetry_functions.json --target particle.xyz " + " ".join(TRAINING),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert run_command(*line.split()).code == 0, line
    return folder


@pytest.fixture
def run(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Runs a command in an empty folder beside those files: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    for file in files.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return run_command


def test_every_stage_leaves_its_file(files: Path) -> None:
    initial, selected = (read_images(files / f"{name}.extxyz") for name in ("initial", "selected"))
    assert len(initial) > len(selected) == 5
    parent = EMT()
    for image in initial:  # the labels are those of the parent
        atoms = image.atoms.copy()
        atoms.calc = parent
        # extended XYZ keeps positions to 1e-8 Å
        np.testing.assert_allclose(image.forces, atoms.get_forces(), atol=1e-6)
    functions = SymmetryFunctions.load(files / "symmetry_functions.json")
    assert (len(functions), functions.cutoff.radius) == (6, 5.0)
    ensemble = Ensemble.load(files / "ensemble.json")
    assert len(ensemble) == 3
    assert [layer.bias.size for layer in ensemble.members[0]["Cu"].layers] == [4, 1]


def test_the_target_has_a_say_in_the_choice_of_functions(files: Path, run: Run) -> None:
    choose = ["select-features", "selected.extxyz", "--count", "6", "--cutoff", "5", "-o"]
    code, _, err = run(*choose, "with.json", "--with-target", "particle.xyz")
    assert (code, err) == (0, "")
    chosen = SymmetryFunctions.load("with.json")
    assert len(chosen) == 6
    # that of the surface is another one than that of the bulk cells alone
    assert chosen.to_dict() != SymmetryFunctions.load("symmetry_functions.json").to_dict()
    code, _, err = run(
        *choose, "x.json", "--with-target", "particle.xyz", "--method", "force-correlation"
    )
    assert code == 2
    assert 'with_target needs method = "cur"' in err


def test_evaluate_prints_and_writes(run: Run) -> None:
    code, out, err = run("evaluate", "ensemble.json", "particle.xyz", "-o", "out.extxyz")
    assert (code, err) == (0, "")
    atoms = ase.io.read("out.extxyz")
    assert isinstance(atoms, Atoms)
    expected = Ensemble.load("ensemble.json").evaluate(ase.io.read("particle.xyz"))
    assert expected.uncertainty is not None
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-8)
    np.testing.assert_allclose(atoms.arrays["uncertainty"], expected.uncertainty, atol=1e-8)
    assert "uncertainty_raw" in atoms.arrays
    assert f"{expected.energy:.4f}" in out
    assert f"{expected.uncertainty.max():.4f}" in out
    assert "out.extxyz: 1 structure\n" in out
    assert "against the labels" not in out
    assert expected.extrapolation is not None
    np.testing.assert_allclose(atoms.arrays["extrapolation"], expected.extrapolation, atol=1e-8)
    assert f"{expected.extrapolation.max():.3g}" in out
    assert "structure 0: outside what the potential has labels of" in out
    code, again, _ = run("evaluate", "ensemble.json", "out.extxyz")
    assert code == 0
    assert "against the labels" not in again
    assert "1 of 1 structures carry predictions of a potential of nearsight" in again


def test_evaluate_compares_with_labels_of_other_names(run: Run) -> None:
    atoms = ase.io.read("selected.extxyz")
    results = atoms.calc.results
    forces = results["forces"].copy()
    forces[0] = np.nan
    atoms.calc = None
    atoms.info["REF_energy"] = results["energy"]
    atoms.arrays["REF_forces"] = forces
    ase.io.write("named.extxyz", atoms)
    code, out, _ = run("evaluate", "ensemble.json", "named.extxyz")
    assert code == 0
    found = Ensemble.load("ensemble.json").evaluate(atoms)
    errors = 1000 * np.linalg.norm(found.forces - results["forces"], axis=1)[1:]
    row = out.partition("against the labels")[2].strip().splitlines()[-1].split()
    assert [float(value) for value in row[3:]] == pytest.approx(
        [errors.mean(), errors.max()], abs=6e-4
    )


def test_evaluate_compares_with_labels(run: Run) -> None:
    code, out, _ = run("evaluate", "ensemble.json", "selected.extxyz")
    assert code == 0
    _, _, errors = out.partition("against the labels")
    image = read_images("selected.extxyz")[-1]
    found = Ensemble.load("ensemble.json").evaluate(image.atoms)
    force_errors = 1000 * np.linalg.norm(found.forces - image.forces, axis=1)
    last = errors.strip().splitlines()[-1].split()
    assert last[:2] == ["4", str(image.atoms.symbols)]
    assert image.energy is not None
    assert float(last[2]) == pytest.approx(
        1000 * (found.energy - image.energy) / len(image.atoms), abs=6e-4
    )
    assert [float(value) for value in last[3:]] == pytest.approx(
        [force_errors.mean(), force_errors.max()], abs=6e-4
    )


def test_relax(run: Run) -> None:
    code, out, err = run(
        "relax", "ensemble.json", "particle.xyz", "--max-steps", "2", "--trajectory", "steps.traj",
        "--on-uncertain", "warn",
    )  # fmt: skip
    assert (code, err) == (3, "")
    assert out.startswith("relaxed.extxyz: NOT relaxed in 2 steps")
    assert len(ase.io.read("steps.traj", ":")) == 3
    for name, count in (("steps.traj", 3), ("relaxed.extxyz", 1)):
        evaluated = run("evaluate", "ensemble.json", name).out
        assert f"{count} of {count} structures carry predictions" in evaluated
        assert "against the labels" not in evaluated
    relaxed = ase.io.read("relaxed.extxyz")
    start = ase.io.read("particle.xyz")
    assert isinstance(relaxed, Atoms)
    assert isinstance(start, Atoms)
    assert np.abs(relaxed.positions - start.positions).max() > 1e-3


TO_THE_END = ("--threshold", "1e3", "--max-extrapolation", "1e9", "--steps", "2")


@pytest.mark.parametrize(
    ("command", "options", "code"),
    [
        ("relax", ("--fmax", "1e3", "--on-uncertain", "warn"), 0),
        ("relax", ("--max-steps", "1", "--on-uncertain", "warn"), 3),
        ("relax", ("--fmax", "1e3", "--max-uncertainty", "1e-9"), 3),
        ("md", TO_THE_END, 0),
        ("md", ("--threshold", "1e-6", "--steps", "2"), 3),
        ("md", (*TO_THE_END, "--max-hours", "1e-12"), 3),
    ],
)
def test_what_ends_too_early_has_its_own_exit_code(
    run: Run, command: str, options: tuple[str, ...], code: int
) -> None:
    """A script can tell it from what is done (0) and what was refused or failed (2, 1)."""
    done = run(command, "ensemble.json", "particle.xyz", *options)
    assert (done.code, done.err) == (code, ""), done.out
    assert Path({"relax": "relaxed.extxyz", "md": "md/md.traj"}[command]).is_file()


def test_nft_and_its_continuation(run: Run) -> None:
    command = (
        "nft", "particle.xyz", "selected.extxyz", "symmetry_functions.json",
        "--workdir", "work", "--max-chunks", "4", "--first-chunks", "2",
        "--chunks-per-iteration", "2", "--validation-chunks", "1", "--iterations", "3",
        "--chunk-radius", "5", *TRAINING,
    )  # fmt: skip
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert "best.json: " in out
    best = Path("work/best.json").read_bytes()
    assert Path("work/iteration-002/evaluation.json").exists()
    assert Path("work/parent.db").exists()
    assert "iteration 2: 4 chunks" in Path("work/run.log").read_text(encoding="utf-8")
    Path("work/iteration-002/evaluation.json").unlink()  # as if stopped before its end
    assert run(*command)[0] == 0
    assert Path("work/best.json").read_bytes() == best
    code, _, err = run(*command, "--seed", "1")
    assert code == 2
    assert err.count("\n") == 1
    assert "other settings" in err


def test_nft_of_whole_targets(run: Run) -> None:
    command = (
        "nft", "particle.xyz", "selected.extxyz", "symmetry_functions.json", "--workdir", "whole",
        "--labels", "target", "--first", "2", "--max-geometries", "2", "--validation", "1",
        "--steps", "5", "--temperature", "200", "--iterations", "3", *TRAINING,
    )  # fmt: skip
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert "2 geometries" in out
    assert "there are 2 geometries" in out
    labelled = ase.io.read("whole/iteration-001/geometries.extxyz", ":")
    particle = ase.io.read("particle.xyz")
    assert isinstance(particle, Atoms)
    assert [len(atoms) for atoms in labelled] == [len(particle)] * 2
    np.testing.assert_allclose(labelled[0].positions, particle.positions, atol=1e-7)


def test_locality(run: Run) -> None:
    code, out, err = run(
        "locality", "particle.xyz", "--atoms", "0", "--radii", "4,20",
        "-o", "scan.json", "--figure", "scan.png",
    )  # fmt: skip
    assert (code, err) == (0, "")
    atoms = ase.io.read("particle.xyz")
    assert isinstance(atoms, Atoms)
    atoms.calc = EMT()
    whole = [f"{value:.4f}" for value in atoms.get_forces()[0]]
    lines = [line.split() for line in out.splitlines()]
    assert ["whole", *whole] in lines
    # at 20 Å the chunk is the whole particle
    assert any(line[:2] == ["20", "32"] and line[3:] == whole for line in lines)
    assert json.loads(Path("scan.json").read_text())["radii"] == [4.0, 20.0]
    assert Path("scan.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ensemble.json",), ["3 members for Cu", "6-4-1, tanh", "5 images", "cutoff 5 Å"]),
        (("symmetry_functions.json",), ["6 symmetry functions, cutoff 5 Å (cosine)", "Cu"]),
    ],
)
def test_info(run: Run, arguments: tuple[str, ...], words: list[str]) -> None:
    code, out, err = run("info", *arguments)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) <= 24
    for word in words:
        assert word in out


def test_info_writes_settings_as_in_a_configuration(run: Run) -> None:
    """A line for each section, every list and number whole, in place of Python's own notation."""
    chosen = {"formula": "Cu147", "chunk_indices": list(range(40, 60)), "left_out": None}
    sections = {"nft": {"chunk_radius": 8.0, "labels": "chunk"}, "ensemble": {"members": 10}}
    made = replace(
        Ensemble.load("ensemble.json"), provenance={"target": chosen, "settings": sections}
    )
    made.save("told.json")
    lines = [" ".join(line.split()) for line in run("info", "told.json").out.splitlines()]
    assert {
        'target formula = "Cu147", chunk_indices = [40, 41, 42, 43, 44, 45, 46, 47, ... 20 in all]',
        'settings.nft chunk_radius = 8.0, labels = "chunk"',
        "settings.ensemble members = 10",
    } <= set(lines)


def test_info_of_a_locality_scan(run: Run) -> None:
    run("locality", "particle.xyz", "--atoms", "0,1", "--radii", "4,5", "-o", "scan.json")
    code, out, _ = run("info", "scan.json")
    assert code == 0
    assert "locality scan of 2 atoms" in out


BAD_STRUCTURES = {
    "1\n\nCu nan 0 0\n": "bad.xyz",
    "2\n\nCu 0 0 0\nQq 0 0 2\n": "bad.xyz: ASE cannot read it (KeyError: 'Qq')",
    "2\n\nCu 0 0 0\nAu 0 0 2\n": "bad.xyz",
    "": "bad.xyz",
    '2\npbc="T T T"\nCu 0 0 0\nCu 0 0 2\n': "bad.xyz",
    "2\n\nCu 0 0 0\nCu 0 0 0\n": "",
    "2\n\nCu 0 0 0\n": "bad.xyz: ASE cannot read it",
}


@pytest.mark.parametrize("content", BAD_STRUCTURES)
@pytest.mark.parametrize("command", ["evaluate", "relax"])
def test_bad_structures_are_refused(run: Run, command: str, content: str) -> None:
    Path("bad.xyz").write_text(content)
    code, out, err = run(command, "ensemble.json", "bad.xyz")
    assert (code, out) == (2, "")
    assert err.startswith(BAD_STRUCTURES[content])
    assert err.count("\n") == 1
    assert len(err) > 10


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text[: len(text) // 2], "bad.json: not valid JSON (truncated"),
        (lambda text: "", "bad.json: not valid JSON"),
        (lambda text: "{}", "bad.json: "),
        (
            lambda text: re.sub(r'"version": \d', '"version": 99', text, count=1),
            "bad.json: written by a newer nearsight (file version 99",
        ),
        (
            lambda text: text.replace('"members"', '"member"'),
            "bad.json: incomplete or damaged (members: ",
        ),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "relax"])
def test_bad_potentials_are_refused(
    run: Run, command: str, change: Callable[[str], str], sentence: str
) -> None:
    Path("bad.json").write_text(change(Path("ensemble.json").read_text()))
    code, out, err = run(command, "bad.json", "particle.xyz")
    assert (code, out) == (2, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1


def test_a_file_of_another_kind_is_refused(run: Run) -> None:
    for command in (("evaluate", "symmetry_functions.json", "particle.xyz"),
                    ("train", "selected.extxyz", "ensemble.json", "-o", "new.json")):  # fmt: skip
        code, out, err = run(*command)
        assert (code, out) == (2, "")
        assert "not a file of format" in err
    Path("other.json").write_text("[1]")
    assert run("info", "other.json")[0] == 2
    assert run("info", "particle.xyz")[0] == 2


def test_structures_without_labels_are_refused(run: Run) -> None:
    code, _, err = run("train", "particle.xyz", "symmetry_functions.json")
    assert code == 2
    assert "carries no forces" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("fault", "words"), [("raise", "SCF did not converge"), ("nan", "not finite")]
)
@pytest.mark.parametrize("command", [("locality", "particle.xyz"), ("init", "Cu", "--a0", "3.7")])
def test_a_parent_that_fails_is_named(
    run: Run, command: tuple[str, ...], fault: str, words: str
) -> None:
    arguments = json.dumps({"faults": {"*": fault}})
    code, out, err = run(*command, "--parent", FAULTY, "--parent-arguments", arguments)
    assert (code, out) == (2, "")
    what = "all 7 structures of the locality scan, the first one " if "locality" in command else ""
    assert err.startswith(f"parent {FAULTY} failed on {what}Cu")
    assert words in err
    assert err.count("\n") == 1


def write_config(**parent: Any) -> None:
    text = tiny_config(
        GIVEN,
        target={"structure": "particle.xyz"},
        parent=parent,
        initial={"structures": "selected.extxyz"},
        images=None,
        features={"symmetry_functions": "symmetry_functions.json"},
        training={"initial_iterations": 4, "iterations": 3},
        nft={"chunk_radius": 5.0, "chunks_per_iteration": None},
        report={"true_forces": True},
    )
    Path("nft.toml").write_text(text)


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot press Ctrl-C for itself")
def test_a_run_that_is_interrupted_continues(run: Run) -> None:
    faults = {"32": "press ctrl c once"}  # when it is asked for the whole particle
    write_config(calculator=FAULTY, arguments={"log": "log", "faults": faults})
    first = python("-m", "nearsight", "run", "nft.toml")
    assert Path("log.interrupted").exists()
    assert first == (130, "", "Interrupted; the same command continues from here.\n")
    code, out, err = run("run", "nft.toml")
    assert (code, err) == (0, "")
    said = Verdict.load("nft/verdict.json").lines("nft")
    assert out.splitlines() == ["ensemble: nft/best.json", "report: nft/report.html", "", *said]
    assert json.loads(Path("nft/report.json").read_text())["best_iteration"] in (0, 1)
    Path("nft/report.html").unlink()
    code, out, _ = run("report", "nft")
    assert (code, out.splitlines()) == (0, ["report: nft/report.html", "", *said])
    assert Path("nft/report.html").exists()


def test_a_run_goes_by_its_folder_or_its_configuration(run: Run) -> None:
    write_config(calculator="emt")
    assert run("run", "nft.toml")[0] == 0
    for command in ("status", "report"):
        by_folder, by_file = run(command, "nft"), run(command, "nft.toml")
        assert by_folder[0] == 0
        assert by_file == by_folder
    best = run("evaluate", "nft/best.json", "particle.xyz")
    assert best[0] == 0
    assert run("evaluate", "nft", "particle.xyz") == best
    made = Path("nft/best.json").stat().st_mtime_ns
    assert run("run", "nft/")[0] == 0
    Path("nft.toml").rename("elsewhere.toml")  # its copy in the folder will do
    assert run("run", "nft")[0] == 0
    assert Path("nft/best.json").stat().st_mtime_ns >= made
    assert not Path("nft/nft").exists()


def test_what_was_meant_is_said(run: Run) -> None:
    for place in ("folder", "begun", "work/iteration-000"):
        Path(place).mkdir(parents=True)
    Path("begun/config.toml").touch()
    Path("wrong.toml").write_text("[report]\ntrue_forces = True\n")
    for command, start, end in (
        ("evaluate particle.xyz ensemble.json",
         "particle.xyz is no ensemble, but ensemble.json is: exchange them", ""),
        ("relax particle.xyz ensemble.json", "particle.xyz is no ensemble", ": exchange them"),
        ("md particle.xyz ensemble.json", "particle.xyz is no ensemble", ": exchange them"),
        ("md particle.xyz particle.xyz", "particle.xyz: not an ensemble", ", which comes first"),
        ("evaluate folder particle.xyz", "folder: not the folder of a run", ""),
        ("info folder", "folder: not the folder of a run (it holds neither", ""),
        ("evaluate begun particle.xyz", "begun: there is no ensemble yet",
         "nearsight status begun tells where the run stands"),
        ("info not-begun.toml", "not-begun.toml: there is no ensemble yet",
         "nearsight run not-begun.toml makes it"),
        ("info particle.xyz", "particle.xyz: must be a JSON file of nearsight",
         "a structure is shown by ase gui particle.xyz"),
        ("new .", ".: ASE cannot read it", "; it is a folder, not the file of a structure"),
        ("run nowhere", "nowhere: cannot be read (No such file or directory)", ""),
        ("status work", "work: the folder of nearsight nft, which has no status; work/run.log",
         "(nearsight nft TARGET ... --workdir work) continues it"),
        ("run particle.xyz", "particle.xyz: not valid TOML",
         "for a structure, nearsight new particle.xyz writes a configuration"),
        ("run folder", "folder: not the folder of a run; give a configuration (TOML)", ""),
        ("run wrong.toml", "wrong.toml: not valid TOML",
         "true and false are written in small letters"),
        ("status wrong.toml", "wrong: not the folder of a run", ""),
    ):  # fmt: skip
        code, out, err = run(*command.split())
        assert (code, out) == (2, "")
        assert err.startswith(start)
        assert err.endswith(f"{end}\n")
        assert err.count("\n") == 1


def test_a_folder_of_another_run_is_refused(run: Run) -> None:
    write_config(calculator="emt")
    Path("nft").mkdir()
    Path("nft/config.toml").write_text("seed = 1\n")
    code, out, err = run("run", "nft.toml")
    assert (code, out) == (2, "")
    assert "--workdir" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("folder", ["missing", "."])
def test_a_folder_without_a_run_has_no_report(run: Run, folder: str) -> None:
    code, out, err = run("report", folder)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
