"""Training, scans and relaxations around what the parent fails on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import copper
from helpers.cli import Result, run_command
from helpers.faulty import FAULTY, Script, digest
from helpers.recorder import Recorder
from helpers.runs import make_workplace, tiny_config, without_times
from nearsight.errors import ParentError
from nearsight.files.atomic import read_json
from nearsight.learning.locality import ForceLocality, force_locality
from nearsight.learning.state import State
from nearsight.parents import Parent
from nearsight.report.drawing import png
from nearsight.report.figures import locality_figure
from nearsight.structures.chunks import extract_chunks

SHORT = copper.nft(max_chunks=16)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    """What the parent fails on; one file, so that all tests have the same parent."""
    return Script(tmp_path_factory.mktemp("script") / "script.json")


@pytest.fixture(autouse=True)
def nothing_fails(script: Script) -> None:
    script.write()


def faults_of(indices: list[int]) -> dict[str, str]:
    chunks = extract_chunks(copper.particle(), indices, 6.5, SHORT.settings.vacuum)
    return {digest(chunk): "raise" for chunk in chunks}


def scripted(script: Script, folder: Path | None = None) -> Parent:
    arguments = {"script": str(script.path)}
    if folder is None:
        return Parent(FAULTY, arguments)
    return Parent(FAULTY, arguments, folder / "parent.db", failures=folder / "failures.json")


def train(script: Script, folder: Path) -> State:
    particle, functions = copper.particle(), copper.functions()
    return SHORT.run(copper.cells(), functions, particle, scripted(script, folder), folder)


def evaluations(folder: Path) -> list[dict[str, Any]]:
    found = [read_json(path) for path in sorted(folder.glob("*/evaluation.json"))]
    return [without_times(each) for each in found]


@pytest.fixture(scope="module")
def usual(script: Script, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the training finds when nothing fails."""
    folder = tmp_path_factory.mktemp("usual")
    train(script, folder)
    return evaluations(folder)


def test_the_next_most_uncertain_atoms_take_the_place(
    usual: list[dict[str, Any]],
    script: Script,
    tmp_path: Path,
) -> None:
    order = [int(i) for i in np.argsort(-np.array(usual[0]["uncertainty_raw"]), kind="stable")]
    asked = usual[0]["new_indices"]
    assert asked == order[:8]
    # two of those asked for fail, and one of those that take their place
    bad = [order[0], order[5], order[8]]
    script.write(faults_of(bad))
    (tmp_path / "straight").mkdir()
    state = train(script, tmp_path / "straight")
    first, second, third = evaluations(tmp_path / "straight")
    assert first == usual[0]
    taken = [i for i in order[:8] if i not in bad] + order[9:11]
    assert second["chunk_indices"] == taken
    assert second["failed_indices"] == bad
    assert len(third["chunk_indices"]) == 16
    assert not set(third["chunk_indices"]) & set(bad)
    assert not set(third["new_indices"]) & set(bad)
    assert third["failed_indices"][:3] == bad
    assert state.stop_reason == "there are 16 chunks"
    # the same with an interruption after every two calculations
    stopped = 0
    (tmp_path / "stopped").mkdir()
    while True:
        script.write(faults_of(bad), interrupt_after=2)
        try:
            train(script, tmp_path / "stopped")
            break
        except KeyboardInterrupt:
            stopped += 1
    assert stopped > 5
    assert evaluations(tmp_path / "stopped") == evaluations(tmp_path / "straight")
    for path in (tmp_path / "straight").glob("*/ensemble.json"):
        assert (
            path.read_bytes() == (tmp_path / "stopped" / path.parent.name / path.name).read_bytes()
        )


def test_when_all_fail_it_says_so(script: Script, tmp_path: Path) -> None:
    script.write({"*": "raise"})
    for _ in range(2):  # the second time from the record
        with pytest.raises(ParentError) as caught:
            train(script, tmp_path)
        sentence = str(caught.value)
        assert sentence.startswith(f"parent {FAULTY} failed on all 16 chunks asked for")
        assert "RuntimeError: SCF did not converge" in sentence
        assert "\n" not in sentence
    assert len(read_json(tmp_path / "failures.json")["structures"]) == 16


# -- the locality scan


def scan(script: Script, indices: tuple[int, ...] = (0, 7)) -> ForceLocality:
    return force_locality(copper.particle(), scripted(script), (4.0, 6.5), indices)


def assert_survives_its_file(found: ForceLocality, folder: Path) -> None:
    found.save(folder / "locality.json")
    again = ForceLocality.load(folder / "locality.json")
    np.testing.assert_array_equal(again.forces, found.forces)
    np.testing.assert_array_equal(again.true_forces, found.true_forces)


