"""Levenberg–Marquardt, and the members side by side."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from ase import Atoms

from helpers import Array
from helpers.recorder import Recorder
from helpers.structures import ELEMENTS, functions_of, labelled_images, structure, training_data
from nearsight.config import EnsembleSettings, NetworkSettings, TrainingSettings
from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble
from nearsight.structures.images import Image
from nearsight.training import fit as training
from nearsight.training import preparation
from nearsight.training.bootstrap import draw_initial
from nearsight.training.dataset import TrainingData

COUNTS = np.array([2, 1, 0, 1, 3, 1, 1])
"""Multiplicities of the seven images."""


def settings(**given: Any) -> TrainingSettings:
    return TrainingSettings(**{"l2": 1e-4, "force_coefficient": 0.4, "tolerance": 0.0} | given)


def total_loss(
    data: TrainingData, weights: Array, chosen: TrainingSettings, counts: Array = COUNTS
) -> float:
    residual = data.core.residuals(weights, *data.weights(counts, chosen.force_coefficient))
    return 0.5 * residual @ residual + 0.5 * chosen.l2 * weights @ weights


def possible_gain(
    data: TrainingData, weights: Array, chosen: TrainingSettings, counts: Array = COUNTS
) -> float:
    """What a Gauss–Newton step promises to take off the loss, ½ gᵀ (JᵀJ + λ)⁻¹ g."""
    loss_weights = data.weights(counts, chosen.force_coefficient)
    residual, jacobian = data.core.jacobian(weights, *loss_weights)
    gradient = jacobian.T @ residual + chosen.l2 * weights
    curvature = data.core.curvature(weights, *loss_weights)
    return 0.5 * gradient @ np.linalg.solve(curvature + chosen.l2 * np.eye(len(weights)), gradient)


@pytest.fixture(scope="module")
def small() -> TrainingData:
    """34 weights of one element, 99 force components."""
    return training_data(1, (4,))


# --- one member --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_elements", [1, 2])
def test_every_iteration_lowers_the_loss(n_elements: int) -> None:
    data = training_data(n_elements, (5, 4))
    start = training.initial_weights(data, 0, 0)
    losses = [total_loss(data, start, settings())]
    for iterations in (1, 2, 3, 4, 6, 8, 12):  # a longer run begins as a shorter one
        fit = training.levenberg_marquardt(data, start, COUNTS, settings(), iterations)
        assert fit.loss == pytest.approx(total_loss(data, fit.weights, settings()), rel=1e-12)
        losses.append(fit.loss)
    assert (np.diff(losses) < 0.0).all()
    assert losses[-1] < 0.5 * losses[0]


def test_number_of_iterations_is_that_of_the_settings(small: TrainingData) -> None:
    start = training.initial_weights(small, 0, 0)
    chosen = settings(iterations=7)
    one = training.levenberg_marquardt(small, start, COUNTS, chosen)
    two = training.levenberg_marquardt(small, start, COUNTS, chosen, 7)
    np.testing.assert_array_equal(one.weights, two.weights)


def test_start_and_images_stay_as_they_are(small: TrainingData) -> None:
    start = training.initial_weights(small, 0, 0)
    before = start.copy()
    training.levenberg_marquardt(small, start, COUNTS, settings(), 3)
    np.testing.assert_array_equal(start, before)


def test_it_ends_where_the_gradient_is_zero(small: TrainingData) -> None:
    chosen = settings(l2=1e-3)
    start = training.initial_weights(small, 0, 0)
    fit = training.levenberg_marquardt(small, start, COUNTS, chosen, 1000)
    # the loss is known to 1e-16 of its value: no step can be told from none below that
    assert possible_gain(small, start, chosen) > 0.1 * fit.loss
    assert possible_gain(small, fit.weights, chosen) < 1e-14 * fit.loss


@pytest.mark.parametrize("member", [0, 1])
def test_the_minimum_is_that_of_scipys_least_squares(small: TrainingData, member: int) -> None:
    """Same residuals, √λ w among them; from a point in the same basin."""
    chosen = settings(l2=1e-3)
    start = training.initial_weights(small, 0, member)
    basin = training.levenberg_marquardt(small, start, COUNTS, chosen, 60).weights
    fit = training.levenberg_marquardt(small, basin, COUNTS, chosen, 1000)
    weights = small.weights(COUNTS, chosen.force_coefficient)
    root = np.sqrt(chosen.l2)
    found = scipy.optimize.least_squares(
        lambda w: np.concatenate([small.core.residuals(w, *weights), root * w]),
        basin,
        lambda w: np.concatenate([small.core.jacobian(w, *weights)[1], root * np.eye(len(w))]),
        method="trf",
        ftol=None,
        xtol=1e-14,
        gtol=1e-12,
        max_nfev=2000,
    )
    assert fit.loss == pytest.approx(found.cost, rel=1e-10)
    assert np.abs(fit.weights - found.x).max() < 1e-5


def test_a_minimum_is_left_alone(small: TrainingData) -> None:
    chosen = settings(l2=1e-3)
    start = training.initial_weights(small, 0, 0)
    fit = training.levenberg_marquardt(small, start, COUNTS, chosen, 1000)
    again = training.levenberg_marquardt(small, fit.weights, COUNTS, chosen, 5)
    assert again.loss <= fit.loss
    # what the rounding of the loss leaves open: ½ λ |Δw|² of a few times ε L
    open_to = np.sqrt(8.0 * np.finfo(float).eps * fit.loss / chosen.l2)
    assert np.linalg.norm(again.weights - fit.weights) < open_to


def test_it_ends_after_two_small_gains(small: TrainingData) -> None:
    """Where the losses of longer and longer runs say that it stands still."""
    start = training.initial_weights(small, 0, 0)
    losses = [total_loss(small, start, settings())]
    while len(losses) < 80:
        fit = training.levenberg_marquardt(small, start, COUNTS, settings(), len(losses))
        losses.append(fit.loss)
    lowered = 1.0 - np.divide(losses[1:], losses[:-1])
    for tolerance in (0.3, 0.03, 0.01):
        still = lowered < tolerance
        end = 2 + int(np.argmax(still[1:] & still[:-1]))
        assert 2 <= end < 80
        chosen = settings(tolerance=tolerance)
        found = training.levenberg_marquardt(small, start, COUNTS, chosen, 80)
        assert found.loss == pytest.approx(losses[end], rel=1e-13)


def test_images_left_out_do_not_matter() -> None:
    """A member whose sample lacks an image never sees its labels."""
    data = training_data(2, (5, 4))
    images = labelled_images(2)
    wrong = Image(images[2].atoms, images[2].forces + 1.0, images[2].energy + 5.0)
    prints = list(data.fingerprints)
    prints[2] = replace(prints[2], image=wrong)
    changed = replace(data, fingerprints=prints)
    start = training.initial_weights(data, 0, 0)
    one, two = (
        training.levenberg_marquardt(d, start, COUNTS, settings(), 5) for d in (data, changed)
    )
    assert COUNTS[2] == 0
    np.testing.assert_array_equal(one.weights, two.weights)


# --- starts ------------------------------------------------------------------------------------


def test_starts_are_uniform_within_the_limits_of_their_layers() -> None:
    """±√(6/(n_in + n_out)), as in Amp; every member and seed has its own."""
    data = training_data(2, (20, 30))
    weights = training.initial_weights(data, 3, 1)
    assert weights.shape == (data.core.n_weights,)
    place = 0
    for nodes in data.sizes.values():
        for inputs, outputs in pairwise(nodes):
            limit = np.sqrt(6.0 / (inputs + outputs))
            part = weights[place : place + (inputs + 1) * outputs] / limit
            place += len(part)
            assert np.abs(part).max() < 1.0
            # standard deviation of a uniform distribution, five standard errors
            assert part.std() == pytest.approx(np.sqrt(1.0 / 3.0), abs=2.3 / np.sqrt(len(part)))
    assert place == len(weights)
    np.testing.assert_array_equal(weights, training.initial_weights(data, 3, 1))
    others = [training.initial_weights(data, seed, m) for seed in (3, 4) for m in range(3)]
    assert len({other.tobytes() for other in others}) == 6


# --- members side by side ----------------------------------------------------------------------


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_members_do_not_depend_on_the_number_of_cores(
    small: TrainingData, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    counts = draw_initial(5, 7, seed=0)
    starts = [training.initial_weights(small, 0, m) for m in range(5)]
    monkeypatch.setattr(training, "_cores", lambda: cores)
    progress = Recorder()
    fits = training.train_members(small, counts, starts, settings(), 6, progress)
    for m, fit in enumerate(fits):
        alone = training.levenberg_marquardt(small, starts[m], counts[m], settings(), 6)
        np.testing.assert_array_equal(fit.weights, alone.weights)
        assert fit.loss == alone.loss
    assert progress.steps == [(n, 5, "members trained") for n in range(6)]


def test_what_goes_wrong_in_a_member_reaches_the_caller(small: TrainingData) -> None:
    starts = [training.initial_weights(small, 0, 0), np.zeros(3)]
    with pytest.raises(ValueError, match="weights must have shape"):
        training.train_members(small, np.ones((2, 7), int), starts, settings(), 2)


# --- intercepts --------------------------------------------------------------------------------


def test_intercepts_are_the_energies_per_atom_of_the_elements() -> None:
    images = []
    for symbols, energy in [("Pt2", -10.0), ("Au3", -9.0), ("PtAuAu", -11.0)]:
        n = len(Atoms(symbols))
        positions = 2.5 * np.arange(3.0 * n).reshape(n, 3)
        images.append(Image(Atoms(symbols, positions), np.zeros((n, 3)), energy))
    images.append(Image(Atoms("Pt", [[0, 0, 0]]), np.zeros((1, 3))))  # a chunk has no energy
    found = preparation.fit_intercepts(images, ["Pt", "Au"])
    assert found == pytest.approx({"Pt": -5.0, "Au": -3.0}, abs=1e-12)


def test_intercepts_without_a_labelled_energy() -> None:
    chunk = Image(structure("cluster"), np.zeros((1, 3)))
    assert preparation.fit_intercepts([chunk], ["Pt", "Au"]) == {"Pt": 0.0, "Au": 0.0}


# --- an ensemble from scratch ------------------------------------------------------------------

NETWORK = NetworkSettings(hidden_layers=(5, 4))
SHORT = TrainingSettings(initial_iterations=8)


def train(seed: int = 0, **given: Any) -> Ensemble:
    return training.train_ensemble(
        labelled_images(2),
        functions_of(ELEMENTS[:2], 4.6),
        NETWORK,
        SHORT,
        EnsembleSettings(members=3),
        seed,
        **given,
    )


def test_ensemble_from_scratch() -> None:
    one, two, other = train(0), train(0), train(1)
    assert len(one) == 3
    np.testing.assert_array_equal(one.multiplicities, draw_initial(3, 7, 0))
    assert one.provenance == {"seed": 0}
    atoms = structure("cluster", 2)
    first, again = one.evaluate(atoms, threads=1), two.evaluate(atoms, threads=1)
    np.testing.assert_array_equal(first.member_forces, again.member_forces)
    assert one.calibration == two.calibration > 0.0
    assert np.abs(first.forces - other.evaluate(atoms).forces).max() > 1e-3

    data = preparation.prepare(labelled_images(2), functions_of(ELEMENTS[:2], 4.6), NETWORK)
    bulk = one.evaluate(data.fingerprints[1].image.atoms).member_forces
    for m in range(3):
        start = training.initial_weights(data, 0, m)
        fit = training.levenberg_marquardt(data, start, one.multiplicities[m], SHORT, 8)
        forces = data.core.predict(fit.weights)[1][data.row_image == 1]
        np.testing.assert_allclose(bulk[m], forces, atol=1e-11)


def test_free_atoms_give_their_energy_to_the_fit() -> None:
    """The E0 frames of other codes: no force, and outside of what features are scaled to."""
    images = labelled_images(1)
    free = [Image(Atoms("Pt"), np.zeros((1, 3)), -1.25)] * 4
    ensemble, plain = (
        training.train_ensemble(
            given, functions_of(ELEMENTS[:1], 4.6), NETWORK, SHORT, EnsembleSettings(members=2), 0
        )
        for given in ([*images, *free], images)
    )
    assert ensemble.scaling.to_dict().keys() == {"Pt"}
    np.testing.assert_array_equal(ensemble.scaling.minimum["Pt"], plain.scaling.minimum["Pt"])
    assert ensemble.scaling.minimum["Pt"].max() > 0.0
    found = ensemble.evaluate(Atoms("Pt"))
    assert abs(found.energy + 1.25) < 0.1 * abs(plain.evaluate(Atoms("Pt")).energy + 1.25)
    assert found.isolated.all()
    assert not found.forces.any()


def test_scaling_covers_structures_without_labels() -> None:
    far = structure("particle", 2)
    far.positions *= 1.4
    functions = functions_of(ELEMENTS[:2], 4.6)
    narrow, wide = train(), train(scale_over=[far])
    features = functions.compute(far)
    for element in functions.elements:
        low = np.minimum(narrow.scaling.minimum[element], features[element].min(axis=0))
        high = np.maximum(narrow.scaling.maximum[element], features[element].max(axis=0))
        np.testing.assert_array_equal(wide.scaling.minimum[element], low)
        np.testing.assert_array_equal(wide.scaling.maximum[element], high)
        assert (low < narrow.scaling.minimum[element]).any()


def test_progress_of_fingerprints_and_members() -> None:
    progress = Recorder()
    train(progress=progress)
    assert progress.steps == [(n, 7, "fingerprints") for n in range(1, 8)] + [
        (n, 3, "members trained") for n in range(4)
    ]


LONE = Atoms("Pt2Au", [[0, 0, 0], [2.5, 0, 0], [30, 0, 0]])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "there is no image to train on"),
        ([Image(structure("cluster"), np.zeros((1, 3)))], "no structure contains Au"),
        ([Image(LONE, np.zeros((3, 3)), 0.0)], "no structure contains Au with neighbours"),
    ],
    ids=["none", "element", "alone"],
)
def test_images_that_cannot_be_trained_on(images: list[Image], message: str) -> None:
    with pytest.raises(InputError, match=message):
        preparation.prepare(images, functions_of(ELEMENTS[:2], 4.6), NETWORK)
