"""Energies, forces and virial of random networks, their locality and their determinism."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.cluster.octahedron import Octahedron

from helpers import Array, reference
from helpers.differences import error_of
from helpers.structures import CUTOFFS, ELEMENTS, NAMES, functions_of, random_ensemble, structure
from nearsight import _core
from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import (
    Layer,
    Network,
    core_potential,
    networks_from_weights,
    stack,
    weights_from_networks,
)
from nearsight.model.symmetry_functions import G2, SymmetryFunctions

CASES = [
    ("planar", 1),
    ("cluster", 2),
    ("particle", 3),
    ("slab", 2),
    ("sheet", 1),
    ("tiny", 2),
    ("skewed", 3),
    ("left-handed", 1),
]


def evaluate(
    ensemble: Ensemble,
    atoms: Atoms,
    forces: str = "members",
    virial: bool = False,
    threads: int = 1,
) -> Any:
    return ensemble.core.evaluate(ensemble.functions.structure(atoms), forces, virial, threads)


def total_energy(ensemble: Ensemble, atoms: Atoms, offset: Array) -> float:
    """Mean over members, every atom's energy less ``offset`` before they are added."""
    return (evaluate(ensemble, atoms, "none")["energies"].mean(axis=0) - offset).sum()


def random_direction(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    direction = rng.normal(size=shape)
    return direction / np.linalg.norm(direction)


# --- energies and forces -----------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "linear"])
@pytest.mark.parametrize(("name", "n_elements"), CASES)
def test_energies_are_those_of_numpy_networks_on_the_oracles_features(
    name: str, n_elements: int, activation: str
) -> None:
    atoms = structure(name, n_elements)
    ensemble = random_ensemble(functions_of(ELEMENTS[:n_elements]), atoms, activation=activation)
    expected = reference.atomic_energies(atoms, ensemble)
    assert expected.std() > 0.1
    np.testing.assert_allclose(evaluate(ensemble, atoms)["energies"], expected, atol=1e-12)


@pytest.mark.parametrize("angular_cutoff", [None, 4.4])
@pytest.mark.parametrize(("name", "n_elements"), CASES)
def test_forces_are_differences_of_the_oracles_energies(
    name: str, n_elements: int, angular_cutoff: float | None
) -> None:
    """Nothing of the package is on the other side; every member, one random direction."""
    atoms = structure(name, n_elements)
    functions = functions_of(ELEMENTS[:n_elements])
    functions = SymmetryFunctions(functions.functions, functions.cutoff, angular_cutoff)
    ensemble = random_ensemble(functions, atoms, members=2)
    direction = random_direction((len(atoms), 3), np.random.default_rng(1))
    offset = reference.atomic_energies(atoms, ensemble)

    def energies(distance: float) -> Array:
        moved = atoms.copy()
        moved.positions += distance * direction
        return (reference.atomic_energies(moved, ensemble) - offset).sum(axis=1)

    slope = -np.tensordot(evaluate(ensemble, atoms)["forces"], direction, axes=2)
    size = np.abs(slope)
    assert (error_of(slope, energies, enough=1e-9 * size) / size).max() < 1e-8


@pytest.mark.parametrize("kinds", ["G2", "G4", "G5", "G2 G4 G5"])
@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize(("name", "n_elements"), CASES)
def test_forces_are_differences_of_the_energy(
    name: str, n_elements: int, cutoff: str, kinds: str
) -> None:
    """Three random directions of all atoms together."""
    atoms = structure(name, n_elements)
    functions = functions_of(ELEMENTS[:n_elements], CUTOFFS[cutoff], kinds)
    ensemble = random_ensemble(functions, atoms, members=2)
    found = evaluate(ensemble, atoms)
    forces, offset = found["mean_forces"], found["energies"].mean(axis=0)
    assert np.abs(forces).max() > 1e-3  # eV/Å; not all tiny
    rng = np.random.default_rng(2)
    for _ in range(3):
        direction = random_direction(forces.shape, rng)

        def energy(distance: float, direction: Array = direction) -> float:
            moved = atoms.copy()
            moved.positions += distance * direction
            return total_energy(ensemble, moved, offset)

        slope = -np.sum(forces * direction)
        size = max(abs(slope), 0.1 * np.sqrt(np.mean(forces**2)))
        assert error_of(slope, energy, enough=1e-9 * size) < 1e-8 * size


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_sign_of_a_zero_does_not_matter(axis: int) -> None:
    """Rotated and rounded structures are full of -0.0."""
    atoms = structure("planar", 1)
    atoms.positions[:, 2] = 0.0
    atoms.positions = np.roll(atoms.positions, axis, axis=1)
    ensemble = random_ensemble(functions_of(ELEMENTS[:1]), atoms)
    expected = evaluate(ensemble, atoms)["forces"]
    assert np.abs(expected).max() > 1e-3
    atoms.positions[::2, (axis + 2) % 3] = -0.0
    np.testing.assert_array_equal(evaluate(ensemble, atoms)["forces"], expected)


@pytest.mark.parametrize("cutoff", ["cosine", "polynomial 4"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "far apart"])
def test_virial_is_the_derivative_by_strain(name: str, cutoff: str) -> None:
    """Any strain, rotations included: Σ r_ij ⊗ dE/dr_ij, in Å · eV/Å."""
    n_elements = min(2, len(structure(name)))
    atoms = structure(name, n_elements)
    ensemble = random_ensemble(functions_of(ELEMENTS[:n_elements], CUTOFFS[cutoff]), atoms)
    found = evaluate(ensemble, atoms, virial=True)
    virial, offset = found["virial"], found["energies"].mean(axis=0)
    assert np.abs(virial).max() > 0.05
    np.testing.assert_allclose(virial, virial.T, atol=1e-11)  # no torque
    np.testing.assert_allclose(found["virials"].mean(axis=0), virial, atol=1e-12)
    symmetric = 0.5 * (found["virials"] + found["virials"].transpose(0, 2, 1))
    voigt = symmetric[:, (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    np.testing.assert_allclose(found["virial_deviation"], voigt.std(axis=0, ddof=1), atol=1e-12)
    mean = evaluate(ensemble, atoms, "mean", virial=True)["virial"]
    np.testing.assert_allclose(mean, virial, atol=1e-12)
    plain = evaluate(ensemble, atoms)
    np.testing.assert_array_equal(found["forces"], plain["forces"])
    for number, member in enumerate(ensemble.members):
        alone = replace(ensemble, networks=stack([member]))
        one = evaluate(alone, atoms, "mean", virial=True)["virial"]
        np.testing.assert_allclose(found["virials"][number], one, atol=1e-11)
    rng = np.random.default_rng(3)
    for _ in range(2):
        direction = random_direction((3, 3), rng)

        def energy(strain: float, direction: Array = direction) -> float:
            strained = atoms.copy()
            change = np.eye(3) + strain * direction
            strained.set_cell(np.asarray(atoms.cell) @ change)
            strained.positions = atoms.positions @ change
            return total_energy(ensemble, strained, offset)

        slope = np.sum(virial * direction)
        size = max(abs(slope), 0.1 * np.abs(virial).max())
        assert error_of(slope, energy, enough=1e-9 * size) < 1e-8 * size


def test_networks_far_in_saturation_stay_finite() -> None:
    atoms = structure("cluster")
    ensemble = random_ensemble(functions_of(["Pt"]), atoms, members=1)
    network = ensemble.networks["Pt"]
    first = replace(network.layers[0], weights=1e5 * network.layers[0].weights)
    hard = replace(ensemble, networks={"Pt": replace(network, layers=(first, *network.layers[1:]))})
    found = evaluate(hard, atoms)
    np.testing.assert_allclose(
        found["energies"], reference.atomic_energies(atoms, hard), atol=1e-12
    )
    assert np.isfinite(found["forces"]).all()


# --- locality ----------------------------------------------------------------------------------


def moved_atom_cases() -> Any:
    particle = Octahedron("Pt", 7, 2, latticeconstant=3.99)
    particle = Atoms(particle.symbols, particle.positions)
    particle.rattle(0.1, seed=0)
    rod = bulk("Pt", a=3.95, cubic=True) * (1, 1, 8)
    rod.rattle(0.1, seed=1)
    return {"particle": particle, "periodic rod": rod}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["particle", "periodic rod"])
def test_nearsightedness_is_exact(name: str, threads: int) -> None:
    """A moved atom changes E_i within Rc only and F_i within 2 Rc only, to the last bit."""
    cutoff = 4.3
    atoms = moved_atom_cases()[name]
    atoms.symbols[::3] = "Au"
    ensemble = random_ensemble(functions_of(["Pt", "Au"], cutoff), atoms)
    before = evaluate(ensemble, atoms, threads=threads)
    moved = atoms.copy()
    moved.positions[0] += [0.2, -0.3, 0.1]
    after = evaluate(ensemble, moved, threads=threads)
    nearest = np.minimum(
        *(a.get_distances(0, range(len(a)), mic=a.pbc.any()) for a in (atoms, moved))
    )
    energy_changed = (before["energies"] != after["energies"]).any(axis=0)
    force_changed = (before["forces"] != after["forces"]).any(axis=(0, 2))
    assert (nearest > 2.0 * cutoff).sum() > 5
    assert not energy_changed[nearest >= cutoff].any()
    assert not force_changed[nearest >= 2.0 * cutoff].any()
    assert not (before["deviation"] != after["deviation"])[nearest >= 2.0 * cutoff].any()
    # and it does change them there
    assert energy_changed[nearest < 0.8 * cutoff].all()
    assert force_changed[nearest < 1.2 * cutoff].all()


# --- determinism -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alloy() -> tuple[Ensemble, Atoms]:
    atoms = structure("supercell", 3) * (2, 2, 1)
    return atoms, random_ensemble(functions_of(ELEMENTS), atoms, members=5)


@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_every_time(alloy: tuple[Ensemble, Atoms], threads: int) -> None:
    atoms, ensemble = alloy
    first = evaluate(ensemble, atoms, virial=True, threads=threads)
    again = evaluate(ensemble, atoms, virial=True, threads=threads)
    assert first.keys() == again.keys() == {
        "energy", "member_energies", "energy_deviation", "energies", "mean_energies", "forces",
        "mean_forces", "deviation", "virial", "virials", "virial_deviation", "isolated",
    }  # fmt: skip
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])