def draw(found: ForceLocality) -> bytes:
    return png(locality_figure(found))


def test_a_scan_leaves_out_a_chunk_that_failed(script: Script, tmp_path: Path) -> None:
    whole = scan(script)
    script.write(faults_of([7]))
    found = scan(script)
    assert np.isnan(found.forces[1, 1]).all()
    np.testing.assert_array_equal(found.forces[0], whole.forces[0])
    np.testing.assert_array_equal(found.forces[1, 0], whole.forces[1, 0])
    np.testing.assert_array_equal(found.true_forces, whole.true_forces)
    assert found.mean_errors.tolist() == [whole.mean_errors[0], whole.errors[1, 0]]
    assert found.max_errors.tolist() == [whole.max_errors[0], whole.errors[1, 0]]
    assert found.model_dump()["forces"][1][1] == [None, None, None]
    assert_survives_its_file(found, tmp_path)
    assert draw(found) != draw(whole)


@pytest.mark.parametrize("indices", [(0,), (0, 7)])
def test_a_scan_whose_whole_structure_failed(
    script: Script, indices: tuple[int, ...], tmp_path: Path
) -> None:
    expected = scan(script, indices)
    script.write({digest(copper.particle()): "raise"})
    found = scan(script, indices)
    np.testing.assert_array_equal(found.forces, expected.forces)
    assert np.isnan(found.true_forces).all()
    assert np.isnan(found.mean_errors).all()
    assert found.summary == "at 6.5 Å it is not known: the parent failed"
    assert_survives_its_file(found, tmp_path)
    assert draw(found)


def test_a_scan_in_which_all_fails(script: Script) -> None:
    script.write({"*": "raise"})
    with pytest.raises(ParentError, match="failed on all 5 structures of the locality scan"):
        scan(script)


# -- a whole run


def run_with(folder: Path, faults: dict[str, str]) -> Result:
    """Carry out the small configuration with a parent that has trouble."""
    arguments = {"log": folder / "log", "faults": faults}
    few = {"count": 3}  # for few cells
    parent = {"calculator": FAULTY, "arguments": arguments}
    make_workplace(folder, tiny_config(parent=parent, features=few))
    return run_command("run", folder / "nft.toml")


def test_a_run_around_failures(tmp_path: Path) -> None:
    """Rattled cells, true forces, the whole of the scan and the parent's relaxation fail."""
    result = run_with(tmp_path, {"32": "raise", "55": "nan"})
    assert (result.code, result.err) == (0, "")
    folder = tmp_path / "nft"
    assert read_json(folder / "reference.json")["forces"] is None
    assert read_json(folder / "locality.json")["true_forces"] == [[None] * 3] * 2
    relaxation = read_json(folder / "relaxation.json")
    assert (relaxation["parent"], relaxation["parent_fmax_at_minimum"]) == (None, None)
    assert len(relaxation["ensemble"]["energies"]) == 5
    assert {each["structure"] for each in read_json(folder / "run.json")["failures"]} == {
        "Cu32 (32 atoms)",
        "Cu55 (55 atoms)",
    }
    sizes = read_json(folder / "run.json")["initial"]["counts"]
    assert set(sizes) == {"4"}
    assert len(read_json(folder / "iteration-002" / "evaluation.json")["chunk_indices"]) == 6
    log = (folder / "run.log").read_text()
    assert "Cu, space group 225: skipping a rattled cell after 1 failed attempt (Cu32 (32" in log
    assert "not known: the parent failed on Cu55 (55 atoms): forces not finite" in log
    report = json.loads((folder / "report.json").read_text())
    assert [each["mae"] for each in report["iterations"]] == [None] * 3
    assert (folder / "report.html").exists()


def test_a_run_whose_chunks_all_fail(tmp_path: Path) -> None:
    faults = {str(size): "raise" for size in range(5, 56) if size != 32}
    code, _, sentence = run_with(tmp_path, faults)
    assert code == 2
    assert sentence.count("\n") == 1
    assert "failed on all" in sentence
    calculations = (tmp_path / "log").read_text()
    assert run_command("run", tmp_path / "nft.toml") == (2, "", sentence)
    assert (tmp_path / "log").read_text() == calculations  # nothing is tried twice
    assert (tmp_path / "nft" / "failures.json").exists()


def test_a_scan_tells_what_it_leaves_out(script: Script) -> None:
    script.write(faults_of([7]))
    notes = Recorder()
    force_locality(copper.particle(), scripted(script), [6.5], [0, 7], progress=notes)
    (note,) = notes.notes
    assert note.startswith("left out of the locality scan: Cu")
    assert note.endswith("RuntimeError: SCF did not converge")
