"""The report of a run: numbers by hand, the figures' data, a page that stands alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from nearsight.errors import InputError
from nearsight.files.atomic import write_json
from nearsight.report import drawing, figures
from nearsight.report.checks import checks, verdict
from nearsight.report.data import RunData, report_json
from nearsight.report.format import core_time, duration, formula, mev, number, percent
from nearsight.report.page import write_report

# Four atoms. The differences to the parent's forces are Pythagorean triples, so that the errors
# are 0.005, 0.001, 0 and 0.010 eV/Å: mean 0.004; over atoms 0 and 3 0.0075; over 1 and 2 0.0005.
TRUE = np.array([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0], [0.5, 0.5, 0]])
DIFFERENCE = np.array([[0.003, 0.004, 0], [0, 0, 0.001], [0, 0, 0], [0.006, 0, -0.008]])
RAW = np.array([0.004, 0.002, 0.001, 0.008])  # covers atoms 1 and 2
CALIBRATED = 1.5 * RAW  # covers all of them


def evaluation(iteration: int, chunks: list[int], scale: float = 1.0) -> dict[str, Any]:
    return {
        "format": "nearsight-evaluation",
        "version": 1,
        "iteration": iteration,
        "chunk_indices": chunks,
        "new_indices": [],
        "failed_indices": [],
        "uncertainty_raw": scale * RAW,
        "uncertainty": scale * CALIBRATED,
        "forces": TRUE + scale * DIFFERENCE,
        "calibration": 1.5,
        "energy_rmse": 0.0004,
        "force_rmse": 0.002,
        "max_force_residual": 0.009,
        "seconds": 2.5,
    }


def run_record(best: int) -> dict[str, Any]:
    return {
        "format": "nearsight-run",
        "version": 1,
        "seed": 7,
        "parent": {"calculator": "emt", "asap_cutoff": False},
        "target": {"n_atoms": 4, "formula": "CuPt3"},
        "best_iteration": best,
        "stop_reason": "max_iterations reached",
        "seconds_total": 3725.0,
        "stages": [{"name": "Initial cells", "seconds": 4.0, "summary": "33 cells"}],
        "chunk_radius": 8.0,
        "parent_calculations": 42,
        "seconds_parent": 5400.0,
        "parent_cores": 2,
        "targets": [{"n_atoms": 4, "formula": "CuPt3"}],
        "failures": [],
        "versions": {"nearsight": "0.1.0"},
    }


REFERENCE = {"format": "nearsight-reference", "version": 1, "energy": 1.0, "forces": TRUE}
LOCALITY = {  # errors of atom 0: 0.5, 0.013, 0; of atom 3: 0.3, 0.005, 0 eV/Å
    "format": "nearsight-locality",
    "version": 1,
    "radii": [4.0, 6.0, 8.0],
    "indices": [0, 3],
    "n_atoms": [[2, 3], [3, 4], [4, 4]],
    "forces": [
        [[1.3, 0.4, 0], [0.5, 0.5, 0.3]],
        [[1.005, 0, 0.012], [0.503, 0.504, 0]],
        [[1.0, 0, 0], [0.5, 0.5, 0]],
    ],
    "true_forces": [[1.0, 0, 0], [0.5, 0.5, 0]],
}
RELAXATION = {
    "format": "nearsight-relaxation",
    "version": 1,
    "optimizer": "BFGS",
    "fmax": 0.05,
    "ensemble": {
        "energies": [10.0, 8.0, 7.25],
        "fmax": [1.0, 0.3, 0.04],
        "max_uncertainty": [0.010, 0.015, 0.012],
        "mean_uncertainty": [0.005, 0.007, 0.006],
        "converged": True,
    },
    "parent": {"energies": [10.5, 8.25, 7.5, 7.0], "fmax": [1, 0.4, 0.1, 0.04], "converged": True},
    "parent_fmax_at_minimum": 0.045,
}


def make(folder: Path, *evaluations: dict[str, Any], best: int, **files: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for content in evaluations:
        path = folder / f"iteration-{content['iteration']:03d}"
        path.mkdir()
        write_json(path / "evaluation.json", content)
    write_json(folder / "run.json", run_record(best) | files.pop("run", {}))
    for name, content in files.items():
        write_json(folder / f"{name}.json", content)
    return folder


def three(folder: Path, **files: dict[str, Any]) -> Path:
    """Iterations of 0, 2 and 3 chunks, the middle one the best."""
    steps = (evaluation(0, [], 100.0), evaluation(1, [0, 3]), evaluation(2, [0, 1, 3], 1.25))
    return make(folder, *steps, best=1, **files)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full") / "run"
    record = {
        "initial": {"cells": 33, "selected": 20, "counts": {"2": 6, "32": 14}},
        "features": {
            "method": "force-correlation",
            "candidates": 78,
            "selected": 21,
            "deviation": 0.012,
        },
    }
    three(folder, reference=REFERENCE, locality=LOCALITY, relaxation=RELAXATION, run=record)
    (folder / "config.toml").write_text("seed = 7 # </pre><script>&\n")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def minimal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make(tmp_path_factory.mktemp("minimal") / "run", evaluation(0, []), best=0)
    write_report(folder)
    return folder


class Page(HTMLParser):
    """Tags, attributes and words of a page."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.source = (folder / "report.html").read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += plain(data)


