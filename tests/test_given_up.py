"""Training, scans and relaxations around what the parent fails on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ase.calculators.emt import EMT

import copper
from nearsight.cli import app
from nearsight.errors import ParentError
from nearsight.files.atomic import read_json, write_json
from nearsight.learning.locality import ForceLocality, force_locality
from nearsight.learning.state import State
from nearsight.parents import Parent
from nearsight.progress import Progress
from nearsight.report.drawing import png
from nearsight.report.figures import locality_figure
from nearsight.report.records import Locality
from nearsight.structures.chunks import extract_chunks
from test_run import CONFIG, make_workplace

SHORT = copper.nft(max_chunks=16)


class Choosy(EMT):
    """EMT that fails on some chunks, and may be interrupted after some calculations."""

    bad: ClassVar[set[bytes]] = set()
    left: ClassVar[float] = np.inf

    def calculate(self, *arguments: Any) -> None:
        super().calculate(*arguments)
        if Choosy.left == 0:
            raise KeyboardInterrupt
        Choosy.left -= 1
        if Choosy.bad == {b"all"} or self.atoms.positions.tobytes() in Choosy.bad:
            raise RuntimeError("no convergence")


@pytest.fixture
def fail_on(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    def choose(indices: list[int]) -> None:
        chunks = extract_chunks(copper.particle(), indices, 6.5, SHORT.settings.vacuum)
        monkeypatch.setattr(Choosy, "bad", {chunk.positions.tobytes() for chunk in chunks})

    return choose


def train(folder: Path) -> State:
    parent = Parent(Choosy, database=folder / "parent.db", failures=folder / "failures.json")
    particle, functions = copper.particle(), copper.functions()
    return SHORT.run(copper.cells(), functions, particle, parent, folder)


def evaluations(folder: Path) -> list[dict[str, Any]]:
    found = [read_json(path) for path in sorted(folder.glob("*/evaluation.json"))]
    return [{key: value for key, value in each.items() if key != "seconds"} for each in found]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the training finds when nothing fails."""
    folder = tmp_path_factory.mktemp("usual")
    train(folder)
    return evaluations(folder)


