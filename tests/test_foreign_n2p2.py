"""Potentials of n2p2 in and out: formulas, order, quirks, round trips, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.units import Bohr, Hartree

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

TWO_ELEMENTS = """\
# two functions of H, three of O, not in n2p2's order
elements O H   # their order is free
number_of_elements 2
cutoff_type 1
symfunction_short O 2 H 0.2 0.0 6.0
symfunction_short H 2 H 0.5 1.0 6.0
symfunction_short O 3 O H 0.01 -1.0 2.0 6.0
symfunction_short O 2 H 0.1 0.0 6.0
symfunction H 2 O 0.1 0.0 6.0
global_hidden_layers_short 1
global_nodes_short 2
global_activation_short t l
"""


def write_folder(place: Path, text: str = TWO_ELEMENTS, seed: int = 0) -> dict[int, list[float]]:
    """A folder with random numbers, and the weights by atomic number."""
    place.mkdir(exist_ok=True)
    (place / "input.nn").write_text(text)
    rng = np.random.default_rng(seed)
    rows = []
    for index, count in ((1, 2), (2, 3)):
        for row in range(1, count + 1):
            low, width, part = rng.uniform(0.1, 1, 3)
            values = [low, low + width, low + part * width, 0.3 * width]
            rows.append(f"{index} {row} " + " ".join(f"{v:.16E}" for v in values))
    (place / "scaling.data").write_text("# rows\n" + "\n".join(rows) + "\n-1.0 1.0\n")
    weights = {}
    for z, inputs in ((1, 2), (8, 3)):
        weights[z] = rng.normal(size=(inputs + 1) * 2 + 3).tolist()
        lines = "".join(f"{w:24.16E} a 1 0 1 1 1\n" for w in weights[z])
        (place / f"weights.{z:03d}.data").write_text("# c\n" + lines)
    return weights


WATER = Atoms("OH2", [[0, 0, 0], [0.97, 0, 0.1], [-0.2, 0.94, 0]])


def by_hand(place: Path, weights: dict[int, list[float]], scaled: Callable[..., float]) -> float:
    """The energy of `WATER` by n2p2's formulas, in the units of the files."""
    fc = lambda r: 0.5 * (1 + np.cos(np.pi * r / 6.0))  # noqa: E731
    p = WATER.positions
    r = {(i, j): np.linalg.norm(p[i] - p[j]) for i in range(3) for j in range(3)}
    g2 = lambda i, j, eta, rs: np.exp(-eta * (r[i, j] - rs) ** 2) * fc(r[i, j])  # noqa: E731
    statistics = [
        [float(x) for x in line.split()[2:]]
        for line in (place / "scaling.data").read_text().splitlines()[1:6]
    ]
    energy = 0.0
    # sorted by n2p2: of O first eta 0.1, then 0.2, then the angular one, of which there is no pair
    features = [
        (8, statistics[2:5], [g2(0, 1, 0.1, 0) + g2(0, 2, 0.1, 0),
                              g2(0, 1, 0.2, 0) + g2(0, 2, 0.2, 0), 0.0]),
        (1, statistics[:2], [g2(1, 0, 0.1, 0), g2(1, 2, 0.5, 1)]),
        (1, statistics[:2], [g2(2, 0, 0.1, 0), g2(2, 1, 0.5, 1)]),
    ]  # fmt: skip
    for z, rows, values in features:
        x = np.array([scaled(v, *row) for v, row in zip(values, rows, strict=True)])
        n, w = len(x), np.array(weights[z])
        hidden = np.tanh(x @ w[: 2 * n].reshape(n, 2) + w[2 * n : 2 * n + 2])
        energy += float(hidden @ w[2 * n + 2 : 2 * n + 4] + w[-1])
    return energy


SCALINGS = {
    "": lambda g, low, high, mean, sigma: g,
    "scale_symmetry_functions\nscale_min_short -0.5": (
        lambda g, low, high, mean, sigma: -0.5 + 1.5 * (g - low) / (high - low)
    ),
    "center_symmetry_functions": lambda g, low, high, mean, sigma: g - mean,
    "scale_symmetry_functions\ncenter_symmetry_functions": (
        lambda g, low, high, mean, sigma: (g - mean) / (high - low)
    ),
    "scale_symmetry_functions_sigma\nscale_max_short 3": (
        lambda g, low, high, mean, sigma: 3 * (g - mean) / sigma
    ),
}