def plain(text: str) -> str:
    return text.replace("\N{WORD JOINER}", "").replace("\N{NO-BREAK SPACE}", " ")


def status(folder: Path) -> dict[str, str]:
    return {check.title: check.status for check in checks(RunData.load(folder))}


def line(axes: Axes, label: str) -> np.ndarray:
    (found,) = [item for item in axes.get_lines() if str(item.get_label()).startswith(label)]
    return np.column_stack([found.get_xdata(), found.get_ydata()]).astype(float)


# --- numbers ---------------------------------------------------------------------------------


def test_numbers_of_an_iteration_by_hand(full: Path) -> None:
    best = RunData.load(full).best
    assert best.iteration == 1
    assert best.structure_uncertainty == 0.008
    assert best.structure_uncertainty_calibrated == pytest.approx(0.012)
    assert best.mae == pytest.approx(0.004)
    assert best.mae_train == pytest.approx(0.0075)
    assert best.mae_test == pytest.approx(0.0005)
    assert best.max_residual == pytest.approx(0.010)
    assert best.coverage == 1.0
    assert best.coverage_raw == 0.5
    # ranks of the errors 3, 2, 1, 4 are those of the uncertainties 3, 2, 1, 4
    assert best.rank_correlation == pytest.approx(1.0)


def test_means_over_no_atom_are_null(tmp_path: Path) -> None:
    steps = (evaluation(0, []), evaluation(1, [3, 1, 0, 2]))
    data = RunData.load(make(tmp_path / "run", *steps, best=1, reference=REFERENCE))
    assert data.iterations[0].mae_train is None
    assert data.iterations[0].mae_test == data.iterations[0].mae
    assert data.iterations[1].mae_test is None


def test_report_json(full: Path) -> None:
    found = json.loads((full / "report.json").read_text())
    assert found == report_json(RunData.load(full))
    assert list(found) == [
        "seed",
        "parent",
        "target",
        "iterations",
        "best_iteration",
        "relaxation",
        "retraining",
        "dynamics",
        "targets",
        "failures",
        "parent_calculations",
        "seconds_parent",
        "seconds_total",
    ]
    assert found["seed"] == 7
    assert found["parent"] == "emt"
    assert found["target"] == {"n_atoms": 4}
    assert found["best_iteration"] == 1
    assert found["seconds_total"] == 3725.0
    assert found["relaxation"] == {
        "steps": 2,
        "energy_change": -2.75,
        "parent_steps": 3,
        "parent_energy_change": -3.5,
        "parent_fmax_at_minimum": 0.045,
        "max_uncertainty": 0.015,
    }
    assert [step["chunks"] for step in found["iterations"]] == [0, 2, 3]
    assert found["iterations"][1] == pytest.approx(
        {
            "iteration": 1,
            "chunks": 2,
            "structure_uncertainty": 0.008,
            "structure_uncertainty_calibrated": 0.012,
            "mae": 0.004,
            "mae_train": 0.0075,
            "mae_test": 0.0005,
            "max_residual": 0.010,
            "coverage": 1.0,
            "coverage_raw": 0.5,
            "seconds": 2.5,
        }
    )


def test_report_json_without_reference_and_relaxation(minimal: Path) -> None:
    found = json.loads((minimal / "report.json").read_text())
    assert found["relaxation"] is None
    (step,) = found["iterations"]
    needs_reference = ("mae", "mae_train", "mae_test", "max_residual", "coverage", "coverage_raw")
    assert all(step[key] is None for key in needs_reference)
    assert step["structure_uncertainty"] == 0.008


