"""Nearsighted force training: the choice of chunks, the end, the labels, continuing after a stop.

The small case is that of ``copper.py``; the reference for labels and errors is ASE's EMT itself.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from helpers import copper
from helpers.faulty import FAULTY, FaultyEMT, Script
from helpers.recorder import Recorder, Stopped
from helpers.records import make_iteration
from helpers.trainings import evaluation, train
from nearsight.config import EnsembleSettings, NetworkSettings, NFTSettings, TrainingSettings
from nearsight.errors import InputError
from nearsight.files.records import Iteration
from nearsight.learning.nft import NFT
from nearsight.learning.policy import choose_atoms, decide_again, rank_uncertain, stop_reason
from nearsight.learning.state import State
from nearsight.model.ensemble import Ensemble
from nearsight.parents import Parent
from nearsight.structures.images import Image, read_images

RAW = np.array([0.1, 0.5, 0.3, 0.4, 0.2])


def run(
    folder: Path, nft: NFT | None = None, parent: Parent | None = None, **changed: Any
) -> State:
    return train(nft or copper.nft(), folder, parent, **changed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """A folder with a whole training in it, and how it ended. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder)


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """What the iterations found."""
    return [evaluation(path) for path in sorted(folder.glob("*/evaluation.json"))]


SHORT = copper.nft(max_chunks=8)
"""The same training, ended after its second iteration."""


def assert_begins_like(whole: Path, short: Path) -> None:
    expected, found = ([each["forces"] for each in evaluations(f)] for f in (whole, short))
    assert len(found) == 2
    assert found == expected[:2]


def ensembles(folder: Path) -> list[bytes]:
    paths = [*sorted(folder.glob("*/ensemble.json")), folder / "best.json"]
    return [path.read_bytes() for path in paths]


# -- which atoms become chunks


def choose(seen: list[int], **settings: Any) -> tuple[list[int], list[int]]:
    return chosen(NFTSettings(**{"chunks_per_iteration": 15} | settings), RAW, seen)


def chosen(
    settings: NFTSettings, raw: np.ndarray, seen: list[int], **given: Any
) -> tuple[list[int], list[int]]:
    return choose_atoms(settings, rank_uncertain(settings, raw), seen, **given)


def test_the_first_chunks_are_a_number_of_their_own() -> None:
    settings = NFTSettings(first_chunks=3, chunks_per_iteration=2, max_chunks=4)
    assert chosen(settings, RAW, [], first=True) == ([1, 3, 2], [])
    assert chosen(settings, RAW, [], first=False) == ([1, 3], [])
    assert chosen(settings, RAW, [1, 3, 2]) == ([4], [1, 3])
    assert chosen(settings, RAW, [], failed=[3], first=True) == ([1, 2, 4], [])


def test_the_most_uncertain_come_first() -> None:
    assert choose([]) == ([1, 3, 2, 4, 0], [])
    assert choose([], chunks_per_iteration=2) == ([1, 3], [])


def test_known_atoms_are_not_new_but_drawn_again_if_among_the_most_uncertain() -> None:
    assert choose([3, 0]) == ([1, 2, 4], [3, 0])
    # the two most uncertain are 1 and 3; 0 is known too but not among them
    assert choose([3, 0], chunks_per_iteration=2) == ([1, 2], [3])
    assert choose([1, 3], chunks_per_iteration=2) == ([2, 4], [1, 3])


def test_a_negative_threshold_is_a_quantile() -> None:
    # of five values the 75 % quantile is the second largest, 0.4
    assert choose([], threshold=-0.75) == ([1, 3], [])
    assert choose([1], threshold=-0.75) == ([3], [1])
    # SI: -0.9 gives the 26 most uncertain of 260 atoms
    raw = np.random.default_rng(5).permutation(260) / 100
    settings = NFTSettings(threshold=-0.9, chunks_per_iteration=260, max_chunks=260)
    new, again = chosen(settings, raw, [])
    assert (new, again) == (list(np.argsort(-raw)[:26]), [])


def test_a_positive_threshold_is_an_uncertainty() -> None:
    assert choose([], threshold=0.3) == ([1, 3, 2], [])
    assert choose([3], threshold=0.3) == ([1, 2], [3])
    assert choose([], threshold=0.6) == ([], [])


def test_there_are_never_more_chunks_than_allowed() -> None:
    assert choose([3, 0], max_chunks=4) == ([1, 2], [3, 0])


