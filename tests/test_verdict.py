"""The verdict: what each figure allows, by the limits the docs state, and what is to be typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.report import LOCALITY, PATH, REFERENCE, RELAXATION, RUN, Page, but, iteration, save
from helpers.runs import GIVEN, tiny_config
from nearsight.files.records import (
    Bound,
    Bounds,
    Candidate,
    Comparison,
    ExpectedError,
    FeatureSummary,
    Model,
    Shell,
    Verdict,
)
from nearsight.report.data import RunData
from nearsight.report.page import write_report
from nearsight.report.verdict import judge

# The typical force is 1 eV/Å, so that parts of it are eV/Å.
GOOD = ExpectedError(
    mean=0.004, low=0.003, high=0.005, forces=150, images=3, source="validation", typical=1.0
)
BOUND = Bound(factor=1.5, factor_95=1.0, labels=150, images=3)
STOPPED = "there are 2 chunks"


def run_of(
    folder: Path,
    error: float | None = 0.004,
    bound: Bound | None = BOUND,
    run: dict[str, Any] | None = None,
    files: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A run of two iterations of which the second is kept, good but for what is changed."""
    expected = None if error is None else but(GOOD, mean=error)
    facts = {
        "expected": expected,
        "bounds": None if bound is None else Bounds(forces=bound),
        "extrapolation": np.full(4, 0.5),
        "member_force_rmse": np.array([0.002, 0.002, 0.003]),
    }
    kept = iteration(1, [0, 3], **facts | changes)
    settings = {"best_iteration": 1} | (run or {})
    return save(folder, iteration(0, []), kept, run=but(RUN, **settings), **(files or {}))


def verdict(folder: Path, **given: Any) -> Verdict:
    return judge(RunData.load(run_of(folder / "run", **given)))


def limiting(found: Verdict) -> set[str]:
    return {finding.key for finding in found.limiting}


def test_what_rests_on_one_structure_has_no_range(tmp_path: Path) -> None:
    expected = but(GOOD, images=1, forces=1, low=0.004, high=0.004)
    few = but(BOUND, labels=1, images=1)
    _, *lines = verdict(tmp_path, expected=expected, bound=few).lines("run")
    said = "\n".join(lines)
    assert "4 meV/Å on average, 0.4 % of the typical force; from 1 force in 1 v" in said
    assert "not calibrated yet: 1 force in 1 structure that" in said


def test_a_good_run(tmp_path: Path) -> None:
    found = verdict(tmp_path)
    assert (found.use, found.limiting) == ("dynamics", [])
    lines = found.lines("al run")
    assert lines[0] == "Usable for dynamics."
    assert "0.4 % of the typical force; from 150 forces in 3 validation structures" in lines[1]
    assert "at most 12 meV/Å (99 %) or 8 (95 %); from 150 forces in 3" in lines[2]
    assert shlex.split(lines[-1])[:3] == ["nearsight", "relax", "al run/best.json"]


@pytest.mark.parametrize("floor", [0.0, 0.008])
def test_the_bound_of_the_relaxed_structure_stands_beside_that_of_the_target(
    tmp_path: Path, floor: float
) -> None:
    """The one that was asked for: 37.7 meV/Å for Cu147, where 3.07 was said of the target."""
    path = but(PATH, max_calibrated=np.array([0.012, 0.060, 0.03]))
    files = {"relaxation": but(RELAXATION, ensemble=path)}
    found = verdict(tmp_path, files=files, bound=but(BOUND, floor=floor))
    said = found.bound_sentence
    assert found.relaxed_bound == 0.03
    assert "at most 12 meV/Å (99 %) or 8 (95 %)" in said
    assert " in the target as given, 30 (99 %) or 20 (95 %) where its relaxation ended" in said
    write_report(tmp_path / "run")
    assert said[1:] in Page(tmp_path / "run").words
    known = Verdict.load(tmp_path / "run" / "verdict.json")
    assert any(said in line for line in known.lines("run"))


@pytest.mark.parametrize(("floor", "same"), [(0.0, False), (0.008, True), (0.004, False)])
def test_one_bound_of_all_atoms_is_called_so(tmp_path: Path, floor: float, same: bool) -> None:
    """The largest is 12 meV/Å, 1.5 times a floor of 8; an atom outside has more than the others."""
    said = verdict(tmp_path, bound=but(BOUND, floor=floor)).bound_sentence
    assert ("the same for all atoms" in said) == same


@pytest.mark.parametrize(
    ("error", "use"),
    [(0.049, "dynamics"), (0.051, "forces"), (0.19, "forces"), (0.21, "none")],
)
def test_expected_error(tmp_path: Path, error: float, use: str) -> None:
    """In typical forces; above fmax = 0.05 eV/Å no minimum is found to it."""
    found = verdict(tmp_path, error=error)
    assert found.use == use
    assert not limiting(found) - {"error", "fmax"}


