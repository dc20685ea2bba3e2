"""The domain of an ensemble: what is outside, and that this is never silent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list
from scipy.spatial.distance import cdist

from helpers import Array, copper
from helpers.structures import functions_of, random_ensemble, structure, training_data
from nearsight import NearsightCalculator
from nearsight.config import EnsembleSettings, NetworkSettings, TrainingSettings
from nearsight.errors import InputError
from nearsight.model.domain import BOX, MARGIN, SPREAD, Domain, Environments
from nearsight.model.ensemble import CONFIDENCE, Ensemble
from nearsight.model.network import networks_from_weights
from nearsight.model.scaling import Scaling
from nearsight.structures.chunks import extract_chunks
from nearsight.training.environments import labelled_domain
from nearsight.training.fit import train_ensemble


def members(n_elements: int) -> Ensemble:
    """Three random members with the domain of random labels."""
    data = training_data(n_elements)
    weights = np.random.default_rng(0).normal(0.0, 0.5, (3, data.core.n_weights))
    networks = networks_from_weights(weights, data.sizes, data.activations, data.intercepts)
    domain = labelled_domain(data, np.array([data.core.predict(w)[1] for w in weights]))
    return Ensemble(data.functions, data.scaling, networks, calibration=1.7, domain=domain)


def strained(n_elements: int) -> Atoms:
    """Atoms inside and outside: a slab, of which one half is squeezed."""
    atoms = structure("slab", n_elements)
    atoms.positions[: len(atoms) // 2, :2] *= 0.85
    return atoms


def scaled(ensemble: Ensemble, atoms: Atoms, element: str) -> Array:
    scale, offset = ensemble.scaling.linear(element)
    return ensemble.functions.compute(atoms)[element] * scale + offset


def nearest(atoms: Atoms, cutoff: float = 6.0) -> Array:
    """Distances to nearest neighbours by ASE."""
    first, distances = neighbor_list("id", atoms, cutoff)
    found = np.full(len(atoms), np.inf)
    np.minimum.at(found, first, distances)
    return found


# -- the grade


@pytest.mark.parametrize("n_elements", [1, 2, 3])
def test_the_grade_by_scipy(n_elements: int) -> None:
    """Mahalanobis distance in units of the farthest environment, or how far out of the range."""
    ensemble, data = members(n_elements), training_data(n_elements)
    atoms = strained(n_elements)
    grade = ensemble.evaluate(atoms).extrapolation
    assert grade is not None
    larger = []
    for number, element in enumerate(ensemble.elements):
        size = data.functions.size(element)
        scale, offset = ensemble.scaling.linear(element)
        # of a chunk labelled on its centre, the atoms that see it: those with fingerprints
        known = np.concatenate(
            [p.features[p.species == number, :size] * scale + offset for p in data.fingerprints]
        )
        inverse = np.linalg.inv(np.cov(known.T, bias=True) + SPREAD**2 * np.eye(size))
        mean, asked = known.mean(axis=0, keepdims=True), scaled(ensemble, atoms, element)
        far = cdist(known, mean, "mahalanobis", VI=inverse).max()
        distance = cdist(asked, mean, "mahalanobis", VI=inverse)[:, 0] / (MARGIN * far)
        low, high = known.min(axis=0), known.max(axis=0)
        out = np.maximum(asked - high, low - asked) / np.maximum(high - low, SPREAD)
        box = (1.0 + out.max(axis=1)) / BOX
        spacing = max(p.nearest[p.species == number].max(initial=0.0) for p in data.fingerprints)
        box = np.maximum(box, nearest(atoms)[atoms.symbols == element] / (BOX * spacing))
        if n_elements > 1:
            least, sums = (known - offset).sum(axis=1).min(), (asked - offset).sum(axis=1)
            box = np.maximum(box, 2.0 - MARGIN * sums / least)
        found = grade[atoms.symbols == element]
        np.testing.assert_allclose(found, np.maximum(distance, box), rtol=1e-9)
        larger += (distance > box).tolist()
    assert 0 < sum(larger) < len(larger)


def test_no_bit_depends_on_the_number_of_threads() -> None:
    ensemble, atoms = members(2), structure("slab", 2)
    one = ensemble.evaluate(atoms, threads=1)
    for threads in (2, 3):
        found = ensemble.evaluate(atoms, threads=threads)
        np.testing.assert_array_equal(found.extrapolation, one.extrapolation)
        np.testing.assert_array_equal(found.uncertainty, one.uncertainty)


def test_environments_of_the_training_are_inside() -> None:
    ensemble = potential()
    for image in copper.cells():
        grade = ensemble.evaluate(image.atoms).extrapolation
        assert grade is not None
        assert (grade <= 1.0).all()


def test_an_element_without_labels_is_outside() -> None:
    data = training_data(2)
    environments = {
        "Pt": Environments.of(np.zeros((0, data.functions.size("Pt")))),
        "Au": Environments.of(np.zeros((1, data.functions.size("Au")))),
    }
    ensemble = replace(members(2), domain=Domain(environments, 0.1))
    grade = ensemble.evaluate(structure("slab", 2)).extrapolation
    assert grade is not None
    assert (grade > 1.0).all()


def test_few_neighbours_of_every_element_are_outside() -> None:
    """Also where each feature alone is as small among labelled atoms: of a mixture, some are."""
    elements, rng = ("Cu", "Au"), np.random.default_rng(5)
    functions, known = functions_of(elements), {element: [] for element in elements}
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        for a in (3.6, 3.8, 4.0, 4.2):
            crystal = bulk("Cu", a=a, cubic=True).repeat(3)
            crystal.pbc = False  # atoms at corners, too
            crystal.symbols = np.where(rng.random(len(crystal)) < part, "Au", "Cu")
            crystal.rattle(0.1, rng=rng)
            for element, features in functions.compute(crystal).items():
                known[element].append(features)
    features = {element: np.concatenate(each) for element, each in known.items()}
    low = {element: each.min(axis=0) for element, each in features.items()}
    high = {element: each.max(axis=0) for element, each in features.items()}
    ensemble = replace(random_ensemble(functions, crystal), scaling=Scaling(low, high))
    environments = {}
    for element, each in features.items():
        scale, offset = ensemble.scaling.linear(element)
        environments[element] = Environments.of(each * scale + offset, (each * scale).sum(axis=1))
    without = {element: replace(each, least=None) for element, each in environments.items()}
    silent = 0
    for pair in ("Cu2", "Au2", "CuAu"):
        for distance in (3.0, 3.5, 4.0, 4.5, 5.0, 6.0):
            atoms = Atoms(pair, [[0, 0, 0], [0, 0, distance]])
            for domain in (Domain(without, 0.1), Domain(environments, 0.1)):
                grade = replace(ensemble, domain=domain).evaluate(atoms).extrapolation
                assert grade is not None
                silent += domain.environments is without and (grade <= 1.0).all()
            assert (grade > 1.0).all(), (pair, distance)
    assert silent > 0


def test_stretched_crystals_are_outside() -> None:
    """Also where every feature is as in the training: by the distance to the nearest neighbour."""
    data = training_data(2)
    spacing = {}
    for number, element in enumerate(data.functions.elements):
        images = [p.image.atoms for p in data.fingerprints]
        own = np.concatenate([nearest(atoms)[atoms.symbols == element] for atoms in images])
        found = np.concatenate([p.nearest[p.species == number] for p in data.fingerprints])
        found = found[found > 0.0]  # others have no neighbour
        assert (np.abs(own[:, None] - found).min(axis=0) < 1e-9).all()
        spacing[element] = float(found.max())
    everything = {}
    for element in spacing:
        wide = 1e6 * np.eye(data.functions.size(element))
        every = np.concatenate([-wide, wide])
        everything[element] = Environments.of(every, spacing=spacing[element])
    ensemble = replace(members(2), domain=Domain(everything, 0.1))
    limit = BOX * min(spacing.values())
    for distance, inside in ((0.99 * limit, True), (1.01 * BOX * max(spacing.values()), False)):
        crystal = bulk("Pt", a=distance * np.sqrt(2.0), cubic=True)
        crystal.symbols[0] = "Au"
        grade = ensemble.evaluate(crystal).extrapolation
        assert grade is not None
        assert ((grade <= 1.0) == inside).all()
    alone = ensemble.evaluate(Atoms("Pt")).extrapolation
    assert alone is not None
    cutoff = data.functions.cutoff.radius
    np.testing.assert_allclose(alone, cutoff / (BOX * spacing["Pt"]), rtol=1e-12)


# -- the uncertainty


def test_the_uncertainty_of_an_atom_outside() -> None:
    """No smaller than the largest of a labelled force, times the grade; inside as it was."""
    ensemble, atoms = members(2), strained(2)
    ensemble = replace(ensemble, domain=replace(ensemble.domain, largest_uncertainty=0.3))
    plain = replace(ensemble, domain=None).evaluate(atoms)
    assert plain.extrapolation is None
    found = ensemble.evaluate(atoms)
    assert found.extrapolation is not None
    outside = found.extrapolation > 1.0
    assert 0 < outside.sum() < len(atoms)
    np.testing.assert_array_equal(found.uncertainty_raw, plain.uncertainty_raw)
    np.testing.assert_array_equal(found.uncertainty[~outside], plain.uncertainty[~outside])
    expected = np.maximum(plain.uncertainty, 1.7 * 0.3 * found.extrapolation)
    np.testing.assert_allclose(found.uncertainty[outside], expected[outside], rtol=1e-14)


def test_the_largest_uncertainty_of_a_labelled_force() -> None:
    ensemble, data = members(1), training_data(1)
    largest = 0.0
    for prints in data.fingerprints:
        forces = ensemble.evaluate(prints.image.atoms).member_forces
        assert forces is not None
        deviation = forces[:, prints.image.force_atoms].std(axis=0, ddof=1)
        largest = max(largest, CONFIDENCE * float(np.linalg.norm(deviation, axis=1).max()))
    assert ensemble.domain is not None
    assert ensemble.domain.largest_uncertainty == pytest.approx(largest, rel=1e-9)


@cache
def potential() -> Ensemble:
    """Copper cells and chunks of a particle, with all forces; the errors inside are small."""
    chunks = extract_chunks(copper.particle(), range(0, 55, 6), 5.0)
    return train_ensemble(
        [*copper.cells(), *(copper.labelled(chunk) for chunk in chunks)],
        copper.functions(),
        NetworkSettings(hidden_layers=(6,)),
        TrainingSettings(initial_iterations=40, tolerance=0.0),
        EnsembleSettings(members=6),
        seed=1,
    )


def far_structures() -> Iterator[tuple[str, Atoms]]:
    """Structures that no label prepares for."""
    for part in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 1.3, 1.4, 1.5):
        crystal = bulk("Cu", a=3.61 * part, cubic=True).repeat(2)
        crystal.rattle(0.03, seed=3)
        yield f"crystal at {part:g} of its lattice constant", crystal
    for distance in (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.4):
        yield f"pair at {distance:g} Å", Atoms("Cu2", [[0, 0, 0], [0, 0, distance]])
    for distance in (1.0, 1.5):
        atoms = copper.particle()
        far = int(np.linalg.norm(atoms.positions - atoms.positions.mean(axis=0), axis=1).argmax())
        away = atoms.positions[far] - atoms.positions.mean(axis=0)
        atoms += Atoms("Cu", [atoms.positions[far] + distance * away / np.linalg.norm(away)])
        yield f"an atom {distance:g} Å before the surface", atoms
    yield "a lone atom", Atoms("Cu")
    for phase, a in (("diamond", 5.4), ("sc", 2.4)):
        crystal = bulk("Cu", phase, a=a, cubic=True).repeat(2)
        crystal.rattle(0.03, seed=3)
        yield f"the {phase} phase", crystal


@pytest.mark.parametrize(
    ("name", "atoms"),
    list(far_structures()),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_never_silent(name: str, atoms: Atoms) -> None:
    """Where the error is beyond the uncertainty without the domain, the atom is outside."""
    found = potential().evaluate(atoms)
    assert found.extrapolation is not None
    assert found.uncertainty is not None
    outside = found.extrapolation > 1.0
    error = np.linalg.norm(found.forces - copper.emt(atoms)[1], axis=1)
    assert found.uncertainty_raw is not None
    bounds = potential().bounds
    assert bounds is not None
    silent = ~outside & (bounds.forces.of(found.uncertainty_raw) < error)
    # the force on an atom depends on the energies of its neighbours, of which one may be outside
    near = atoms.get_all_distances(mic=True) < potential().functions.cutoff.radius
    assert near[silent][:, outside].any(axis=1).all(), name
    assert outside.any() or not silent.any()
    assert potential().domain is not None
    floor = potential().calibration * potential().domain.largest_uncertainty
    assert (found.uncertainty[outside] > floor).all()


def test_the_target_is_inside() -> None:
    """Also a particle rattled otherwise, of the same kind: no alarm that always rings."""
    for seed in (1, 2):
        grade = potential().evaluate(copper.particle(seed)).extrapolation
        assert grade is not None
        assert (grade > 1.0).mean() < 0.05


# -- where it is kept


def test_results_of_the_calculator() -> None:
    atoms = molecule("CO")
    atoms.symbols = "Cu2"
    atoms.calc = NearsightCalculator(potential(), uncertainty=False)
    atoms.get_forces()
    assert "extrapolation" not in atoms.calc.results
    assert (atoms.calc.get_property("extrapolation", atoms) > 1.0).all()


def test_the_file_of_an_ensemble(tmp_path: Path) -> None:
    path, ensemble, atoms = tmp_path / "a.json", members(2), structure("slab", 2)
    ensemble.save(path)
    again = Ensemble.load(path)
    np.testing.assert_array_equal(
        again.evaluate(atoms).extrapolation, ensemble.evaluate(atoms).extrapolation
    )
    content = json.loads(path.read_text())
    del content["digest"]
    changes = {
        "center": ([0.0], "domain"),
        "factor": ([[1.0, 2.0]], "square"),
        "minimum": ([1e3] * training_data(2).functions.size("Pt"), "maximum at least as large"),
        "maximum": ([1.0], "maximum"),
        "spacing": (0.0, "spacing"),
    }
    for key, (value, message) in changes.items():
        damaged = json.loads(json.dumps(content))
        damaged["domain"]["environments"]["Pt"][key] = value
        path.write_text(json.dumps(damaged))
        with pytest.raises(InputError, match=message):
            Ensemble.load(path)
    damaged = json.loads(json.dumps(content))
    damaged["domain"]["largest_uncertainty"] = 1e300
    path.write_text(json.dumps(damaged))
    with pytest.raises(InputError, match="largest_uncertainty"):
        Ensemble.load(path)
    size = len(damaged["domain"]["environments"]["Pt"]["center"])
    damaged["domain"]["largest_uncertainty"] = 1.0
    damaged["domain"]["environments"]["Pt"]["factor"] = np.full((size, size), 1e300).tolist()
    path.write_text(json.dumps(damaged))
    with pytest.raises(InputError, match="no finite energy and forces"):
        Ensemble.load(path).evaluate(atoms)
    del content["domain"]["environments"]["Pt"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="the domain has no environments of Pt"):
        Ensemble.load(path)
    del content["domain"]  # a file of an earlier version
    path.write_text(json.dumps(content))
    assert Ensemble.load(path).evaluate(atoms).extrapolation is None