def test_equal_uncertainties_go_by_index() -> None:
    assert chosen(NFTSettings(), np.array([0.2, 0.7, 0.2, 0.7]), []) == ([1, 3, 0, 2], [])


# -- when it ends


def iterations(*uncertainties: float) -> tuple[Iteration, ...]:
    return tuple(make_iteration(number, [value, 0.0]) for number, value in enumerate(uncertainties))


def with_chunks(count: int, raw: list[float], **changes: Any) -> Iteration:
    """An iteration with so many chunks, of further atoms, which are certain."""
    atoms = range(len(raw), len(raw) + count)
    for name, values in changes.items():
        if isinstance(values, np.ndarray):
            changes[name] = np.pad(values, (0, count))
    return make_iteration(9, [*raw, *[0.0] * count], list(atoms), **changes)


@pytest.mark.parametrize(
    ("settings", "uncertainties", "chunks", "new", "reason"),
    [
        ({}, [1.0], 0, 15, ""),
        ({}, [1.0, 2.0, 0.5], 30, 15, ""),
        ({"stop_uncertainty": 0.1}, [0.1], 0, 15, "the uncertainty is at most 0.1 eV/Å"),
        ({"stop_uncertainty": 0.1}, [0.11], 0, 15, ""),
        ({"max_chunks": 30}, [1.0, 0.9, 0.8], 30, 0, "there are 30 chunks"),
        ({"max_chunks": 31}, [1.0, 0.9, 0.8], 30, 1, ""),
        ({"max_iterations": 2}, [1.0, 0.9, 0.8], 30, 15, "there were 2 iterations"),
        ({"max_iterations": 3}, [1.0, 0.9, 0.8], 30, 15, ""),
        (
            {"steps_not_improved": 2},
            [1.0, 0.5, 0.6, 0.7],
            45,
            15,
            "the uncertainty did not improve in 2 iterations",
        ),
        ({"steps_not_improved": 3}, [1.0, 0.5, 0.6, 0.7], 45, 15, ""),
        # the first iteration does not count: the members agree on what none has seen
        ({"steps_not_improved": 2}, [0.1, 0.5, 0.4, 0.3], 45, 15, ""),
        ({"steps_not_improved": 2}, [0.1, 0.5, 0.6], 30, 15, ""),
        ({}, [1.0, 0.5], 3, 0, "every environment of the target is in the training"),
    ],
)
def test_why_it_ends(
    settings: Mapping[str, Any], uncertainties: list[float], chunks: int, new: int, reason: str
) -> None:
    *earlier, last = uncertainties
    chosen = NFTSettings(**{"max_chunks": 75} | settings)
    ended = with_chunks(chunks, [0.0, last])
    assert stop_reason(chosen, iterations(*earlier), ended, new, chosen.max_chunks) == reason


@pytest.mark.parametrize(
    ("accuracy", "calibrated", "chunks", "reason"),
    [
        (0.05, 0.05, 8, "the calibrated uncertainty is at most 0.05 eV/Å"),
        (0.05, 0.051, 8, ""),
        (0.05, 0.01, 0, ""),  # members that have seen bulk cells alone agree on surfaces
        (0.0, 0.0, 8, ""),
    ],
)
def test_it_ends_at_the_accuracy(
    accuracy: float, calibrated: float, chunks: int, reason: str
) -> None:
    ended = with_chunks(chunks, [0.5, 0.9], uncertainty=np.array([0.0, calibrated]))
    settings = NFTSettings(accuracy=accuracy)
    assert stop_reason(settings, iterations(1.0), ended, 4, settings.max_chunks) == reason


@pytest.mark.parametrize(("error", "ends"), [(0.2, True), (0.4, False)])
def test_the_accuracy_is_that_of_the_ensemble_that_is_kept(error: float, ends: bool) -> None:
    """By the error on the validation chunks, 0.3 before the last iteration."""
    before = [make_iteration(n, [0.9], validation_error=e) for n, e in enumerate([0.9, 0.3])]
    last = with_chunks(8, [0.5], uncertainty=np.array([0.05]), validation_error=error)
    settings = NFTSettings(accuracy=0.05)
    assert bool(stop_reason(settings, before, last, 4, settings.max_chunks)) == ends


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ([0.9, 0.3, 0.4], ""),
        (
            [0.9, 0.3, 0.4, 0.5],
            "the error on the validation chunks did not improve in 2 iterations",
        ),
        ([0.9, 0.3, 0.4, 0.2], ""),
        # by less than 5 % in two iterations
        (
            [0.9, 0.3, 0.29, 0.287],
            "the error on the validation chunks did not improve in 2 iterations",
        ),
        ([0.9, 0.3, 0.29, 0.285], ""),
        ([0.1, 0.3, 0.2], ""),  # the first iteration does not count
    ],
)
def test_improvement_is_that_of_the_error_where_it_is_known(
    errors: list[float], reason: str
) -> None:
    """Whatever the uncertainty does, here rise."""
    history = tuple(
        make_iteration(number, [0.1 * number], validation_error=error)
        for number, error in enumerate(errors[:-1])
    )
    ended = with_chunks(8, [0.1 * len(errors)], validation_error=errors[-1])
    settings = NFTSettings(steps_not_improved=2)
    assert stop_reason(settings, history, ended, 4, settings.max_chunks) == reason


