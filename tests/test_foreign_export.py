"""Potentials written for n2p2, and read back to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from helpers import n2p2_oracle as oracle
from helpers.cli import run_command
from helpers.structures import CUTOFFS, functions_of, random_ensemble, structure
from nearsight.errors import InputError
from nearsight.foreign.mean import mean_potential
from nearsight.foreign.n2p2_write import write_n2p2
from nearsight.foreign.potentials import import_potential
from nearsight.model.baseline import Baseline
from nearsight.model.ensemble import Ensemble
from nearsight.model.general_functions import Angular, Radial, Window
from nearsight.model.scaling import Scaling, ScalingForm
from nearsight.model.symmetry_functions import G2, Cutoff, SymmetryFunctions
from nearsight.structures.units import Units

DATA = Path(__file__).parent / "validation" / "data" / "n2p2"

Z = {"Pt": 78.0, "Au": 79.0}


def general(shape: str, start: float, asymmetric: bool = False) -> SymmetryFunctions:
    """What n2p2 has beside the fast ones."""
    inner, outer = (Window(shape, start * end, end) for end in (3.3, 5.5))
    low = {"polynomial2": "polynomial2", "exponential": "exponential"}.get(shape, "polynomial1")
    bump = Window(low, 0.3, 4.1, True, asymmetric)
    angles = Window(low, 10.0, 121.5, True)
    of = [
        Angular((), 0.0, 0.0, bump, Z, closed=False, angles=angles),
        Radial(("Au",), 0.37, 1.3, outer),
        Angular(("Pt", "Au"), 0.01, 0.3, inner, zeta=1.7, gamma=-0.7, closed=False),
        Angular(("Pt", "Au"), 0.0, 0.0, bump, angles=angles),
        Radial((), 0.11, 0.0, inner, Z),
        Angular((), 0.02, 0.1, outer, Z, 2.0, 1.0),
        Radial((), 0.0, 0.0, bump, Z),
        Radial(("Pt",), 0.0, 0.0, bump),
    ]
    return SymmetryFunctions({"Pt": of, "Au": of[::-1]}, 5.5)


FUNCTIONS = {
    "cosine": lambda: functions_of(("Au", "Pt"), CUTOFFS["cosine"]),
    "polynomial": lambda: functions_of(("Pt", "Au"), CUTOFFS["polynomial 2"]),
    "two cutoffs": lambda: SymmetryFunctions(
        functions_of(("Pt", "Au")).functions, Cutoff(6.5), Cutoff(4.7)
    ),
    "tanh3": lambda: general("tanh3", 0.0),
    "polynomial2 from a half": lambda: general("polynomial2", 0.5, asymmetric=True),
    "exponential": lambda: general("exponential", 0.0),
}
UNITS = {"eV": Units(), "Hartree": Units("bohr", "hartree")}


def exported(made: Ensemble, place: Path, units: Units) -> Ensemble:
    places = write_n2p2(made, place, units)
    members = [folder for name, folder in places.items() if name != "mean"]
    return import_potential(members, None, units.length, units.energy)


def same(a: Ensemble, b: Ensemble) -> None:
    assert a.functions.to_dict() == b.functions.to_dict()
    assert json.dumps(a.to_dict()["scaling"], default=list) == json.dumps(
        b.to_dict()["scaling"], default=list
    )
    assert a.scaling.form == b.scaling.form
    assert a.elements == b.elements
    for element, network in a.networks.items():
        other = b.networks[element]
        np.testing.assert_array_equal(network.slope, other.slope)
        np.testing.assert_array_equal(network.intercept, other.intercept)
        for one, two in zip(network.layers, other.layers, strict=True):
            assert one.activation == two.activation
            np.testing.assert_array_equal(one.weights, two.weights)
            np.testing.assert_array_equal(one.bias, two.bias)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_round_trip_to_the_last_bit(name: str, units: str, tmp_path: Path) -> None:
    atoms = structure("supercell", 2)
    made = random_ensemble(FUNCTIONS[name](), atoms)
    slopes = np.random.default_rng(3).uniform(0.3, 3.0, len(made))
    networks = {e: replace(network, slope=slopes) for e, network in made.networks.items()}
    made = replace(made, networks=networks)
    again = exported(made, tmp_path / "out", UNITS[units])
    same(made, again)
    np.testing.assert_array_equal(again.evaluate(atoms).forces, made.evaluate(atoms).forces)
    mean = import_potential([tmp_path / "out" / "mean"], None, *vars(UNITS[units]).values())
    expected = made.evaluate(atoms)
    found = mean.evaluate(atoms)
    assert found.energy == pytest.approx(expected.energy, rel=1e-12)
    scale = np.abs(expected.forces).max()
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-11 * scale)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_folder_means_the_same_to_n2p2(name: str, units: str, tmp_path: Path) -> None:
    """By an evaluation of its files that shares nothing with the import, nor its order of rows."""
    atoms = structure("cluster", 2)
    made = random_ensemble(FUNCTIONS[name](), atoms, members=2)
    places = write_n2p2(made, tmp_path / "out", UNITS[units])
    found = made.evaluate(atoms)
    in_units = atoms.copy()
    in_units.positions /= float(UNITS[units].in_angstrom)
    expected = dict(zip(("member-00", "member-01"), found.member_energies, strict=True))
    for folder, wanted in (expected | {"mean": found.energy}).items():
        energy = oracle.energy(places[folder], in_units) * float(UNITS[units].in_ev)
        assert energy == pytest.approx(wanted, rel=1e-10)


def test_that_evaluation_is_right() -> None:
    """A potential and its energy by n2p2 itself."""
    atoms = read(DATA / "pt4_bulk_pbc.extxyz")
    expected = float(np.load(DATA / "pt4_bulk_pbc.npz")["energy"])
    assert oracle.energy(DATA, atoms) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["mean", "sigma", "centered", "none"])
@pytest.mark.parametrize("activation", ["relu", "gaussian", "softplus", "square", "exponential"])
def test_round_trip_of_scalings_and_activations(kind: str, activation: str, tmp_path: Path) -> None:
    atoms = structure("cluster")
    made = random_ensemble(functions_of(("Pt",)), atoms, members=1, activation=activation)
    low, high = made.scaling.minimum, made.scaling.maximum
    mean = {"Pt": low["Pt"] + 0.4 * (high["Pt"] - low["Pt"])}
    sigma = {"Pt": 0.2 * (high["Pt"] - low["Pt"])}
    form = ScalingForm(kind) if kind in ("centered", "none") else ScalingForm(kind, 0.1, 2.3)
    made = replace(made, scaling=Scaling(low, high, form, mean, sigma))
    same(made, exported(made, tmp_path / "out", Units()))


def test_slopes_that_differ_are_one_more_layer(tmp_path: Path) -> None:
    """Of two elements; an output with tanh, as Amp has it."""
    atoms = structure("supercell", 2)
    made = random_ensemble(functions_of(("Pt", "Au")), atoms, members=2)
    networks = {}
    for element, network in made.networks.items():
        last = replace(network.layers[-1], activation="tanh")
        networks[element] = replace(network, layers=(*network.layers[:-1], last))
    made = replace(made, networks=networks)
    again = exported(made, tmp_path / "out", Units())
    same(made, again)
    text = (tmp_path / "out" / "member-00" / "input.nn").read_text()
    assert "global_activation_short t t t l" in text
    mean = import_potential([tmp_path / "out" / "mean"]).evaluate(atoms)
    assert mean.energy == pytest.approx(made.evaluate(atoms).energy, rel=1e-12)


def test_mean_potential_keeps_its_baseline() -> None:
    atoms = structure("cluster")
    made = random_ensemble(functions_of(("Pt",)), atoms)
    one = mean_potential(replace(made, baseline=BASELINE))
    assert one.baseline is not None
    assert len(one) == 1


def test_functions_that_never_vary_are_left_out(tmp_path: Path) -> None:
    """n2p2 gives NaN for them, the networks here see zero."""
    atoms = structure("cluster")
    made = random_ensemble(functions_of(("Pt",)), atoms, members=2)
    maximum = {"Pt": made.scaling.maximum["Pt"].copy()}
    maximum["Pt"][[1, 4]] = made.scaling.minimum["Pt"][[1, 4]]
    made = replace(made, scaling=Scaling(made.scaling.minimum, maximum))
    again = exported(made, tmp_path / "out", Units())
    assert len(again.functions) == len(made.functions) - 2
    np.testing.assert_allclose(
        again.evaluate(atoms).forces, made.evaluate(atoms).forces, rtol=0, atol=1e-13
    )


def of_functions(*functions: object, cutoff: Cutoff | float = 5.5) -> Ensemble:
    atoms = structure("cluster")
    return random_ensemble(SymmetryFunctions({"Pt": list(functions)}, cutoff), atoms)  # type: ignore[arg-type]


BASELINE = Baseline({"Pt": 1.0}, {}, 0.2, 6.0)
BUMP = Window("polynomial2", 0.3, 4.1, True)
UNWRITABLE = {
    "baseline": (
        lambda: replace(of_functions(G2("Pt", 1.0)), baseline=BASELINE),
        "has a baseline",
    ),
    "gamma": (
        lambda: of_functions(G2("Pt", 1.0), cutoff=CUTOFFS["polynomial 4"]),
        "no polynomial cutoff with γ = 4",
    ),
    "two cutoffs": (
        lambda: of_functions(G2("Pt", 1.0), Radial(("Pt",), 1.0, 0.0, Window("tanh3", 0.0, 4.0))),
        "one cutoff function for all",
    ),
    "alphas": (
        lambda: of_functions(
            *(Radial(("Pt",), 1.0, 0.0, Window("cosine", s, 4.0)) for s in (0.0, 1.0))
        ),
        "one ratio of the inner to the outer radius",
    ),
    "weights": (
        lambda: of_functions(Radial((), 0.0, 0.0, BUMP, {"Pt": 2.0})),
        "by atomic numbers alone",
    ),
    "wide and weighted": (
        lambda: of_functions(
            Angular((), 0.1, 0.0, Window("cosine", 0.0, 5.0), {"Pt": 78.0}, closed=False)
        ),
        "no weighted angular function without",
    ),
    "eta of a bump": (lambda: of_functions(Radial(("Pt",), 1.0, 0.0, BUMP)), "no compact function"),
    "angle": (
        lambda: of_functions(Angular(("Pt", "Pt"), 0.0, 0.0, BUMP)),
        "one shape for the distances and the angle",
    ),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_n2p2_cannot_express(name: str, tmp_path: Path) -> None:
    make, sentence = UNWRITABLE[name]
    with pytest.raises(InputError, match=sentence):
        write_n2p2(make(), tmp_path / "out", Units())
    assert not (tmp_path / "out").exists()


def test_commands(tmp_path: Path) -> None:
    done = run_command("import", DATA, "-o", tmp_path / "pt.json")
    assert done.code == 0, done.err
    assert "1 member for Pt, 20 symmetry functions" in done.out
    done = run_command("export", tmp_path / "pt.json", tmp_path / "out")
    assert done.code == 0, done.err
    assert f"{tmp_path / 'out'}: written" in done.out
    again = import_potential([tmp_path / "out"])
    same(Ensemble.load(tmp_path / "pt.json"), again)
    done = run_command("export", tmp_path / "pt.json", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "must be a new or an empty folder" in done.err
    done = run_command("import", tmp_path, "-o", tmp_path / "x.json")
    assert done.code == 2
    assert "no input.nn in this folder" in done.err
    done = run_command("import", DATA, "-o", tmp_path / "x.json", "--length-unit", "nm")
    assert "unit of length 'nm': expected angstrom or bohr" in done.err


def test_options_without_use_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    data, functions = tmp_path / "input.data", tmp_path / "Gs.json"
    data.write_text("begin\natom 0 0 0 Cu 0 0 0 0 0\nenergy 0\nend\n")
    functions.write_text('{"Pt": [{"type": "G2", "element": "Pt", "eta": 0.05}]}')
    amp = tmp_path / "a.amp"
    amp.write_text("{}")
    bohr = ("--length-unit", "bohr")
    for command, said in (
        (("import", DATA, "--cutoff", "5"), "taken for a potential, which does not go with --cut"),
        (("import", data, "--gamma", "4"), "an input.data, which does not go with --gamma"),
        (("import", data, "--format", "amp"), "an input.data, which does not go with --format"),
        (("import", functions, "--cutoff", "5", *bohr), "a Gs.json, which does not go with --len"),
        (("import", amp, *bohr), "files of Amp are in Å and eV; leave out the units"),
    ):
        done = run_command(*command, "-o", out)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert said in done.err
    done = run_command("export", data, out, "--format", "runner")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "format 'runner' is not written, only n2p2, chemiscope" in done.err
    assert not out.exists()


def test_structures_without_labels_are_named_with_their_file(tmp_path: Path) -> None:
    plain = structure("cluster")
    plain.write(tmp_path / "plain.extxyz")
    done = run_command("export", tmp_path / "plain.extxyz", tmp_path / "out.data")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "plain.extxyz, structure 0 carries no forces" in done.err
