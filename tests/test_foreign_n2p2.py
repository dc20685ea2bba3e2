"""Potentials of n2p2: formulas, order, quirks, committees, refusals."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.units import Bohr, Hartree

from helpers.n2p2 import TWO_ELEMENTS, write_folder
from nearsight.errors import InputError
from nearsight.foreign.potentials import import_potential
from nearsight.model.symmetry_functions import Cutoff

DATA = Path(__file__).parent / "validation" / "data" / "n2p2"

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


# --- refusals -----------------------------------------------------------------------------------


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