def test_the_next_most_uncertain_atoms_take_the_place(
    usual: list[dict[str, Any]],
    fail_on: Callable[[list[int]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = [int(i) for i in np.argsort(-np.array(usual[0]["uncertainty_raw"]), kind="stable")]
    asked = usual[0]["new_indices"]
    assert asked == order[:8]
    # two of those asked for fail, and one of those that take their place
    bad = [order[0], order[5], order[8]]
    fail_on(bad)
    (tmp_path / "straight").mkdir()
    state = train(tmp_path / "straight")
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
        monkeypatch.setattr(Choosy, "left", 2)
        try:
            train(tmp_path / "stopped")
            break
        except KeyboardInterrupt:
            stopped += 1
    assert stopped > 5
    assert evaluations(tmp_path / "stopped") == evaluations(tmp_path / "straight")
    for path in (tmp_path / "straight").glob("*/ensemble.json"):
        assert (
            path.read_bytes() == (tmp_path / "stopped" / path.parent.name / path.name).read_bytes()
        )


def test_when_all_fail_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Choosy, "bad", {b"all"})
    for _ in range(2):  # the second time from the record
        with pytest.raises(ParentError) as caught:
            train(tmp_path)
        sentence = str(caught.value)
        assert sentence.startswith("parent test_given_up:Choosy failed on all 16 chunks asked for")
        assert "RuntimeError: no convergence" in sentence
        assert "\n" not in sentence
    assert len(read_json(tmp_path / "failures.json")["structures"]) == 16


# -- the locality scan


def scan(radii: tuple[float, ...] = (4.0, 6.5), indices: tuple[int, ...] = (0, 7)) -> ForceLocality:
    return force_locality(copper.particle(), Choosy, radii, indices)


def assert_survives_its_file(found: ForceLocality, folder: Path) -> None:
    write_json(folder / "locality.json", found.to_dict())
    again = ForceLocality.from_dict(read_json(folder / "locality.json"))
    np.testing.assert_array_equal(again.forces, found.forces)
    np.testing.assert_array_equal(again.true_forces, found.true_forces)


def draw(found: ForceLocality) -> bytes:
    return png(
        locality_figure(
            Locality(found.radii, found.indices, found.n_atoms, found.forces, found.true_forces)
        )
    )


def test_a_scan_leaves_out_a_chunk_that_failed(
    fail_on: Callable[[list[int]], None], tmp_path: Path
) -> None:
    whole = scan()
    fail_on([7])
    found = scan()
    assert np.isnan(found.forces[1, 1]).all()
    np.testing.assert_array_equal(found.forces[0], whole.forces[0])
    np.testing.assert_array_equal(found.forces[1, 0], whole.forces[1, 0])
    np.testing.assert_array_equal(found.true_forces, whole.true_forces)
    assert found.mean_errors.tolist() == [whole.mean_errors[0], whole.errors[1, 0]]
    assert found.max_errors.tolist() == [whole.max_errors[0], whole.errors[1, 0]]
    assert found.to_dict()["forces"][1][1] == [None, None, None]
    assert_survives_its_file(found, tmp_path)
    assert draw(found) != draw(whole)


@pytest.mark.parametrize("indices", [(0,), (0, 7)])
def test_a_scan_whose_whole_structure_failed(
    indices: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = scan(indices=indices)
    monkeypatch.setattr(Choosy, "bad", {copper.particle().positions.tobytes()})
    found = scan(indices=indices)
    np.testing.assert_array_equal(found.forces, expected.forces)
    assert np.isnan(found.true_forces).all()
    assert np.isnan(found.mean_errors).all()
    assert found.summary == "at 6.5 Å it is not known: the parent failed"
    assert_survives_its_file(found, tmp_path)
    assert draw(found)


def test_a_scan_in_which_all_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Choosy, "bad", {b"all"})
    with pytest.raises(ParentError, match="failed on all 5 structures of the locality scan"):
        scan()


# -- a whole run


def run_with(folder: Path, trouble: str) -> tuple[int, Path]:
    """Carry out the small configuration with a parent that has trouble."""
    parent = (
        '[parent]\ncalculator = "troubled:Troubled"\n'
        f'arguments = {{ log = "{folder / "log"}", trouble = {{ {trouble} }} }}\n'
    )
    few = CONFIG.replace("[features]\ncount = 8", "[features]\ncount = 3")  # for few cells
    make_workplace(folder, few.replace("[target]", f"{parent}[target]", 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as caught:
            app(["run", str(folder / "nft.toml")], prog_name="nearsight")
    assert isinstance(caught.value.code, int)
    return caught.value.code, folder / "nft"


def test_a_run_around_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rattled cells, true forces, the whole of the scan and the parent's relaxation fail."""
    code, folder = run_with(tmp_path, '32 = "raise", 55 = "nan"')
    assert (code, capsys.readouterr().err) == (0, "")
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
    assert "Cu, space group 225: a rattled cell is given up: Cu32 (32 atoms): RuntimeError" in log
    assert "not known: the parent failed on Cu55 (55 atoms): forces not finite" in log
    report = json.loads((folder / "report.json").read_text())
    assert [each["mae"] for each in report["iterations"]] == [None] * 3
    assert (folder / "report.html").exists()


def test_a_run_whose_chunks_all_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trouble = ", ".join(f'{size} = "raise"' for size in range(5, 56) if size != 32)
    code, folder = run_with(tmp_path, trouble)
    sentence = capsys.readouterr().err
    assert code == 2
    assert sentence.count("\n") == 1
    assert "failed on all" in sentence
    calculations = (tmp_path / "log").read_text()
    assert run_again(tmp_path) == 2
    assert capsys.readouterr().err == sentence
    assert (tmp_path / "log").read_text() == calculations  # nothing is tried twice
    assert (folder / "failures.json").exists()


def run_again(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as caught:
            app(["run", str(folder / "nft.toml")], prog_name="nearsight")
    assert isinstance(caught.value.code, int)
    return caught.value.code


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_scan_tells_what_it_leaves_out(fail_on: Callable[[list[int]], None]) -> None:
    fail_on([7])
    notes = Notes()
    force_locality(copper.particle(), Choosy, [6.5], [0, 7], progress=notes)
    (note,) = notes.notes
    assert note.startswith("left out of the locality scan: Cu")
    assert note.endswith("RuntimeError: no convergence")
