"""Features and selections against Amp's numbers; ``README.md`` tells where they come from."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from helpers import Array, oracle
from nearsight.selection import (
    cur,
    farthest_point_sampling,
    force_correlation,
    image_descriptor,
    relative_norm_deviation,
)

DATA = Path(__file__).parent / "data"
AMP = json.loads((DATA / "amp.json").read_text())
SELECTED = AMP["ftsel_case"]

ETAS = np.logspace(-3, 2, 20)
CANDIDATES = [oracle.Radial("Pt", eta, r_s) for eta, r_s in product(ETAS, (0.0, 2.0, 4.0))] + [
    oracle.Angular(("Pt", "Pt"), eta, zeta, gamma)
    for eta, zeta, gamma in product((0.005, 0.1, 1.0), (1.0, 4.0, 16.0), (1.0, -1.0))
]
"""The 78 candidates of SI Table S1 in the order in which Amp numbers them."""


def candidate_features(name: str) -> tuple[list[Atoms], list[Array]]:
    """Structures of a data file and, for each, the (n_atoms, 78) candidate features."""
    structures = ase.io.read(DATA / name, ":")
    return structures, [
        np.array(oracle.features(atoms, {"Pt": CANDIDATES}, 6.5)) for atoms in structures
    ]


@pytest.fixture(scope="module")
def chosen20() -> tuple[Array, Array]:
    structures, features = candidate_features("amp_chosen20_emt.xyz")
    forces = np.vstack([atoms.get_forces() for atoms in structures])
    return np.vstack(features), forces


# --- the oracle --------------------------------------------------------------------------------


def from_amp(parameters: dict[str, Any]) -> oracle.Function:
    if parameters["type"] == "G2":
        return oracle.Radial(parameters["element"], parameters["eta"], parameters["offset"])
    return oracle.Angular(
        tuple(parameters["elements"]),
        parameters["eta"],
        parameters["zeta"],
        parameters["gamma"],
        wide=parameters["type"] == "G5",
    )


@pytest.mark.parametrize("case", AMP["cases"], ids=lambda case: case["name"])
def test_oracle_reproduces_amp(case: dict[str, Any]) -> None:
    atoms = Atoms(**case["structure"])
    functions = {element: list(map(from_amp, Gs)) for element, Gs in case["Gs"].items()}
    options = case["cutoff"]["kwargs"]
    features = oracle.features(
        atoms,
        functions,
        options["Rc"],
        kind=case["cutoff"]["name"].lower(),
        gamma=options.get("gamma", 4.0),
    )
    expected = [fingerprint["G"] for fingerprint in case["fingerprints"]]
    np.testing.assert_allclose(features, expected, rtol=1e-12)


def test_oracle_numbers_the_candidates_as_amp(chosen20: tuple[Array, Array]) -> None:
    X, _ = chosen20
    assert X.shape == (326, 78)
    np.testing.assert_allclose(X[0], SELECTED["first_atom_features"], rtol=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "polynomial"])
def test_oracle_of_two_elements_adds_up_to_that_of_one(kind: str) -> None:
    """Amp's cases have one element: split over two, the parts must sum to the same."""
    one = ase.io.read(DATA / "amp_chosen20_emt.xyz", "-1")
    two = one.copy()
    two.symbols[::3] = "Au"
    parts = {"Pt": ["Pt"], "any": ["Pt", "Au"]}
    pairs = {"Pt": [("Pt", "Pt")], "any": [("Pt", "Pt"), ("Au", "Pt"), ("Au", "Au")]}

    def functions(which: str) -> list[oracle.Function]:
        radial = [oracle.Radial(e, 4.0, 1.5) for e in parts[which]]
        narrow = [oracle.Angular(p, 0.1, 4.0, -1.0) for p in pairs[which]]
        wide = [oracle.Angular(p, 0.1, 4.0, -1.0, wide=True) for p in pairs[which]]
        return radial + narrow + wide

    whole = oracle.features(one, {"Pt": functions("Pt")}, 5.0, kind)
    split = np.array(oracle.features(two, dict.fromkeys(["Pt", "Au"], functions("any")), 5.0, kind))
    assert (split > 0.0).all()
    sums = np.add.reduceat(split, [0, 2, 5], axis=1)
    np.testing.assert_allclose(sums, whole, rtol=1e-12)