@pytest.mark.parametrize("keywords", SCALINGS)
def test_two_elements_by_hand(keywords: str, tmp_path: Path) -> None:
    """Order of the rows, every scaling, atomic energies, normalisation, units."""
    weights = write_folder(tmp_path, TWO_ELEMENTS + keywords)
    expected = by_hand(tmp_path, weights, SCALINGS[keywords])
    found = import_potential([tmp_path])
    assert found.evaluate(WATER).energy == pytest.approx(expected, rel=1e-13)
    assert found.elements == ("O", "H")

    normal = "\nmean_energy -2.5\nconv_energy 4\nconv_length 1.7\natom_energy O -3.0\n"
    write_folder(tmp_path, TWO_ELEMENTS + keywords + normal)
    found = import_potential([tmp_path])
    normalised = expected / 4 - 3 * 2.5 - 3.0
    assert found.evaluate(WATER).energy == pytest.approx(normalised, rel=1e-13)

    found = import_potential([tmp_path], length_unit="bohr", energy_unit="hartree")
    larger = WATER.copy()
    larger.positions *= Bohr
    assert found.evaluate(larger).energy == pytest.approx(normalised * Hartree, rel=1e-12)


def test_smaller_cutoff_of_the_angular_functions(tmp_path: Path) -> None:
    """They keep their fast loops; what has yet another cutoff has not."""
    text = TWO_ELEMENTS.replace("-1.0 2.0 6.0", "-1.0 2.0 4.0").replace(
        "0.1 0.0 6.0", "0.1 0.0 5.0"
    )
    write_folder(tmp_path, text)
    functions = import_potential([tmp_path]).functions
    assert functions.cutoff == Cutoff(6.0)
    assert functions.angular_cutoff == Cutoff(4.0)
    kinds = [type(f).__name__ for f in (*functions.functions["O"], *functions.functions["H"])]
    assert kinds == ["G2", "G4", "Radial", "G2", "Radial"]
    assert functions.functions["O"][1].eta == 0.01 * 4.0**2


def test_normalised_nodes(tmp_path: Path) -> None:
    weights = write_folder(tmp_path, TWO_ELEMENTS + "normalize_nodes\n")
    for z, n in ((1, 2), (8, 3)):
        w = np.array(weights[z])
        weights[z] = [*(w[: 2 * n + 2] / n), *(w[2 * n + 2 :] / 2)]
    expected = by_hand(tmp_path, weights, SCALINGS[""])
    found = import_potential([tmp_path]).evaluate(WATER)
    assert found.energy == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("lines", "shape"),
    [
        ("", [5, 5, 1]),
        ("element_nodes_short Pt 4 3", [4, 5, 1]),  # as n2p2 2.3.0 has been seen to do
        ("element_activation_short Pt s p t", [5, 5, 1]),
    ],
)
def test_settings_of_single_elements(lines: str, shape: list[int], tmp_path: Path) -> None:
    """n2p2 ignores the last hidden layer of the one, and the output of the other."""
    folder = tmp_path / "n2p2"
    shutil.copytree(DATA, folder)
    with (folder / "input.nn").open("a") as file:
        file.write(lines)
    count = sum((a + 1) * b for a, b in zip([20, *shape[:-1]], shape, strict=True))
    (folder / "weights.078.data").write_text("".join(f"{0.01 * i}\n" for i in range(count)))
    network = import_potential([folder]).members[0]["Pt"]
    assert [layer.shape[0] for layer in network.layers] == shape
    wanted = (
        ["sigmoid", "softplus", "linear"] if "activation" in lines else ["tanh"] * 2 + ["linear"]
    )
    assert [layer.activation for layer in network.layers] == wanted


def test_a_committee(tmp_path: Path) -> None:
    """Members scaled by other data are as they are alone."""
    folders = [tmp_path / name for name in "abc"]
    for seed, folder in enumerate(folders):
        write_folder(folder, TWO_ELEMENTS + "scale_symmetry_functions\n", seed)
    made = import_potential(folders)
    alone = [import_potential([folder]).evaluate(WATER) for folder in folders]
    found = made.evaluate(WATER)
    np.testing.assert_allclose(found.member_energies, [each.energy for each in alone], rtol=1e-12)
    np.testing.assert_allclose(found.forces, np.mean([e.forces for e in alone], axis=0), atol=1e-12)
    assert found.uncertainty is not None
    assert found.uncertainty.min() > 0.01
    other = TWO_ELEMENTS.replace("0.2 0.0 6.0", "0.21 0.0 6.0")
    write_folder(folders[1], other + "scale_symmetry_functions\n")
    with pytest.raises(InputError, match=r"b: its symmetry functions are not those of .*a;"):
        import_potential(folders)


# --- out ---------------------------------------------------------------------------------------

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


# --- refusals ----------------------------------------------------------------------------------


def changed(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / "input.nn").read_text()
        assert old in text
        (folder / "input.nn").write_text(text.replace(old, new))

    return change


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str, lines: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        kept = (folder / name).read_text().splitlines()[:lines]
        (folder / name).write_text("\n".join(kept))

    return change