def test_relaxation_but_not_dynamics(tmp_path: Path) -> None:
    """An error of 40 meV/Å where the typical force is 0.5 eV/Å: 8 %."""
    weak = but(GOOD, mean=0.04, typical=0.5)
    found = verdict(tmp_path, expected=weak)
    assert (found.use, limiting(found)) == ("relaxation", {"error"})
    assert "8 % of the typical force 0.5 eV/Å" in found.lines("run")[1]


def test_the_true_error_counts_where_it_is_known(tmp_path: Path) -> None:
    found = verdict(tmp_path, error=0.5, files={"reference": REFERENCE})
    assert found.true_error == pytest.approx(0.004)
    assert found.use == "dynamics"
    assert "expected error 500 meV/Å" in found.error_sentence
    assert "true error 4 meV/Å" in found.error_sentence


@pytest.mark.parametrize(
    ("changes", "use", "key"),
    [
        ({"uncertainty": np.full(4, 0.5)}, "relaxation", "bound"),
        ({"uncertainty": np.full(4, 0.9)}, "forces", "bound"),
        ({"uncertainty": np.full(4, 1.1)}, "none", "bound"),
        ({"extrapolation": np.array([0.5, 0.5, 0.5, 1.2])}, "none", "outside"),
        ({"member_force_rmse": np.full(3, 0.08)}, "relaxation", "misfit"),
        ({"member_force_rmse": np.full(3, 0.3)}, "none", "misfit"),
        ({"member_force_rmse": None, "force_rmse": 0.3, "bounds": None}, "none", "misfit"),
        # of an earlier version: of all images, those that members lack among them
        ({"force_rmse": 0.3}, "dynamics", None),
        ({"member_force_rmse": np.array([0.002, 0.05, 0.003])}, "relaxation", "members"),
        ({"member_force_rmse": np.array([0.0002, 0.005, 0.0003])}, "dynamics", None),
        ({"bound": but(BOUND, labels=99)}, "forces", "calibration"),
        ({"bound": but(BOUND, images=1)}, "forces", "calibration"),
        ({"bound": None}, "forces", "calibration"),
        ({"error": None}, "none", "error"),
    ],
    ids=str,
)
def test_what_each_figure_allows(
    tmp_path: Path, changes: dict[str, Any], use: str, key: str | None
) -> None:
    found = verdict(tmp_path, **changes)
    assert found.use == use
    assert limiting(found) == (set() if key is None else {key})


def test_the_parent_at_the_minimum(tmp_path: Path) -> None:
    """0.045 eV/Å with fmax = 0.05 is fine, 0.08 is not."""
    found = verdict(tmp_path, files={"relaxation": RELAXATION})
    assert found.use == "dynamics"
    assert found.next_command("r") == "nearsight md r r/relaxed.extxyz"
    worse = but(RELAXATION, parent_fmax_at_minimum=0.08)
    worse = judge(RunData.load(run_of(tmp_path / "worse", files={"relaxation": worse})))
    assert (worse.use, limiting(worse)) == ("forces", {"minimum"})
    assert worse.next_command("r") == "nearsight retrain r"


def test_the_ensemble_at_the_minimum(tmp_path: Path) -> None:
    """Its bound there in parts of the typical force, 1 eV/Å: 0.29 is fine, 0.31 is not.

    The target itself is known; what helps is its relaxation, not more chunks of it.
    """
    for bound, use in ((0.29, "dynamics"), (0.31, "relaxation"), (1.1, "none")):
        path = but(RELAXATION.ensemble, max_calibrated=np.array([0.01, 2.0, bound]))
        files = {"relaxation": but(RELAXATION, ensemble=path)}
        run = run_of(tmp_path / use, files=files, run={"stop_reason": STOPPED})
        found = judge(RunData.load(run))
        assert found.use == use
        if use != "dynamics":
            assert limiting(found) == {"relaxed"}
            assert found.next_command("r") == "nearsight retrain r"


def test_labels_of_small_chunks(tmp_path: Path) -> None:
    """At 6 Å the mean error of the two centres is 9 meV/Å, at 4 Å 400."""
    files = {"locality": LOCALITY}
    assert verdict(tmp_path, run={"chunk_radius": 6.5}, files=files).use == "dynamics"
    found = judge(RunData.load(run_of(tmp_path / "b", run={"chunk_radius": 4.0}, files=files)))
    assert (found.use, limiting(found)) == ("forces", {"locality"})
    assert "chunk_radius = 5.0" in found.next_step("r")


# -- what to do next


def test_a_budget_that_was_too_small(tmp_path: Path) -> None:
    found = verdict(tmp_path, error=0.3, run={"stop_reason": STOPPED})
    assert found.next_command("x/r") == "nearsight run x/r"
    assert "(x/r.toml, or x/r/config.toml) set max_chunks = 8 under [nft]" in found.next_step("x/r")