def test_oracle_of_a_right_angle() -> None:
    """One centre, two neighbours of different elements at 2 Å and 3 Å, by hand."""
    atoms = Atoms("PtAuCu", positions=[[0, 0, 0], [2, 0, 0], [0, 3, 0]])
    functions = [
        oracle.Radial("Au", 0.5, 1.0),
        oracle.Radial("Pt", 0.5),
        oracle.Angular(("Cu", "Au"), 0.5, 3.0, 1.0),
        oracle.Angular(("Au", "Cu"), 0.5, 3.0, 1.0, wide=True),
        oracle.Angular(("Au", "Au"), 0.5, 3.0, 1.0),
    ]
    of_pt = oracle.features(atoms, dict.fromkeys(["Pt", "Au", "Cu"], functions), 4.0)[0]
    fc = [0.5 * (1.0 + np.cos(np.pi * r / 4.0)) for r in (2.0, 3.0, np.sqrt(13.0))]
    expected = [
        np.exp(-0.5 / 16.0) * fc[0],
        0.0,
        0.25 * np.exp(-0.5 * 26.0 / 16.0) * fc[0] * fc[1] * fc[2],
        0.25 * np.exp(-0.5 * 13.0 / 16.0) * fc[0] * fc[1],
        0.0,
    ]
    np.testing.assert_allclose(of_pt, expected, rtol=1e-14)


# --- selections --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["amp_initial33_emt.xyz", "amp_chosen20_emt.xyz"])
def test_structures_carry_emt_labels(name: str) -> None:
    for atoms in ase.io.read(DATA / name, ":"):
        again = atoms.copy()
        again.calc = EMT()
        # the files hold eight decimals
        assert again.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=5e-8)
        np.testing.assert_allclose(again.get_forces(), atoms.get_forces(), atol=2e-7, rtol=0.0)


def test_cur_chooses_what_amp_chooses(chosen20: tuple[Array, Array]) -> None:
    X, _ = chosen20
    published = SELECTED["cur"]
    assert cur(X, published["k"]).tolist() == published["indices"]


def test_force_correlation_chooses_what_amp_chooses(chosen20: tuple[Array, Array]) -> None:
    X, forces = chosen20
    published = SELECTED["fcorr"]
    assert force_correlation(X, forces, published["k"]).tolist() == published["indices"]


@pytest.mark.parametrize("method", ["cur", "fcorr"])
def test_the_same_columns_are_left_out(chosen20: tuple[Array, Array], method: str) -> None:
    X, _ = chosen20
    dropped = SELECTED[method]["dropped_candidates"]
    assert SELECTED[method]["n_candidates_after_variance_mask"] == X.shape[1] - len(dropped)
    with pytest.raises(ValueError, match="at most 71, the number of columns of X that vary"):
        cur(X, 72)
    with pytest.raises(ValueError, match="at most 0, the number of columns of X that vary"):
        cur(X[:, dropped], 1)


@pytest.mark.parametrize("method", ["cur", "fcorr"])
def test_deviation_of_amps_choice(chosen20: tuple[Array, Array], method: str) -> None:
    """Amp's own figure loses three digits; the projection check is that of raw X, 78 columns."""
    X, _ = chosen20
    published = SELECTED[method]
    deviation = relative_norm_deviation(X, published["indices"])
    # the published check was itself computed from nearly dependent columns: six digits hold
    assert deviation == pytest.approx(published["projection_check"], rel=1e-6)
    assert deviation < 0.01 * published["relative_norm_deviation"]


def test_farthest_points_of_the_33_cells() -> None:
    """Distances on the scale of the features' range; every kind of cell is represented."""
    structures, features = candidate_features("amp_initial33_emt.xyz")
    everything = np.vstack(features)
    low, high = everything.min(axis=0), everything.max(axis=0)
    X = image_descriptor([{"Pt": 2.0 * (G - low) / (high - low) - 1.0} for G in features])
    n_atoms = np.array([len(atoms) for atoms in structures])
    chosen = farthest_point_sampling(X, 20, groups=n_atoms)
    split = [np.count_nonzero(n_atoms[chosen] == n) for n in (2, 4, 16, 32)]
    assert sorted(split) == [4, 5, 5, 6]  # even turns, and there are only four of four atoms
    assert split[1] == 4
    # shuffled images and atoms: the same cells in the same order
    order = np.random.default_rng(0).permutation(33)
    rng = np.random.default_rng(1)
    shuffled = image_descriptor(
        [{"Pt": rng.permutation(2.0 * (features[i] - low) / (high - low) - 1.0)} for i in order]
    )
    again = farthest_point_sampling(shuffled, 20, groups=n_atoms[order])
    assert order[again].tolist() == chosen.tolist()
