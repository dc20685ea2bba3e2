"""Features, energies and forces against n2p2's; ``README.md`` tells where they come from.

The small reader of n2p2's files serves this test alone.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers

from nearsight.model.ensemble import Ensemble
from nearsight.model.network import Layer, Network, stack
from nearsight.model.symmetry_functions import G2, G4, Scaling, SymmetryFunctions

DATA = Path(__file__).parent / "data" / "n2p2"
STRUCTURES = ("pt4_bulk_pbc", "pt6_triclinic_pbc", "pt260_truncoct")
"""The first two are smaller than the cutoff, the second is triclinic."""

ACTIVATIONS = {"t": "tanh", "l": "linear"}


def read_settings(path: Path) -> dict[str, list[list[str]]]:
    """Keywords of input.nn with a list of the arguments of every line."""
    settings = {}
    for line in path.read_text().splitlines():
        words = line.partition("#")[0].split()
        if words:
            settings.setdefault(words[0], []).append(words[1:])
    return settings


def read_functions(settings: dict[str, list[list[str]]]) -> tuple[list[int], SymmetryFunctions]:
    """n2p2's order of the functions, as indices of input.nn's lines, and the functions in it.

    n2p2 sorts by type, cutoff, η, R_s, then ζ and λ, then the elements by atomic number.
    """
    assert settings["cutoff_type"] == [["1"]]  # the cosine
    keys, functions, cutoffs = [], [], set()
    for words in settings["symfunction_short"]:
        center, kind = words[0], int(words[1])
        elements = words[2:3] if kind == 2 else words[2:4]
        numbers = [float(word) for word in words[2 + len(elements) :]]
        z = [atomic_numbers[element] for element in elements]
        if kind == 2:
            eta, r_s, rc = numbers
            keys.append((kind, rc, eta, r_s, 0.0, 0.0, z))
            functions.append(G2(elements[0], eta * rc**2, r_s))
        else:
            assert kind == 3
            eta, sign, zeta, rc = numbers
            keys.append((kind, rc, eta, 0.0, zeta, sign, z))
            functions.append(G4(tuple(elements), eta * rc**2, zeta, sign))
        cutoffs.add(rc)
        assert center == "Pt"
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return order, SymmetryFunctions({"Pt": [functions[i] for i in order]}, cutoffs.pop())


def read_scaling(path: Path) -> Scaling:
    rows = np.loadtxt(path)
    assert rows[:, 1].tolist() == list(range(1, len(rows) + 1))
    return Scaling({"Pt": rows[:, 2]}, {"Pt": rows[:, 3]})


def read_network(path: Path, settings: dict[str, list[list[str]]], inputs: int) -> Network:
    """Layer by layer: the weights from every node to all of the next layer, then the biases."""
    values = iter(np.loadtxt(path, usecols=0))
    hidden = [int(word) for word in settings["global_nodes_short"][0]]
    activations = [ACTIVATIONS[word] for word in settings["global_activation_short"][0]]
    layers = []
    for (n_in, n_out), activation in zip(pairwise([inputs, *hidden, 1]), activations, strict=True):
        weights = np.array([[next(values) for _ in range(n_out)] for _ in range(n_in)])
        layers.append(Layer(weights.T.copy(), np.array([next(values) for _ in range(n_out)]),
                            activation))  # fmt: skip
    assert next(values, None) is None
    return Network(tuple(layers))


@pytest.fixture(scope="module")
def model() -> tuple[list[int], Ensemble]:
    settings = read_settings(DATA / "input.nn")
    assert (settings["scale_min_short"], settings["scale_max_short"]) == ([["-1.0"]], [["1.0"]])
    order, functions = read_functions(settings)
    network = read_network(DATA / "weights.078.data", settings, len(functions))
    return order, Ensemble(functions, read_scaling(DATA / "scaling.data"), stack([{"Pt": network}]))


@pytest.fixture(params=STRUCTURES)
def reference(request: pytest.FixtureRequest) -> tuple[Atoms, Any]:
    """A structure and what n2p2 makes of it."""
    values = np.load(DATA / f"{request.param}.npz", allow_pickle=False)
    atoms = ase.io.read(DATA / f"{request.param}.extxyz")
    np.testing.assert_array_equal(atoms.positions, values["positions"])
    np.testing.assert_array_equal(atoms.cell, values["cell"])
    np.testing.assert_array_equal(atoms.pbc, values["pbc"])
    return atoms, values


def test_order_of_the_functions(
    model: tuple[list[int], Ensemble], reference: tuple[Atoms, Any]
) -> None:
    assert model[0] == reference[1]["sf_order_in_input_nn"].tolist()


def test_features(model: tuple[list[int], Ensemble], reference: tuple[Atoms, Any]) -> None:
    atoms, values = reference
    ensemble = model[1]
    found = ensemble.functions.compute(atoms)["Pt"]
    np.testing.assert_allclose(found, values["G"], rtol=1e-12)
    scale, offset = ensemble.scaling.linear("Pt")
    np.testing.assert_allclose(found * scale + offset, values["G_scaled"], rtol=0, atol=1e-12)


def test_energies_and_forces(
    model: tuple[list[int], Ensemble], reference: tuple[Atoms, Any]
) -> None:
    atoms, values = reference
    r = model[1].evaluate(atoms)
    np.testing.assert_allclose(r.energies, values["atomic_energies"], rtol=1e-12)
    assert r.energy == pytest.approx(float(values["energy"]), rel=1e-12)
    scale = np.abs(values["forces"]).max()
    assert scale > 0.01
    np.testing.assert_allclose(r.forces, values["forces"], rtol=0, atol=1e-12 * scale)