def test_an_end_that_was_another(tmp_path: Path) -> None:
    found = verdict(tmp_path, error=0.3)
    assert found.next_command("x/r") == "nearsight retrain x/r"


UNFITTED = {"member_force_rmse": np.array([0.15, 0.16, 0.17])}  # components: 0.26 eV/Å in all
FUNCTIONS = FeatureSummary(method="cur", candidates=78, selected=6, deviation=0.03)


def shells(*errors: float) -> list[Shell]:
    """One force in the centres, nine around them."""
    return [Shell(distance=d, forces=1 + 8 * d, error=e) for d, e in enumerate(errors)]


def model(*nodes: int) -> Model:
    return Model(hidden_layers=list(nodes), l2=1e-6)


@pytest.mark.parametrize(
    ("error", "changes", "run", "words"),
    [
        # the training itself is off by 0.26 eV/Å
        (0.3, {}, {"features": FUNCTIONS}, "set count = 21 under [features]"),
        (0.3, {}, {"features": but(FUNCTIONS, selected=60)}, "set count = 78 under [features]"),
        (0.15, {"model": model(4, 4)}, {}, "set hidden_layers = [10, 10] under [network]"),
        (0.15, {"model": model(15, 15)}, {}, "set hidden_layers = [30, 30] under [network]"),
        (0.3, {"model": model(2)}, {}, "set hidden_layers = [10, 10] under [network]"),
        # networks that should do, and functions that tell all: the labels are the suspects
        (0.3, {"model": model(5, 5)}, {}, "labels that cannot be fitted"),
        (0.3, {"model": model(5, 5)}, {"features": but(FUNCTIONS, deviation=1e-4)}, "labels that"),
        # larger chunks are twice as wrong as the training, or more: more of them help
        (0.53, {}, {"features": FUNCTIONS}, "max_chunks = 8"),
        (0.51, {}, {"features": FUNCTIONS}, "count = 21"),
        # a member that has not converged says nothing of the others
        (
            0.3,
            {"member_force_rmse": np.array([0.001, 0.001, 0.65])},
            {"features": FUNCTIONS},
            "max_chunks = 8",
        ),
        # compressed cells are off, but the chunks that the expected error compares with are not
        (0.3, {"shells": shells(0.01, 0.02)}, {"features": FUNCTIONS}, "max_chunks = 8"),
        (0.3, {"shells": shells(0.01, 0.2)}, {"features": FUNCTIONS}, "count = 21"),
    ],
)
def test_too_small_a_model_or_too_few_labels(
    tmp_path: Path, error: float, changes: dict[str, Any], run: dict[str, Any], words: str
) -> None:
    """Where the training's own labels are not fitted, more of them do not help; else they do."""
    given = {"model": model(10, 10)} | UNFITTED | changes
    found = verdict(tmp_path, error=error, run={"stop_reason": STOPPED} | run, **given)
    assert words in found.next_step("r")
    if "[features]" in words or "[network]" in words:
        assert found.next_command("r") == "nearsight run r-larger.toml"
        assert 'database = "r/parent.db" under [parent]' in found.next_step("r")


def test_a_member_that_has_not_converged_is_given_more_iterations(tmp_path: Path) -> None:
    found = verdict(tmp_path, member_force_rmse=np.array([0.002, 0.05, 0.003]))
    assert limiting(found) == {"members"}
    assert "set iterations = 24 under [training]" in found.next_step("r")
    assert 'database = "r/parent.db" under [parent]' in found.next_step("r")
    assert found.next_command("r") == "nearsight run r-converged.toml"


@pytest.mark.parametrize(
    "given", [{"bound": but(BOUND, labels=9)}, {"error": 0.3}], ids=["calibration", "error"]
)
@pytest.mark.parametrize("ending", ["", " or was given up"])
def test_chunks_that_a_symmetric_target_does_not_have_are_not_proposed(
    given: dict[str, Any], ending: str, tmp_path: Path
) -> None:
    stopped = f"every environment of the target is in the training{ending}"
    found = verdict(tmp_path, run={"stop_reason": stopped}, **given)
    assert found.next_step("r").startswith("let it learn from its own relaxation")
    assert found.next_command("r") == "nearsight retrain r"


def test_labels_of_a_parent_that_sees_far(tmp_path: Path) -> None:
    """The force on a centre is off by 0.4 eV/Å: labels that cannot be fitted are no wonder."""
    files = {"locality": LOCALITY}
    run = {"chunk_radius": 4.0, "stop_reason": STOPPED}
    off = {"member_force_rmse": np.full(3, 0.5)}
    found = verdict(tmp_path, error=0.3, run=run, files=files, **off)
    assert found.use == "none"
    assert "chunk_radius = 5.0 under [nft]" in found.next_step("r")
    assert 'charges = "fitted" under [baseline]' in found.next_step("r")


