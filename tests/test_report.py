"""The report of a run: numbers by hand, several targets, the page, damaged folders."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from helpers.report import (
    CUPT3,
    LOCALITY,
    PATH,
    REFERENCE,
    RELAXATION,
    RUN,
    TARGETS,
    TRUE,
    Page,
    but,
    found_checks,
    iteration,
    page_of,
    plain,
    save,
    status,
    three,
    words_of,
)
from nearsight.errors import InputError
from nearsight.files.names import iteration_folder, numbered, round_folder
from nearsight.files.records import (
    Cost,
    DynamicsFrames,
    DynamicsRecord,
    DynamicsRound,
    Failure,
    HarvestSummary,
    Iteration,
    Relaxation,
    RetrainingRecord,
    RetrainingRound,
    Target,
)
from nearsight.report.data import RunData, report_json
from nearsight.report.format import core_time, duration, formula, mev, number, percent
from nearsight.report.iteration import IterationData
from nearsight.report.page import write_report
from nearsight.report.verdict import judge, told

# --- numbers -----------------------------------------------------------------------------------


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


def test_the_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    uncertainty = rng.normal(size=50).round(1)  # with equal values
    residual = (uncertainty + rng.normal(size=50)).round(1)
    record = SimpleNamespace(uncertainty=uncertainty, forces=np.zeros((50, 3)))
    forces = np.column_stack([residual, np.zeros((50, 2))])
    data = IterationData(cast(Iteration, record), forces, slice(None), (50,))
    expected = spearmanr(uncertainty, np.abs(residual)).statistic
    assert data.rank_correlation == pytest.approx(expected)


def test_means_over_no_atom_are_null(tmp_path: Path) -> None:
    steps = (iteration(0, []), iteration(1, [3, 1, 0, 2]))
    data = RunData.load(save(tmp_path / "run", *steps, reference=REFERENCE))
    assert data.iterations[0].mae_train is None
    assert data.iterations[0].mae_test == data.iterations[0].mae
    assert data.iterations[1].mae_test is None


def test_report_json(full: Path) -> None:
    found = json.loads((full / "report.json").read_text())
    data = RunData.load(full)
    assert found == report_json(data) | {"verdict": told(judge(data), full.name)}
    assert list(found) == [
        "seed",
        "parent",
        "target",
        "labels",
        "iterations",
        "best_iteration",
        "relaxation",
        "retraining",
        "dynamics",
        "targets",
        "comparison",
        "failures",
        "parent_calculations",
        "cost",
        "seconds_parent",
        "seconds_total",
        "verdict",
    ]
    assert found["cost"] is None  # in runs of earlier versions
    assert found["comparison"] == dict.fromkeys(("training", "validation", "test"))
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
            "outside": None,
            "validation_error": None,
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


def test_the_cost_and_the_error_in_larger_chunks(tmp_path: Path) -> None:
    cost = Cost(chunks=0.5, validation=0.25, initial=0.125, exponent=3.0)
    steps = [iteration(0, [], 100.0), iteration(1, [0, 3], validation_error=0.0125)]
    found = report_json(RunData.load(save(tmp_path / "run", *steps, run=but(RUN, cost=cost))))
    assert found["cost"] == {"chunks": 0.5, "validation": 0.25, "initial": 0.125, "exponent": 3.0}
    assert [each["validation_error"] for each in found["iterations"]] == [None, 0.0125]


@pytest.mark.parametrize(
    ("error", "rule"), [(None, "the lowest raw value"), (0.0125, "the lowest error in the larger")]
)
def test_which_iteration_is_kept(tmp_path: Path, error: float | None, rule: str) -> None:
    steps = [iteration(0, [], 100.0), iteration(1, [0, 3], validation_error=error)]
    folder = save(tmp_path / "run", *steps, run=but(RUN, best_iteration=1))
    assert f"The kept iteration is the one with {rule}" in page_of(folder).words


def test_relaxation_without_parent(tmp_path: Path) -> None:
    lone = but(RELAXATION, parent=None, parent_fmax_at_minimum=None)
    folder = three(tmp_path / "run", relaxation=lone)
    found = report_json(RunData.load(folder))["relaxation"]
    assert found["steps"] == 2
    assert found["parent_steps"] is None
    assert found["parent_energy_change"] is None
    assert found["parent_fmax_at_minimum"] is None
    assert status(folder)["minimum"] == "open"
    words = words_of(folder)
    assert "There is none with the parent to compare with." in words
    assert "The parent’s forces at the ensemble’s minimum are not known." in words


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


# --- several targets ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same four atoms as two targets, of three atoms and of one; both relaxed."""
    folder = tmp_path_factory.mktemp("several") / "run"
    run = but(RUN, targets=TARGETS)
    three(folder, run, reference=REFERENCE, relaxation=RELAXATION)
    lone = but(RELAXATION, parent=None, parent_fmax_at_minimum=0.07)
    lone.save(folder / numbered(Relaxation.FILE, 1))
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


