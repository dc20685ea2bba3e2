"""Nearsighted force training by whole chunks, the default, with larger ones and a choice of models.

The small case of ``copper.whole``: λ is so large at first that another is chosen.
"""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from helpers import copper
from helpers.faulty import FAULTY, Script
from helpers.recorder import Recorder, Stopped
from helpers.trainings import assert_same, contents, train
from nearsight.config import (
    DynamicsSettings,
    FeatureSettings,
    RelaxationSettings,
    RetrainingSettings,
)
from nearsight.errors import InputError, ParentError
from nearsight.executors.local import LocalExecutor
from nearsight.files.records import best_iteration
from nearsight.learning.learner import Learner
from nearsight.learning.nft import NFT
from nearsight.learning.on_the_fly import Dynamics
from nearsight.learning.paths import Relaxations
from nearsight.learning.retraining import Retraining
from nearsight.learning.state import Start, State
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble
from nearsight.parents import Parent
from nearsight.selection.choose import choose_features
from nearsight.structures.images import Image, read_images


def run(folder: Path, nft: NFT | None = None, parent: Parent | None = None, **more: Any) -> State:
    return train(nft or copper.whole(), folder, parent, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """A folder with a whole training in it, and how it ended. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder)


# -- what it does


def test_chunks_come_first_in_one_number_then_in_another(finished: tuple[Path, State]) -> None:
    history = finished[1].history
    assert [each.chunks for each in history] == [0, 3, 5, 7]
    assert [len(each.new_indices) for each in history] == [3, 2, 2, 0]
    assert history[-1].stop_reason == "there are 7 chunks"
    for earlier, later in itertools.pairwise(history):
        assert later.chunk_indices == earlier.chunk_indices + earlier.new_indices


def test_all_forces_and_the_energy_of_chunks_are_learned(finished: tuple[Path, State]) -> None:
    folder, state = finished
    target = copper.particle()
    written = [
        i for n in (1, 2, 3) for i in read_images(folder / f"iteration-{n:03d}/chunks.extxyz")
    ]
    assert len(written) == 7
    numbers = state.history[-1].chunk_indices
    for index, image, other in zip(numbers, state.images[11:], written, strict=True):
        near = target.get_distances(index, range(55)) <= 5.0
        near[index] = False
        chunk = target[[index, *np.flatnonzero(near)]]
        energy, forces = copper.emt(chunk)
        assert image.energy == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(image.forces, forces, atol=1e-9)
        assert other.chunk
        assert other.energy == pytest.approx(energy, abs=1e-7)
        np.testing.assert_allclose(other.forces, forces, atol=1e-7)
        np.testing.assert_array_equal(other.force_weights, np.ones(len(chunk)))
    assert len(state.data.forces) == sum(len(image.atoms) for image in state.images)


def test_error_and_uncertainty_fall(finished: tuple[Path, State]) -> None:
    _, true = copper.emt(copper.particle())
    history = finished[1].history
    errors = [np.linalg.norm(each.forces - true, axis=1).mean() for each in history]
    assert errors[-1] < errors[0] / 20
    assert errors[-1] < 0.02
    assert history[-1].structure_uncertainty < history[0].structure_uncertainty / 10
    for each, error in zip(history[1:], errors[1:], strict=True):
        assert each.validation_error is not None
        assert 0.5 < each.validation_error / error < 2.0  # larger chunks say what it is


def test_larger_chunks_say_which_iteration_is_the_best(finished: tuple[Path, State]) -> None:
    folder, state = finished
    assert len(state.validation) == 2
    for each in state.history:
        ensemble = Ensemble.load(folder / f"iteration-{each.iteration:03d}" / "ensemble.json")
        errors = []
        for image in state.validation:
            miss = ensemble.evaluate(image.atoms).forces - image.forces
            errors.append(np.linalg.norm(miss[image.force_atoms], axis=1))
        assert each.validation_error == pytest.approx(np.concatenate(errors).mean(), rel=1e-9)
        assert each.expected is not None
        assert each.expected.mean == each.validation_error
        assert each.expected.low <= each.expected.mean <= each.expected.high
        assert (each.expected.images, each.expected.source) == (2, "validation")
        assert each.bounds is not None
        assert each.bounds == ensemble.bounds
        assert each.calibration == ensemble.calibration == each.bounds.forces.factor
        assert each.extrapolation is not None
        inside = each.extrapolation <= 1.0
        expected = each.bounds.forces.of(each.uncertainty_raw[inside])
        np.testing.assert_allclose(each.uncertainty[inside], expected)
    best = state.history[best_iteration(state.history)]
    assert state.best is best
    lowest = min(each.validation_error or np.inf for each in state.history[1:])
    assert (best.validation_error or np.inf) <= 1.05 * lowest
    file = folder / f"iteration-{best.iteration:03d}" / "ensemble.json"
    assert (folder / "best.json").read_bytes() == file.read_bytes()


def test_larger_chunks_are_never_trained_on(finished: tuple[Path, State]) -> None:
    """They are other structures, and each was calculated once."""
    folder, state = finished
    keys = [image.atoms.positions.tobytes() for image in (*state.images, *state.validation)]
    assert len(set(keys)) == 11 + 7 + 2
    trained = {prints.image.atoms.positions.tobytes() for prints in state.data.fingerprints}
    assert trained == set(keys[:18])
    assert Parent("emt", database=folder / "parent.db").known == 7 + 2


def test_a_model_is_chosen_with_the_first_chunks(finished: tuple[Path, State]) -> None:
    folder, state = finished
    first, second, *later = state.history
    assert first.model is not None
    assert second.model is not None
    assert (first.model.l2, first.candidates) == (1e-2, [])
    assert second.model.l2 == 1e-6
    errors = {c.model.model_dump_json(): c.error for c in second.candidates}
    assert errors[second.model.model_dump_json()] <= 0.97 * errors[first.model.model_dump_json()]
    assert {(*c.model.hidden_layers,) for c in second.candidates} >= {(4,), (6,), (8,)}
    assert all(each.model == second.model for each in later if not each.candidates)
    for each in state.history:
        ensemble = Ensemble.load(folder / f"iteration-{each.iteration:03d}" / "ensemble.json")
        network = ensemble.members[0]["Cu"]
        assert each.model is not None
        assert [len(layer.bias) for layer in network.layers] == [*each.model.hidden_layers, 1]


def test_the_log_tells_of_the_choice(tmp_path: Path) -> None:
    progress = Recorder()
    run(tmp_path, copper.whole(max_chunks=3), progress=progress)
    (note,) = [n for n in progress.notes if "models" in n]
    assert "λ 1e-06" in note
    assert "λ 0.01" in note
    assert {what for _, _, what in progress.steps} >= {"models compared"}


# -- ends


def test_it_ends_at_the_accuracy(finished: tuple[Path, State], tmp_path: Path) -> None:
    """That of the first iteration of chunks; the settings change nothing before."""
    history = finished[1].history
    bounds = [float(each.uncertainty.max()) for each in history]
    assert bounds[1] < bounds[0]
    state = run(tmp_path, copper.whole(accuracy=bounds[1] * 1.0001))
    assert len(state.history) == 2
    assert state.stop_reason == (
        f"the calibrated uncertainty is at most {bounds[1] * 1.0001:g} eV/Å"
    )
    np.testing.assert_array_equal(state.history[-1].forces, history[1].forces)


# -- stopped and continued


def test_continues_after_every_iteration(finished: tuple[Path, State], tmp_path: Path) -> None:
    """To the same bits, model and candidates among them; no calculation is repeated."""
    calculations = []
    for number in range(4):
        parent = Parent("emt", database=tmp_path / "parent.db")
        with pytest.raises(Stopped):
            run(tmp_path, parent=parent, progress=Recorder(iteration=number))
        calculations.append(parent.calculations)
    assert calculations == [2, 3, 2, 2]  # the larger ones come before everything else
    parent = Parent("emt", database=tmp_path / "parent.db")
    state = run(tmp_path, parent=parent)
    assert (parent.calculations, parent.known) == (0, 9)
    assert_same(tmp_path, finished[0])
    assert [each.model for each in state.history] == [each.model for each in finished[1].history]
    for one, two in zip(state.weights, finished[1].weights, strict=True):
        np.testing.assert_array_equal(one, two)
    assert state.model == finished[1].model
    np.testing.assert_array_equal(state.data.force_weights, finished[1].data.force_weights)


def test_stopped_while_models_are_compared(finished: tuple[Path, State], tmp_path: Path) -> None:
    class Impatient(Recorder):
        def advance(self, done: int, total: int | None = None, what: str = "") -> None:
            if (done, what) == (3, "models compared"):
                raise Stopped

    with pytest.raises(Stopped):
        run(tmp_path, progress=Impatient())
    assert not (tmp_path / "iteration-001" / "evaluation.json").exists()
    run(tmp_path)
    assert_same(tmp_path, finished[0])


def test_members_trained_by_an_engine_are_the_same(
    finished: tuple[Path, State], tmp_path: Path
) -> None:
    with LocalExecutor(2, threads=1) as executor:
        run(tmp_path, executor=executor)
    assert_same(tmp_path, finished[0])


def test_a_model_with_a_cutoff_of_its_own(tmp_path: Path) -> None:
    """Its functions are chosen anew, as those of the run were; stopped, it goes on with them."""
    radii = (4.5, 5.4)
    longer = replace(
        copper.whole(max_chunks=5),
        capacity=copper.CAPACITY.model_copy(update={"cutoff": radii, "l2": (), "force_decay": ()}),
        features=FeatureSettings(count=8, g2_r_s=(0.0, 2.5)),
    )
    short = copper.functions(3.6)
    state = run(tmp_path / "whole", longer, functions=short)
    first, second, last = state.history
    assert first.model is not None
    assert second.model is not None
    assert {c.model.cutoff for c in second.candidates} >= {None, *radii}
    assert first.model.cutoff is None
    radius = second.model.cutoff
    assert radius in radii
    for each, cutoff in zip(state.history, (3.6, radius, radius), strict=True):
        place = tmp_path / "whole" / f"iteration-{each.iteration:03d}" / "ensemble.json"
        assert Ensemble.load(place).functions.cutoff.radius == cutoff
    expected = choose_features(
        copper.cells(), longer.features.model_copy(update={"cutoff": radius})
    )
    assert state.ensemble.functions.to_dict() == expected.symmetry_functions.to_dict()
    for number in range(3):
        with pytest.raises(Stopped):
            run(tmp_path / "stopped", longer, functions=short, progress=Recorder(iteration=number))
    again = run(tmp_path / "stopped", longer, functions=short)
    assert_same(tmp_path / "stopped", tmp_path / "whole")
    assert again.model == state.model == last.model


@pytest.mark.parametrize(
    "changed",
    [
        copper.whole(validation_chunks=1),
        copper.whole(core_radius=3.0),
        copper.whole(force_decay=2.0),
        replace(copper.whole(), capacity=copper.CAPACITY.model_copy(update={"members": 3})),
        replace(copper.whole(), capacity=copper.CAPACITY.model_copy(update={"cutoff": (4.0,)})),
        replace(copper.whole(), training=copper.TRAINING),
    ],
    ids=["validation", "core", "decay", "capacity", "cutoff", "tolerance"],
)
def test_a_folder_of_other_settings_is_refused(
    finished: tuple[Path, State], tmp_path: Path, changed: NFT
) -> None:
    shutil.copytree(finished[0], tmp_path / "copy")
    with pytest.raises(InputError, match="belongs to other settings or inputs"):
        run(tmp_path / "copy", changed)


def test_more_chunks_continue_in_place(finished: tuple[Path, State], tmp_path: Path) -> None:
    """As if they had been allowed from the start, and so with an accuracy that is given up."""
    for nft in (copper.whole(max_chunks=3), copper.whole(accuracy=10.0), copper.whole()):
        run(tmp_path, nft)
    found, expected = contents(tmp_path), contents(finished[0])
    assert list(found) == list(expected)
    for name, content in expected.items():
        if name.endswith("evaluation.json"):
            digests = dict.fromkeys(("ensemble", "previous"))  # of the settings too
            assert {**found[name], **digests} == {**content, **digests}, name
    assert Parent("emt", database=tmp_path / "parent.db").known == 9


def test_a_training_by_centres_is_made_anew_without_the_parent(tmp_path: Path) -> None:
    centres = run(tmp_path, copper.whole(labels="center", max_chunks=5))
    known = centres.history[-1].chunk_indices
    assert len(known) == 5
    parent = Parent("emt", database=tmp_path / "parent.db")
    progress = Recorder()
    state = run(tmp_path, copper.whole(max_chunks=5), parent, progress=progress)
    assert parent.calculations == 0
    assert [each.chunk_indices for each in state.history] == [[], known]
    assert state.validation == ()
    for image in state.images[11:]:
        energy, forces = copper.emt(image.atoms)
        assert image.energy == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(image.forces, forces, atol=1e-9)
    assert any("training begins anew on their 5 chunks" in note for note in progress.notes)
    assert (tmp_path / "earlier" / "iteration-001" / "ensemble.json").exists()
    again = run(tmp_path, copper.whole(max_chunks=5), parent)
    assert parent.calculations == 0
    for one, two in zip(again.weights, state.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_other_weights_of_images_are_refused(tmp_path: Path) -> None:
    """And continue if they are the same: chunks of an earlier training among the first images."""
    atoms = copper.particle()[:30]
    energy, forces = copper.emt(atoms)

    def images(weight: float) -> list[Image]:
        weights = np.full(30, weight)
        weights[::2] = 1.0
        return [*copper.cells(), Image(atoms, forces, energy, weights, chunk=True)]

    hard = copper.CAPACITY.model_copy(update={"force_decay": ()})
    nft = replace(copper.whole(max_chunks=3), capacity=hard)
    run(tmp_path, nft, images=images(0.5))
    parent = Parent("emt", database=tmp_path / "parent.db")
    state = run(tmp_path, nft, parent, images=images(0.5))
    assert parent.calculations == 0
    weights = state.data.force_weights[state.data.rows(11)]
    assert state.model.force_decay is None
    np.testing.assert_array_equal(weights, images(0.5)[11].force_weights)
    with pytest.raises(InputError, match="belongs to other settings or inputs"):
        run(tmp_path, nft, images=images(0.25))


def test_chunks_of_users_need_no_weights(tmp_path: Path) -> None:
    """Marked in their file, with an energy."""
    atoms = copper.particle()[:30]
    energy, forces = copper.emt(atoms)
    atoms.info["nearsight_chunk"] = True
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    atoms.write(tmp_path / "user.extxyz")
    given = read_images(tmp_path / "user.extxyz")
    nft = copper.whole(max_chunks=3, force_decay=3.0)
    state = run(tmp_path / "nft", nft, images=[*copper.cells(), *given])
    assert state.stop_reason == "there are 3 chunks"


def test_larger_chunks_that_all_fail(tmp_path: Path) -> None:
    """The uncertainty alone is left to tell iterations apart."""
    expected = run(tmp_path / "whole", copper.whole(max_chunks=3))
    script = Script(tmp_path / "script.json")
    script.write({"*": "raise"})
    parent = Parent(FAULTY, {"script": str(script.path)})
    with pytest.raises(ParentError, match="failed on all 6 chunks"):
        run(tmp_path / "nft", copper.whole(max_chunks=3), parent)
    first = contents(tmp_path / "nft")["iteration-000/evaluation.json"]
    assert first["validation_error"] is None
    assert first["uncertainty_raw"] == expected.history[0].uncertainty_raw.tolist()


# -- from trained members


def test_a_start_keeps_the_model_and_the_larger_chunks(
    finished: tuple[Path, State], tmp_path: Path
) -> None:
    trained = finished[1]
    assert trained.model.l2 != copper.whole().training.l2
    start = Start(trained.ensemble, trained.chunk_images, trained.model, trained.validation)
    nft = copper.whole(max_chunks=11)
    for number in (0, 1):
        with pytest.raises(Stopped):
            run(tmp_path / "stopped", nft, images=trained.images, start=start,
                progress=Recorder(iteration=number))  # fmt: skip
    parent = Parent("emt", database=tmp_path / "parent.db")
    states = [
        run(tmp_path / name, nft, parent, images=trained.images, start=start)
        for name in ("stopped", "whole")
    ]
    assert_same(tmp_path / "stopped", tmp_path / "whole")
    for state in states:
        assert [each.chunks for each in state.history] == [7, 9, 11]
        assert all(each.model == trained.model for each in state.history)
        assert not any(each.candidates for each in state.history)
        assert all(each.validation_error is not None for each in state.history)
        assert state.validation is trained.validation
        first = trained.multiplicities.shape[1]
        assert (state.multiplicities[:, :first] >= trained.multiplicities).all()
        lowest = min(each.validation_error or np.inf for each in state.history)
        assert (state.best.validation_error or np.inf) <= 1.05 * lowest


RETRAINING = RetrainingSettings(threshold=1e-4, window=3.0, chunks=2, target_chunks=2, max_rounds=1)


def learner(folder: Path, done: Path) -> Learner:
    """The training of this file after its end, read back."""
    if not folder.exists():
        shutil.copytree(done, folder)
    parent = Parent("emt", database=folder / "parent.db")
    nft = copper.whole()
    state = run(folder, nft, parent)
    target = Targets.of(copper.particle())
    return Learner.from_training(nft, state, folder, target, parent, RETRAINING)


def test_retraining_goes_on_with_all_of_it(finished: tuple[Path, State], tmp_path: Path) -> None:
    relaxation = RelaxationSettings(optimizer="BFGS", max_steps=4)
    trained = learner(tmp_path / "nft", finished[0])
    paths = Relaxations([copper.particle()], relaxation)
    found = Retraining(paths).run(trained, tmp_path)
    place = tmp_path / "retraining-01"
    harvested = json.loads((place / "harvest.json").read_text())["chosen"]
    frames = read(place / "frames.traj", index=":")
    images = read_images(place / "chunks.extxyz")
    assert len(images) == len(harvested) > 0
    for (frame, atom), image in zip(harvested, images, strict=True):
        near = frames[frame].get_distances(atom, range(55)) <= 5.0
        others = [i for i in np.flatnonzero(near) if i != atom]
        energy, forces = copper.emt(frames[frame][[atom, *others]])
        assert image.energy == pytest.approx(energy, abs=1e-7)
        np.testing.assert_allclose(image.forces, forces, atol=1e-7)
    evaluations = [json.loads(p.read_text()) for p in sorted(place.glob("*/evaluation.json"))]
    assert evaluations[-1]["chunk_indices"][:7] == finished[1].history[-1].chunk_indices
    assert all(each["model"]["l2"] == 1e-6 for each in evaluations)
    assert all(each["validation_error"] > 0 for each in evaluations)
    # interrupted before the round was over, and taken up
    shutil.copytree(tmp_path / "nft", tmp_path / "again" / "nft")
    with pytest.raises(Stopped):
        Retraining(paths).run(
            learner(tmp_path / "again" / "nft", finished[0]),
            tmp_path / "again",
            Recorder(iteration=1),
        )
    other = Retraining(paths).run(
        learner(tmp_path / "again" / "nft", finished[0]), tmp_path / "again"
    )
    assert other.best == found.best
    assert (
        contents(tmp_path / "again")["retraining-01/best.json"]
        == (place / "best.json").read_bytes()
    )


def test_dynamics_learns_whole_chunks(finished: tuple[Path, State], tmp_path: Path) -> None:
    settings = DynamicsSettings(
        temperature=2000.0, friction=100.0, steps=20, max_rounds=1, write_every=2, threshold=0.02
    )
    atoms = copper.particle()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        trained = learner(tmp_path / name / "nft", finished[0])
        Dynamics(settings).run(trained.ensemble, atoms.copy(), tmp_path / name / "md", trained)
    place = tmp_path / "one" / "md" / "retraining-01"
    images = read_images(place / "chunks.extxyz")
    assert images
    for image in images:
        energy, forces = copper.emt(Atoms(image.atoms.symbols, image.atoms.positions))
        assert image.energy == pytest.approx(energy, abs=1e-6)
        np.testing.assert_allclose(image.forces, forces, atol=1e-6)
    for name in ("retraining-01/best.json", "best.json"):
        one, two = (tmp_path / each / "md" / name for each in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