def test_relaxation_without_parent(tmp_path: Path) -> None:
    lone = RELAXATION | {"parent": None, "parent_fmax_at_minimum": None}
    folder = three(tmp_path / "run", relaxation=lone)
    found = report_json(RunData.load(folder))["relaxation"]
    assert found["steps"] == 2
    assert found["parent_steps"] is None
    assert found["parent_energy_change"] is None
    assert found["parent_fmax_at_minimum"] is None
    assert status(folder)["The parent at the minimum"] == "open"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.00374, "3.74"),
        (0.0194, "19.4"),
        (0.2107, "211"),
        (43.7, "43\N{NARROW NO-BREAK SPACE}700"),
        (-0.0012, "\N{MINUS SIGN}1.20"),
        (0.00002, "0.0200"),
    ],
)
def test_mev(value: float | None, text: str) -> None:
    assert mev(value) == text


def test_other_texts() -> None:
    assert number(0.048, 2) == "0.048"
    assert plain(percent(259 / 260)) == "99.6 %"
    assert plain(duration(4.24)) == "4.2 s"
    assert plain(duration(59.7)) == "1 min 0 s"
    assert plain(duration(3725)) == "1 h 2 min"
    assert formula("CuPt3<b>") == "CuPt<sub>3</sub>&lt;b&gt;"


def test_core_times() -> None:
    assert plain(core_time(5.4)) == "5.4 core-seconds"
    assert plain(core_time(359)) == "359 core-seconds"
    assert plain(core_time(7224 * 3600)) == "7\N{NARROW NO-BREAK SPACE}224 core-hours"
    assert formula("2 × Cu55, Ca(OH)2") == ("2 × Cu<sub>55</sub>, Ca(OH)<sub>2</sub>")


# --- several targets -------------------------------------------------------------------------