@pytest.mark.parametrize("name", ["dimer", "cluster", "particle", "tiny", "supercell", "large"])
def test_no_bit_depends_on_the_number_of_threads(name: str) -> None:
    atoms = structure("supercell", 3) * (5, 4, 4) if name == "large" else structure(name, 3)
    ensemble = random_ensemble(functions_of(ELEMENTS), structure("supercell", 3), members=3)
    for forces in ("members", "mean"):
        one = evaluate(ensemble, atoms, forces, virial=True, threads=1)
        for threads in (2, 3, 7):
            found = evaluate(ensemble, atoms, forces, virial=True, threads=threads)
            assert found.keys() == one.keys()
            for key, value in one.items():
                np.testing.assert_array_equal(found[key], value, err_msg=f"{key}, {threads}")


def test_mean_forces_are_the_mean_over_members(alloy: tuple[Ensemble, Atoms]) -> None:
    atoms, ensemble = alloy
    members = evaluate(ensemble, atoms)
    mean = evaluate(ensemble, atoms, "mean")
    assert mean.keys() == {
        "energy", "member_energies", "energy_deviation", "energies", "mean_energies",
        "mean_forces", "isolated",
    }  # fmt: skip
    np.testing.assert_array_equal(mean["energies"], members["energies"])
    totals = mean["energies"].sum(axis=1)
    np.testing.assert_allclose(mean["member_energies"], totals, rtol=1e-14)
    assert mean["energy"] == pytest.approx(totals.mean(), rel=1e-14)
    assert mean["energy_deviation"] == pytest.approx(totals.std(ddof=1), rel=1e-10)
    expected = members["forces"].mean(axis=0)
    assert np.abs(members["mean_forces"] - expected).max() < 1e-13
    assert np.abs(mean["mean_forces"] - expected).max() < 1e-13


