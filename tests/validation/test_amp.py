"""Fingerprints, energies and forces against Amp's; ``README.md`` tells where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from nearsight.model.ensemble import Ensemble
from nearsight.model.network import Layer, Network, stack
from nearsight.model.scaling import Scaling
from nearsight.model.symmetry_functions import (
    G2,
    G4,
    G5,
    Cutoff,
    SymmetryFunction,
    SymmetryFunctions,
)

CASES = json.loads((Path(__file__).parent / "data" / "amp.json").read_text())["cases"]


@pytest.fixture(params=CASES, ids=lambda case: case["name"])
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


def from_amp(given: Any) -> SymmetryFunction:
    if given["type"] == "G2":
        return G2(given["element"], given["eta"], given["offset"])
    kind = {"G4": G4, "G5": G5}[given["type"]]
    return kind(tuple(given["elements"]), given["eta"], given["zeta"], given["gamma"])


def functions_of(case: dict[str, Any]) -> SymmetryFunctions:
    options = case["cutoff"]["kwargs"]
    cutoff = Cutoff(options["Rc"], case["cutoff"]["name"].lower(), options.get("gamma", 4.0))
    return SymmetryFunctions({e: list(map(from_amp, given)) for e, given in case["Gs"].items()},
                             cutoff)  # fmt: skip


def ensemble_of(case: dict[str, Any]) -> Ensemble:
    """Amp's network as an ensemble of one: tanh on the output node too, biases in the last row."""
    model = case["model"]
    assert model["activation"] == "tanh"
    networks, minimum, maximum = {}, {}, {}
    for element, layers in model["weights"].items():
        matrices = [np.array(layers[number]) for number in sorted(layers, key=int)]
        networks[element] = Network(
            tuple(Layer(m[:-1].T.copy(), m[-1], "tanh") for m in matrices),
            **model["scalings"][element],
        )
        minimum[element], maximum[element] = np.array(model["fprange"][element]).T
    return Ensemble(functions_of(case), Scaling(minimum, maximum), stack([networks]))


def test_fingerprints(case: dict[str, Any]) -> None:
    found = functions_of(case).compute(Atoms(**case["structure"]))
    assert set(case["structure"]["symbols"]) == {"Pt"}
    expected = [fingerprint["G"] for fingerprint in case["fingerprints"]]
    np.testing.assert_allclose(found["Pt"], expected, rtol=1e-12)


def test_fingerprint_derivatives(case: dict[str, Any]) -> None:
    functions = functions_of(case)
    given = functions.structure(Atoms(**case["structure"]))
    n = len(given)
    found = functions.core.fingerprints(given, range(n), True)
    derivatives = np.zeros((n, 3, n, functions.size("Pt")))  # moved atom, direction, centre
    for moved in range(n):
        for block in range(found["block_offsets"][moved], found["block_offsets"][moved + 1]):
            derivatives[moved, :, found["block_center"][block]] = found["derivatives"][block]
    assert len(case["fingerprint_primes_sample"]) >= 2
    for sample in case["fingerprint_primes_sample"]:
        value = derivatives[sample["moved_atom"], sample["direction"], sample["center_atom"]]
        expected = np.array(sample["dG"])
        # zeros of symmetry come out as some 1e-15 on both sides
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


def test_energy_and_forces(case: dict[str, Any]) -> None:
    r = ensemble_of(case).evaluate(Atoms(**case["structure"]))
    assert r.energy == pytest.approx(case["energy"], rel=1e-12)
    forces = np.array(case["forces"])
    scale = np.abs(forces).max()
    assert scale > 0.1
    np.testing.assert_allclose(r.forces, forces, rtol=0, atol=1e-12 * scale)


def test_atomic_energies(case: dict[str, Any]) -> None:
    """They belong to the last structure of Amp's finite differences, an atom 1e-4 Å away."""
    atoms = Atoms(**case["structure"])
    atom, direction = case["finite_difference_check[i,c,fd,analytic]"][-1][:2]
    atoms.positions[atom, direction] -= 1e-4
    r = ensemble_of(case).evaluate(atoms)
    np.testing.assert_allclose(r.energies, case["atomic_energies"], rtol=1e-12)
    # which is why they do not add up to the energy, and by how much
    force = case["forces"][atom][direction]
    assert sum(case["atomic_energies"]) - case["energy"] == pytest.approx(1e-4 * force, rel=1e-2)