def test_checks_name_the_target_that_needs_attention(several: Path) -> None:
    found = found_checks(several)
    assert found["minimum"].status == "attention"
    assert found["minimum"].numbers == {"force": 0.07, "fmax": 0.05, "target": 1}
    paths = found["relaxation"].numbers["paths"]
    assert [(p["name"], p["target"], p["steps"], p["energy_change"]) for p in paths] == [
        ("ensemble", 0, 2, -2.75),
        ("ensemble", 1, 2, -2.75),
        ("parent", 0, 3, -3.5),
    ]
    words = Page(several).words
    assert "largest force is 0.070 eV/Å on target 1" in words
    assert "the ensemble converged on target 1 (2 steps, −2.75 eV)" in words


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
    rows = re.findall(r'<tr><td>\d</td><th scope="row">(.*?)</th>', page.source)
    assert rows == 2 * ["CuPt<sub>2</sub>", "Pt"]


# --- what the parent failed on -----------------------------------------------------------------


def test_failures_are_listed(tmp_path: Path) -> None:
    failures = [
        Failure("Cu13 (13 atoms)", ("KohnShamConvergenceError", "a force of 900")),
        Failure("Cu12 (12 atoms)", ("<killed>",)),
    ]
    steps = (iteration(0, []), iteration(1, [0], failed_indices=[2]))
    folder = save(tmp_path / "run", *steps, run=but(RUN, best_iteration=1, failures=failures))
    page = page_of(folder)
    for text in (
        "The parent failed on 2 structures, which were left out.",
        "2 structures were given up and left out, among them the chunk of 1 atom of the target",
        "KohnShamConvergenceError; then a force of 900",
        "<killed>",
        "42 parent calculations, 3.00 core-hours",  # 5400 s on 2 cores
    ):
        assert text in page.words
    assert json.loads((folder / "report.json").read_text())["failures"] == [
        {"structure": "Cu13 (13 atoms)", "reasons": ["KohnShamConvergenceError", "a force of 900"]},
        {"structure": "Cu12 (12 atoms)", "reasons": ["<killed>"]},
    ]


def test_no_failure_no_section(full: Path) -> None:
    assert "failed on" not in Page(full).words


# --- retraining and dynamics -------------------------------------------------------------------

HARVEST = HarvestSummary(
    low=0.05, high=0.1, frames=9, kept=4, beyond=1, candidates=12, chosen=3, deviation=0.01
)


def test_retraining_and_dynamics(tmp_path: Path) -> None:
    rounds = [
        RetrainingRound(paths=[but(PATH, broken="")], largest_uncertainty=None),
        RetrainingRound(harvest=HARVEST, paths=[but(PATH, broken="")], largest_uncertainty=0.015),
    ]
    retraining = RetrainingRecord(
        settings={}, fmax=0.05, rounds=rounds, best=1, stop_reason="max_rounds = 1 is reached"
    )
    settings = {"conditions": "NVT", "temperature": 300.0, "final_temperature": 500.0}
    columns = dict.fromkeys(DynamicsFrames.model_fields, np.array([0.0, 0.5, 1.0]))
    columns["max_uncertainty"] = np.array([0.02, 0.04, 0.03])
    dynamics = DynamicsRecord(
        settings=settings | {"steps": 1000, "timestep": 1.0},
        n_atoms=4,
        threshold=0.05,
        window=2.0,
        ended="all 1000 steps are done",
        seconds=9.0,
        frames=DynamicsFrames(**columns),
        rounds=[DynamicsRound(step=500, reason="uncertain", **HARVEST.model_dump())],
    )
    assert dynamics.round_times == [0.5]
    assert dynamics.bath is not None
    np.testing.assert_allclose(dynamics.bath, [300, 400, 500])
    (tmp_path / "run" / "dynamics").mkdir(parents=True)
    files = {"relaxation": RELAXATION, "retraining": retraining, "reference": REFERENCE}
    folder = three(tmp_path / "run", **files)
    dynamics.save(folder / "dynamics" / DynamicsRecord.FILE)
    retrained = iteration(0, [1, 2], 0.5)
    place = iteration_folder(round_folder(folder, 1), 0)
    place.mkdir(parents=True)
    retrained.save(place / Iteration.FILE)
    page = page_of(folder)
    assert not page.open
    found = json.loads((folder / "report.json").read_text())
    assert found["retraining"] == {
        "largest_uncertainty": [None, 0.015],
        "chunks": [3],
        "best": 1,
        "stop_reason": "max_rounds = 1 is reached",
    }
    assert found["dynamics"] == {
        "picoseconds": 1.0,
        "retrainings": 1,
        "chunks": 3,
        "max_uncertainty": 0.04,
        "ended": "all 1000 steps are done",
        "seconds": 9.0,
    }
    for text in (
        "The potential is that of round 1 of the retraining",
        "Retraining ended because max_rounds = 1 is reached.",
        "1.00 ps, NVT. They ended: all 1000 steps are done.",
        "There was 1 retraining on the way, with 3 chunks",
    ):
        assert text in page.words
    # all that is said of the potential is said of the one in best.json
    data = RunData.load(folder)
    assert data.best.record == retrained
    assert data.trained.record.chunk_indices == [0, 3]
    assert found["verdict"]["largest_bound"] == retrained.uncertainty.max()
    assert found["targets"][0]["structure_uncertainty"] == retrained.uncertainty_raw.max()
    assert found["targets"][0]["mae"] == pytest.approx(0.002)  # half of that before
    assert "before–4.0010.0100.0 %" in page.words
    assert "after–2.005.00100.0 %" in page.words
    assert {"retraining", "dynamics", "parity", "parity-before", "uncertainty-before"} <= {
        attributes["id"] for tag, attributes in page.tags if tag == "figure"
    }