def test_a_member_does_not_depend_on_the_others(alloy: tuple[Ensemble, Atoms]) -> None:
    atoms, ensemble = alloy
    together = evaluate(ensemble, atoms)
    for m, member in enumerate(ensemble.members):
        alone = evaluate(replace(ensemble, networks=stack([member])), atoms)
        np.testing.assert_allclose(alone["energies"][0], together["energies"][m], atol=1e-13)
        np.testing.assert_allclose(alone["forces"][0], together["forces"][m], atol=1e-13)
        assert not alone["deviation"].any()


@pytest.mark.parametrize("members", [1, 2, 3, 4, 5, 8, 9])
def test_any_number_of_members(members: int) -> None:
    """Members lie in the lanes of vectors: numbers that do and do not fill them."""
    atoms = structure("cluster", 2)
    ensemble = random_ensemble(functions_of(ELEMENTS[:2]), atoms, members=members)
    found = evaluate(ensemble, atoms)
    assert found["forces"].shape == (members, len(atoms), 3)
    expected = reference.atomic_energies(atoms, ensemble)
    np.testing.assert_allclose(found["energies"], expected, atol=1e-12)


# --- neighbour list with a skin ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["particle", "slab", "skewed"])
def test_a_list_is_valid_until_an_atom_has_moved_by_half_the_skin(name: str) -> None:
    """To the last bit: the bonds are worked out anew, from fewer candidates."""
    atoms = structure(name, 2)
    ensemble = random_ensemble(functions_of(ELEMENTS[:2], 4.3), atoms)
    given = ensemble.functions.structure(atoms)
    skin = 0.8
    neighbors = ensemble.neighbors(given, skin)
    rng = np.random.default_rng(4)
    for _ in range(3):
        moves = rng.normal(size=(len(atoms), 3))
        moves *= 0.49 * skin / np.linalg.norm(moves, axis=1, keepdims=True)
        moved = given.moved(given.positions + moves)
        assert neighbors.is_valid_for(moved)
        found = ensemble.core.evaluate(moved, virial=True, threads=1, neighbors=neighbors)
        fresh = ensemble.core.evaluate(moved, virial=True, threads=1)
        for key, value in fresh.items():
            np.testing.assert_array_equal(found[key], value)