def test_larger_networks_that_were_tried_are_not_proposed(tmp_path: Path) -> None:
    tried = [Candidate(model=model(size, size), error=0.15) for size in (5, 10, 15)]
    given = {"model": model(10, 10), "run": {"stop_reason": STOPPED}} | UNFITTED
    found = verdict(tmp_path, error=0.15, candidates=tried, **given)
    assert "max_chunks = 8" in found.next_step("r")


def test_what_is_good_but_for_one_thing_is_not_called_unfitted(tmp_path: Path) -> None:
    """The errors of training and larger chunks are alike where both are small, too."""
    given = {"extrapolation": np.full(4, 1.2), "model": model(5, 5)}
    found = verdict(tmp_path, member_force_rmse=np.full(3, 0.0024), **given)
    assert limiting(found) == {"outside"}
    assert found.next_command("r") == "nearsight retrain r"


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    found = verdict(tmp_path, member_force_rmse=np.full(3, 0.3), run={"stop_reason": STOPPED})
    assert found.next_command("r") == "nearsight labels verify r/parent.db --again 3"


def test_a_parent_that_sees_far_needs_no_larger_networks(tmp_path: Path) -> None:
    run, files = {"chunk_radius": 4.0}, {"locality": LOCALITY}
    given = {"model": model(5, 5), "run": run, "files": files} | UNFITTED
    found = verdict(tmp_path, error=0.15, **given)
    assert found.use == "forces"
    assert found.next_command("r") == "nearsight run r-larger.toml"
    assert "chunk_radius = 5.0 under [nft]" in found.next_step("r")


# -- what it names


@pytest.mark.parametrize(
    ("given", "command"),
    [
        (None, "nearsight labels verify x/r/parent.db --again 3"),
        ("k/parent.db", "nearsight labels verify x/k/parent.db --again 3"),
        ("../labels.db", "nearsight labels verify labels.db --again 3"),
        ("/all/labels.db", "nearsight labels verify /all/labels.db --again 3"),
        ("postgresql://me@host/all", "nearsight labels verify postgresql://me@host/all --again 3"),
    ],
)
def test_labels_are_looked_at_where_they_are(
    tmp_path: Path, given: str | None, command: str
) -> None:
    off = {"member_force_rmse": np.full(3, 0.3)}
    folder = run_of(tmp_path / "r", run={"stop_reason": STOPPED}, **off)
    (folder / "config.toml").write_text(tiny_config(GIVEN, parent={"database": given}))
    assert judge(RunData.load(folder)).next_command("x/r") == command


@pytest.mark.parametrize(
    ("run", "place"), [("x/r", "x/r"), (".", "../r"), ("..", "../../r"), ("/a/r", "/a/r")]
)
def test_files_beside_a_run_are_named_as_seen_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str, place: str
) -> None:
    here = tmp_path / "r" if run == "." else tmp_path / "r/inside"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    found = but(
        verdict(tmp_path),
        advice="copy {run}.toml to {run}-larger.toml, {name}/parent.db, {run}/../s.toml",
    )
    above = str(Path(place).parent)
    beside = "" if above == "." else f"{above}/"
    expected = f"copy {place}.toml to {place}-larger.toml, r/parent.db, {beside}s.toml"
    assert found.next_step(run) == expected


# -- where it is said


def test_on_the_page_and_in_report_json(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", error=0.3)
    write_report(folder)
    found = Verdict.load(folder / "verdict.json")
    assert found == judge(RunData.load(folder))
    content = json.loads((folder / "report.json").read_text())["verdict"]
    assert content["use"] == "none"
    assert content["command"] == "nearsight retrain run"
    words = Page(folder).words
    assert words.index("Not usable") < words.index("Kept")
    assert content["command"] in words
    assert "the expected error of a force is 300 meV/Å, 30 % of the typical force" in words


def test_a_comparison_by_hand() -> None:
    """Two forces of validation: errors 0.25 and 1; both within 1, one within 0.5."""
    found = Comparison(
        ensemble="",
        role=np.array([0, 1, 1]),
        image=np.array([0, 1, 2]),
        labels=np.zeros((3, 3)),
        forces=np.array([[9.0, 0, 0], [0.25, 0, 0], [0, 1.0, 0]]),
        uncertainty=np.ones(3),
        uncertainty_95=np.full(3, 0.5),
    )
    assert found.summary("validation") == {
        "forces": 2,
        "images": 2,
        "mean_error": 0.625,
        "largest_error": 1.0,
        "coverage": 1.0,
        "coverage_95": 0.5,
    }
    assert found.summary("test") is None
