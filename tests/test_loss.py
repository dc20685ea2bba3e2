"""The loss: its definition, its derivatives, the product of its Jacobian."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from helpers import Array
from helpers.differences import error_of, jacobian_error
from helpers.structures import structure, training_data
from nearsight import _core
from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import networks_from_weights
from nearsight.structures.images import Image
from nearsight.training.dataset import TrainingData
from nearsight.training.fingerprints import Fingerprints

HIDDEN = [(6,), (5, 4), (4, 3, 3)]
MULTIPLICITIES = np.array([2, 1, 0, 1, 3, 1, 0])
"""Of the seven images; a bulk image and a chunk are left out."""
ALPHA = 0.4


def random_weights(data: TrainingData, seed: int = 0) -> Array:
    """Large enough for the networks to be far from linear."""
    return np.random.default_rng(seed).normal(0.0, 0.6, data.core.n_weights)


def ensemble_of(data: TrainingData, weights: Array) -> Ensemble:
    """The same network by way of the force call."""
    networks = networks_from_weights(weights[None], data.sizes, data.activations, data.intercepts)
    return Ensemble(data.functions, data.scaling, networks)


@pytest.fixture(params=[1, 2, 3], ids=lambda n: f"{n} elements")
def n_elements(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=HIDDEN, ids=str)
def data(request: pytest.FixtureRequest, n_elements: int) -> TrainingData:
    return training_data(n_elements, request.param)


# --- definition --------------------------------------------------------------------------------


def test_predictions_are_those_of_the_force_call(data: TrainingData) -> None:
    weights = random_weights(data)
    energies, forces = data.core.predict(weights)
    ensemble = ensemble_of(data, weights)
    for image, prints in enumerate(data.fingerprints):
        found = ensemble.evaluate(prints.image.atoms)
        n = len(prints.image.forces)
        np.testing.assert_allclose(forces[data.row_image == image], found.forces[:n], atol=1e-12)
        if not prints.image.is_chunk:
            intercepts = sum(data.intercepts[e] for e in prints.image.atoms.symbols)
            expected = (found.energy - intercepts) / len(prints.image.atoms)
            assert energies[image] == pytest.approx(expected, abs=1e-12)


def test_loss_is_equation_3_of_the_si(data: TrainingData) -> None:
    """½ Σ_bulk {(ΔE/N)² + α/(3N) Σ|ΔF|²} + α/6 Σ_chunks |ΔF_centre|², by the multiplicities."""
    weights = random_weights(data)
    ensemble = ensemble_of(data, weights)
    expected = 0.0
    for prints, multiplicity in zip(data.fingerprints, MULTIPLICITIES, strict=True):
        image = prints.image
        found = ensemble.evaluate(image.atoms)
        n = len(image.atoms)
        if image.energy is None:
            loss = ALPHA / 6.0 * np.sum((found.forces[0] - image.forces[0]) ** 2)
        else:
            loss = 0.5 * ((found.energy - image.energy) / n) ** 2
            loss += 0.5 * ALPHA / (3.0 * n) * np.sum((found.forces - image.forces) ** 2)
        expected += multiplicity * loss
    residual = data.core.residuals(weights, *data.weights(MULTIPLICITIES, ALPHA))
    assert 0.5 * residual @ residual == pytest.approx(expected, rel=1e-12)


def test_weights_of_the_residuals_by_hand() -> None:
    data = training_data()
    chunk = [image.image.is_chunk for image in data.fingerprints]
    sizes = [len(image.image.forces) for image in data.fingerprints]
    assert chunk == [True, False, False, True, False, False, True]
    assert sizes == [1, 2, 4, 1, 12, 12, 1]
    energies, forces = data.weights(MULTIPLICITIES, 0.3)
    assert energies.tolist() == [0, 1, 0, 0, 3, 1, 0]
    per_image = np.array([0.2, 0.05, 0.0, 0.1, 0.025, 1 / 120, 0.0])
    np.testing.assert_allclose(forces, np.repeat(per_image, sizes), rtol=1e-14)


def test_images_left_out_have_no_residuals() -> None:
    data = training_data()
    residual = data.core.residuals(random_weights(data), *data.weights(MULTIPLICITIES, ALPHA))
    # chunks 0 and 3 and the bulk images of 2, 12 and 12 atoms
    assert residual.shape == (3 + (1 + 6) + 3 + (1 + 36) + (1 + 36),)
    nothing = data.core.residuals(random_weights(data), np.zeros(7), np.zeros(33))
    assert nothing.shape == (0,)


def test_quality_by_hand() -> None:
    data = training_data(2)
    weights = random_weights(data)
    energies, forces = data.core.predict(weights)
    bulk = [1, 2, 4, 5]
    labels = np.array(
        [
            data.fingerprints[i].image.energy / len(data.fingerprints[i].image.atoms)
            - np.mean([data.intercepts[e] for e in data.fingerprints[i].image.atoms.symbols])
            for i in bulk
        ]
    )
    residual = forces - np.concatenate([p.image.forces for p in data.fingerprints])
    found = data.quality(energies, forces)
    assert found.energy_rmse == pytest.approx(np.sqrt(np.mean((energies[bulk] - labels) ** 2)))
    assert found.force_rmse == pytest.approx(np.sqrt(np.mean(residual**2)))
    assert found.max_force_residual == pytest.approx(np.abs(residual).max())


def test_quality_of_a_sample_is_that_of_its_images() -> None:
    """What a member has not been given it need not fit."""
    data = training_data(2)
    energies, forces = data.core.predict(random_weights(data))
    sample = np.array([0, 2, 0, 0, 1, 0, 0])
    kept = np.isin(data.row_image, [1, 4])
    residual = (forces - data.forces)[kept]
    found = data.quality(energies, forces, sample)
    assert found.force_rmse == pytest.approx(np.sqrt(np.mean(residual**2)))
    assert found.max_force_residual == pytest.approx(np.abs(residual).max())
    assert found.energy_rmse == pytest.approx(
        np.sqrt(np.mean((energies - data.energies)[[1, 4]] ** 2))
    )
    assert data.quality(energies, forces, np.zeros(7, int)).force_rmse == 0.0


def test_quality_of_chunks_alone() -> None:
    data = training_data()
    chunks = replace(data, fingerprints=[p for p in data.fingerprints if p.image.is_chunk])
    predicted = chunks.core.predict(random_weights(chunks))
    assert chunks.quality(*predicted).energy_rmse == 0.0


# --- derivatives -------------------------------------------------------------------------------


def test_jacobian_is_the_difference_of_the_residuals(data: TrainingData) -> None:
    """Every entry, relative to the largest of its residual."""
    weights = random_weights(data)
    loss_weights = data.weights(MULTIPLICITIES, ALPHA)
    residual, jacobian = data.core.jacobian(weights, *loss_weights)
    np.testing.assert_array_equal(residual, data.core.residuals(weights, *loss_weights))
    size = np.abs(jacobian).max(axis=1)
    assert np.median(size) > 1e-3  # not all tiny
    assert (np.abs(jacobian).max(axis=0) > 1e-4).mean() > 0.95  # and every weight matters
    error = jacobian_error(data, weights, loss_weights, jacobian)
    assert (error.max(axis=1) / size).max() < 1e-8


def test_jacobian_with_a_weight_for_every_force() -> None:
    """As the core takes them: weights differ within an image, and some are zero."""
    data = training_data(2)
    rng = np.random.default_rng(3)
    energy_weights = rng.uniform(0.5, 2.0, 7)
    force_weights = rng.uniform(0.5, 2.0, 33) * (rng.uniform(size=33) > 0.3)
    weights = random_weights(data)
    direction = rng.normal(size=weights.shape) / np.sqrt(len(weights))
    residual, jacobian = data.core.jacobian(weights, energy_weights, force_weights)
    energies, forces = data.core.predict(weights)
    expected = np.sum(energy_weights * (energies - data.energies) ** 2)
    expected += np.sum(force_weights[:, None] * (forces - data.forces) ** 2)
    assert residual @ residual == pytest.approx(expected, rel=1e-12)
    along = jacobian @ direction
    error = error_of(
        along,
        lambda t: data.core.residuals(weights + t * direction, energy_weights, force_weights),
        enough=1e-9 * np.abs(along).max(),
    )
    assert error.max() < 1e-8 * np.abs(along).max()


@pytest.mark.parametrize("repeat", [1, 9])
def test_curvature_is_the_product_of_the_jacobian(data: TrainingData, repeat: int) -> None:
    """Whatever elements an image lacks; the core leaves their zeros out."""
    many = replace(data, fingerprints=list(data.fingerprints) * repeat)
    rng = np.random.default_rng(5)
    loss_weights = many.weights(rng.integers(0, 4, 7 * repeat), ALPHA)
    weights = random_weights(many)
    _, jacobian = many.core.jacobian(weights, *loss_weights)
    curvature = many.core.curvature(weights, *loss_weights)
    expected = jacobian.T @ jacobian
    np.testing.assert_allclose(curvature, expected, atol=1e-13 * np.abs(expected).max())
    np.testing.assert_array_equal(curvature, curvature.T)


def test_a_vector_is_pulled_back_by_the_jacobian(data: TrainingData) -> None:
    """Jᵀ v, by a way that makes no row of J."""
    weights = random_weights(data)
    loss_weights = data.weights(MULTIPLICITIES, ALPHA)
    residual, jacobian = data.core.jacobian(weights, *loss_weights)
    for v in (residual, np.random.default_rng(8).normal(size=residual.shape)):
        expected = jacobian.T @ v
        found = data.core.pull_back(weights, *loss_weights, v)
        np.testing.assert_allclose(found, expected, atol=1e-13 * np.abs(expected).max())


def test_images_of_few_elements_among_others() -> None:
    """Every mixture of three elements, in no order: zeros are where an element is missing."""
    data = training_data(3)
    symbols = ["PtAuCu", "Pt", "AuCu", "PtCu", "Au", "PtAuCu", "Pt", "PtAu", "Cu"]
    rng = np.random.default_rng(7)
    images = []
    for each in symbols:
        atoms = structure("bulk")
        atoms.symbols = [Atoms(each).symbols[i % len(Atoms(each))] for i in range(len(atoms))]
        images.append(Image(atoms, rng.normal(size=(len(atoms), 3)), -3.0 * len(atoms)))
    mixed = replace(data, fingerprints=[Fingerprints.of(i, data.functions) for i in images])
    loss_weights = mixed.weights(np.ones(len(images), int), ALPHA)
    weights = random_weights(mixed)
    residual, jacobian = mixed.core.jacobian(weights, *loss_weights)
    lines = 1 + 3 * len(images[0].atoms)
    ends = np.cumsum(
        [(n[0] + 1) * n[1] + (n[1] + 1) * n[2] + n[2] + 1 for n in mixed.sizes.values()]
    )
    columns = dict(zip(mixed.sizes, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
    found = set()
    for first in range(0, len(residual), lines):
        part = jacobian[first : first + lines]
        found.add("".join(e for e in columns if part[:, columns[e]].any()))
    assert found == {"".join(e for e in columns if e in each) for each in symbols}
    expected = jacobian.T @ jacobian
    curvature = mixed.core.curvature(weights, *loss_weights)
    np.testing.assert_allclose(curvature, expected, atol=1e-13 * np.abs(expected).max())
    gradient = jacobian.T @ residual
    found_gradient = mixed.core.pull_back(weights, *loss_weights, residual)
    np.testing.assert_allclose(found_gradient, gradient, atol=1e-13 * np.abs(gradient).max())
    direction = rng.normal(size=weights.shape) / np.sqrt(len(weights))
    along = jacobian @ direction
    error = error_of(
        along,
        lambda t: mixed.core.residuals(weights + t * direction, *loss_weights),
        enough=1e-9 * np.abs(along).max(),
    )
    assert error.max() < 1e-8 * np.abs(along).max()


# --- sets that do not fit ----------------------------------------------------------------------


def test_no_image() -> None:
    empty = replace(training_data(), fingerprints=[])
    with pytest.raises(InputError, match="there is no image to train on"):
        empty.core  # noqa: B018


def test_weights_of_another_shape() -> None:
    data = training_data()
    with pytest.raises(ValueError, match=rf"weights must have shape \({data.core.n_weights}\)"):
        data.core.predict(np.zeros(3))
    with pytest.raises(ValueError, match=r"force_weights must have shape \(33\), got \(7\)"):
        data.core.residuals(random_weights(data), np.ones(7), np.ones(7))
    with pytest.raises(ValueError, match=r"v must have shape \(106\), got \(4\)"):
        data.core.pull_back(random_weights(data), np.ones(7), np.ones(33), np.ones(4))


IMAGE = {
    "center_element": np.zeros(2, np.int32),
    "features": np.zeros((2, 2)),
    "block_offsets": np.array([0, 1]),
    "block_center": np.zeros(1, np.int32),
    "derivatives": np.zeros((1, 3, 4)),
    "energy": 0.0,
    "forces": np.zeros((1, 3)),
}
GOOD = {
    "sizes": [[2, 3, 1]],
    "activations": ["tanh", "linear"],
    "scale": np.ones((1, 2)),
    "offset": np.zeros((1, 2)),
    "images": [tuple(IMAGE.values())],
}

MISFITS = {
    "activations": ({"activations": ["tanh"]}, "needs one activation per layer"),
    "output": ({"sizes": [[2, 3, 2]]}, "last layer of a network must have one output"),
    "nodes": ({"sizes": [[2, 0, 1]]}, "layers must have at least one node"),
    "inputs": ({"sizes": [[5, 3, 1]]}, "takes more features than the training set has"),
    "scale": ({"scale": np.ones((2, 2))}, r"scale must have shape \(1, n\), got \(2, 2\)"),
    "offset": ({"offset": np.zeros((1, 3))}, r"offset must have shape \(1, 2\), got \(1, 3\)"),
    "block offsets": ({"block_offsets": np.array([1, 1])}, "block offsets of an image do not fit"),
    "too few": ({"block_offsets": np.array([0])}, r"block_offsets must have shape \(2\), got"),
    "element": ({"center_element": np.array([0, 1], np.int32)}, "has an unknown element"),
    "order": (
        {
            "images": [
                tuple(
                    (
                        IMAGE
                        | {
                            "center_element": np.array([1, 0], np.int32),
                            "block_offsets": np.array([0, 2]),
                            "block_center": np.array([0, 1], np.int32),
                            "derivatives": np.zeros((2, 3, 4)),
                        }
                    ).values()
                )
            ],
            "sizes": [[2, 3, 1], [2, 3, 1]],
            "scale": np.ones((2, 2)),
            "offset": np.zeros((2, 2)),
        },
        "blocks of an atom are not sorted by element",
    ),
    "block": ({"block_center": np.array([2], np.int32)}, "belongs to another image"),
    "empty": (
        {
            "center_element": np.zeros(0, np.int32),
            "features": np.zeros((0, 2)),
            "block_offsets": np.array([0, 0]),
            "block_center": np.zeros(0, np.int32),
            "derivatives": np.zeros((0, 3, 4)),
        },
        "an image of the training set has no atoms",
    ),
    "width": ({"features": np.zeros((2, 4))}, r"features must have shape \(2, 2\), got \(2, 4\)"),
    "shape": ({"forces": np.zeros(3)}, r"forces must have shape \(n, 3\), got \(3\)"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_arrays_that_do_not_fit_together(case: str) -> None:
    assert _core.TrainingSet(**GOOD).n_weights == 13
    change, message = MISFITS[case]
    if change.keys() <= IMAGE.keys():
        change = {"images": [tuple((IMAGE | change).values())]}
    with pytest.raises(InputError, match=message):
        _core.TrainingSet(**(GOOD | change))


def test_training_data_is_made_of_arrays_of_all_images() -> None:
    """Energies are per atom, less the mean intercept; a chunk has none."""
    data = training_data(2)
    bulk = data.fingerprints[1].image
    intercepts = [data.intercepts[e] for e in bulk.atoms.symbols]
    assert data.energies[1] == pytest.approx(bulk.energy / 2 - np.mean(intercepts))
    assert data.energies[[0, 3, 6]].tolist() == [0, 0, 0]
    assert data.row_image.tolist() == [0, 1, 1, *[2] * 4, 3, *[4] * 12, *[5] * 12, 6]
    assert data.sizes == {"Pt": (len(data.functions.functions["Pt"]), 5, 4, 1),
                          "Au": (len(data.functions.functions["Au"]), 5, 4, 1)}  # fmt: skip
