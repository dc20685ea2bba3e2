"""Chunks learned as the structures they are: their loss, weights, labels and files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from helpers import Array, copper
from helpers.differences import jacobian_error
from helpers.recorder import Recorder
from helpers.structures import ELEMENTS, functions_of, structure, training_data
from nearsight.config import NFTSettings, TrainingSettings
from nearsight.errors import InputError
from nearsight.files.records import Model
from nearsight.learning.capacity import apply_model
from nearsight.learning.labels import label_chunks, validation_chunks
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import networks_from_weights
from nearsight.parents import Parent
from nearsight.structures.chunks import extract_chunk, trim_to_stoichiometry
from nearsight.structures.images import Image, read_images, write_images
from nearsight.training import fit as training
from nearsight.training import preparation
from nearsight.training.dataset import TrainingData
from nearsight.training.fingerprints import Fingerprints
from nearsight.training.shells import misfit_by_shell

COUNTS = np.array([2, 1, 3, 1, 0, 1])
ALPHA = 0.4


def whole_images(n_elements: int = 1, seed: int = 0) -> list[Image]:
    """A bulk image, four whole chunks and the centre of one, with random labels.

    The weights of the chunks: none given, all different, some of them zero, one alone.
    """
    rng = np.random.default_rng(seed)
    structures = [structure(name, n_elements) for name in ("bulk", "particle", "cluster", "planar")]
    bulk, particle, cluster, planar = structures
    some = rng.uniform(0.2, 2.0, len(particle)) * (rng.uniform(size=len(particle)) > 0.4)
    some[[0, 1]] = 1.3, 0.0
    weights = {1: None, 2: rng.uniform(0.2, 2.0, 12), 3: some, 4: np.eye(4)[2]}
    images = []
    for number, atoms in enumerate((bulk, cluster, cluster, particle, planar)):
        forces = rng.normal(0.0, 0.5, (len(atoms), 3))
        energy = float(rng.normal(-3.0, 0.2) * len(atoms))
        images.append(Image(atoms, forces, energy, weights.get(number), chunk=number > 0))
    images.append(Image(cluster, rng.normal(0.0, 0.5, (1, 3))))
    return images


def data_of(
    images: list[Image], n_elements: int = 1, hidden: tuple[int, ...] = (5, 4)
) -> TrainingData:
    data = training_data(n_elements, hidden)
    return replace(data, fingerprints=[Fingerprints.of(i, data.functions) for i in images])


def random_weights(data: TrainingData) -> Array:
    return np.random.default_rng(1).normal(0.0, 0.6, data.core.n_weights)


def ensemble_of(data: TrainingData, weights: Array) -> Ensemble:
    networks = networks_from_weights(weights[None], data.sizes, data.activations, data.intercepts)
    return Ensemble(data.functions, data.scaling, networks)


@pytest.fixture(params=[1, 2, 3], ids=lambda n: f"{n} elements")
def data(request: pytest.FixtureRequest) -> TrainingData:
    return data_of(whole_images(request.param), request.param)


# -- the loss


def test_loss_by_a_sum_over_images(data: TrainingData) -> None:
    """Σ_chunks {½ (ΔE/N)² + α/6 Σ v |ΔF|²} beside those of bulk images and centres."""
    weights = random_weights(data)
    ensemble = ensemble_of(data, weights)
    expected = 0.0
    for prints, count in zip(data.fingerprints, COUNTS, strict=True):
        image, atoms = prints.image, prints.image.atoms
        found = ensemble.evaluate(atoms)
        v = np.ones(len(image.forces)) if image.force_weights is None else image.force_weights
        squares = ((found.forces[: len(v)] - image.forces) ** 2).sum(axis=1)
        divisor = 6.0 if image.chunk or image.energy is None else 6.0 * len(atoms)
        loss = ALPHA / divisor * v @ squares
        if image.energy is not None:
            loss += 0.5 * ((found.energy - image.energy) / len(atoms)) ** 2
        expected += count * loss
    residual = data.core.residuals(weights, *data.weights(COUNTS, ALPHA))
    assert 0.5 * residual @ residual == pytest.approx(expected, rel=1e-12)


def test_the_force_on_the_centre_alone_is_equation_3(data: TrainingData) -> None:
    """A whole chunk with one weight and no energy, against an image that is its centre."""
    n = len(data.functions.elements)
    centres, alone = [], []
    for image in whole_images(n)[1:5]:
        first = np.eye(len(image.atoms))[0]
        alone.append(replace(image, force_weights=first))
        centres.append(Image(image.atoms, image.forces[:1]))
    counts = np.array([1, 2, 0, 1])
    losses, gradients = [], []
    for images in (centres, alone):
        found = data_of(images, n)
        weights = random_weights(found)
        energies, forces = found.weights(counts, ALPHA)
        assert energies.tolist() == ([0, 0, 0, 0] if images is centres else [1, 2, 0, 1])
        residual, jacobian = found.core.jacobian(weights, np.zeros(4), forces)
        assert residual.shape == (9,)
        losses.append(0.5 * residual @ residual)
        gradients.append(jacobian.T @ residual)
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-12 * np.abs(gradients[0]).max())


def test_jacobian_is_the_difference_of_the_residuals(data: TrainingData) -> None:
    """Every entry, relative to the largest of its residual."""
    weights = random_weights(data)
    loss_weights = data.weights(COUNTS, ALPHA)
    residual, jacobian = data.core.jacobian(weights, *loss_weights)
    np.testing.assert_array_equal(residual, data.core.residuals(weights, *loss_weights))
    size = np.abs(jacobian).max(axis=1)
    assert np.median(size) > 1e-3
    error = jacobian_error(data, weights, loss_weights, jacobian)
    assert (error.max(axis=1) / size).max() < 1e-8
    curvature = data.core.curvature(weights, *loss_weights)
    expected = jacobian.T @ jacobian
    np.testing.assert_allclose(curvature, expected, atol=1e-13 * np.abs(expected).max())


def test_forces_without_weight_have_no_residuals() -> None:
    images = whole_images()
    data = data_of(images)
    weights = random_weights(data)
    counted = [4, 12, 12, np.count_nonzero(images[3].force_weights), 1, 1]
    assert 3 < counted[3] < len(images[3].atoms) - 3
    assert [np.sum(data.row_image == i) for i in range(6)] == counted
    assert data.forces.shape == (sum(counted), 3)
    residual = data.core.residuals(weights, *data.weights(np.ones(6, int), ALPHA))
    assert residual.shape == (5 + 3 * sum(counted),)

    # the core leaves out more, if it is told so, and has the others in their order
    energies, forces = data.weights(np.ones(6, int), ALPHA)
    kept = np.random.default_rng(2).uniform(size=len(forces)) > 0.5
    fewer, jacobian = data.core.jacobian(weights, 0.0 * energies, forces * kept)
    assert fewer.shape == (3 * kept.sum(),)
    predicted = data.core.predict(weights)[1]
    expected = np.sqrt(forces)[:, None] * (predicted - data.forces)
    assert np.allclose(fewer, expected[kept].ravel(), rtol=0, atol=1e-14)
    assert jacobian.shape == (len(fewer), len(weights))


def test_labels_without_weight_do_not_matter() -> None:
    images = whole_images()
    wrong = images[3].forces.copy()
    wrong[images[3].force_weights == 0] = 1e6
    found = []
    for each in (images, [*images[:3], replace(images[3], forces=wrong), *images[4:]]):
        data = data_of(each)
        start = training.initial_weights(data, 0, 0)
        found.append(training.levenberg_marquardt(data, start, COUNTS, TrainingSettings(), 4))
        assert data.quality(*data.core.predict(start)).max_force_residual < 100.0
    np.testing.assert_array_equal(found[0].weights, found[1].weights)


def test_predictions_are_those_of_the_force_call(data: TrainingData) -> None:
    weights = random_weights(data)
    energies, forces = data.core.predict(weights)
    ensemble = ensemble_of(data, weights)
    for number, prints in enumerate(data.fingerprints):
        image = prints.image
        found = ensemble.evaluate(image.atoms)
        rows = data.rows(number)
        np.testing.assert_array_equal(np.flatnonzero(data.row_image == number),
                                      np.arange(rows.start, rows.stop))  # fmt: skip
        np.testing.assert_allclose(forces[rows], found.forces[image.force_atoms], atol=1e-12)
        if image.energy is not None:
            intercepts = sum(data.intercepts[e] for e in image.atoms.symbols)
            expected = (found.energy - intercepts) / len(image.atoms)
            assert energies[number] == pytest.approx(expected, abs=1e-12)


def test_misfit_by_distance_from_the_centre() -> None:
    """Of the mean over the members that drew a chunk; bulk images and centres have no part."""
    images = whole_images()
    data = data_of(images)
    members = [random_weights(data), 0.5 * random_weights(data)]
    samples = np.array([COUNTS, [1, 2, 0, 1, 1, 1]])  # the third and the fifth one know alone
    distances, errors = [], []
    for number, image in enumerate(images[1:5], 1):
        drawn = [w for w, sample in zip(members, samples, strict=True) if sample[number]]
        predicted = [ensemble_of(data, w).evaluate(image.atoms).forces for w in drawn]
        error = np.linalg.norm(np.mean(predicted, axis=0) - image.forces, axis=1)
        counted = image.force_atoms
        distances += image.atoms.get_distances(0, range(len(error)))[counted].tolist()
        errors += error[counted].tolist()
    distance, error = np.array(distances), np.array(errors)
    forces = np.array([data.core.predict(w)[1] for w in members])
    shells = misfit_by_shell(data, forces, samples)
    assert [shell.distance for shell in shells] == sorted(shell.distance for shell in shells)
    assert sum(shell.forces for shell in shells) == len(error)
    assert (shells[0].distance, shells[0].forces) == (0.0, 3)  # one centre has no weight
    for shell in shells:
        outer = shell.distance
        inside = (distance < outer) & (distance >= outer - 1.5) & (distance > 1e-6)
        if outer == 0.0:
            inside = distance <= 1e-6
        assert shell.forces == inside.sum()
        assert shell.error == pytest.approx(error[inside].mean(), rel=1e-9)
    centres = training_data()
    ones = np.ones((1, len(centres.fingerprints)), int)
    assert misfit_by_shell(centres, np.zeros((1, *centres.forces.shape)), ones) == []
    drawn = misfit_by_shell(data, forces, np.array([[1, 0, 1, 1, 1, 1]] * 2))  # the first by none
    assert sum(shell.forces for shell in drawn) == len(error) - len(images[1].force_atoms)


# -- training on a part of the forces first


def test_thinned_weights_keep_the_sum_of_every_image(data: TrainingData) -> None:
    _, forces = data.weights(COUNTS, ALPHA)
    for every in (1, 2, 4, 100):
        thin = data.thinned(forces, every)
        for image in range(6):
            rows = data.rows(image)
            kept = np.flatnonzero(thin[rows])
            expected = np.arange(0, rows.stop - rows.start, every) if COUNTS[image] else []
            np.testing.assert_array_equal(kept, expected)
            assert thin[rows].sum() == pytest.approx(forces[rows].sum(), rel=1e-12)
            if len(kept):  # among each other they count as before
                ratio = thin[rows][kept] / forces[rows][kept]
                np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)
    np.testing.assert_array_equal(data.thinned(forces, 1), forces)


def test_members_share_the_forces_of_large_structures(data: TrainingData) -> None:
    _, forces = data.weights(np.ones(6, int), ALPHA)
    shares = [data.thinned(forces, 3, member, fewest=9) > 0 for member in range(3)]
    small = np.bincount(data.row_image)[data.row_image] < 9
    assert small.any()
    assert not small.all()
    np.testing.assert_array_equal(sum(share.astype(int) for share in shares), 1 + 2 * small)
    large = np.flatnonzero(np.bincount(data.row_image) >= 9)
    begins = [int(np.flatnonzero(shares[0][data.rows(image)])[0]) for image in large]
    assert begins == [image % 3 for image in large]  # not the same atom in every geometry


def test_thinned_training_is_that_of_the_thinned_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MANY_FORCES", 9)
    data = data_of(whole_images())
    chosen = TrainingSettings(tolerance=0.0, l2=1e-4, force_coefficient=ALPHA, thinning=3)
    counts = np.array([COUNTS, COUNTS])
    starts = [training.initial_weights(data, 0, 0)] * 2
    fits = training.train_members(data, counts, starts, chosen, 4)
    for member, fit in enumerate(fits):
        energies, forces = data.weights(COUNTS, ALPHA)
        thin = data.thinned(forces, 3, member, fewest=9)
        weights = data.core.levenberg_marquardt(starts[0], energies, thin, 1e-4, 4)[0]
        np.testing.assert_array_equal(fit.weights, weights)
    assert (fits[0].weights != fits[1].weights).any()


@pytest.mark.parametrize("refine", [None, 0, 3])
def test_members_are_trained_on_a_part_first(refine: int | None) -> None:
    """As two minimisations by hand, the second from where the first ended."""
    data = data_of(whole_images())
    chosen = TrainingSettings(tolerance=0.0, l2=1e-4, force_coefficient=ALPHA)
    counts = np.array([COUNTS, np.roll(COUNTS, 1)])
    starts = [training.initial_weights(data, 0, m) for m in range(2)]
    fits = training.train_members(data, counts, starts, chosen, 5, refine=refine)
    for fit, start, sample in zip(fits, starts, counts, strict=True):
        energies, forces = data.weights(sample, ALPHA)
        thin = forces if refine is None else data.thinned(forces, 4)
        weights = data.core.levenberg_marquardt(start, energies, thin, 1e-4, 5)[0]
        if refine:
            weights = data.core.levenberg_marquardt(weights, energies, forces, 1e-4, 3)[0]
        np.testing.assert_array_equal(fit.weights, weights)


def test_centres_alone_are_never_thinned() -> None:
    data = training_data()
    assert not data.has_whole_chunks
    counts = np.ones((1, 7), int)
    start = [training.initial_weights(data, 0, 0)]
    one, two = (
        training.train_members(data, counts, start, TrainingSettings(), 4, refine=refine)
        for refine in (None, 2)
    )
    np.testing.assert_array_equal(one[0].weights, two[0].weights)


# -- weights by distance


def label(numbers: list[int], **settings: Any) -> list[Image]:
    chosen = NFTSettings(chunk_radius=5.0, **settings)
    targets = Targets.of(copper.particle())
    found = label_chunks(
        targets, numbers, chosen, copper.functions(), Parent("emt"), Recorder()
    ).values()
    assert all(isinstance(image, Image) for image in found)
    return list(found)  # type: ignore[arg-type]


def test_labels_are_those_of_the_parent_in_the_cut_chunk() -> None:
    target = copper.particle()
    for number, image in zip([40, 0, 7], label([40, 0, 7]), strict=True):
        near = target.get_distances(number, range(55)) <= 5.0
        assert len(image.atoms) == near.sum() < 55
        energy, forces = copper.emt(image.atoms)
        assert image.chunk
        assert image.energy == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(image.forces, forces, atol=1e-9)
        np.testing.assert_array_equal(image.force_atoms, np.arange(len(forces)))


@pytest.mark.parametrize("labels", ["chunk", "center"])
def test_chunks_are_trimmed_before_the_parent_sees_them(labels: str) -> None:
    """The label is that of the trimmed chunk; by centres it is learned in the target."""
    target = bulk("CuNi", "cesiumchloride", a=2.9, cubic=True).repeat(3)
    target.rattle(0.05, seed=1)
    chosen = NFTSettings(chunk_radius=5.0, labels=labels, trim="stoichiometric")
    functions = functions_of(["Cu", "Ni"], 4.5)
    given = (Targets.of(target), [3, 10], chosen, functions, Parent("emt"), Recorder())
    found = label_chunks(*given)
    for number, image in found.items():
        assert isinstance(image, Image)
        trimmed = trim_to_stoichiometry(
            extract_chunk(target, number, 5.0), {"Cu": 27, "Ni": 27}, 5.0
        )
        assert len(trimmed) < len(extract_chunk(target, number, 5.0))
        assert trimmed.get_global_number_of_atoms() % 2 == 0
        expected = copper.emt(trimmed)[1]
        np.testing.assert_allclose(image.forces, expected[: len(image.forces)], atol=1e-9)
        assert len(image.forces) == (len(trimmed) if labels == "chunk" else 1)
    larger = validation_chunks(*given[:1], chosen, 0, Parent("emt"), Recorder())
    for image in larger:
        assert (image.atoms.symbols == "Cu").sum() == (image.atoms.symbols == "Ni").sum()
    assert len(larger) == (3 if labels == "chunk" else 0)


@pytest.mark.parametrize("core_radius", [0.5, 3.2, 4.4])
def test_forces_count_within_the_core(core_radius: float) -> None:
    for image in label([40, 7], core_radius=core_radius):
        distance = image.atoms.get_distances(0, range(len(image.atoms)))
        expected = (distance <= core_radius).astype(float)
        np.testing.assert_array_equal(image.force_weights, expected)
        assert image.energy is not None
        assert 0 < expected.sum() < len(distance)


@pytest.mark.parametrize(("core_radius", "within"), [(3.2, 3.2), (5.0, 0.7 * 5.8), (None, 4.06)])
def test_forces_of_validation_chunks_count_within_the_core(
    core_radius: float | None, within: float
) -> None:
    settings = NFTSettings(chunk_radius=5.0, core_radius=core_radius)
    targets = Targets.of(copper.particle())
    found = validation_chunks(targets, settings, 0, Parent("emt"), Recorder())
    assert len(found) == 3
    for image in found:
        distance = image.atoms.get_distances(0, range(len(image.atoms)))
        np.testing.assert_array_equal(image.force_weights, (distance <= within).astype(float))


def test_labels_of_centres_are_those_of_the_paper() -> None:
    for image, whole in zip(label([40, 7], labels="center"), label([40, 7]), strict=True):
        assert image.energy is None
        assert image.force_weights is None
        np.testing.assert_array_equal(image.forces, whole.forces[:1])


def test_weights_fall_with_the_distance() -> None:
    """Within the core; bulk images and centres are left alone."""
    (chunk,) = label([40], core_radius=4.4)
    bulk, centre = copper.cells()[0], Image(chunk.atoms, chunk.forces[:1])
    functions = copper.functions()
    data = preparation.prepare([bulk, chunk, centre], functions, copper.nft().network)
    model = Model(hidden_layers=[7, 3], l2=1e-3, force_decay=2.5)
    soft = apply_model(data, model)
    distance = chunk.atoms.get_distances(0, range(len(chunk.atoms)))
    expected = np.exp(-distance / 2.5) * (distance <= 4.4)
    assert soft.hidden_layers == (7, 3)
    np.testing.assert_allclose(
        soft.force_weights, np.concatenate([np.ones(4), expected[expected > 0], [1.0]]), rtol=1e-12
    )
    hard = apply_model(soft, Model(hidden_layers=[6], l2=1e-3))  # from any to any other
    np.testing.assert_array_equal(hard.force_weights, data.force_weights)


def test_weights_that_were_given_count_beside_the_distance() -> None:
    """Chunks of users have weights of their own, or none."""
    images = whole_images()
    data = data_of(images)
    soft = apply_model(data, Model(hidden_layers=[5, 4], l2=0.0, force_decay=2.0))
    for number in (1, 2, 3):
        image = images[number]
        distance = image.atoms.get_distances(0, image.force_atoms)
        given = 1.0 if image.force_weights is None else image.force_weights[image.force_atoms]
        np.testing.assert_allclose(
            soft.force_weights[soft.rows(number)], given * np.exp(-distance / 2.0), rtol=1e-12
        )


# -- files


def test_whole_chunks_in_a_file(tmp_path: Path) -> None:
    images = whole_images(2)
    write_images(tmp_path / "a.extxyz", images)
    again = read_images(tmp_path / "a.extxyz")
    assert [i.chunk for i in again] == [i.chunk for i in images]
    assert [i.is_chunk for i in again] == [i.is_chunk for i in images]
    for one, two in zip(images, again, strict=True):
        assert two.energy == pytest.approx(one.energy, abs=1e-8)
        np.testing.assert_allclose(two.forces, one.forces, atol=5.1e-9)
        if one.force_weights is None:
            assert two.force_weights is None
        else:
            np.testing.assert_allclose(two.force_weights, one.force_weights, atol=5.1e-9)
        np.testing.assert_array_equal(two.force_atoms, one.force_atoms)
        assert "force_weights" not in two.atoms.arrays
    write_images(tmp_path / "b.extxyz", again)
    assert (tmp_path / "b.extxyz").read_bytes() == (tmp_path / "a.extxyz").read_bytes()


def test_a_user_s_weights_mask_forces(tmp_path: Path) -> None:
    """Bulk images too: a column of the file."""
    atoms = structure("bulk")
    forces = np.arange(12.0).reshape(4, 3)
    atoms.calc = SinglePointCalculator(atoms, energy=-12.0, forces=forces)
    atoms.set_array("force_weights", np.array([1.0, 0.0, 0.5, 0.0]))
    ase.io.write(tmp_path / "a.extxyz", atoms)
    (image,) = read_images(tmp_path / "a.extxyz")
    assert not image.is_chunk
    np.testing.assert_array_equal(image.force_atoms, [0, 2])
    functions = functions_of(ELEMENTS[:1], 4.6)
    data = preparation.prepare([image], functions, copper.nft().network)
    energies, weights = data.weights(np.array([2]), ALPHA)
    assert energies.tolist() == [2.0]
    np.testing.assert_allclose(weights, 2 * ALPHA / 12 * np.array([1.0, 0.5]), rtol=1e-12)
    np.testing.assert_array_equal(data.forces, forces[[0, 2]])


def test_forces_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    """A row of NaN in a whole chunk: as if its weight were zero."""
    image = whole_images()[2]
    atoms = image.to_atoms()
    atoms.calc.results["forces"][[3, 7]] = np.nan
    ase.io.write(tmp_path / "a.extxyz", atoms)
    (found,) = read_images(tmp_path / "a.extxyz")
    assert found.chunk
    expected = np.array(image.force_weights)
    expected[[3, 7]] = 0.0
    np.testing.assert_allclose(found.force_weights, expected, atol=5.1e-9)
    data = data_of([found])
    assert data.forces.shape == (10, 3)
    np.testing.assert_allclose(data.forces, np.delete(image.forces, [3, 7], axis=0), atol=5.1e-9)
    residual = data.core.residuals(random_weights(data), *data.weights(np.array([1]), ALPHA))
    assert np.isfinite(residual).all()
    assert residual.shape == (31,)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"must have shape \(2,\), got \(3,\)"),
        (np.ones((2, 1)), r"must have shape \(2,\), got \(2, 1\)"),
        (np.zeros(2), "must be finite, not negative, not all zero"),
        (np.array([1.0, -0.1]), "must be finite, not negative, not all zero"),
        (np.array([1.0, np.nan]), "must be finite, not negative, not all zero"),
    ],
    ids=["many", "flat", "zero", "negative", "nan"],
)
def test_weights_that_do_not_fit(weights: Array, message: str) -> None:
    with pytest.raises(InputError, match=f"force weights of an image {message}"):
        Image(Atoms("Pt2", [[0, 0, 0], [2, 0, 0]]), np.zeros((2, 3)), 1.0, weights)
