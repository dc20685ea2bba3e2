"""A whole run: its files, its numbers, and that stopping it at any moment changes nothing.

The small case is that of ``copper.py``; errors are recomputed from the files with ASE's EMT.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms

import nearsight.run.run
from helpers import copper
from helpers.cli import run_command, without_progress
from helpers.recorder import Recorder, Stopped
from helpers.runs import (
    FILES,
    GIVEN,
    assert_same_results,
    files,
    make_workplace,
    read,
    tiny_config,
    write_given,
)
from nearsight.config import Config
from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents.database import ParentDatabase
from nearsight.report.data import RunData
from nearsight.report.page import write_numbers
from nearsight.run.run import Run
from nearsight.structures.images import read_images


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the target and the configuration."""
    make_workplace(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run, made by the command. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    make_workplace(folder)
    assert run_command("run", folder / "nft.toml").code == 0
    return folder / "nft"


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the numbers of the report, without its figures, which take most of the time."""

    def write(folder: Path) -> None:
        write_numbers(folder, RunData.load(folder))

    monkeypatch.setattr(nearsight.run.run, "write_report", write)


# -- what a run leaves


def test_every_file_is_there(finished: Path) -> None:
    assert files(finished) == FILES
    assert (finished / "config.toml").read_text() == tiny_config()
    assert [
        len(read_images(finished / name)) for name in ("initial.extxyz", "selected.extxyz")
    ] == [
        read(finished / "run.json")["initial"]["cells"],
        5,
    ]
    assert SymmetryFunctions.load(finished / "symmetry_functions.json").size("Cu") == 8
    assert len(Ensemble.load(finished / "best.json")) == 3


def test_report_json_has_the_keys_that_checks_read(finished: Path) -> None:
    report = read(finished / "report.json")
    assert list(report) == [
        "seed", "parent", "target", "labels", "iterations", "best_iteration", "relaxation",
        "retraining", "dynamics", "targets", "comparison", "failures", "parent_calculations",
        "cost", "seconds_parent", "seconds_total", "verdict",
    ]  # fmt: skip
    assert (report["seed"], report["parent"], report["target"]) == (2, "emt", {"n_atoms": 55})
    for number, iteration in enumerate(report["iterations"]):
        assert list(iteration) == [
            "iteration", "chunks", "structure_uncertainty", "structure_uncertainty_calibrated",
            "mae", "mae_train", "mae_test", "max_residual", "coverage", "coverage_raw",
            "outside", "validation_error", "seconds",
        ]  # fmt: skip
        assert (iteration["iteration"], iteration["chunks"]) == (number, 3 * number)
        assert iteration["seconds"] > 0
    assert list(report["relaxation"]) == [
        "steps", "energy_change", "parent_steps", "parent_energy_change", "parent_fmax_at_minimum",
        "max_uncertainty",
    ]  # fmt: skip
    assert report["seconds_total"] > sum(each["seconds"] for each in report["iterations"])


def test_the_errors_are_those_against_emt(finished: Path) -> None:
    target = ase.io.read(finished / "target.extxyz")
    assert isinstance(target, Atoms)
    _, true = copper.emt(target)
    np.testing.assert_allclose(read(finished / "reference.json")["forces"], true, atol=1e-12)
    report = read(finished / "report.json")
    for number, record in enumerate(report["iterations"]):
        found = read(finished / f"iteration-{number:03d}" / "evaluation.json")
        residual = np.sqrt(((np.array(found["forces"]) - true) ** 2).sum(axis=1))
        trained = np.isin(range(55), found["chunk_indices"])
        assert record["mae"] == pytest.approx(residual.sum() / 55)
        assert record["max_residual"] == pytest.approx(residual.max())
        assert record["mae_test"] == pytest.approx(residual[~trained].mean())
        if number == 0:
            assert record["mae_train"] is None
        else:
            assert record["mae_train"] == pytest.approx(residual[trained].mean())
        raw, calibrated = np.array(found["uncertainty_raw"]), np.array(found["uncertainty"])
        assert record["structure_uncertainty"] == raw.max()
        assert record["structure_uncertainty_calibrated"] == calibrated.max()
        assert record["coverage_raw"] == pytest.approx(np.count_nonzero(residual <= raw) / 55)
        assert record["coverage"] == pytest.approx(np.count_nonzero(residual <= calibrated) / 55)
    larger = [
        read(finished / f"iteration-{number:03d}" / "evaluation.json")["validation_error"]
        for number in range(1, len(report["iterations"]))
    ]
    assert report["best_iteration"] == 1 + int(np.argmin(larger))
    best = finished / f"iteration-{report['best_iteration']:03d}" / "ensemble.json"
    assert (finished / "best.json").read_bytes() == best.read_bytes()


def test_larger_chunks_choose_another_model(finished: Path) -> None:
    """So that all that is stopped and continued below has a choice in it."""
    records = [read(finished / f"iteration-00{number}" / "evaluation.json") for number in range(3)]
    before, *after = (record["model"] for record in records)
    assert before == {"hidden_layers": [4], "l2": 0.3, "force_decay": None, "cutoff": None}
    assert len({json.dumps(model) for model in (before, *after)}) == 3  # twice another one
    assert [len(record["candidates"]) for record in records] == [0, 4, 3]
    assert all(record["validation_error"] > 0 for record in records)


def test_the_relaxation_is_that_of_its_trajectories(finished: Path) -> None:
    report = read(finished / "report.json")["relaxation"]
    ours = ase.io.read(finished / "relaxation.traj", ":")
    parents = ase.io.read(finished / "relaxation-parent.traj", ":")
    for steps, change, frames in (
        (report["steps"], report["energy_change"], ours),
        (report["parent_steps"], report["parent_energy_change"], parents),
    ):
        assert steps == len(frames) - 1 == 4
        energies = [frame.get_potential_energy() for frame in frames]
        assert change == pytest.approx(energies[-1] - energies[0])
    assert copper.emt(parents[-1])[0] == pytest.approx(parents[-1].get_potential_energy())
    ensemble = Ensemble.load(finished / "best.json")
    uncertainties = [ensemble.evaluate(frame).uncertainty_raw for frame in ours]
    assert report["max_uncertainty"] == pytest.approx(np.max(uncertainties))
    relaxed = ase.io.read(finished / "relaxed.extxyz")
    assert isinstance(relaxed, Atoms)
    np.testing.assert_allclose(relaxed.positions, ours[-1].positions, atol=1e-7)
    fmax = np.linalg.norm(copper.emt(ours[-1])[1], axis=1).max()
    assert report["parent_fmax_at_minimum"] == pytest.approx(fmax)


def test_the_locality_scan_is_emt_on_chunks(finished: Path) -> None:
    scan = read(finished / "locality.json")
    target = ase.io.read(finished / "target.extxyz")
    assert isinstance(target, Atoms)
    assert (scan["radii"], scan["indices"]) == ([4.0, 6.5], [0, 7])
    for radius, forces in zip(scan["radii"], scan["forces"], strict=True):
        for index, force in zip(scan["indices"], forces, strict=True):
            near = [i for i in range(55) if target.get_distance(index, i) <= radius]
            expected = copper.emt(target[near])[1][near.index(index)]
            np.testing.assert_allclose(force, expected, atol=1e-9)


@pytest.mark.usefixtures("no_page")
def test_a_finished_run_does_nothing_new(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.parent, tmp_path / "copy")
    folder = tmp_path / "copy" / "nft"
    before = {name: (folder / name).read_bytes() for name in FILES}
    run = Run(Config.load(tmp_path / "copy" / "nft.toml"), folder)
    run.execute()
    assert run.parent.calculations == 0
    assert files(folder) == FILES
    times = {
        "stages.json",
        "run.json",
        "report.json",
    }  # the training stage adds a moment to its own
    for name in FILES - times:
        assert (folder / name).read_bytes() == before[name], name
    assert_same_results(folder, finished)


# -- interrupted and continued


PLACES: list[dict[str, Any]] = [
    {"stage": "Initial cells"},
    {"within": "Initial cells", "step": 2},
    {"stage": "Choice of cells"},
    {"stage": "Symmetry functions"},
    {"within": "Locality of the parent", "step": 1},
    {"stage": "Nearsighted force training"},
    {"iteration": 0},
    {"within": "Nearsighted force training", "step": 2},
    {"iteration": 1},
    {"iteration": 2},
    {"stage": "True forces of the target"},
    {"stage": "Relaxation"},
    {"within": "Relaxation", "step": 3},
    {"stage": "Report"},
]


@pytest.mark.usefixtures("no_page")
def test_a_run_stopped_everywhere_ends_like_one_that_was_not(
    finished: Path, workplace: Path
) -> None:
    config = Config.load(workplace / "nft.toml")
    calculations = 0
    for place in PLACES:
        run = Run(config, workplace / "nft", Recorder(**place))
        with pytest.raises(Stopped):
            run.execute()
        calculations += run.parent.calculations
    run = Run(config, workplace / "nft")
    run.execute()
    calculations += run.parent.calculations
    assert calculations == run.parent.known  # nothing was calculated twice
    assert run.parent.known == read(finished / "run.json")["parent_calculations"]
    assert_same_results(workplace / "nft", finished)


@pytest.mark.usefixtures("no_page")
def test_a_run_stopped_before_each_of_its_files_ends_like_one_that_was_not(
    finished: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename that puts a file in place fails once."""
    config = Config.load(workplace / "nft.toml")
    reached: set[str] = set()
    replace = Path.replace

    def stop_once(source: Path, target: Path) -> None:
        name = str(target.relative_to(workplace / "nft"))
        # those of results are gone in the end
        if name not in reached and not name.startswith("parent/results/"):
            reached.add(name)
            raise Stopped
        replace(source, target)

    monkeypatch.setattr(Path, "replace", stop_once)
    stops = 0
    while True:
        try:
            Run(config, workplace / "nft").execute()
            break
        except Stopped:
            stops += 1
    by_others = {
        "parent.db", "run.lock", "run.log", "status.json", "report.html", "relaxation.traj",
        "relaxation-parent.traj",
    }  # fmt: skip
    expected = {name for name in FILES - by_others if not name.startswith("figures/")}
    expected.add("begun.json")  # as long as a calculation lasts
    assert (reached, stops) == (expected, len(expected))
    assert_same_results(workplace / "nft", finished)


KILLED_WHEN = (
    "parent.db-journal",  # SQLite's, while a calculation is committed
    "iteration-001/ensemble.json",
    "relaxation.traj",
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_run_continues(finished: Path, workplace: Path) -> None:
    folder = workplace / "nft"
    command = [sys.executable, "-m", "nearsight", "run", "nft.toml"]
    for name in KILLED_WHEN:
        with subprocess.Popen(command, cwd=workplace, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while not (folder / name).exists() and time.monotonic() < deadline:
                assert process.poll() is None, name
                time.sleep(0.0005)
            process.kill()
        assert process.returncode == -signal.SIGKILL, name
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
    assert (done.returncode, without_progress(done.stderr)) == (0, "")
    assert files(folder) >= FILES
    assert_same_results(folder, finished)


# -- folders of something else


def refused(config: Config, folder: Path) -> str:
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    with pytest.raises(InputError) as caught:
        Run(config, folder).execute()
    after = {name: (folder / name).read_bytes() for name in files(folder) - {"run.lock"}}
    assert after == {name: content for name, content in before.items() if name != "run.lock"}
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change, beside its configuration."""
    shutil.copytree(finished.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_another_configuration_is_refused(copied: Path) -> None:
    config = make_workplace(copied, tiny_config(seed=3))
    assert refused(config, copied / "nft") == (
        f"{copied / 'nft'}: belongs to another configuration (seed was 2, now 3); set it back, or "
        "give another folder with --workdir, with a copy of parent.db in it to keep the "
        "calculations"
    )


def test_a_configuration_that_differs_in_many_ways_is_refused_by_its_keys(copied: Path) -> None:
    more = {"max_chunks": 5, "vacuum": 4.0}
    config = make_workplace(
        copied, tiny_config(seed=3, nft=more, parent={"arguments": {"a": "b"}}, relaxation=None)
    )
    sentence = refused(config, copied / "nft")
    assert '(seed was 2, now 3; parent.arguments was {}, now { "a" = "b" }; nft.' in sentence
    assert " and 2 more); set it back" in sentence
    for torn in (b"[target", b"\xff"):
        (copied / "nft" / "config.toml").write_bytes(torn)
        assert "its config.toml cannot be read here" in refused(config, copied / "nft")


def moved(atoms: Atoms) -> None:
    atoms.positions[3, 1] += 1e-6


def without_one(atoms: Atoms) -> None:
    del atoms[-1]


def magnetic(atoms: Atoms) -> None:
    atoms.set_initial_magnetic_moments([0.5] * len(atoms))


@pytest.mark.parametrize("change", [moved, without_one, magnetic])
def test_another_target_is_refused(copied: Path, change: Callable[[Atoms], None]) -> None:
    target = copper.particle()
    change(target)
    config = make_workplace(copied, target=target)
    assert "belongs to another target" in refused(config, copied / "nft")


def test_the_same_target_in_another_format_is_not_another(copied: Path) -> None:
    ase.io.write(copied / "particle.traj", copper.particle())  # all digits
    config = Config.load(copied / "nft.toml")
    config = config.model_copy(
        update={"target": config.target.model_copy(update={"structure": copied / "particle.traj"})}
    )
    Run(config, copied / "nft")


# -- files that are torn


READ_AGAIN = sorted(
    name
    for name in FILES
    if name.endswith((".json", ".extxyz", ".toml", ".db"))
    # these are only written: from what the others say, or for the user
    and name not in ("best.json", "run.json", "report.json", "relaxed.extxyz", "status.json")
    and not name.endswith("chunks.extxyz")
)


KEPT = ("config.toml", "target.extxyz", "parent.db")  # what nothing else could be made from


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("name", KEPT)
def test_a_torn_file_is_named(copied: Path, name: str) -> None:
    path = copied / "nft" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sentence = refused(Config.load(copied / "nft.toml"), copied / "nft")
    assert path.name in sentence
    assert str(copied / "nft") in sentence


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize(
    ("state", "last"),
    [
        ("missing", "stages.json"),
        ("missing", "iteration-001"),
        ("touched", "iteration-001"),
        ("empty", "iteration-001"),
    ],
)
def test_calculations_that_are_gone_are_not_done_again_without_a_word(
    copied: Path, state: str, last: str
) -> None:
    folder, database = copied / "nft", copied / "nft" / "parent.db"
    kept = database.rename(copied / "kept.db")
    if state == "touched":
        database.touch()
    elif state == "empty":
        ParentDatabase(database)
    if last == "stages.json":
        for path in folder.glob("iteration-*"):
            shutil.rmtree(path)
    else:
        (folder / "stages.json").unlink()
    sentence = refused(Config.load(copied / "nft.toml"), folder)
    found = "missing" if state == "missing" else "empty"
    assert sentence.startswith(f"{database}: is {found}, though finished work of this run rests on")
    kept.rename(database)
    run = Run(Config.load(copied / "nft.toml"), folder)
    run.execute()
    assert run.parent.calculations == 0


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("name", sorted(set(READ_AGAIN) - set(KEPT)))
@pytest.mark.parametrize("damage", ["torn", "cut", "gone"])
def test_a_file_that_is_not_whole_is_made_again(
    finished: Path, copied: Path, name: str, damage: str
) -> None:
    """One that does not read, one that still does but lacks its end, one that is not there."""
    path = copied / "nft" / name
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "torn" else whole[:-3])
    run = Run(Config.load(copied / "nft.toml"), copied / "nft")
    run.execute()
    assert run.parent.calculations == 0
    assert_same_results(copied / "nft", finished)


@pytest.mark.usefixtures("no_page")
def test_a_file_that_comes_out_different_is_refused(copied: Path) -> None:
    stages = copied / "nft" / "stages.json"
    content = read(stages)
    content["stages"]["Choice of cells"]["sha256"] = "0" * 64
    del content["digest"]  # else the record itself is known to be damaged
    stages.write_text(json.dumps(content))
    sentence = refused(Config.load(copied / "nft.toml"), copied / "nft")
    assert "selected.extxyz: was regenerated with a different checksum" in sentence


def test_a_second_run_in_the_folder_says_so(copied: Path) -> None:
    config = Config.load(copied / "nft.toml")
    first = Run(config, copied / "nft")
    with first.folder.exclusive():
        assert refused(config, copied / "nft") == (
            f"{copied / 'nft'}: the run folder is locked by another nearsight process; wait for "
            "it, or stop it first"
        )


# -- what the user brings along


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    write_given(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("no_page")
def test_structures_and_symmetry_functions_of_the_user(own: Path) -> None:
    run = Run(make_workplace(own, tiny_config(GIVEN)), own / "nft")
    run.execute()
    assert run.parent.calculations == 2  # the chunks, and nothing for bulk cells
    initial = read_images(own / "nft/initial.extxyz")
    for image, given in zip(initial, copper.cells(), strict=True):
        np.testing.assert_allclose(image.forces, given.forces, atol=1e-7)
        assert image.energy == pytest.approx(given.energy)
    selected = read_images(own / "nft/selected.extxyz")
    places = {image.atoms.positions.tobytes() for image in initial}
    assert len(selected) == 4
    assert {image.atoms.positions.tobytes() for image in selected} < places
    found = SymmetryFunctions.load(own / "nft/symmetry_functions.json")
    assert found.to_dict() == copper.functions().to_dict()
    report = read(own / "nft/report.json")
    assert report["relaxation"] is None
    assert all(
        iteration[key] is None
        for iteration in report["iterations"]
        for key in ("mae", "mae_train", "mae_test", "max_residual", "coverage", "coverage_raw")
    )
    assert {"reference.json", "locality.json", "relaxation.json"}.isdisjoint(files(own / "nft"))


@pytest.mark.usefixtures("no_page")
def test_constraints_and_moments_of_the_target_are_kept(own: Path) -> None:
    target = copper.particle()
    target.set_constraint(FixAtoms([0, 5, 30]))
    target.set_initial_magnetic_moments(np.linspace(-1.0, 1.0, 55))
    config = make_workplace(own, tiny_config(GIVEN, relaxation={"max_steps": 2}), target)
    for _ in range(2):
        Run(config, own / "nft").execute()
    relaxed = ase.io.read(own / "nft/relaxed.extxyz")
    chunk = ase.io.read(own / "nft/iteration-001/chunks.extxyz", 0)
    assert isinstance(relaxed, Atoms)
    assert isinstance(chunk, Atoms)
    moves = np.linalg.norm(relaxed.positions - target.positions, axis=1)
    np.testing.assert_allclose(moves[[0, 5, 30]], 0.0, atol=1e-7)
    assert np.count_nonzero(moves > 1e-4) == 52
    index = read(own / "nft/iteration-001/evaluation.json")["chunk_indices"][0]
    assert chunk.get_initial_magnetic_moments()[0] == pytest.approx(-1.0 + index / 27)


def test_what_would_fail_hours_later_is_refused_before_there_is_a_folder(own: Path) -> None:
    gold = SymmetryFunctions.candidates(["Au"], 4.5)
    for changes, target, functions, sentence in (
        ({"nft": {"chunk_radius": 1.5}}, None, None,
         "has no neighbour within 1.5 Å"),
        ({}, copper.particle() + Atoms("Cu", [[0, 0, 40]]), None,
         "target: atom 55 (Cu) has no neighbour within 4.5 Å"),
        ({}, None, gold, "target contains Cu, but only Au is known here"),
        ({"parent": {"calculator": "emtt"}}, None, None, "did you mean emt?"),
        ({"locality": {"radii": [1.5, 6.5], "atoms": [4]}}, None, None,
         "target: atom 4 (Cu) has no neighbour within 1.5 Å"),
        ({"locality": {"radii": [1.5, 6.5], "atoms": [55]}}, None, None,
         "locality.atoms names atom 55"),
    ):  # fmt: skip
        (functions or copper.functions()).save(own / "functions.json")
        with pytest.raises(InputError) as caught:
            Run(make_workplace(own, tiny_config(GIVEN, **changes), target), own / "nft")
        assert sentence in str(caught.value)
        assert not (own / "nft").exists()


@pytest.mark.usefixtures("no_page")
def test_structures_without_the_element_of_the_target_are_refused(own: Path) -> None:
    target = copper.particle()
    target.symbols[0] = "Au"
    both = SymmetryFunctions.candidates(["Cu", "Au"], 4.5)
    both.save(own / "functions.json")
    config = make_workplace(own, tiny_config(GIVEN), target)
    with pytest.raises(InputError, match="contains Au, which no initial structure contains"):
        Run(config, own / "nft").execute()
