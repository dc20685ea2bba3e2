"""Symmetry functions and their derivatives, against the oracle and against differences."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import Array, reference
from helpers.differences import error_of
from helpers.structures import CUTOFFS, ELEMENTS, functions_of, scattered, structure
from nearsight.errors import InputError
from nearsight.model.general_functions import Angular, Window
from nearsight.model.scaling import Scaling
from nearsight.model.symmetry_functions import (
    G2,
    G4,
    G5,
    Cutoff,
    SymmetryFunction,
    SymmetryFunctions,
)
from nearsight.structures.images import Image
from nearsight.training.fingerprints import Fingerprints

quick = settings(max_examples=40, deadline=None, derandomize=True)

CASES = [
    ("planar", 1),
    ("cluster", 3),
    ("slab", 2),
    ("sheet", 3),
    ("primitive", 1),
    ("tiny", 2),
    ("skewed", 3),
    ("left-handed", 2),
    ("outside", 1),
]
"""Structure and number of elements; the last five are smaller than the cutoff."""


# --- features ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize(("name", "n_elements"), CASES)
def test_features_agree_with_the_oracle(name: str, n_elements: int, cutoff: str) -> None:
    atoms = structure(name, n_elements)
    functions = functions_of(ELEMENTS[:n_elements], CUTOFFS[cutoff])
    found, expected = functions.compute(atoms), reference.features(atoms, functions)
    assert found.keys() == expected.keys()
    for element, features in expected.items():
        np.testing.assert_allclose(found[element], features, rtol=1e-12, atol=1e-14)
        assert (np.abs(features).max(axis=0) > 1e-6).mean() > 0.8  # not all tiny


@quick
@given(
    eta=st.floats(0.0, 8.0),
    r_s=st.floats(-1.0, 7.0),
    zeta=st.one_of(st.integers(1, 4), st.integers(5, 64), st.floats(1.0, 64.0)),
    gamma=st.floats(-1.0, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_parameters(eta: float, r_s: float, zeta: float, gamma: float, seed: int) -> None:
    atoms = Atoms("PtAuPtAuPtPt", scattered(6, [5, 5, 5], seed))
    pairs = [("Pt", "Pt"), ("Au", "Pt"), ("Au", "Au")]
    given_functions = [G2("Au", eta, r_s)]
    given_functions += [
        kind(pair, eta, zeta, gamma, shift)
        for kind in (G4, G5)
        for pair in pairs
        for shift in (0.0, r_s)
    ]
    functions = SymmetryFunctions(dict.fromkeys(["Pt", "Au"], given_functions), 6.0)
    found, expected = functions.compute(atoms), reference.features(atoms, functions)
    for element, features in expected.items():
        np.testing.assert_allclose(found[element], features, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("r_s", [0.0, 1e-9, 2.5])
@pytest.mark.parametrize("eta", [10.0, 30.0, 100.0])
def test_narrow_angular_functions_keep_their_relative_accuracy(eta: float, r_s: float) -> None:
    """Min–max scaling blows a small feature up: it must be right as a number, not as a zero.

    η = 30 is about 0.2 Bohr⁻² at 12 Bohr, the example of an angular function in n2p2's manual.
    """
    atoms = structure("cluster")
    functions = SymmetryFunctions(
        {"Pt": [kind(("Pt", "Pt"), eta, 4, -1.0, r_s) for kind in (G4, G5)]}, 6.5
    )
    found, expected = functions.compute(atoms)["Pt"], reference.features(atoms, functions)["Pt"]
    # the exponent itself, up to 3 η, is rounded
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize(("name", "n_elements"), CASES)
def test_moments_have_the_digits_of_the_sum_over_pairs(
    name: str, n_elements: int, cutoff: str
) -> None:
    """G5 of whole ζ ≤ 4, to 1e-14 of the most that the same pairs could give, 2 Σ A_j A_k.

    Or of 1, the most that an A can be: of a neighbour near the cutoff it is a small difference.
    """
    atoms, elements = structure(name, n_elements), ELEMENTS[:n_elements]
    given, most = [], []
    for pair in combinations_with_replacement(elements, 2):
        forms = [(0.0, 0.0), (0.005, 0.0), (1.0, 0.0), (1.0, 6.0), (25.0, 2.8)]
        for (eta, r_s), zeta, gamma in product(forms, (1, 2, 3, 4), (1.0, -1.0, 0.4)):
            given.append(G5(pair, eta, zeta, gamma, r_s))
            most.append(G5(pair, eta, 1, 0.0, r_s))
    functions, bounds = (
        SymmetryFunctions(dict.fromkeys(elements, f), CUTOFFS[cutoff]) for f in (given, most)
    )
    found, expected = functions.compute(atoms), reference.features(atoms, functions)
    scale = reference.features(atoms, bounds)
    for element in found:
        error = np.abs(found[element] - expected[element]).max(axis=0)
        assert (error <= 1e-14 * np.maximum(1.0, 2.0 * scale[element].max(axis=0))).all()


def test_threads_do_not_change_the_features() -> None:
    atoms = structure("supercell", 2)
    functions = functions_of(ELEMENTS[:2])
    one, two = functions.compute(atoms, threads=1), functions.compute(atoms, threads=2)
    for element in one:
        np.testing.assert_array_equal(one[element], two[element])


def test_an_atom_alone_has_no_features() -> None:
    atoms = Atoms("Pt3", [[0, 0, 0], [2.5, 0, 0], [40, 0, 0]])
    features = functions_of(["Pt"]).compute(atoms)["Pt"]
    assert (features[:2, 0] > 0).all()
    assert not features[2].any()


# --- derivatives -------------------------------------------------------------------------------


def dense_derivatives(functions: SymmetryFunctions, atoms: Atoms, rows: int) -> Array:
    """dG_centre/dr_row as (rows, 3, N, features), from the compressed rows."""
    found = functions.core.fingerprints(functions.structure(atoms), rows, True)
    size = found["features"].shape[1]
    assert not found["derivatives"][..., size:].any()  # padding
    dense = np.zeros((len(rows), 3, len(atoms), size))
    for r in range(len(rows)):
        for b in range(found["block_offsets"][r], found["block_offsets"][r + 1]):
            dense[r, :, found["block_center"][b]] += found["derivatives"][b, :, :size]
    return dense


def feature_matrix(functions: SymmetryFunctions, atoms: Atoms) -> Array:
    return functions.core.features(functions.structure(atoms))


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize(("name", "n_elements"), CASES)
def test_derivatives_are_differences_of_the_features(
    name: str, n_elements: int, cutoff: str
) -> None:
    """Every kind of function, ζ whole and not; two atoms, each moved in a random direction."""
    atoms = structure(name, n_elements)
    if name == "primitive":  # every derivative of one atom alone is zero: take two
        atoms *= (1, 1, 2)
        atoms.positions[1] += [0.1, -0.1, 0.2]
    functions = functions_of(ELEMENTS[:n_elements], CUTOFFS[cutoff])
    rows = [0, len(atoms) - 1]
    derivatives = dense_derivatives(functions, atoms, rows)
    directions = np.random.default_rng(0).normal(size=(2, 3))
    size = np.abs(derivatives).max(axis=(0, 1, 2))  # by function
    assert (size > 1e-3).mean() > 0.8  # not all tiny
    size = np.maximum(size, 1e-2)
    error = np.zeros(derivatives.shape[2:])
    for row, all_directions, direction in zip(rows, derivatives, directions, strict=True):
        direction /= np.linalg.norm(direction)

        def features(distance: float, row: int = row, direction: Array = direction) -> Array:
            moved = atoms.copy()
            moved.positions[row] += distance * direction
            return feature_matrix(functions, moved)

        along = np.tensordot(direction, all_directions, axes=1)
        error = np.maximum(error, error_of(along, features, enough=1e-9 * size))
    assert (error.max(axis=0) / size).max() < 1e-8


@pytest.mark.parametrize("name", ["cluster", "tiny", "skewed", "needle"])
def test_moving_all_atoms_together_changes_no_feature(name: str) -> None:
    atoms = structure(name, 2)
    dense = dense_derivatives(functions_of(ELEMENTS[:2]), atoms, range(len(atoms)))
    scale = np.abs(dense).max()
    assert scale > 0.1
    assert np.abs(dense.sum(axis=0)).max() < 1e-13 * scale * len(atoms)


@pytest.mark.parametrize("gamma", [1.0, -1.0, 0.0])
def test_a_shell_with_one_neighbour_in_it_keeps_its_relative_accuracy(gamma: float) -> None:
    """Hydrogen, one oxygen at the shell and five far from it: a millionth of 1 is all there is."""
    far = np.array([[1.8, 0, 0.6], [0, 3, 0], [0, 0, 3], [-3, 0.3, 0], [0.3, -3, 0]])
    atoms = Atoms("HO6", np.vstack([[0, 0, 0], [0.97, 0.1, 0.0], far]))
    functions = SymmetryFunctions(
        {"H": [G5(("O", "O"), 800.0, zeta, gamma, 1.0) for zeta in (1, 2, 3, 4)], "O": []}, 6.0
    )
    [found], [expected] = functions.compute(atoms)["H"], reference.features(atoms, functions)["H"]
    assert (expected > 1e-15).all()
    assert (expected < 1e-5).all()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    rows = range(len(atoms))
    dense = dense_derivatives(functions, atoms, rows)[:, :, 0]
    direction = np.random.default_rng(2).normal(size=(len(atoms), 3))

    def moved(step: float) -> Array:
        other = atoms.copy()
        other.positions += step * direction
        return feature_matrix(functions, other)[0] / expected

    along = np.einsum("axf,ax->f", dense, direction) / expected
    assert error_of(along, moved, enough=1e-9).max() < 1e-8 * np.abs(along).max()


@pytest.mark.parametrize("distance", [0.3, 0.01, 0.0011])
def test_two_neighbours_nearly_in_one_place(distance: float) -> None:
    """The third side of G4 is 0, where R_s leaves the derivative without a direction."""
    unit = np.array([0.48, 0.6, 0.64])
    atoms = Atoms("Pt3", [[0, 0, 0], [2.0, 1.0, 0.5], np.array([2.0, 1.0, 0.5]) + distance * unit])
    eta, zeta, gamma, r_s, cutoff = 3.0, 2.0, 1.0, 0.8, 6.0
    functions = SymmetryFunctions({"Pt": [G4(("Pt", "Pt"), eta, zeta, gamma, r_s)]}, cutoff)
    window = Window("cosine", 0.0, cutoff)
    plain = Angular(("Pt", "Pt"), eta / cutoff**2, r_s, window, zeta=zeta, gamma=gamma)
    others = SymmetryFunctions({"Pt": [plain]}, cutoff)
    found, expected = (feature_matrix(each, atoms) for each in (functions, others))
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    found, expected = (dense_derivatives(each, atoms, range(3)) for each in (functions, others))
    # the distance itself is known to 1e-16 Å²
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-15 / distance**2)
    assert np.isfinite(found).all()


def test_a_bulk_image_keeps_all_atoms_and_a_chunk_those_that_see_its_centre() -> None:
    atoms = structure("particle", 2)
    functions = functions_of(ELEMENTS[:2], 4.0)
    bulk = Fingerprints.of(Image(atoms, np.zeros((len(atoms), 3)), 0.0), functions)
    chunk = Fingerprints.of(Image(atoms, np.zeros((1, 3))), functions)
    sees = np.flatnonzero(atoms.get_distances(0, range(len(atoms))) < 4.0)
    assert 1 < len(sees) < len(atoms)

    np.testing.assert_array_equal(bulk.features, feature_matrix(functions, atoms))
    np.testing.assert_array_equal(chunk.features, bulk.features[sees])
    np.testing.assert_array_equal(bulk.species, np.arange(len(atoms)) % 2)
    np.testing.assert_array_equal(chunk.species, sees % 2)
    first = slice(*bulk.block_offsets[:2])
    by_element = np.argsort(sees % 2, kind="stable")
    np.testing.assert_array_equal(bulk.block_center[first], sees[by_element])
    np.testing.assert_array_equal(chunk.block_center, by_element)
    np.testing.assert_array_equal(chunk.derivatives, bulk.derivatives[first])
    assert chunk.block_offsets.tolist() == [0, len(sees)]


# --- two cutoffs -------------------------------------------------------------------------------

APART = {
    "cosine": (6.5, 4.1),
    "polynomial": (Cutoff(6.2, "polynomial", 4.0), 4.5),
    "both forms": (Cutoff(6.0, "polynomial", 3.0), Cutoff(4.4)),
}


@pytest.mark.parametrize("cutoffs", APART)
@pytest.mark.parametrize(("name", "n_elements"), CASES)
def test_angular_functions_have_a_cutoff_of_their_own(
    name: str, n_elements: int, cutoffs: str
) -> None:
    """Features from the oracle, derivatives from their differences."""
    atoms, elements = structure(name, n_elements), ELEMENTS[:n_elements]
    functions = SymmetryFunctions(functions_of(elements).functions, *APART[cutoffs])
    found, expected = functions.compute(atoms), reference.features(atoms, functions)
    for element, features in expected.items():
        np.testing.assert_allclose(found[element], features, rtol=1e-12, atol=1e-14)
    plain = functions_of(elements, functions.cutoff).compute(atoms)
    assert any(np.abs(plain[e] - found[e]).max() > 0.1 for e in found)

    row = len(atoms) - 1
    [derivatives] = dense_derivatives(functions, atoms, [row])
    direction = np.array([0.6, -0.48, 0.64])

    def moved(distance: float) -> Array:
        there = atoms.copy()
        there.positions[row] += distance * direction
        return feature_matrix(functions, there)

    size = np.maximum(np.abs(derivatives).max(axis=(0, 1)), 1e-2)
    error = error_of(np.tensordot(direction, derivatives, axes=1), moved, enough=1e-9 * size)
    assert (error.max(axis=0) / size).max() < 1e-8


@pytest.mark.parametrize("cutoffs", APART)
def test_radial_functions_alone_have_the_larger_of_two_cutoffs(cutoffs: str) -> None:
    """As where `by_cost` takes G2 alone, of candidates with two cutoffs."""
    atoms = structure("cluster", 2)
    given: dict[str, list[SymmetryFunction]] = {
        e: [G2(n, eta, r_s) for n in ELEMENTS[:2] for eta in (0.05, 4.0) for r_s in (0.0, 2.0)]
        for e in ELEMENTS[:2]
    }
    functions = SymmetryFunctions(given, *APART[cutoffs])
    found, expected = functions.compute(atoms), reference.features(atoms, functions)
    for element, features in expected.items():
        np.testing.assert_allclose(found[element], features, rtol=1e-12, atol=1e-14)


def test_equal_cutoffs_are_one() -> None:
    functions = functions_of(["Pt"], 5.0)
    same = SymmetryFunctions(functions.functions, 5.0, 5.0)
    assert same.to_dict() == functions.to_dict()
    atoms = structure("cluster")
    np.testing.assert_array_equal(same.compute(atoms)["Pt"], functions.compute(atoms)["Pt"])


def test_cutoffs_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="angular cutoff must not be larger than the cutoff"):
        SymmetryFunctions({"Pt": [G2("Pt", 1.0)]}, 5.0, 5.5)
    with pytest.raises(InputError, match="cutoff radius must be a positive number of Å"):
        SymmetryFunctions({"Pt": [G2("Pt", 1.0)]}, 5.0, 0.0)


@pytest.mark.parametrize("kinds", ["G2 G4 G5", "G4 G5 R_s"])
@pytest.mark.parametrize("angular", [None, Cutoff(0.1 + 0.2 + 4, "polynomial", 10.0 / 3.0)])
def test_files_with_two_cutoffs_or_shifted_angles_are_of_a_newer_version(
    tmp_path: Path, angular: Cutoff | None, kinds: str
) -> None:
    plain = functions_of(ELEMENTS, kinds=kinds).functions
    functions = SymmetryFunctions(plain, 6.0, angular)
    functions.save(tmp_path / "functions.json")
    content = json.loads((tmp_path / "functions.json").read_text())
    assert content["version"] == (3 if "R_s" in kinds else 1 if angular is None else 2)
    assert ("angular_cutoff" in content) == (angular is not None)
    again = SymmetryFunctions.load(tmp_path / "functions.json")
    for other in (again, pickle.loads(pickle.dumps(functions)), functions.subset({"Pt": [0]})):
        assert (other.cutoff, other.angular_cutoff) == (functions.cutoff, functions.angular_cutoff)


# --- sets of functions -------------------------------------------------------------------------


def test_candidates_are_those_of_the_paper() -> None:
    """SI Table S1: 20 η from 1e-3 to 1e2 with three R_s, and 18 angular functions."""
    functions = SymmetryFunctions.candidates(["Pt"]).functions["Pt"]
    assert len(functions) == 78
    assert functions[0] == G2("Pt", 1e-3, 0.0)
    assert functions[59] == G2("Pt", 100.0, 4.0)
    assert functions[4].eta == pytest.approx(10 ** (-3 + 5 / 19))
    assert functions[60] == G4(("Pt", "Pt"), 0.005, 1.0, 1.0)
    assert functions[77] == G4(("Pt", "Pt"), 1.0, 16.0, -1.0)
    more = SymmetryFunctions.candidates(
        ["Pt"], g5_eta=(0.005, 1.0), g5_zeta=(1.0, 2.0), g5_gamma=(-1.0,), angular_cutoff=5.0
    )
    assert more.functions["Pt"][:78] == functions
    assert more.functions["Pt"][78:] == tuple(
        G5(("Pt", "Pt"), eta, zeta, -1.0) for eta in (0.005, 1.0) for zeta in (1.0, 2.0)
    )
    assert (more.cutoff, more.angular_cutoff) == (Cutoff(6.5), Cutoff(5.0))
    shells = SymmetryFunctions.candidates(
        ["Pt"], g2_eta=(), g4_eta=(0.1, 90.0), g4_zeta=(1.0,), g4_gamma=(1.0,), g4_r_s=(0.0, 2.8)
    )
    assert shells.functions["Pt"] == tuple(
        G4(("Pt", "Pt"), eta, 1.0, 1.0, r_s) for eta in (0.1, 90.0) for r_s in (0.0, 2.8)
    )
    two = SymmetryFunctions.candidates(["Pt", "Au"])
    assert {e: two.size(e) for e in two.elements} == {"Pt": 2 * 60 + 3 * 18, "Au": 2 * 60 + 3 * 18}


def test_a_subset_computes_the_chosen_columns() -> None:
    functions = functions_of(ELEMENTS[:2])
    chosen = {"Pt": [5, 0, 3], "Au": [2]}
    atoms = structure("cluster", 2)
    part, whole = functions.subset(chosen).compute(atoms), functions.compute(atoms)
    for element, columns in chosen.items():
        np.testing.assert_allclose(part[element], whole[element][:, columns], rtol=1e-13)


def test_elements_that_are_only_neighbours_are_known() -> None:
    functions = SymmetryFunctions({"Pt": [G2("Au", 1.0)]}, 6.0)
    assert functions.elements == ("Pt", "Au")
    assert (functions.size("Pt"), functions.size("Au"), len(functions)) == (1, 0, 1)


def test_file_keeps_everything_to_the_last_bit(tmp_path: Path) -> None:
    functions = functions_of(ELEMENTS, Cutoff(0.1 + 0.2 + 5, "polynomial", 10.0 / 3.0))
    functions.save(tmp_path / "functions.json", why="a note")
    again = SymmetryFunctions.load(tmp_path / "functions.json")
    assert again.functions == functions.functions
    assert again.elements == functions.elements
    assert again.cutoff == functions.cutoff
    assert json.loads((tmp_path / "functions.json").read_text())["notes"] == {"why": "a note"}


BAD = {
    "eta": ([G2("Pt", -0.1)], 6.0, "eta of a symmetry function must not be negative"),
    "eta nan": ([G4(("Pt", "Pt"), np.nan, 1, 1)], 6.0, "eta of a symmetry function"),
    "r_s": ([G2("Pt", 1.0, np.inf)], 6.0, "R_s of a symmetry function must be finite"),
    "angular r_s": (
        [G5(("Pt", "Pt"), 1.0, 1.0, 1.0, np.nan)],
        6.0,
        "R_s of a symmetry function must be finite",
    ),
    "zeta": ([G5(("Pt", "Pt"), 1.0, 0.5, 1)], 6.0, "zeta of an angular .* must be 1 to 10000"),
    "large zeta": (
        [G4(("Pt", "Pt"), 1.0, 1e8, 1)],
        6.0,
        "zeta of an angular .* must be 1 to 10000",
    ),
    "gamma": ([G4(("Pt", "Pt"), 1.0, 1, -1.1)], 6.0, r"gamma of an angular .* in \[-1, 1\]"),
    "radius": ([G2("Pt", 1.0)], 0.0, "cutoff radius must be a positive number of Å"),
    "cutoff": ([G2("Pt", 1.0)], Cutoff(6.0, "cubic"), "unknown cutoff function 'cubic'"),
    "polynomial": ([G2("Pt", 1.0)], Cutoff(6.0, "polynomial", 1.0), "gamma of the polynomial"),
}


@pytest.mark.parametrize("case", BAD)
def test_parameters_out_of_their_domain(case: str) -> None:
    functions, cutoff, message = BAD[case]
    with pytest.raises(InputError, match=message):
        SymmetryFunctions({"Pt": functions}, cutoff)


def test_no_functions_at_all() -> None:
    with pytest.raises(InputError, match="at least one element"):
        SymmetryFunctions({}, 6.0)


@pytest.mark.parametrize("elements", ["Pt", ("Pt",), ("Pt", "Pt", "Pt")])
def test_angular_functions_take_two_elements(elements: Any) -> None:
    with pytest.raises(InputError, match="two elements"):
        G4(elements, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="other"), "not a file of format 'nearsight-symmetry-functions'"),
        (lambda c: c.update(version=99), "written by a newer nearsight"),
        (lambda c: c.pop("functions"), "incomplete or damaged"),
        (lambda c: c["functions"]["Pt"][0].pop("eta"), "incomplete or damaged"),
        (lambda c: c["functions"]["Pt"][0].update(type="G9"), "incomplete or damaged"),
        (lambda c: c["functions"]["Pt"][0].update(eta="much"), "incomplete or damaged"),
        (lambda c: c["cutoff"].update(radius=-1), "cutoff radius must be a positive number"),
    ],
    ids=["kind", "version", "functions", "eta", "type", "text", "radius"],
)
def test_damaged_files(tmp_path: Path, change: Callable[..., Any], message: str) -> None:
    path = tmp_path / "functions.json"
    functions_of(["Pt"]).save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        SymmetryFunctions.load(path)
    assert str(path) in str(caught.value)


# --- structures that cannot be worked with -----------------------------------------------------


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "structure has no atoms"),
        (Atoms("Pt2", [[0, 0, 0], [np.nan, 0, 0]]), "atom 1 is not finite"),
        (Atoms("PtPb", [[0, 0, 0], [2, 0, 0]]), "contains Pb"),
        (Atoms("Pt2", [[0, 0, 0], [2, 0, 0]], pbc=[1, 0, 0]), "periodic in x"),
        (Atoms("Pt2", [[2, 0, 0], [2, 0, 0]]), "atoms 0 and 1 overlap"),
    ],
    ids=["empty", "nan", "element", "cell", "place"],
)
def test_structures_that_are_refused(atoms: Atoms, message: str) -> None:
    functions = functions_of(["Pt", "Au"])
    with pytest.raises(InputError, match=message):
        functions.compute(atoms)
    image = Image(atoms, np.zeros((1, 3)))
    with pytest.raises(InputError, match=message.replace("structure", "image .*")):
        Fingerprints.of(image, functions)


# --- scaling -----------------------------------------------------------------------------------


def test_scaling_to_the_range_of_several_structures() -> None:
    functions = functions_of(ELEMENTS[:2])
    computed = [functions.compute(structure(name, 2)) for name in ("cluster", "slab", "tiny")]
    scaling = Scaling.fit(functions, computed)
    for element in functions.elements:
        scale, offset = scaling.linear(element)
        scaled = np.concatenate([c[element] for c in computed]) * scale + offset
        np.testing.assert_allclose(scaled.min(axis=0), -1.0, atol=1e-12)
        np.testing.assert_allclose(scaled.max(axis=0), 1.0, atol=1e-12)


def test_a_feature_that_never_varied_is_scaled_to_zero() -> None:
    scaling = Scaling({"Pt": np.array([2.0, 0.0, 1.0])}, {"Pt": np.array([2.0, 0.0, 3.0])})
    scale, offset = scaling.linear("Pt")
    assert scale.tolist() == [0.0, 0.0, 1.0]
    assert offset.tolist() == [0.0, 0.0, -2.0]


def test_scaling_is_rounded_at_every_step() -> None:
    """As NumPy does: with FMA in the core, SIMD levels would scale differently."""
    rng = np.random.default_rng(3)
    low = rng.normal(0.0, 5.0, 1000)
    high = low + rng.uniform(0.1, 9.0, 1000)
    scale, offset = Scaling({"Pt": low}, {"Pt": high}).linear("Pt")
    expected = 2.0 / (high - low)
    np.testing.assert_array_equal(scale, expected)
    np.testing.assert_array_equal(offset, -1.0 - expected * low)


def test_scaling_needs_every_element() -> None:
    functions = functions_of(ELEMENTS[:2])
    with pytest.raises(InputError, match="no structure contains Au"):
        Scaling.fit(functions, [functions.compute(structure("cluster"))])