@pytest.mark.parametrize(
    ("settings", "reason", "new"),
    [
        ({"max_chunks": 2}, "there are 2 chunks", []),
        ({"max_chunks": 3}, "", [3]),
        ({"max_chunks": 9}, "", [3, 2]),
        ({"max_chunks": 9, "accuracy": 1.0}, "there are 2 chunks", []),
    ],
)
def test_an_end_under_other_rules_is_none(
    settings: dict[str, Any], reason: str, new: list[int]
) -> None:
    """With the atoms that would have been asked for; what ends it still stays as it was."""
    history = [
        make_iteration(0, RAW, new_indices=[1, 4]),
        make_iteration(1, RAW, [1, 4], stop_reason="there are 2 chunks"),
    ]
    rules = NFTSettings(chunks_per_iteration=2, **settings)

    def follow(last: Iteration) -> tuple[list[int], list[int]]:
        return chosen(rules, last.uncertainty_raw, last.chunk_indices)

    found = decide_again(rules, history, follow, rules.max_chunks)
    assert (found.stop_reason, found.new_indices) == (reason, new)
    assert found.again_indices == ([] if reason else [1])
    assert (found is history[1]) == bool(reason)
    assert history[1].stop_reason == "there are 2 chunks"
    again = decide_again(rules, history[:1], follow, rules.max_chunks)
    assert again is history[0]  # not at its end


@pytest.mark.parametrize(
    ("uncertainties", "settings", "again", "started", "ends"),
    [
        ([1.0, 0.5], {}, 2, False, False),
        ([1.0, 0.5], {}, 0, False, True),
        ([1.0, 0.5], {}, 2, True, True),
        ([1.0, 0.5, 0.6], {}, 2, False, True),
        ([1.0, 0.5], {"threshold": 0.1}, 2, False, True),
    ],
)
def test_what_is_in_the_training_is_drawn_again_as_long_as_that_helps(
    uncertainties: list[float], settings: dict[str, Any], again: int, started: bool, ends: bool
) -> None:
    *history, _ = iterations(*uncertainties)
    last = with_chunks(3, [uncertainties[-1]])
    reason = stop_reason(NFTSettings(**settings), history, last, 0, 16, started, again)
    assert bool(reason) == ends


@pytest.mark.parametrize(
    ("uncertainties", "best"),
    [([1.0], 0), ([0.1, 0.5], 1), ([0.1, 0.5, 0.3, 0.4], 2), ([1.0, 0.5, 0.3, 0.3], 2)],
)
def test_the_best_is_the_least_uncertain_after_the_first(
    finished: tuple[Path, State], uncertainties: list[float], best: int
) -> None:
    state = replace(finished[1], history=iterations(*uncertainties))
    assert state.best.iteration == best


# -- what it trains on


def test_labels_are_the_parent_s_forces_on_the_centres_of_cut_chunks(
    finished: tuple[Path, State],
) -> None:
    folder, state = finished
    target = copper.particle()
    indices = state.history[-1].chunk_indices
    images = [p.image for p in state.data.fingerprints]
    assert len(set(indices)) == len(indices) == 24
    assert [image.energy is None for image in images] == [False] * 11 + [True] * 24
    sizes = []
    for index, image in zip(indices, images[11:], strict=True):
        near = target.get_distances(index, range(55)) <= 6.5
        sizes.append(near.sum())
        near[index] = False
        chunk = target[[index, *np.flatnonzero(near)]]
        np.testing.assert_allclose(image.forces, copper.emt(chunk)[1][:1], atol=1e-9)
    assert min(sizes) < 40  # most chunks are not the whole particle
    written = [
        image
        for number in (1, 2, 3)
        for image in read_images(folder / f"iteration-{number:03d}" / "chunks.extxyz")
    ]
    assert all(image.is_chunk for image in written)
    for image, other in zip(images[11:], written, strict=True):
        np.testing.assert_allclose(image.forces, other.forces, atol=1e-7)


