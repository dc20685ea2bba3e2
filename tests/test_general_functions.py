"""Symmetry functions with windows of their own: values from their formulas, forces, files."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement, product
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from helpers import Array
from helpers.differences import error_of
from helpers.general import CASES, RADIUS, TANH, Z, functions_like, general_ensemble
from helpers.structures import ELEMENTS, functions_of, random_ensemble, structure
from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble
from nearsight.model.general_functions import Angular, Radial, Window
from nearsight.model.network import Layer
from nearsight.model.scaling import Scaling, ScalingForm
from nearsight.model.symmetry_functions import (
    G4,
    G5,
    Cutoff,
    SymmetryFunction,
    SymmetryFunctions,
)

SHAPES = {
    "hard": lambda x: np.ones_like(x),
    "cosine": lambda x: 0.5 * (np.cos(np.pi * x) + 1),
    "exponential": lambda x: np.exp(1 - 1 / (1 - x**2)),
    "polynomial1": lambda x: 2 * x**3 - 3 * x**2 + 1,
    "polynomial2": lambda x: -6 * x**5 + 15 * x**4 - 10 * x**3 + 1,
    "polynomial3": lambda x: 20 * x**7 - 70 * x**6 + 84 * x**5 - 35 * x**4 + 1,
    "polynomial4": lambda x: -70 * x**9 + 315 * x**8 - 540 * x**7 + 420 * x**6 - 126 * x**5 + 1,
}


def window(given: Window, r: Array) -> Array:
    """The definition (n2p2's documentation; Bircher et al., arXiv 2010.14414), in NumPy."""
    r = np.asarray(r, dtype=np.longdouble)  # 1 - ... cancels
    if given.shape in TANH:
        most = np.tanh(1.0) ** 3 if given.shape == "scaled_tanh3" else 1.0
        return np.where(r < given.end, np.tanh(1 - r / given.end) ** 3 / most, 0.0)
    middle = (given.start + given.end) / 2 if given.bump else given.start
    x = (r - middle) / (given.end - middle)
    x = np.abs(x) if given.bump else np.maximum(x, 0.0)
    inside = x < 1
    x = np.where(inside, (2 - x) * x if given.asymmetric else x, 0.0)
    return np.where(inside, SHAPES[given.shape](x), 0.0)


def expected(atoms: Atoms, center: str, function: Radial) -> Array:
    """The feature of every atom of this element, from the definition."""

    def rho(r: Array) -> Array:
        return np.exp(-function.eta * (r - function.r_s) ** 2) * window(function.window, r)

    i, j, d, vectors = neighbor_list("ijdD", atoms, function.window.end)
    symbols = np.array(atoms.get_chemical_symbols())
    found = []
    for atom in np.flatnonzero(symbols == center):
        mine = i == atom
        names, r, v = symbols[j[mine]], d[mine], vectors[mine]
        if not isinstance(function, Angular):
            w = [function.weights.get(n, 0.0) if function.weights else n in function.elements
                 for n in names]  # fmt: skip
            found.append(np.sum(np.array(w, float) * rho(r)))
            continue
        total = 0.0
        for a in range(len(r)):
            for b in range(a):
                if function.weights:
                    w_ab = function.weights[names[a]] * function.weights[names[b]]
                else:
                    w_ab = float(sorted((names[a], names[b])) == sorted(function.elements))
                cosine = np.clip(v[a] @ v[b] / (r[a] * r[b]), -1, 1)
                if function.angles is None:
                    turn = 2 ** (1 - function.zeta)
                    turn *= max(1 + function.gamma * cosine, 0.0) ** function.zeta
                else:
                    turn = float(window(function.angles, np.degrees(np.arccos(cosine))))
                third = float(rho(np.linalg.norm(v[a] - v[b]))) if function.closed else 1.0
                total += w_ab * turn * float(rho(r[a]) * rho(r[b])) * third
        found.append(total)
    return np.array(found)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("place", ["cluster", "skewed"])
def test_values_are_those_of_the_formulas(name: str, place: str) -> None:
    atoms, functions = structure(place, 2), functions_like(CASES[name])
    found = functions.compute(atoms)
    for element in ("Pt", "Au"):
        for column, function in enumerate(functions.functions[element]):
            if isinstance(function, Radial):
                wanted = expected(atoms, element, function)
                # the formulas subtract numbers near 1, of which long double has 19 digits
                size = max(function.weights.values(), default=1.0) ** function.COUNT
                np.testing.assert_allclose(
                    found[element][:, column], wanted, rtol=1e-10, atol=1e-17 * size
                )
    fast = functions.subset({"Pt": [0, len(CASES[name]) + 1]}).compute(atoms)["Pt"]
    np.testing.assert_array_equal(found["Pt"][:, [0, -1]], fast)


@pytest.mark.parametrize("name", [name for name in CASES if "hard" not in name])
def test_forces_are_differences_of_the_energy(name: str) -> None:
    atoms = structure("skewed", 2)
    atoms = (atoms * (2, 1, 1))[[0, 1, 2, 4, 5]]
    ensemble = random_ensemble(functions_like(CASES[name]), atoms)
    result = ensemble.evaluate(atoms)
    assert result.member_forces is not None
    assert result.stress is not None
    direction = np.random.default_rng(1).normal(size=(len(atoms), 3))
    strain = np.array([[0.3, 0.1, -0.2], [0.1, -0.4, 0.5], [-0.2, 0.5, 0.2]])

    def energies(step: float) -> Array:
        moved = atoms.copy()
        moved.positions += step * direction
        return ensemble.evaluate(moved).member_energies

    def strained(step: float) -> float:
        moved = atoms.copy()
        moved.set_cell(atoms.cell @ (np.eye(3) + step * strain), scale_atoms=True)
        return ensemble.evaluate(moved).energy

    slope = -np.einsum("mij,ij->m", result.member_forces, direction)
    size = np.abs(slope).max() + 1.0
    # polynomial1 has a jump in its second derivative, which spoils the longer steps
    assert error_of(slope, energies, enough=1e-9 * size).max() < 1e-7 * size
    xx, yy, zz, yz, xz, xy = result.stress
    stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    work = float((stress * strain).sum() * atoms.get_volume())
    assert error_of(work, strained, enough=1e-9 * size).max() < 1e-7 * (abs(work) + size)
    np.testing.assert_allclose(result.forces.sum(axis=0), 0.0, atol=1e-11 * size)


def test_fingerprints_are_differences_of_the_features() -> None:
    """What training uses."""
    atoms = structure("cluster", 2)
    functions = functions_like(CASES["cosine"] + CASES["compact polynomial2"])
    core, plain = functions.core, functions.structure(atoms)
    found = core.fingerprints(plain, [3], True)
    size = functions.core.features(plain).shape[1]
    dense = np.zeros((3, len(atoms), size))
    for b in range(*found["block_offsets"]):
        dense[:, found["block_center"][b]] += found["derivatives"][b, :, :size]
    for axis in range(3):

        def features(step: float, axis: int = axis) -> Array:
            moved = atoms.copy()
            moved.positions[3, axis] += step
            return core.features(functions.structure(moved))

        scale = np.abs(dense).max(axis=(0, 1)) + 1e-2
        assert (error_of(dense[axis], features, 1e-9 * scale) < 1e-7 * scale).all()


def test_an_atom_in_line_with_two_others() -> None:
    """cos θ is ±1, where the arccosine has no derivative."""
    atoms = Atoms("PtAuPt", [[0, 0, 0], [0, 0, 2.0], [0, 0, 4.0]])
    for ends in ((-90, 90), (90, 270), (0, 180)):
        angles = Window("polynomial2", *ends, bump=True)
        of = [
            Angular(("Au", "Pt"), 0.0, 0.0, Window("polynomial2", -4.9, 4.9, True), angles=angles)
        ]
        of.append(replace(of[0], elements=("Pt", "Pt")))
        functions = SymmetryFunctions({"Pt": of, "Au": of}, RADIUS)
        result = random_ensemble(functions, atoms).evaluate(atoms)
        assert np.isfinite(result.forces).all()
        assert np.abs(result.forces[:, :2]).max() < 1e-12
        wanted = expected(atoms, "Pt", of[0])
        np.testing.assert_allclose(functions.compute(atoms)["Pt"][:, 0], wanted, atol=1e-14)


ACTIVATIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "gaussian": lambda z: np.exp(-(z**2) / 2),
    "cosine": np.cos,
    "reversed_sigmoid": lambda z: 1 - 1 / (1 + np.exp(-z)),
    "exponential": lambda z: np.exp(-z),
    "square": lambda z: z**2,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    """Energies by the formula, forces by differences; the output may have one, too."""
    atoms = structure("cluster")
    made = random_ensemble(functions_of(("Pt",)), atoms, activation=name, members=2)
    network = made.networks["Pt"]
    layers = [replace(each, weights=0.2 * each.weights) for each in network.layers]
    layers[-1] = replace(layers[-1], activation=name)
    made = replace(made, networks={"Pt": replace(network, layers=tuple(layers))})
    result = made.evaluate(atoms)
    scale, offset = made.scaling.linear("Pt")
    a = made.functions.compute(atoms)["Pt"] * scale + offset
    first = made.members[0]["Pt"]
    for layer in first.layers:
        a = ACTIVATIONS[name](a @ layer.weights.T + layer.bias)
    wanted = np.sum(first.intercept + first.slope * a)
    assert result.member_energies[0] == pytest.approx(wanted, rel=1e-12)
    direction = np.random.default_rng(2).normal(size=(len(atoms), 3))

    def energies(step: float) -> Array:
        moved = atoms.copy()
        moved.positions += step * direction
        return made.evaluate(moved).member_energies

    assert result.member_forces is not None
    slope = -np.einsum("mij,ij->m", result.member_forces, direction)
    size = np.abs(slope).max() + 1.0
    assert error_of(slope, energies, 1e-9 * size).max() < 1e-7 * size


@pytest.mark.parametrize("kind", ["range", "mean", "sigma", "centered", "none"])
def test_scaling(kind: str) -> None:
    """By n2p2's formulas."""
    low, high = np.array([0.5, -1.0]), np.array([2.0, 3.0])
    mean, sigma, given = np.array([1.1, 0.2]), np.array([0.3, 0.9]), np.array([[1.7, -0.4]])
    parts = [{"Pt": each} for each in (low, high, mean, sigma)]
    made = Scaling(*parts[:2], ScalingForm(kind, -0.5, 2.0), *parts[2:])
    scale, offset = made.linear("Pt")
    formulas = {
        "range": -0.5 + 2.5 * (given - low) / (high - low),
        "mean": -0.5 + 2.5 * (given - mean) / (high - low),
        "sigma": -0.5 + 2.5 * (given - mean) / sigma,
        "centered": given - mean,
        "none": given,
    }
    np.testing.assert_allclose(given * scale + offset, formulas[kind], rtol=1e-14, atol=1e-14)
    with pytest.raises(InputError, match="needs a mean, or sigma"):
        Scaling(*parts[:2], ScalingForm("mean")).linear("Pt")
    with pytest.raises(InputError, match="unknown scaling 'median'"):
        Scaling(*parts[:2], ScalingForm("median")).linear("Pt")


def test_file(tmp_path: Path) -> None:
    atoms = structure("cluster", 2)
    made = general_ensemble(atoms)
    made.save(tmp_path / "p.json")
    assert '"version": 3' in (tmp_path / "p.json").read_text()
    again = Ensemble.load(tmp_path / "p.json")
    assert again.digest == made.digest
    np.testing.assert_array_equal(again.evaluate(atoms).forces, made.evaluate(atoms).forces)
    made.functions.save(tmp_path / "f.json")
    assert '"version": 2' in (tmp_path / "f.json").read_text()
    assert SymmetryFunctions.load(tmp_path / "f.json").functions == made.functions.functions
    functions_of(("Pt",), kinds="G2 G4 G5").save(tmp_path / "f.json")
    assert '"version": 1' in (tmp_path / "f.json").read_text()


SHELLS = [(4.0, 3.3), (30.0, 2.5), (30.0, -1.0), (160.0, 2.8), (160.0, 9.0), (4000.0, 2.8)]
"""η and R_s of functions that have fast loops, of any width."""

TURNS = [(1.0, 1.0), (1.0, 0.0), (4.0, -1.0), (3.0, 0.4), (2.5, 1.0), (8.0, 1.0), (16.0, -1.0)]


@pytest.mark.parametrize("window", ["cosine", "polynomial1"])
@pytest.mark.parametrize(
    ("name", "n_elements", "angular"),
    [("cluster", 3, None), ("slab", 2, 4.6), ("tiny", 2, None), ("skewed", 3, 4.4)],
)
def test_shifted_angular_functions_are_those_of_the_plain_loops(
    name: str, n_elements: int, angular: float | None, window: str
) -> None:
    atoms, elements = structure(name, n_elements), ELEMENTS[:n_elements]
    reach = 6.0 if angular is None else angular
    form = ("cosine", 4.0) if window == "cosine" else ("polynomial", 2.0)
    fast: list[SymmetryFunction] = []
    plain: list[SymmetryFunction] = []
    for pair, kind, (eta, r_s), (zeta, gamma) in product(
        combinations_with_replacement(elements, 2), (G4, G5), SHELLS, TURNS
    ):
        fast.append(kind(pair, eta, zeta, gamma, r_s))
        numbers = eta / reach**2, r_s, Window(window, 0.0, reach), {}, zeta, gamma
        plain.append(Angular(pair, *numbers, closed=kind is G4))
    one, two = (
        SymmetryFunctions(dict.fromkeys(elements, given), Cutoff(6.0, *form), inner)
        for given, inner in ((fast, angular), (plain, None))
    )
    found, expected = one.compute(atoms), two.compute(atoms)
    for element in found:
        size = np.abs(expected[element]).max(axis=0)
        # of a sum of 1e-11 the moments of nearly parallel bonds leave fewer digits
        size = np.where(size < 1e-9, np.inf, size)
        assert (size < np.inf).sum() > 20
        assert np.isfinite(found[element]).all()
        assert (np.abs(found[element] - expected[element]) < 1e-12 * size).all()


WINDOW = Window("cosine", 0.0, RADIUS)
REFUSED = {
    "farther": (Radial(("Pt",), 1.0, 0.0, Window("cosine", 0.0, 5.1)), "end within the cutoff"),
    "empty": (Radial(("Pt",), 1.0, 0.0, Window("cosine", 2.0, 2.0)), "must end behind its start"),
    "shape": (Radial(("Pt",), 1.0, 0.0, Window("round", 0.0, 2.0)), "unknown shape .* 'round'"),
    "eta": (Radial(("Pt",), np.inf, 0.0, WINDOW), "must be finite"),
    "zeta": (Angular(("Pt", "Pt"), 1.0, 0.0, WINDOW, zeta=0.0), "zeta .* more than 0"),
    "angles": (
        Angular(("Pt", "Pt"), 1.0, 0.0, WINDOW, angles=Window("cosine", 9.0, 3.0)),
        "must end behind its start",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_are_refused(name: str) -> None:
    function, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence):
        SymmetryFunctions({"Pt": [function]}, RADIUS)


def test_wrong_number_of_elements() -> None:
    with pytest.raises(InputError, match="Angular takes 2 elements, got"):
        Angular(("Pt",), 1.0, 0.0, WINDOW)
    with pytest.raises(InputError, match="with weights takes 0 elements"):
        Radial(("Pt",), 1.0, 0.0, WINDOW, Z)


def test_layers_of_members_differ() -> None:
    """An activation nobody knows."""
    atoms = structure("cluster")
    made = random_ensemble(functions_of(("Pt",)), atoms)
    layers = made.networks["Pt"].layers
    odd = Layer(layers[0].weights, layers[0].bias, "swish")
    network = replace(made.networks["Pt"], layers=(odd, *layers[1:]))
    with pytest.raises(InputError, match="unknown activation 'swish'"):
        replace(made, networks={"Pt": network})