def put(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


BAD = {
    "no input": (without("input.nn"), "no potential of another program"),
    "no scaling": (without("scaling.data"), "scaling.data: cannot be read"),
    "no weights": (without("weights.008.data"), "weights.008.data: cannot be read"),
    "4G": (changed("cutoff_type 1", "cutoff_type 1\nnnp_type 4G-HDNNP"), "charges or a long range"),
    "generation 3": (changed("cutoff_type 1", "cutoff_type 1\nnnp_gen 3"), "charges or a long"),
    "charges": (
        changed("cutoff_type 1", "cutoff_type 1\nuse_electrostatics"),
        "potentials with charges are not read",
    ),
    "dispersion": (changed("cutoff_type 1", "cutoff_type 1\nuse_vdw"), "with dispersion are not"),
    "RuNNer's": (
        changed("cutoff_type 1", "cutoff_type 1\nglobal_symfunction_short 2 0 0 6"),
        "global_symfunction_short is not read",
    ),
    "type": (changed("O 2 H 0.2", "O 8 H 0.2"), r"line 5: symmetry functions of type 8 are not"),
    "element": (changed("O 2 H 0.2", "O 2 C 0.2"), "'C' is not one of the elements"),
    "number": (changed("O 2 H 0.2", "O 2 H zero"), "line 5: expected a number, found 'zero'"),
    "nan": (changed("O 2 H 0.2", "O 2 H nan"), "expected a number, found 'nan'"),
    "infinite": (changed("O 2 H 0.2", "O 2 H 1e999"), "expected a number, found '1e999'"),
    "missing value": (changed("O 2 H 0.2 0.0", "O 2 H 0.2"), "expected 4 values behind the type"),
    "cutoff": (changed("cutoff_type 1", "cutoff_type 9"), "unknown cutoff_type 9"),
    "alpha": (changed("cutoff_type 1", "cutoff_type 1 1.5"), "alpha must be at least 0"),
    "twice": (changed("cutoff_type 1", "cutoff_type 1\ncutoff_type 2"), "cutoff_type stands twice"),
    "count": (changed("number_of_elements 2", "number_of_elements 3"), "3 elements, but 2 are"),
    "no element": (changed("elements O H", "elements O Hx"), "'Hx' is no element"),
    "activation": (changed("short t l", "short q l"), "unknown activation 'q'"),
    "layers": (changed("short t l", "short t t l"), "expected 2 letters, hidden layers and output"),
    "half normalised": (changed("cutoff_type 1", "cutoff_type 1\nmean_energy 0"), "without the"),
    "shape": (
        changed("H 2 H 0.5 1.0 6.0", "H 20 H 0.5 6.0 p7"),
        "unknown shape 'p7', expected p1 to p4",
    ),
    "angles": (
        changed("O 3 O H 0.01 -1.0 2.0 6.0", "O 22 O H 0 6 -20 90 p2"),
        "angles must lie in",
    ),
    "short scaling": (cut("scaling.data", 4), "ends before the functions of O do"),
    "long scaling": (
        lambda folder: put("scaling.data", 2 * (folder / "scaling.data").read_text())(folder),
        "more rows than symmetry functions",
    ),
    "other scaling": (
        lambda folder: put(
            "scaling.data", (folder / "scaling.data").read_text().replace("1 2 ", "1 3 ")
        )(folder),
        r"expected function 2 of element 1 \(H\)",
    ),
    "short weights": (cut("weights.001.data", 5), "4 weights, a network 2-2-1 has 9"),
    "binary": (put("weights.001.data", "\0\1"), "not a text file"),
    "long word": (put("weights.001.data", "9" * 10**6), "expected a number, found '9999"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "water"
    write_folder(folder, TWO_ELEMENTS + "scale_symmetry_functions\n")
    change, sentence = BAD[name]
    change(folder)
    with pytest.raises(InputError, match=sentence) as error:
        import_potential([folder])
    assert len(str(error.value)) < 300
    assert "\n" not in str(error.value)


def test_a_function_that_never_varied(tmp_path: Path) -> None:
    write_folder(tmp_path, TWO_ELEMENTS + "scale_symmetry_functions\n")
    text = (tmp_path / "scaling.data").read_text().splitlines()
    words = text[1].split()
    text[1] = " ".join([*words[:3], words[2], *words[4:]])
    (tmp_path / "scaling.data").write_text("\n".join(text))
    with pytest.raises(InputError, match=r"line 9: this function never varied .* NaN"):
        import_potential([tmp_path])


def test_commands(tmp_path: Path) -> None:
    done = run_command("import", DATA, "-o", tmp_path / "pt.json")
    assert done.code == 0, done.err
    assert "1 member for Pt, 20 symmetry functions" in done.out
    done = run_command("export", tmp_path / "pt.json", tmp_path / "out")
    assert done.code == 0, done.err
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