@pytest.mark.parametrize("environment", ["target", "chunk"])
def test_where_the_network_is_asked(tmp_path: Path, environment: str) -> None:
    """In the target the centre sees 2 × 4.5 Å, in the chunk the 6.5 Å that were cut."""
    nft = copper.nft(environment=environment, max_chunks=8, max_iterations=1)
    state = run(tmp_path, nft)
    target = copper.particle()
    radius = 9.0 if environment == "target" else 6.5
    for index, fingerprints in zip(
        state.history[-1].chunk_indices, state.data.fingerprints[11:], strict=True
    ):
        atoms = fingerprints.image.atoms
        assert len(atoms) == (target.get_distances(index, range(55)) <= radius).sum()
        np.testing.assert_allclose(
            np.sort(atoms.get_distances(0, range(1, len(atoms)))),
            np.sort(target.get_distances(index, range(55)))[1 : len(atoms)],
            atol=1e-9,
        )


def test_only_the_force_on_the_centre_counts(finished: tuple[Path, State], tmp_path: Path) -> None:
    run(tmp_path, SHORT, Parent(FaultyEMT, {"faults": {"*": "spoil all but the first force"}}))
    assert_begins_like(finished[0], tmp_path)


def test_uncertainty_and_error_fall(finished: tuple[Path, State]) -> None:
    history = finished[1].history
    _, true = copper.emt(copper.particle())
    errors = [np.linalg.norm(each.forces - true, axis=1).mean() for each in history]
    assert [len(each.chunk_indices) for each in history] == [0, 8, 16, 24]
    assert history[0].structure_uncertainty > 8 * history[-1].structure_uncertainty
    assert errors[0] > 10 * errors[-1]
    assert history[-1].stop_reason == "there are 24 chunks"


def test_the_files_say_what_happened(finished: tuple[Path, State]) -> None:
    folder, state = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.json", "iteration-000", "iteration-001", "iteration-002", "iteration-003",
        "parent.db",
    ]  # fmt: skip
    for record, after in zip(evaluations(folder), state.history, strict=True):
        ensemble = Ensemble.load(folder / f"iteration-{after.iteration:03d}" / "ensemble.json")
        found = ensemble.evaluate(copper.particle())
        assert record["forces"] == found.forces.tolist()
        assert found.uncertainty_raw is not None
        assert found.member_forces is not None
        np.testing.assert_allclose(found.member_forces.mean(axis=0), found.forces, atol=1e-12)
        scatter = ((found.member_forces - found.forces) ** 2).sum(axis=(0, 2)) / 4
        np.testing.assert_allclose(record["uncertainty_raw"], 2.58 * np.sqrt(scatter), rtol=1e-9)
        assert record["extrapolation"] == found.extrapolation.tolist()
        inside = found.extrapolation <= 1.0
        bound = ensemble.bounds.forces
        assert record["bounds"]["forces"] == bound.model_dump()
        np.testing.assert_allclose(
            np.array(record["uncertainty"])[inside],
            bound.of(np.array(record["uncertainty_raw"]))[inside],
        )
    outside = [max(record["extrapolation"]) > 1.0 for record in evaluations(folder)]
    assert outside[0]  # bulk cells alone say nothing of a surface
    assert not outside[-1]
    records = evaluations(folder)
    for earlier, later in itertools.pairwise(records):
        assert later["chunk_indices"] == earlier["chunk_indices"] + earlier["new_indices"]
    best = min(records[1:], key=lambda record: max(record["uncertainty_raw"]))["iteration"]
    expected = folder / f"iteration-{best:03d}" / "ensemble.json"
    assert (folder / "best.json").read_bytes() == expected.read_bytes()