TARGETS = [{"n_atoms": 3, "formula": "CuPt2"}, {"n_atoms": 1, "formula": "Pt"}]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same four atoms as two targets, of three atoms and of one; both relaxed."""
    folder = tmp_path_factory.mktemp("several") / "run"
    lone = RELAXATION | {"parent": None, "parent_fmax_at_minimum": 0.07}
    three(folder, reference=REFERENCE, relaxation=RELAXATION, run={"targets": TARGETS})
    write_json(folder / "relaxation-1.json", lone)
    write_report(folder)
    return folder


def test_numbers_of_every_target_by_hand(several: Path) -> None:
    report = json.loads((several / "report.json").read_text())
    first, second = report["targets"]
    assert first.pop("relaxation") == report["relaxation"]
    assert second.pop("relaxation") == report["relaxation"] | {
        "parent_steps": None,
        "parent_energy_change": None,
        "parent_fmax_at_minimum": 0.07,
    }
    # errors 0.005, 0.001, 0 and 0.010; raw uncertainties 0.004, 0.002, 0.001 and 0.008 eV/Å
    assert first == {
        "n_atoms": 3,
        "formula": "CuPt2",
        "chunks": 1,
        "structure_uncertainty": 0.004,
        "structure_uncertainty_calibrated": pytest.approx(0.006),
        "mae": pytest.approx(0.002),
        "max_residual": pytest.approx(0.005),
        "coverage": 1.0,
        "coverage_raw": pytest.approx(2 / 3),
    }
    assert second == {
        "n_atoms": 1,
        "formula": "Pt",
        "chunks": 1,
        "structure_uncertainty": 0.008,
        "structure_uncertainty_calibrated": pytest.approx(0.012),
        "mae": pytest.approx(0.010),
        "max_residual": pytest.approx(0.010),
        "coverage": 1.0,
        "coverage_raw": 0.0,
    }


def test_checks_name_the_target_that_asks_for_attention(several: Path) -> None:
    assert status(several)["The parent at the minimum"] == "attention"
    found = {check.title: plain(check.text) for check in checks(RunData.load(several))}
    assert "largest force is 0.070 eV/Å on target 1" in found["The parent at the minimum"]
    assert "the ensemble converged on target 1 (2 steps" in found["Relaxation"]
    assert "the parent converged on target 0 (3 steps" in found["Relaxation"]


def test_many_relaxations_are_counted(tmp_path: Path) -> None:
    targets = [{"n_atoms": 1, "formula": "Pt"}] * 4
    folder = three(tmp_path / "run", run={"targets": targets})
    for target in range(4):
        ensemble = RELAXATION["ensemble"] | {"converged": target != 2}
        name = f"relaxation{f'-{target}' if target else ''}.json"
        write_json(folder / name, RELAXATION | {"ensemble": ensemble, "parent": None})
    data = RunData.load(folder)
    check = next(check for check in checks(data) if check.title == "Relaxation")
    assert check.status == "attention"
    assert "the ensemble did not converge on target 2" in plain(check.text)
    assert "3 of 4 relaxations converged" in check.text
    assert data.title == "4 × Pt"


def test_page_of_several_targets(several: Path) -> None:
    page = Page(several)
    assert not page.open
    for text in (
        "CuPt2, Pt, trained on EMT",
        "On the targets its forces differ",
        "2 of 2 targets converged",
        "Each target, with the ensemble of the kept iteration.",
        "Energy during the relaxations.",
    ):
        assert text in page.words
    rows = re.findall(r"<tr><td>\d</td><th>(.*?)</th>", page.source)
    assert rows == 2 * ["CuPt<sub>2</sub>", "Pt"]


def test_relaxation_figures_of_several_targets() -> None:
    ensemble = [np.array([10.0, 8.0]), np.array([5.0, 4.5, 4.0]), np.array([1.0])]
    parent = [None, np.array([5.5, 5.0]), None]
    panels = figures.relaxation_energies_figure("abc", ensemble, parent).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["a", "b", "c"]
    assert [axes.get_xlabel() for axes in panels] == ["", "step", "step"]
    np.testing.assert_array_equal(line(panels[0], "ensemble")[:, 1], [0, -2])
    np.testing.assert_array_equal(line(panels[1], "ensemble")[:, 1], [0, -0.5, -1])
    np.testing.assert_array_equal(line(panels[1], "parent")[:, 1], [0, -0.5])
    maximum, mean = [np.array([0.01, 0.02])], [np.array([0.005, 0.006])]
    (axes,) = figures.relaxation_uncertainties_figure("a", maximum, mean, 0.05).axes
    np.testing.assert_allclose(line(axes, "largest")[:, 1], [10, 20])
    np.testing.assert_allclose(line(axes, "mean")[:, 1], [5, 6])
    np.testing.assert_allclose(line(axes, "criterion")[:, 1], [50, 50])


# --- what the parent failed on ---------------------------------------------------------------


def test_failures_are_listed(tmp_path: Path) -> None:
    failures = [
        {"structure": "Cu13 (13 atoms)", "reasons": ["KohnShamConvergenceError", "a force of 900"]},
        {"structure": "Cu12 (12 atoms)", "reasons": ["<killed>"]},
    ]
    steps = (evaluation(0, []), evaluation(1, [0]) | {"failed_indices": [2]})
    folder = make(tmp_path / "run", *steps, best=1, run={"failures": failures})
    write_report(folder)
    page = Page(folder)
    for text in (
        "The parent failed on 2 structures, which were left out.",
        "2 structures were given up and left out, among them the chunk of 1 atom of the target",
        "KohnShamConvergenceError; then a force of 900",
        "<killed>",
        "42 parent calculations, 3.00 core-hours",  # 5400 s on 2 cores
    ):
        assert text in page.words
    assert json.loads((folder / "report.json").read_text())["failures"] == failures


def test_no_failure_no_section(full: Path) -> None:
    assert "failed on" not in Page(full).words


def test_a_parent_that_failed_on_the_whole_target(tmp_path: Path) -> None:
    lost = REFERENCE | {"energies": None, "forces": None}
    folder = three(tmp_path / "run", reference=lost)
    write_report(folder)
    data = RunData.load(folder)
    assert not data.has_reference
    assert status(folder)["Errors on the target"] == "open"
    words = Page(folder).words
    assert "is not known: the parent failed on the whole target." in words
    assert "asked for" not in words.replace("No relaxation was asked for.", "")
    assert report_json(data)["iterations"][1]["mae"] is None


# --- checks ----------------------------------------------------------------------------------


def test_all_checks_of_a_full_run_are_met(full: Path) -> None:
    assert status(full) == {
        "End of the training": "met",
        "Errors within uncertainty": "met",
        "Atoms not in the training": "met",
        "Chunk radius": "met",
        "Relaxation": "met",
        "The parent at the minimum": "met",
        "Certainty on the way": "met",
    }
    sentences = plain(" ".join(verdict(RunData.load(full))))
    assert "iteration 1, trained with 2 chunks" in sentences
    assert "by 4.00 meV/Å on average and by 10.0 meV/Å at most" in sentences
    assert "7 checks were made; none asks for attention." in sentences


def test_what_was_not_asked_for_is_said(minimal: Path) -> None:
    assert status(minimal) == {
        "End of the training": "attention",
        "Errors on the target": "open",
        "Chunk radius": "open",
        "Relaxation": "open",
    }
    sentences = plain(" ".join(verdict(RunData.load(minimal))))
    assert "trained with 0 chunks" in sentences
    assert "is not known" in sentences
    assert "1 check was made; 1 asks for attention (end of the training)" in sentences
    assert "3 could not be made" in sentences


def test_last_iteration_best_asks_for_more_chunks(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", evaluation(0, [], 2.0), evaluation(1, [0]), best=1)
    check = checks(RunData.load(folder))[0]
    assert check.status == "attention"
    assert "more chunks may lower it" in check.text
    assert "Reason for the stop: max_iterations reached." in check.text


@pytest.mark.parametrize(("scale", "expected"), [(1.45, "met"), (1.55, "attention")])
def test_rising_uncertainty(tmp_path: Path, scale: float, expected: str) -> None:
    folder = make(tmp_path / "run", evaluation(0, []), evaluation(1, [0], scale), best=0)
    assert status(folder)["End of the training"] == expected


def test_low_coverage(tmp_path: Path) -> None:
    step = evaluation(0, [0, 3]) | {"uncertainty": RAW}
    folder = make(tmp_path / "run", step, best=0, reference=REFERENCE)
    check = checks(RunData.load(folder))[1]
    assert check.status == "attention"
    assert plain(check.text).startswith("2 of 4 atoms (50.0 %)")
    assert "95 % are expected" in plain(check.text)


def test_unseen_atoms_worse_than_seen(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", evaluation(0, [1, 2]), best=0, reference=REFERENCE)
    check = checks(RunData.load(folder))[2]
    assert check.status == "attention"
    assert "7.50 meV/Å" in plain(check.text)
    assert "0.500 meV/Å" in plain(check.text)


@pytest.mark.parametrize(
    ("radius", "expected"),
    [(8.0, "met"), (6.5, "attention"), (3.0, "open")],  # 0, 9 and no meV/Å of label error
)
def test_chunk_radius(tmp_path: Path, radius: float, expected: str) -> None:
    record = {"chunk_radius": radius}
    folder = three(tmp_path / "run", reference=REFERENCE, locality=LOCALITY, run=record)
    assert status(folder)["Chunk radius"] == expected


@pytest.mark.parametrize(
    ("errors", "radius", "advice"),
    [
        # errors of the only atom at 4, 6 and 8 Å, eV/Å; the mean error of the potential is 0.004
        ([0.5, 0.013, 0.003], 6.0, "A larger radius would help: with 8 Å it is 3.00 meV/Å."),
        ([0.5, 0.2, 0.11], 6.0, "No radius of the scan halves that: with 8 Å it is 110 meV/Å."),
        ([0.5, 0.2, 0.1], 8.0, "The scan holds no larger radius to say whether one would help."),
    ],
)
def test_labels_that_limit_the_accuracy(
    tmp_path: Path, errors: list[float], radius: float, advice: str
) -> None:
    scan = LOCALITY | {
        "indices": [2],
        "n_atoms": [[2], [3], [4]],
        "forces": [[[0.0, error, 0.0]] for error in errors],
        "true_forces": [[0.0, 0.0, 0.0]],
    }
    record = {"chunk_radius": radius}
    data = RunData.load(three(tmp_path / "run", reference=REFERENCE, locality=scan, run=record))
    check = next(check for check in checks(data) if check.title == "Chunk radius")
    assert check.status == "attention"
    assert advice in plain(check.text)
    off = {6.0: errors[1], 8.0: errors[2]}[radius]
    sentence = (
        "What bounds the accuracy is the size of the chunks: the locality scan finds the parent’s "
        f"own force on their centres off by {mev(off)} meV/Å."
    )
    assert sentence in plain(" ".join(verdict(data)))


def test_a_locality_scan_the_parent_failed_in(tmp_path: Path) -> None:
    forces = [[[1.3, 0.4, 0], None], [None, None], [[1.0, 0, 0], [0.5, 0.5, 0]]]
    gaps = [[force or 3 * [None] for force in row] for row in forces]
    scan = LOCALITY | {"forces": gaps}
    record = {"chunk_radius": 6.0}
    folder = three(tmp_path / "run", reference=REFERENCE, locality=scan, run=record)
    write_report(folder)
    locality = RunData.load(folder).locality
    assert locality is not None
    np.testing.assert_allclose(locality.mean_errors, [0.5, np.nan, 0], atol=1e-12)
    check = next(check for check in checks(RunData.load(folder)) if check.title == "Chunk radius")
    assert (check.status, plain(check.text)) == (
        "open",
        "The parent failed in the locality scan, so the error of the labels at 6 Å is not known.",
    )
    words = Page(folder).words
    assert "nan" not in words.lower()
    assert "At 6 Å the error is" not in words


def test_labels_that_do_not_limit_the_accuracy_are_not_spoken_of(full: Path) -> None:
    assert "bounds" not in " ".join(verdict(RunData.load(full)))


def test_bad_relaxation(tmp_path: Path) -> None:
    ensemble = RELAXATION["ensemble"] | {
        "converged": False,
        "max_uncertainty": [0.010, 0.030, 0.060],
    }
    relaxation = RELAXATION | {"ensemble": ensemble, "parent_fmax_at_minimum": 0.2}
    found = checks(RunData.load(three(tmp_path / "run", relaxation=relaxation)))[-3:]
    assert [check.status for check in found] == ["attention"] * 3
    assert "the ensemble did not converge (2 steps" in plain(found[0].text)
    assert "largest force is 0.20 eV/Å" in plain(found[1].text)
    assert "less certain than the criterion" in found[2].text
    assert "retrain" in found[2].text


# --- figures ---------------------------------------------------------------------------------


def test_locality_figure_of_one_atom(full: Path) -> None:
    locality = RunData.load(full).locality
    assert locality is not None
    one = type(locality)(
        locality.radii,
        locality.indices[:1],
        locality.n_atoms[:, :1],
        locality.forces[:, :1],
        locality.true_forces[:1],
    )
    axes = figures.locality_figure(one, 8.0).axes[0]
    np.testing.assert_array_equal(line(axes, "x"), [[4, 1.3], [6, 1.005], [8, 1.0]])
    np.testing.assert_array_equal(line(axes, "z"), [[4, 0], [6, 0.012], [8, 0]])
    dashed = [item for item in axes.get_lines() if item.get_linestyle() == "--"]
    assert [item.get_ydata()[0] for item in dashed if len(item.get_ydata())] == [1.0, 0.0, 0.0]
    (top,) = axes.child_axes
    assert [tick.get_text() for tick in top.get_xticklabels()] == ["2", "3", "4"]


def test_locality_figure_of_several_atoms(full: Path) -> None:
    locality = RunData.load(full).locality
    assert locality is not None
    axes = figures.locality_figure(locality).axes[0]
    assert axes.get_yscale() == "log"
    np.testing.assert_allclose(line(axes, "mean")[:, 1], [400, 9, 0], atol=1e-9)
    np.testing.assert_allclose(line(axes, "largest")[:, 1], [500, 13, 0], atol=1e-9)


def test_iterations_figure() -> None:
    uncertainty = np.array([9.3, 0.0194, 0.03])
    figure = figures.iterations_figure(uncertainty, np.array([0, 26, 51]), 1, 2 * uncertainty)
    left, right = figure.axes
    assert left.get_yscale() == "log"
    np.testing.assert_allclose(line(left, "structure uncertainty, raw")[:, 1], [9300, 19.4, 30])
    np.testing.assert_allclose(line(left, "structure uncertainty, cal")[:, 1], [18600, 38.8, 60])
    np.testing.assert_allclose(line(left, "kept"), [[1, 19.4]])
    assert [bar.get_height() for bar in right.patches] == [0, 26, 51]


def test_parity_figure() -> None:
    trained = np.array([True, False, False, True])
    figure = figures.parity_figure(TRUE + DIFFERENCE, TRUE, trained)
    upper, lower = figure.axes
    seen = line(upper, "2 atoms in the training: MAE 7.5 meV/Å")
    np.testing.assert_allclose(seen[0], [1.0, np.hypot(1.003, 0.004)])
    unseen = line(upper, "2 atoms not in the training: MAE 0.5 meV/Å")
    np.testing.assert_allclose(unseen, [[2.0, np.hypot(2.0, 0.001)], [3.0, 3.0]])
    errors = [item.get_ydata() for item in lower.get_lines()]
    np.testing.assert_allclose(np.concatenate(errors), [5, 10, 1, 0], atol=1e-9)


def test_uncertainty_figure() -> None:
    residuals = np.array([0.005, 0.001, 0.0, 0.010])
    axes = figures.uncertainty_figure(residuals, RAW, 1.24 * RAW).axes[0]
    raw = line(axes, "raw: 2 of 4 errors within it (50.0 %)")
    np.testing.assert_allclose(raw, [[4, 5], [2, 1], [1, 0], [8, 10]])
    assert len(line(axes, "calibrated: 2 of 4")) == 4
    np.testing.assert_allclose(line(axes, "outside"), [[4.96, 5], [9.92, 10]])
    diagonal = line(axes, "error = uncertainty")
    np.testing.assert_array_equal(diagonal[:, 0], diagonal[:, 1])


def test_relaxation_figures() -> None:
    ensemble, parent = np.array([10.0, 8.0, 7.25]), np.array([10.5, 8.25, 7.5, 7.0])
    upper, lower = figures.relaxation_energy_figure(ensemble, parent).axes
    np.testing.assert_array_equal(line(upper, "ensemble")[:, 1], [0, -2, -2.75])
    np.testing.assert_array_equal(line(upper, "parent")[:, 1], [0, -2.25, -3, -3.5])
    np.testing.assert_array_equal(lower.get_lines()[-1].get_ydata(), [0, 0.25, 0.25])
    assert len(figures.relaxation_energy_figure(ensemble).axes) == 1
    maximum, mean = np.array([0.01, 0.02]), np.array([0.005, 0.006])
    (axes,) = figures.relaxation_uncertainty_figure(maximum, mean, 0.05).axes
    np.testing.assert_allclose(line(axes, "largest")[:, 1], [10, 20])
    np.testing.assert_allclose(line(axes, "mean")[:, 1], [5, 6])
    np.testing.assert_allclose(line(axes, "criterion")[:, 1], [50, 50])


def test_learning_figure_leaves_out_what_is_null() -> None:
    figure = figures.learning_figure(
        np.array([0, 4]), np.array([9.0, 0.1]), np.array([2.0, 0.05]), [None, 0.003], [0.5, None]
    )
    (axes,) = figure.axes
    np.testing.assert_allclose(line(axes, "mean error, in")[:, 1], [np.nan, 3])
    np.testing.assert_allclose(line(axes, "mean error, not")[:, 1], [500, np.nan])
    np.testing.assert_allclose(line(axes, "largest"), [[0, 2000], [4, 50]])


def test_figures_of_vanishing_values_can_be_drawn() -> None:
    none = np.zeros((1, 3))
    zero = np.zeros(1)
    for figure in (
        figures.iterations_figure(zero, np.array([0]), 0, zero),
        figures.parity_figure(none, none, np.array([False])),
        figures.uncertainty_figure(zero, zero, zero),
        figures.learning_figure(np.array([0]), zero, zero, [None], [None]),
    ):
        assert drawing.png(figure).startswith(b"\x89PNG")


# --- page ------------------------------------------------------------------------------------


def test_page_stands_alone(full: Path) -> None:
    page = Page(full)
    assert not page.open  # every tag is closed
    assert not re.search(r"https?://|url\(|@import", page.source)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed"}
    sources = [attributes["src"] for _, attributes in page.tags if "src" in attributes]
    assert len(sources) == 7
    assert all(
        source is not None and source.startswith("data:image/png;base64,") for source in sources
    )
    assert not [attributes for _, attributes in page.tags if "href" in attributes]


def test_page_says_the_decisive_figures(full: Path) -> None:
    words = Page(full).words
    for text in (
        "CuPt3, trained on EMT",
        "On the target its forces differ from the parent’s by 4.00 meV/Å on average",
        "12.0 calibrated, factor 1.50",
        "7.50 on atoms in the training, 0.500 on the others; at most 10.0",
        "calibrated; 50.0 % raw",
        "in 2 steps; with the parent −3.50 in 3",
        "20 of 33 chosen: 6 of 2 atoms, 14 of 32 atoms",
        "21 of 78 by force-correlation, relative norm deviation 1.2 %",
        "1 h 2 min",
        "seed = 7 # </pre><script>&",
    ):
        assert text in words


def test_page_of_a_minimal_run(minimal: Path) -> None:
    page = Page(minimal)
    assert [attributes["id"] for tag, attributes in page.tags if tag == "figure"] == ["iterations"]
    for text in (
        "not known",
        "There is nothing to compare the ensemble’s forces with: the parent’s true forces",
        "No relaxation was asked for.",
        "The locality of the parent was not scanned.",
    ):
        assert text in page.words


def test_figures_are_files_too(full: Path, minimal: Path) -> None:
    assert {path.name for path in (full / "figures").iterdir()} == {
        "iterations.png",
        "learning.png",
        "locality.png",
        "parity.png",
        "relaxation-energy.png",
        "relaxation-uncertainty.png",
        "uncertainty.png",
    }
    assert [path.name for path in (minimal / "figures").iterdir()] == ["iterations.png"]


def test_same_data_same_bytes(full: Path, tmp_path: Path) -> None:
    names = ("report.html", "report.json", "figures/parity.png")
    before = [(full / name).read_bytes() for name in names]
    assert write_report(full) == full / "report.html"
    assert [(full / name).read_bytes() for name in names] == before


def test_figures_of_an_earlier_report_are_removed(minimal: Path) -> None:
    stale, other = minimal / "figures" / "parity.png", minimal / "figures" / "mine.png"
    stale.touch()
    other.touch()
    write_report(minimal)
    assert not stale.exists()
    assert other.exists()
    other.unlink()


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    target = {"n_atoms": 4, "formula": "<i>Pt"}
    record = {"target": target, "targets": [target], "parent": {"calculator": "<script>"}}
    folder = make(tmp_path / "run", evaluation(0, []), best=0, run=record)
    write_report(folder)
    page = Page(folder)
    assert not {"script", "i"} & {tag for tag, _ in page.tags}
    assert "<i>Pt, trained on <script>" in page.words


# --- errors ----------------------------------------------------------------------------------


def test_no_iteration(tmp_path: Path) -> None:
    (tmp_path / "iteration-000").mkdir()
    with pytest.raises(InputError, match=r"holds no finished iteration"):
        RunData.load(tmp_path)


def test_iteration_at_work_is_left_out(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", evaluation(0, []), best=0)
    (folder / "iteration-001").mkdir()
    assert len(RunData.load(folder).iterations) == 1


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "reference.json",
        "locality.json",
        "relaxation.json",
        "iteration-001/evaluation.json",
    ],
)
def test_torn_file(tmp_path: Path, name: str) -> None:
    files = {"reference": REFERENCE, "locality": LOCALITY, "relaxation": RELAXATION}
    path = three(tmp_path / "run", **files) / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=re.escape(f"{path}: no whole JSON file")):
        write_report(tmp_path / "run")


def test_missing_run_record(tmp_path: Path) -> None:
    folder = three(tmp_path / "run")
    (folder / "run.json").unlink()
    with pytest.raises(InputError, match=r"has not come to its end \(there is no run\.json\)"):
        RunData.load(folder)


def test_gap_in_the_iterations(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", evaluation(0, []), evaluation(2, []), best=0)
    with pytest.raises(InputError, match="holds iteration 2, but iteration 1 comes next"):
        RunData.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "written by a newer nearsight"),
        ({"format": "other"}, "not a file of format 'nearsight-evaluation'"),
        ({"forces": TRUE[:3]}, r"forces has 3 entries, expected 4"),
        ({"forces": TRUE[:, :2]}, r"forces: expected shape \(n, 3\), found \(4, 2\)"),
        ({"forces": "none"}, r"forces: expected numbers of shape \(n, 3\)"),
        ({"uncertainty": RAW[:2]}, r"uncertainty has 2 entries, expected 4"),
        ({"uncertainty_raw": [1, 2, 3, None]}, r"uncertainty_raw: expected finite numbers only"),
        ({"chunk_indices": [0, 0]}, r"chunk_indices must be different atoms from 0 to 3"),
        ({"chunk_indices": [4]}, r"chunk_indices must be different atoms from 0 to 3"),
        ({"chunk_indices": [0.5]}, r"chunk_indices: expected whole numbers"),
        ({"seconds": "long"}, r"seconds: input should be a valid number"),
    ],
)
def test_bad_evaluation(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = make(tmp_path / "run", evaluation(0, []) | change, best=0)
    with pytest.raises(InputError, match=message) as caught:
        RunData.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "run",
            {"best_iteration": 3},
            "best_iteration is 3, but the folder holds iterations 0 to 2",
        ),
        ("run", {"parent": {}}, "parent names no calculator"),
        ("run", {"target": {"formula": "Pt"}}, r"target\.n_atoms: field required"),
        ("reference", REFERENCE | {"forces": TRUE[:2]}, "forces has 2 entries, expected 4"),
        (
            "locality",
            LOCALITY | {"radii": [4.0, 6.0]},
            "2 radii and 2 atoms, but n_atoms has shape",
        ),
        ("locality", LOCALITY | {"true_forces": TRUE}, "true_forces has 4 entries, expected 2"),
        ("locality", LOCALITY | {"radii": []}, "holds no radius or no atom"),
        ("relaxation", RELAXATION | {"fmax": None}, "fmax: input should be a valid number"),
        (
            "relaxation",
            RELAXATION | {"ensemble": RELAXATION["ensemble"] | {"fmax": [1.0]}},
            r"ensemble\.fmax has 1 entries, expected 3",
        ),
        (
            "relaxation",
            RELAXATION | {"parent": {"energies": [], "fmax": [], "converged": True}},
            r"parent\.energies is empty",
        ),
    ],
)
def test_files_at_odds(tmp_path: Path, name: str, content: dict[str, Any], message: str) -> None:
    folder = three(tmp_path / "run", **{name: content})
    with pytest.raises(InputError, match=message):
        RunData.load(folder)