# --- page --------------------------------------------------------------------------------------


def test_page_stands_alone(full: Path) -> None:
    page = Page(full)
    assert not page.open  # every tag is closed
    assert not re.search(r"https?://|url\((?!#)|@import", page.source)
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "img"}
    assert not [attributes for _, attributes in page.tags if "src" in attributes]
    links = [attributes["href"] or "" for _, attributes in page.tags if "href" in attributes]
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert {link.removeprefix("#") for link in links} <= set(names)
    assert len(names) == len(set(names))
    drawn = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert [each["role"] for each in drawn] == 7 * ["img"]


def test_nothing_but_the_script_of_the_page_may_run(full: Path) -> None:
    page = Page(full)
    (policy,) = (
        attributes["content"]
        for tag, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    data, script = re.findall(r"<script(?: [^>]*)?>(.*?)</script>", page.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert policy is not None
    assert set(policy.split("; ")) == {*allowed.split("; "), "img-src data:"}
    assert json.loads(data)["radius"] == 8.0
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]


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
    target = Target(n_atoms=4, formula="<i>Pt")
    run = but(RUN, target=target, targets=[target], parent={"calculator": "<script>"})
    page = page_of(save(tmp_path / "run", iteration(0, []), run=run))
    assert "i" not in {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags].count("script") == 1  # the page's own
    assert "<i>Pt, trained on <script>" in page.words


# --- errors ------------------------------------------------------------------------------------


def test_no_iteration(tmp_path: Path) -> None:
    (tmp_path / "iteration-000").mkdir()
    with pytest.raises(InputError, match=r"holds no finished iteration"):
        RunData.load(tmp_path)


def test_iteration_at_work_is_left_out(tmp_path: Path) -> None:
    folder = save(tmp_path / "run", iteration(0, []))
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
    with pytest.raises(InputError, match=re.escape(f"{path}: not valid JSON")):
        write_report(tmp_path / "run")


def test_missing_run_record(tmp_path: Path) -> None:
    folder = three(tmp_path / "run")
    (folder / "run.json").unlink()
    with pytest.raises(InputError, match=r"the run is not finished \(there is no run\.json\)"):
        RunData.load(folder)


def test_gap_in_the_iterations(tmp_path: Path) -> None:
    """What comes after it is a leftover, as for a run that goes on."""
    folder = save(tmp_path / "run", iteration(0, []), iteration(2, []))
    assert [each.iteration for each in RunData.load(folder).iterations] == [0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"run": but(RUN, best_iteration=3)},
            "best_iteration is 3, but the folder holds iterations 0 to 2",
        ),
        ({"run": but(RUN, parent={})}, "parent names no calculator"),
        ({"run": but(RUN, targets=[CUPT3] * 2)}, "target and targets differ in their atoms"),
        (
            {"reference": but(REFERENCE, forces=TRUE[:2])},
            r"reference\.json: forces has 2 entries, expected 4",
        ),
        (
            {"run": but(RUN, target=TARGETS[0], targets=TARGETS[:1])},
            r"evaluation\.json: uncertainty_raw has 4 entries, expected 3",
        ),
    ],
)
def test_files_at_odds(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    run = files.pop("run", RUN)
    steps = (iteration(0, []), iteration(1, [0]), iteration(2, [0, 1]))
    folder = save(tmp_path / "run", *steps, run=run, **files)
    with pytest.raises(InputError, match=message):
        RunData.load(folder)