def test_the_misfit_is_that_of_what_members_were_trained_on(finished: tuple[Path, State]) -> None:
    """Cells that a member has not drawn may be off by anything, which tells nothing of its fit."""
    folder, _ = finished
    found = Ensemble.load(folder / "iteration-000/ensemble.json")
    record = Iteration.load(folder / "iteration-000/evaluation.json")
    assert found.multiplicities is not None
    assert not found.multiplicities.all()
    forces: list[list[float]] = [[] for _ in range(len(found))]
    energies: list[list[float]] = [[] for _ in range(len(found))]
    for cell, drawn in zip(copper.cells(), found.multiplicities.T, strict=True):
        predicted = found.evaluate(cell.atoms)
        for member in np.flatnonzero(drawn):
            forces[member] += (predicted.member_forces[member] - cell.forces).ravel().tolist()
            error = (predicted.member_energies[member] - cell.energy) / len(cell.atoms)
            energies[member].append(error)
    rms = [float(np.sqrt(np.mean(np.square(each)))) for each in forces]
    assert record.member_force_rmse.tolist() == pytest.approx(rms, rel=1e-6)
    assert record.force_rmse == record.misfit == pytest.approx(np.mean(rms), rel=1e-6)
    assert record.max_force_residual == pytest.approx(np.abs(np.concatenate(forces)).max())
    per_member = [np.sqrt(np.mean(np.square(each))) for each in energies]
    assert record.energy_rmse == pytest.approx(np.mean(per_member), rel=1e-6)


def test_samples_only_grow(finished: tuple[Path, State]) -> None:
    folder, state = finished
    samples = [
        Ensemble.load(path).multiplicities for path in sorted(folder.glob("*/ensemble.json"))
    ]
    again = [each.again_indices for each in state.history]
    assert any(again)
    for number, (earlier, later) in enumerate(itertools.pairwise(samples)):
        assert earlier is not None
        assert later is not None
        assert later.shape[1] == earlier.shape[1] + 8
        growth = later[:, : earlier.shape[1]] - earlier
        chunks = state.history[number].chunk_indices
        columns = {11 + chunks.index(index) for index in again[number]}
        assert (growth >= 0).all()
        assert set(np.flatnonzero(growth.any(axis=0))) <= columns
        assert growth.any() == bool(columns)


# -- what decides the result


