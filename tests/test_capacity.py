"""Larger chunks that no member is trained on, and the choice of the model by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from helpers import copper
from helpers.faulty import FAULTY, Script, digest
from helpers.recorder import Recorder
from helpers.records import make_iteration
from nearsight.config import CapacitySettings, NFTSettings, TrainingSettings
from nearsight.executors.local import LocalExecutor
from nearsight.files.records import Iteration, Model
from nearsight.learning.capacity import (
    Capacity,
    apply_model,
    choice_is_due,
    describe_choice,
    first_model,
)
from nearsight.learning.labels import label_chunks, validation_chunks
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble
from nearsight.parents import Parent
from nearsight.structures.images import Image
from nearsight.training.dataset import TrainingData
from nearsight.training.fit import train_ensemble
from nearsight.training.preparation import prepare
from nearsight.training.unseen import Unseen

TARGETS = Targets.of([copper.particle(), copper.particle(2)])


def chosen_for_validation(
    seed: int = 0, parent: Parent | None = None, progress: Recorder | None = None, **settings: Any
) -> tuple[Image, ...]:
    given = NFTSettings(**{"chunk_radius": 5.0} | settings)
    progress = progress or Recorder()
    return validation_chunks(TARGETS, given, seed, parent or Parent("emt"), progress)


# -- the larger chunks


def test_they_are_larger_and_their_inner_forces_count() -> None:
    """1.16 times the radius, of which the inner 70 % count."""
    images = chosen_for_validation()
    assert len(images) == 3
    for image in images:
        near = TARGETS.extract([_centre(image)], 5.8, 5.0)[0]
        np.testing.assert_array_equal(image.atoms.positions, near.positions)
        energy, forces = copper.emt(near)
        assert image.energy == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(image.forces, forces, atol=1e-9)
        distance = image.atoms.get_distances(0, range(len(image.atoms)))
        np.testing.assert_array_equal(image.force_weights, distance <= 0.7 * 5.8)
        assert 1 < len(image.force_atoms) < len(image.atoms)
    given = chosen_for_validation(validation_radius=4.0)
    assert max(image.atoms.get_distances(0, range(len(image.atoms))).max() for image in given) <= 4


def _centre(image: Image) -> int:
    """Atom of the targets, found by the distances to its neighbours."""
    own = np.sort(image.atoms.get_distances(0, range(len(image.atoms))))
    for number in range(len(TARGETS)):
        which, index = TARGETS.locate(number)
        distances = np.sort(TARGETS.structures[which].get_distances(index, range(55)))
        if np.allclose(own, distances[: len(own)], rtol=0, atol=1e-9):
            return number
    raise AssertionError("no atom of the targets")


def test_the_seed_draws_them() -> None:
    drawn = [[_centre(i) for i in chosen_for_validation(seed)] for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len({tuple(each) for each in drawn}) == 3
    assert all(len(set(each)) == 3 for each in drawn)
    assert max(max(each) for each in drawn) >= 55  # from all targets


@pytest.mark.parametrize("settings", [{"labels": "center"}, {"validation_chunks": 0}], ids=str)
def test_there_are_none(settings: dict[str, Any]) -> None:
    parent = Parent("emt")
    assert chosen_for_validation(parent=parent, **settings) == ()
    assert parent.calculations == 0


def test_never_more_than_half_of_the_atoms() -> None:
    small = copper.particle()[:4]
    settings = NFTSettings(chunk_radius=5.0, validation_chunks=9)
    found = validation_chunks(Targets.of(small), settings, 0, Parent("emt"), Recorder())
    assert len(found) == 2


def test_they_are_labelled_once(tmp_path: Path) -> None:
    for calculations in (3, 0):
        parent = Parent("emt", database=tmp_path / "parent.db")
        chosen_for_validation(parent=parent)
        assert (parent.calculations, parent.known) == (calculations, 3)


def test_one_that_the_parent_fails_on_is_left_out(tmp_path: Path) -> None:
    whole = chosen_for_validation()
    script = Script(tmp_path / "script.json")
    script.write({digest(whole[1].atoms): "raise"})
    parent = Parent(FAULTY, {"script": str(script.path)})
    progress = Recorder()
    found = chosen_for_validation(parent=parent, progress=progress)
    assert len(found) == 2
    for one, two in zip(found, (whole[0], whole[2]), strict=True):
        np.testing.assert_array_equal(one.atoms.positions, two.atoms.positions)
    (note,) = [n for n in progress.notes if n.startswith("skipping the validation chunk")]
    assert f"atom {_centre(whole[1])} " in note


# -- when to choose


def history(*found: tuple[int, float, bool]) -> list[Iteration]:
    """Iterations of so many chunks and such an error, before which a model was chosen or not."""
    candidates = [{"model": {"hidden_layers": [3], "l2": 0.0}, "error": 0.1}]
    return [
        make_iteration(
            number,
            [0.5] * 60,
            list(range(chunks)),
            validation_error=error,
            candidates=candidates if chosen else [],
        )
        for number, (chunks, error, chosen) in enumerate(found)
    ]


FIRST = (0, 1.0, False)


@pytest.mark.parametrize(
    ("past", "chunks", "due"),
    [
        ([FIRST], 8, True),  # the first chunks
        ([FIRST, (8, 0.5, True)], 12, False),
        ([FIRST, (8, 0.95, True)], 12, True),
        ([FIRST, (8, 0.5, True), (12, 0.3, False)], 16, False),  # it falls
        ([FIRST, (8, 0.5, True), (12, 0.46, False)], 16, True),  # it stands still
        ([FIRST, (8, 0.5, True), (12, 0.46, False)], 10, False),  # not a third as many chunks again
        ([FIRST, (8, 0.5, True), (12, 0.46, True)], 16, True),
        ([FIRST, (8, 0.5, True), (12, 0.46, True), (16, 0.45, False)], 18, True),
        ([FIRST, (8, 0.5, True), (12, 0.6, False)], 12, True),
    ],
)
def test_when_a_choice_is_due(past: list[tuple[int, float, bool]], chunks: int, due: bool) -> None:
    assert choice_is_due(history(*past), chunks) == due


# -- which model


def model(nodes: int, l2: float = 1e-4, force_decay: float | None = None) -> Model:
    return Model(hidden_layers=[nodes], l2=l2, force_decay=force_decay)


def no_data(each: Model) -> Any:
    """Where errors are made up, none are needed."""


def choose(
    monkeypatch: pytest.MonkeyPatch,
    errors: Any,
    current: Model,
    validation: Sequence[Image] = (),
    **settings: Any,
) -> tuple[Model, list[Model]]:
    """The choice with errors that are made up, a function of the model."""
    monkeypatch.setattr(Capacity, "_error", lambda _, data, images, each: errors(each))
    grid = {"hidden_layers": [[2], [4], [8], [16]], "l2": [1e-6, 1e-4, 1e-2], "force_decay": [2.0]}
    capacity = Capacity(
        CapacitySettings.model_validate(grid | settings), 6.5, TrainingSettings(), 0, Recorder()
    )
    chosen, candidates = capacity.choose(no_data, validation, current)
    for each in candidates:
        assert each.error == errors(each.model)
    tried = [each.model for each in candidates]
    assert len({each.model_dump_json() for each in tried}) == len(tried)
    return chosen, tried


def test_all_that_is_tried_and_the_best_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """λ 1e-2 and 8 nodes are best, and weights by distance help: one thing after the other."""

    def error(each: Model) -> float:
        nodes = {2: 1.5, 4: 1.0, 8: 0.5, 16: 0.7}[each.hidden_layers[0]]
        return nodes * {1e-6: 3.0, 1e-4: 2.0, 1e-2: 1.0}[each.l2] * (0.8 if each.force_decay else 1)

    chosen, tried = choose(monkeypatch, error, model(4))
    assert chosen == model(8, 1e-2, 2.0)
    assert model(16, 1e-2, 2.0) in tried  # one step too far was tried
    assert model(2, 1e-2, 2.0) not in tried  # smaller ones were not, larger ones being better
    assert model(8, 1e-6, 2.0) in tried  # λ again, for other networks
    assert len(tried) == 3 + 1 + 2 + 2


def test_smaller_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, _ = choose(monkeypatch, lambda each: each.hidden_layers[0] + 100 * each.l2, model(8))
    assert chosen.hidden_layers == [2]


@pytest.mark.parametrize(
    ("error", "expected"), [(0.02, [8, 16]), (0.0095, [8]), (0.0049, [4])], ids=str
)
def test_networks_grow_while_the_error_matters(
    monkeypatch: pytest.MonkeyPatch, error: float, expected: list[int]
) -> None:
    """Larger ones halve the error; half a percent of the mean force, 1 eV/Å here, is enough."""
    forces = np.array([[0.5, 0.0, 0.0], [0.0, 1.5, 0.0], [0.0, 0.0, 50.0]])
    weights = np.array([1.0, 1.0, 0.0])
    atoms = Atoms("Cu3", np.diag([3.0, 3.0, 3.0]))
    image = Image(atoms, forces, energy=0.0, chunk=True, force_weights=weights)
    chosen, tried = choose(
        monkeypatch,
        lambda each: error * 4 / each.hidden_layers[0],
        model(4),
        [image],
        hidden_layers=[[4], [8], [16]],
        l2=[],
        force_decay=[],
    )
    assert chosen.hidden_layers == expected[-1:]
    assert [each.hidden_layers[0] for each in tried] == [4, *(n for n in expected if n > 4)]


def test_networks_of_the_settings_are_among_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, tried = choose(monkeypatch, lambda each: 1 + abs(each.hidden_layers[0] - 6), model(6))
    assert chosen == model(6)
    assert {each.hidden_layers[0] for each in tried} == {4, 6, 8}


@pytest.mark.parametrize(("better", "replaced"), [(0.96, True), (0.975, False), (1.0, False)])
def test_a_model_gives_way_to_a_clearly_better_one_only(
    monkeypatch: pytest.MonkeyPatch, better: float, replaced: bool
) -> None:
    def error(each: Model) -> float:
        return better if each == model(4, 1e-2) else 1.0

    chosen, _ = choose(monkeypatch, error, model(4))
    assert chosen == (model(4, 1e-2) if replaced else model(4))


def test_nothing_but_the_model_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    none: dict[str, Any] = {"hidden_layers": [], "l2": [], "force_decay": []}
    chosen, tried = choose(monkeypatch, lambda _: 1.0, model(4), **none)
    assert chosen == model(4)
    assert tried == [model(4)]


@pytest.mark.parametrize(
    ("errors", "now", "expected"),
    [
        ({4.5: 1.0, 5.5: 1.0, 6.5: 1.0, 8.0: 0.98}, None, 4.5),  # no worse, and quicker
        ({4.5: 1.01, 5.5: 1.0, 6.5: 1.0, 8.0: 0.98}, None, 5.5),
        ({4.5: 1.2, 5.5: 1.1, 6.5: 1.0, 8.0: 0.98}, None, None),  # a longer one: clearly better?
        ({4.5: 1.2, 5.5: 1.1, 6.5: 1.0, 8.0: 0.9}, None, 8.0),
        ({4.5: 1.2, 5.5: 1.0, 6.5: 0.9, 8.0: 0.9}, 5.5, None),  # back to that of the run
    ],
)
def test_a_cutoff_is_as_short_as_it_can_be(
    monkeypatch: pytest.MonkeyPatch,
    errors: dict[float, float],
    now: float | None,
    expected: float | None,
) -> None:
    current = model(4).model_copy(update={"cutoff": now})
    chosen, tried = choose(
        monkeypatch,
        lambda each: errors[each.cutoff or 6.5],
        current,
        cutoff=[4.5, 5.5, 8.0],
        hidden_layers=[],
        l2=[],
        force_decay=[],
    )
    assert chosen.cutoff == expected
    assert {each.cutoff for each in tried} <= {None, 4.5, 5.5, 8.0}


def test_what_the_log_says(monkeypatch: pytest.MonkeyPatch) -> None:
    capacity = Capacity(copper.CAPACITY, 6.5, TrainingSettings(), 0, Recorder())
    monkeypatch.setattr(Capacity, "_error", lambda _, data, images, each: 0.05 + 10 * each.l2)
    before = model(4, 1e-2, 2.0)
    chosen, candidates = capacity.choose(no_data, (), before)
    assert describe_choice(before, chosen, candidates) == (
        "of 4 models, 4 nodes, λ 1e-06, force_decay 2 Å: error on unseen chunks "
        "50 meV/Å, 4 nodes, λ 0.01, force_decay 2 Å 150"
    )
    assert describe_choice(chosen, chosen, candidates) == (
        "of 4 models none is clearly better: 4 nodes, λ 1e-06, force_decay 2 Å stays"
    )


def test_the_first_model_is_that_of_the_settings() -> None:
    nft = copper.whole(force_decay=3.0)
    found = first_model(nft.network, nft.training, nft.settings)
    assert found == Model(hidden_layers=[6], l2=1e-2, force_decay=3.0)


# -- on forces of EMT


@pytest.fixture(scope="module")
def chunks() -> list[Image]:
    """Four chunks of the particle."""
    found = label_chunks(
        TARGETS,
        [3, 20, 37, 54],
        NFTSettings(chunk_radius=5.0),
        copper.functions(),
        Parent("emt"),
        Recorder(),
    ).values()
    return [image for image in found if isinstance(image, Image)]


@pytest.fixture(scope="module")
def data(chunks: list[Image]) -> TrainingData:
    nft = copper.whole()
    return prepare([*copper.cells(), *chunks], copper.functions(), nft.network, TARGETS.structures)


REAL = CapacitySettings(
    hidden_layers=((1,), (6,)), l2=(1e-6, 10.0), force_decay=(), members=2, iterations=10
)


def test_of_two_the_better_one(data: TrainingData) -> None:
    """λ = 10 and a single node keep the networks from learning; errors by EMT say so."""
    images = chosen_for_validation()
    capacity = Capacity(REAL, 6.5, TrainingSettings(), 3, Recorder())
    poor = Model(hidden_layers=[1], l2=10.0)
    chosen, candidates = capacity.choose(partial(apply_model, data), images, poor)
    assert chosen == Model(hidden_layers=[6], l2=1e-6)
    errors = {c.model.model_dump_json(): c.error for c in candidates}
    assert errors[chosen.model_dump_json()] < 0.5 * errors[poor.model_dump_json()]
    # from the other side: the good one stays
    again, _ = capacity.choose(partial(apply_model, data), images, chosen)
    assert again == chosen


def test_the_error_of_a_candidate_is_that_of_its_ensemble(
    data: TrainingData, chunks: list[Image]
) -> None:
    """Members trained on bulk cells alone, where nothing is thinned, as `train_ensemble` does."""
    cells = copper.cells()
    nft = copper.whole()
    bulk = prepare(cells, copper.functions(), nft.network)
    images = chosen_for_validation()
    training = TrainingSettings(l2=1e-3, initial_iterations=10)
    settings = REAL.model_copy(update={"hidden_layers": (), "l2": ()})
    capacity = Capacity(settings, 6.5, training, 3, Recorder())
    one = Model(hidden_layers=[6], l2=1e-3)
    _, (candidate,) = capacity.choose(partial(apply_model, bulk), images, one)
    members = nft.ensemble.model_copy(update={"members": 2})
    ensemble = train_ensemble(cells, copper.functions(), nft.network, training, members, 3)
    assert isinstance(ensemble, Ensemble)
    expected = Unseen.of(ensemble, validation=images).expected_error
    assert expected is not None
    assert candidate.error == expected.mean


def test_it_is_seeded_and_any_engine_finds_the_same(data: TrainingData) -> None:
    images = chosen_for_validation()[:1]
    settings = REAL.model_copy(update={"l2": (1e-6,), "iterations": 4})
    current = Model(hidden_layers=[6], l2=1e-2)

    def found(seed: int, executor: Any = None) -> Any:
        capacity = Capacity(settings, 6.5, TrainingSettings(), seed, Recorder(), executor)
        return capacity.choose(partial(apply_model, data), images, current)

    expected = found(3)
    assert found(3) == expected
    assert found(4) != expected
    with LocalExecutor(2, threads=1) as local:
        assert found(3, local) == expected
    assert len(expected[1]) > 2


def test_the_model_of_the_data_does_not_matter(data: TrainingData) -> None:
    images = chosen_for_validation()[:1]
    settings = REAL.model_copy(update={"l2": (), "iterations": 3})
    current = Model(hidden_layers=[6], l2=1e-4)
    capacity = Capacity(settings, 6.5, TrainingSettings(), 3, Recorder())
    other = replace(data, hidden_layers=(3, 3), force_decay=1.0)
    assert capacity.choose(partial(apply_model, other), images, current) == capacity.choose(
        partial(apply_model, data), images, current
    )