def test_a_list_of_another_structure_is_refused() -> None:
    atoms, other = structure("cluster"), structure("planar")
    ensemble = random_ensemble(functions_of(["Pt"]), atoms)
    neighbors = ensemble.neighbors(other, 0.5)
    given = ensemble.functions.structure(atoms)
    assert not neighbors.is_valid_for(given)
    with pytest.raises(ValueError, match="another structure or cutoff"):
        ensemble.core.evaluate(given, neighbors=neighbors)
    with pytest.raises(InputError, match="another structure or cutoff"):
        neighbors.bonds(given)


def test_species_without_symmetry_functions_are_refused() -> None:
    atoms = structure("cluster")
    ensemble = random_ensemble(functions_of(["Pt"]), atoms)
    given = _core.Structure(atoms.positions, np.ones(len(atoms)), np.eye(3), atoms.pbc)
    for call in (
        ensemble.core.evaluate,
        ensemble.functions.core.features,
        lambda s: ensemble.functions.core.fingerprints(s, [0], True),
    ):
        with pytest.raises(InputError, match="the structure has species index 1, expected 0 to 0"):
            call(given)


# --- weights and plain content -----------------------------------------------------------------


def test_weights_and_networks_are_each_others_inverse() -> None:
    sizes = {"Pt": (4, 3, 2, 1), "Au": (2, 3, 2, 1)}
    n = sum((a + 1) * b for s in sizes.values() for a, b in itertools.pairwise(s))
    weights = np.arange(float(n))
    networks = networks_from_weights(
        weights, sizes, ["tanh", "tanh", "linear"], {"Pt": 1.5, "Au": 2}
    )
    np.testing.assert_array_equal(weights_from_networks(networks), weights)
    assert weights_from_networks(networks).ndim == 1
    first = networks["Pt"].layers[0]
    np.testing.assert_array_equal(first.weights, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    np.testing.assert_array_equal(first.bias, [12, 13, 14])
    assert [layer.activation for layer in networks["Au"].layers] == ["tanh", "tanh", "linear"]
    assert (networks["Pt"].slope, networks["Pt"].intercept) == (1.0, 1.5)


def test_weights_of_members_are_stacked() -> None:
    sizes = {"Pt": (4, 3, 1), "Au": (2, 3, 1)}
    n = sum((a + 1) * b for s in sizes.values() for a, b in itertools.pairwise(s))
    weights = np.random.default_rng(0).normal(size=(5, n))
    arguments = sizes, ["tanh", "linear"], {"Pt": 1.5, "Au": 2}
    networks = networks_from_weights(weights, *arguments)
    assert networks["Pt"].layers[0].weights.shape == (5, 3, 4)
    assert networks["Au"].intercept.tolist() == [2] * 5
    np.testing.assert_array_equal(weights_from_networks(networks), weights)
    single = [networks_from_weights(w, *arguments) for w in weights]
    for m, member in enumerate(single):
        for element in sizes:
            np.testing.assert_array_equal(
                networks[element].member(m).layers[0].weights, member[element].layers[0].weights
            )
    np.testing.assert_array_equal(weights_from_networks(stack(single)), weights)


def test_network_as_plain_content() -> None:
    network = random_ensemble(functions_of(["Pt"]), structure("cluster")).members[0]["Pt"]
    again = Network.from_dict(network.to_dict())
    assert (again.slope, again.intercept) == (network.slope, network.intercept)
    for one, two in zip(again.layers, network.layers, strict=True):
        np.testing.assert_array_equal(one.weights, two.weights)
        np.testing.assert_array_equal(one.bias, two.bias)
        assert one.activation == two.activation


# --- networks that do not fit ------------------------------------------------------------------


def network(*sizes: int, activation: str = "tanh") -> Network:
    return Network(
        tuple(
            Layer(np.ones((out, n)), np.zeros(out), activation)
            for n, out in itertools.pairwise(sizes)
        )
    )


TWO_FEATURES = SymmetryFunctions({"Pt": [G2("Pt", 1.0), G2("Pt", 4.0)]}, 6.0)

MISFITS = {
    "features": ([network(3, 2, 1)], r"scale must have shape \(3\), got \(2\)"),
    "chain": (
        [Network((*network(2, 3).layers, *network(2, 1).layers))],
        "layer 1 of a network takes 2 values, the layer before gives 3",
    ),
    "outputs": ([network(2, 3, 2)], "last layer of a network must have one output"),
    "activation": ([network(2, 1, activation="cubic")], "unknown activation 'cubic', expected"),
    "depth": ([network(2, 3, 1), network(2, 1)], "members' networks for Pt differ in shape"),
    "width": ([network(2, 3, 1), network(2, 4, 1)], "members' networks for Pt differ in shape"),
    "bias": (
        [Network((Layer(np.ones((1, 2)), np.zeros(2), "linear"),))],
        r"bias must have shape \(1, 1\), got \(1, 2\)",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_networks_that_do_not_fit(case: str) -> None:
    networks, message = MISFITS[case]
    scaling = random_ensemble(TWO_FEATURES, structure("cluster")).scaling
    with pytest.raises(InputError, match=message):
        core_potential(TWO_FEATURES, scaling, stack([{"Pt": n} for n in networks]))


def test_a_member_without_a_network_for_an_element() -> None:
    ensemble = random_ensemble(functions_of(ELEMENTS[:2]), structure("cluster", 2))
    one, two = ensemble.members[:2]
    with pytest.raises(InputError, match="a member has no network for Au"):
        stack([one, {"Pt": two["Pt"]}])
    with pytest.raises(InputError, match="the ensemble has no network for Au"):
        core_potential(ensemble.functions, ensemble.scaling, stack([{"Pt": one["Pt"]}]))


def test_unknown_mode_of_forces() -> None:
    atoms = structure("cluster")
    with pytest.raises(ValueError, match="forces must be 'members', 'mean' or 'none'"):
        evaluate(random_ensemble(functions_of(["Pt"]), atoms), atoms, forces="all")