def test_the_seed_decides(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder, seed in zip(folders, (3, 3, 4), strict=True):
        folder.mkdir()
        run(folder, copper.nft(seed, max_chunks=8))
    assert ensembles(folders[0]) == ensembles(folders[1])
    assert evaluations(folders[0]) == evaluations(folders[1])
    first, third = (evaluations(folder)[0]["forces"] for folder in (folders[0], folders[2]))
    assert np.abs(np.array(first) - third).max() > 1e-3


def test_the_number_of_threads_does_not_matter(
    finished: tuple[Path, State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearsight.training.fit._cores", lambda: 5)
    run(tmp_path, SHORT)
    assert_begins_like(finished[0], tmp_path)


# -- stopped and continued


def test_continues_after_every_iteration(finished: tuple[Path, State], tmp_path: Path) -> None:
    calculations = 0
    for number in range(4):
        parent = Parent("emt", database=tmp_path / "parent.db")
        with pytest.raises(Stopped):
            run(tmp_path, parent=parent, progress=Recorder(iteration=number))
        assert parent.calculations == (8 if number else 0)  # those of one iteration
        calculations += parent.calculations
        if number == 2:  # killed while it wrote the third iteration
            shutil.copy(
                tmp_path / "iteration-002/ensemble.json", tmp_path / "iteration-002/.ensemble.json"
            )
            (tmp_path / "iteration-003").mkdir()
            (tmp_path / "iteration-003/ensemble.json").write_text("{")
    parent = Parent("emt", database=tmp_path / "parent.db")
    state = run(tmp_path, parent=parent)
    assert (parent.calculations, parent.known) == (0, calculations) == (0, 24)
    assert state.stop_reason == "there are 24 chunks"
    assert ensembles(tmp_path) == ensembles(finished[0])
    assert evaluations(tmp_path) == evaluations(finished[0])


def test_an_interrupted_parent_loses_nothing(tmp_path: Path) -> None:
    script = Script(tmp_path / "script.json")

    def parent(folder: Path) -> Parent:
        return Parent(FAULTY, {"script": str(script.path)}, folder / "parent.db")

    done = 0
    for calculations in (0, 3, 4):
        script.write(interrupt_after=calculations)
        interrupted = parent(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, SHORT, interrupted)
        done += calculations
        assert (interrupted.calculations, interrupted.known) == (calculations, done)
    script.write(interrupt_after=1)
    run(tmp_path, SHORT, parent(tmp_path))

    whole = tmp_path / "whole"
    whole.mkdir()
    script.write(interrupt_after=8)
    run(whole, SHORT, parent(whole))
    assert ensembles(tmp_path) == ensembles(whole)


def with_points(kpts: tuple[int, ...]) -> EMT:
    """A parent that, like plane-wave codes, takes a tuple."""
    assert len(kpts) == 3
    return EMT()


def test_a_tuple_among_the_arguments_of_the_parent_is_no_other_setting(tmp_path: Path) -> None:
    for _ in range(2):
        parent = Parent(with_points, {"kpts": (1, 1, 1)}, tmp_path / "parent.db")
        run(tmp_path, SHORT, parent)
    assert parent.calculations == 0


def nearly(target: Atoms) -> Atoms:
    target.positions[7, 0] += 1e-9
    return target


def relabelled(images: list[Image]) -> list[Image]:
    images[3] = replace(images[3], energy=(images[3].energy or 0.0) + 1e-9)
    return images


@pytest.mark.parametrize(
    "changed",
    [
        {"nft": copper.nft(seed=1)},
        {"nft": copper.nft(chunk_radius=6.4)},
        {"nft": replace(copper.nft(), network=NetworkSettings(hidden_layers=(5,)))},
        {"nft": replace(copper.nft(), training=TrainingSettings(l2=1e-5))},
        {"nft": replace(copper.nft(), ensemble=EnsembleSettings(members=4))},
        {"parent": Parent("emt", {"asap_cutoff": True})},
        {"target": nearly(copper.particle())},
        {"images": relabelled(copper.cells())},
        {"images": copper.cells()[:-1]},
        {"functions": copper.functions(cutoff=4.4)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_folder_of_something_else_is_refused(
    finished: tuple[Path, State], tmp_path: Path, changed: dict[str, Any]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    with pytest.raises(InputError, match="belongs to other settings or inputs"):
        run(folder, **changed)
    assert ensembles(folder) == ensembles(finished[0])


@pytest.mark.parametrize("name", ["iteration-001/evaluation.json", "iteration-003/ensemble.json"])
@pytest.mark.parametrize("damage", ["torn", "incomplete"])
def test_a_damaged_iteration_is_made_again(
    finished: tuple[Path, State], tmp_path: Path, name: str, damage: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    text = (folder / name).read_text()
    changed = {
        "torn": text[: len(text) // 2],
        "incomplete": text.replace('"calibration"', '"kalibration"'),
    }[damage]
    assert changed != text
    (folder / name).write_text(changed)
    parent = Parent("emt", database=folder / "parent.db")
    run(folder, parent=parent)
    assert parent.calculations == 0
    assert ensembles(folder) == ensembles(finished[0])
    assert evaluations(folder) == evaluations(finished[0])


@pytest.mark.parametrize("name", ["iteration-001/evaluation.json", "iteration-003/ensemble.json"])
def test_an_iteration_of_a_newer_version_is_named(
    finished: tuple[Path, State], tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    text = (folder / name).read_text()
    (folder / name).write_text(re.sub(r'"version": \d', '"version": 9', text, count=1))
    with pytest.raises(InputError) as caught:
        run(folder)
    assert str(caught.value).startswith(f"{folder / name}: ")
    assert "\n" not in str(caught.value)


# -- what cannot be trained on


def test_targets_that_cannot_be_worked_with_cost_nothing(tmp_path: Path) -> None:
    alone = copper.particle() + Atoms("Cu", [[0.0, 0.0, 30.0]])
    foreign = copper.particle()
    foreign.symbols[5] = "Au"
    double = copper.particle()
    double.positions[4] = double.positions[2]
    for target, sentence in (
        (alone, r"target: atom 55 \(Cu\) has no neighbour within 4.5 Å"),
        (foreign, "target contains Au, but only Cu is known here"),
        (double, "target: atoms 2 and 4 overlap"),
        (Atoms(), "target has no atoms"),
    ):
        parent = Parent("emt", database=tmp_path / "parent.db")
        with pytest.raises(InputError, match=sentence):
            run(tmp_path, parent=parent, target=target)
        assert parent.calculations == 0
    assert [path.name for path in tmp_path.iterdir()] == ["parent.db"]


def test_a_chunk_radius_below_the_distances_is_found_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"atom \d+ \(Cu\) has no neighbour within 1.5 Å"):
        run(tmp_path, copper.nft(chunk_radius=1.5))


def test_images_that_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image"):
        run(tmp_path, images=[])


def test_another_process_finds_the_same(finished: tuple[Path, State], tmp_path: Path) -> None:
    """Hash seeds and threads of a new process change nothing."""
    code = (
        "from helpers import copper\nfrom nearsight.parents import Parent\n"
        "copper.nft(max_chunks=8).run(copper.cells(), copper.functions(), copper.particle(), "
        "Parent('emt'), '.')"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    assert_begins_like(finished[0], tmp_path)
