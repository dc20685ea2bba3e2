"""Checks of a report: their status, their numbers, and the sentences made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.report import (
    LOCALITY,
    PATH,
    RAW,
    REFERENCE,
    RELAXATION,
    RUN,
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
from nearsight.files.names import numbered
from nearsight.files.records import (
    Reference,
    Relaxation,
    Shell,
    Target,
)
from nearsight.report.checks import limiting_label_error
from nearsight.report.data import RunData, report_json
from nearsight.report.format import mev, number


def test_all_checks_of_a_full_run_are_met(full: Path) -> None:
    assert status(full) == dict.fromkeys(
        ("training", "coverage", "unseen", "chunk_radius", "relaxation", "minimum", "certainty"),
        "met",
    )
    words = Page(full).words
    assert "iteration 1, trained with 2 chunks" in words
    assert "by 4.00 meV/Å on average and by 10.0 meV/Å at most" in words
    assert "7 checks made: none needs attention." in words


def test_what_was_not_asked_for_is_said(minimal: Path) -> None:
    assert status(minimal) == {
        "training": "met",
        "errors": "open",
        "chunk_radius": "open",
        "relaxation": "open",
    }
    words = Page(minimal).words
    assert "trained with 0 chunks" in words
    assert "1 check made: none needs attention; 3 not evaluated (data not requested)." in words


def test_that_the_last_iteration_is_the_best_is_no_alarm(tmp_path: Path) -> None:
    steps = (iteration(0, [], 2.0), iteration(1, [0]))
    folder = save(tmp_path / "run", *steps, run=but(RUN, best_iteration=1))
    check = found_checks(folder)["training"]
    assert (check.status, check.numbers["after"]) == ("met", 0)
    assert "The last iteration is the one kept. Reason for the stop" in words_of(folder)


@pytest.mark.parametrize(("scale", "expected"), [(1.45, "met"), (1.55, "attention")])
def test_rising_uncertainty(tmp_path: Path, scale: float, expected: str) -> None:
    folder = save(tmp_path / "run", iteration(0, []), iteration(1, [0], scale))
    check = found_checks(folder)["training"]
    assert check.status == expected
    assert check.numbers == {
        "after": 1,
        "best": 0.008,
        "last": pytest.approx(scale * 0.008),
        "rose": expected == "attention",
    }
    rose = "The uncertainty rose from 8.00 to 12.4 meV/Å in the 1 iteration after the kept one"
    brought = "1 iteration after the kept one brought no lower uncertainty."
    assert (rose if expected == "attention" else brought) in words_of(folder)


@pytest.mark.parametrize(
    ("grade", "status", "sentence"),
    [
        ([0.2, 0.9, 1.0, 0.5], "met", "; of 4 they were not before the first chunks."),
        ([0.2, 1.5, 1.01, 0.5], "attention", "2 of 4 atoms have surroundings outside all that"),
    ],
)
def test_atoms_outside(tmp_path: Path, grade: list[float], status: str, sentence: str) -> None:
    first = but(iteration(0, [], 100.0), extrapolation=np.full(4, 3.0))
    last = but(iteration(1, [0]), extrapolation=np.array(grade))
    folder = save(tmp_path / "run", first, last, run=but(RUN, best_iteration=1))
    check = found_checks(folder)["known"]
    assert check.status == status
    assert check.numbers["outside"] == sum(each > 1.0 for each in grade)
    words = words_of(folder)
    assert sentence in words
    assert f"extrapolation grade up to {number(max(grade))}; above 1 is outside" in words


def test_low_coverage(tmp_path: Path) -> None:
    folder = save(tmp_path / "run", iteration(0, [0, 3], uncertainty=RAW), reference=REFERENCE)
    check = found_checks(folder)["coverage"]
    assert check.status == "attention"
    numbers = check.numbers
    assert (numbers["covered"], numbers["atoms"], numbers["coverage"]) == (2, 4, 0.5)
    assert numbers["expected"] == 0.99
    words = words_of(folder)
    assert "2 of 4 atoms (50.0 %)" in words
    assert "99 % are expected" in words


def test_unseen_atoms_worse_than_seen(tmp_path: Path) -> None:
    folder = save(tmp_path / "run", iteration(0, [1, 2]), reference=REFERENCE)
    check = found_checks(folder)["unseen"]
    assert check.status == "attention"
    assert check.numbers["unseen"] == pytest.approx(0.0075)
    assert check.numbers["seen"] == pytest.approx(0.0005)


@pytest.mark.parametrize("chunks", [[], [0, 1, 2, 3]])
def test_nothing_to_compare(tmp_path: Path, chunks: list[int]) -> None:
    folder = save(tmp_path / "run", iteration(0, chunks), reference=REFERENCE)
    assert status(folder)["unseen"] == "open"
    which = "every" if chunks else "no"
    assert f"{which} atom of the target is in the training" in words_of(folder)


@pytest.mark.parametrize(
    ("radius", "expected", "sentence"),
    [
        (8.0, "met", "At 8 Å, the radius used, the force"),
        (6.5, "attention", "At 6 Å, the nearest scanned below 6.5, the force"),
        (3.0, "open", "The locality scan has no radius up to the 3 Å used."),
    ],
)
def test_chunk_radius(tmp_path: Path, radius: float, expected: str, sentence: str) -> None:
    """Errors of the labels of 0 and 9 meV/Å, and none."""
    run = but(RUN, chunk_radius=radius)
    folder = three(tmp_path / "run", run, reference=REFERENCE, locality=LOCALITY)
    check = found_checks(folder)["chunk_radius"]
    assert check.status == expected
    assert sentence in words_of(folder)
    if expected == "attention":
        assert check.numbers["scanned"] == 6.0
        assert check.numbers["labels"] == pytest.approx(0.009)  # mean of 13 and 5 meV/Å
        assert check.numbers["largest"] == pytest.approx(0.013)
        assert check.numbers["scale"] == pytest.approx(0.004)


@pytest.mark.parametrize(
    ("errors", "radius", "larger", "advice"),
    [
        # errors of the only atom at 4, 6 and 8 Å, eV/Å; the mean error of the potential is 0.004
        ([0.5, 0.013, 0.003], 6.0, (True, 8.0, 0.003), "would help: with 8 Å it is 3.00 meV/Å."),
        ([0.5, 0.2, 0.11], 6.0, (False, 8.0, 0.11), "halves that: with 8 Å it is 110 meV/Å."),
        ([0.5, 0.2, 0.1], 8.0, None, "The scan holds no larger radius to say whether one would"),
    ],
)
def test_labels_that_limit_the_accuracy(
    tmp_path: Path,
    errors: list[float],
    radius: float,
    larger: tuple[bool, float, float] | None,
    advice: str,
) -> None:
    scan = but(
        LOCALITY,
        indices=np.array([2]),
        n_atoms=np.array([[2], [3], [4]]),
        forces=np.array([[[0.0, error, 0.0]] for error in errors]),
        true_forces=np.zeros((1, 3)),
    )
    run = but(RUN, chunk_radius=radius)
    folder = three(tmp_path / "run", run, reference=REFERENCE, locality=scan)
    check = found_checks(folder)["chunk_radius"]
    assert check.status == "attention"
    found = check.numbers["larger"]
    assert (None if found is None else tuple(found.values())) == larger
    off = {6.0: errors[1], 8.0: errors[2]}[radius]
    assert limiting_label_error(RunData.load(folder)) == off
    words = words_of(folder)
    assert advice in words
    assert f"parent’s own force on their centres is off by {plain(mev(off))} meV/Å" in words


def test_chunks_learned_whole_have_no_error_of_labels(tmp_path: Path) -> None:
    """They are exact for the chunk as cut, whatever the scan says of the target."""
    scan = but(
        LOCALITY,
        indices=np.array([2]),
        n_atoms=np.array([[2], [3], [4]]),
        forces=np.full((3, 1, 3), 0.5),
        true_forces=np.zeros((1, 3)),
    )
    shells = [Shell(distance=0.0, forces=2, error=0.001)]
    steps = (iteration(0, [], 100.0), iteration(1, [0, 3], shells=shells))
    run = but(RUN, chunk_radius=6.0, best_iteration=1)
    folder = save(tmp_path / "run", *steps, run=run, reference=REFERENCE, locality=scan)
    check = found_checks(folder)["chunk_radius"]
    assert (check.status, check.numbers["limits"]) == ("met", False)
    assert limiting_label_error(RunData.load(folder)) is None
    assert "chunks as they are cut, where their forces are exact" in words_of(folder)


def test_a_locality_scan_the_parent_failed_in(tmp_path: Path) -> None:
    forces = LOCALITY.forces.copy()
    forces[0, 1] = forces[1] = np.nan
    run = but(RUN, chunk_radius=6.0)
    scan = but(LOCALITY, forces=forces)
    folder = three(tmp_path / "run", run, reference=REFERENCE, locality=scan)
    locality = RunData.load(folder).locality
    assert locality is not None
    np.testing.assert_allclose(locality.mean_errors, [0.5, np.nan, 0], atol=1e-12)
    check = found_checks(folder)["chunk_radius"]
    assert check.status == "open"
    assert check.numbers == {"radius": 6.0, "scanned": 6.0, "labels": None}
    words = page_of(folder).words
    assert "nan" not in words.lower()
    assert "At 6 Å the error is" not in words
    assert "so the error of the labels at 6 Å is not known." in words


def test_labels_that_do_not_limit_the_accuracy_are_not_spoken_of(full: Path) -> None:
    assert limiting_label_error(RunData.load(full)) is None
    assert "limits the accuracy" not in Page(full).words


def test_bad_relaxation(tmp_path: Path) -> None:
    path = but(PATH, converged=False, max_uncertainty=np.array([0.010, 0.030, 0.060]))
    record = but(RELAXATION, ensemble=path, parent_fmax_at_minimum=0.2)
    folder = three(tmp_path / "run", relaxation=record)
    found = found_checks(folder)
    assert [found[key].status for key in ("relaxation", "minimum", "certainty")] == [
        "attention"
    ] * 3
    assert found["minimum"].numbers == {"force": 0.2, "fmax": 0.05, "target": 0}
    assert found["certainty"].numbers == {
        "target": 0,
        "stated": False,
        "start": 0.010,
        "step": 2,
        "largest": 0.060,
        "end": 0.060,
        "fmax": 0.05,
        "uncertain_end": True,
        "uncertain_path": True,
    }
    words = words_of(folder)
    assert "the ensemble did not converge (2 steps" in words
    assert "largest force is 0.20 eV/Å" in words
    assert "less certain than the criterion" in words
    assert "What learns from there: nearsight retrain." in words


def test_the_path_is_judged_by_what_the_verdict_counts(tmp_path: Path) -> None:
    """Raw values are above fmax = 0.05 eV/Å, the bounds are not; and the other way round."""
    low, high = np.array([0.010, 0.030, 0.020]), np.array([0.010, 0.060, 0.124])
    for name, raw, bound, expected in (("met", high, low, "met"), ("not", low, high, "attention")):
        path = but(PATH, max_uncertainty=raw, max_calibrated=bound)
        folder = three(tmp_path / name, relaxation=but(RELAXATION, ensemble=path))
        check = found_checks(folder)["certainty"]
        assert check.status == expected
        assert check.numbers["end"] == bound[-1]
        assert "The stated uncertainty (99 %) starts at 10" in words_of(folder)


def test_a_rise_of_the_uncertainty_far_below_fmax_is_no_alarm(tmp_path: Path) -> None:
    path = but(PATH, max_uncertainty=np.array([0.0015, 0.0040, 0.0032]))
    folder = three(tmp_path / "run", relaxation=but(RELAXATION, ensemble=path))
    check = found_checks(folder)["certainty"]
    assert check.status == "met"
    assert not check.numbers["uncertain_path"]
    assert "does not know well" not in words_of(folder)


def test_many_relaxations_are_counted(tmp_path: Path) -> None:
    run = but(RUN, targets=[Target(n_atoms=1, formula="Pt")] * 4)
    folder = three(tmp_path / "run", run)
    for target in range(4):
        ensemble = but(PATH, converged=target != 2)
        record = but(RELAXATION, ensemble=ensemble, parent=None)
        record.save(folder / numbered(Relaxation.FILE, target))
    check = found_checks(folder)["relaxation"]
    assert check.status == "attention"
    assert [path["converged"] for path in check.numbers["paths"]] == [True, True, False, True]
    assert (check.numbers["converged"], check.numbers["targets"]) == (3, 4)
    words = words_of(folder)
    assert "the ensemble did not converge on target 2 (2 steps" in words
    assert "; 3 of 4 relaxations converged." in words
    assert RunData.load(folder).title == "4 × Pt"


def test_a_parent_that_failed_on_the_whole_target(tmp_path: Path) -> None:
    lost = Reference(energies=None, forces=None)
    folder = three(tmp_path / "run", reference=lost)
    data = RunData.load(folder)
    assert not data.has_reference
    assert status(folder)["errors"] == "open"
    words = words_of(folder)
    assert "is not known: the parent failed on the whole target." in words
    assert "asked for" not in words.replace("No relaxation was asked for.", "")
    assert "3 not evaluated (data missing)" in words
    assert report_json(data)["iterations"][1]["mae"] is None
