"""Files that Amp 1.0.1 has written, against what it computes; ``README.md`` tells how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from helpers.cli import run_command
from nearsight.errors import InputError
from nearsight.foreign.amp import read_functions
from nearsight.foreign.literals import read_literal
from nearsight.foreign.potentials import import_potential
from nearsight.model.symmetry_functions import G2, G4, G5, Cutoff, SymmetryFunctions

DATA = Path(__file__).parent / "data" / "amp_files"
KNOWN = json.loads((DATA / "amp_files.json").read_text())


@pytest.fixture(params=range(len(KNOWN["structures"])))
def case(request: pytest.FixtureRequest) -> tuple[Atoms, list[Any]]:
    """A structure, and energy and forces by every member."""
    return Atoms(**KNOWN["structures"][request.param]), [m[request.param] for m in KNOWN["results"]]


def test_ensemble(case: tuple[Atoms, list[Any]]) -> None:
    """Two elements; every member scales its features by ranges of its own."""
    atoms, results = case
    found = import_potential([DATA / "three.ensemble"]).evaluate(atoms)
    np.testing.assert_allclose(found.member_energies, [r[0] for r in results], rtol=1e-12)
    forces = np.array([r[1] for r in results])
    assert found.member_forces is not None
    scale = np.abs(forces).max()
    np.testing.assert_allclose(found.member_forces, forces, rtol=0, atol=1e-12 * scale)


def test_single(case: tuple[Atoms, list[Any]]) -> None:
    atoms, results = case
    made = import_potential([DATA / "m0.amp"])
    found = made.evaluate(atoms)
    assert found.energy == pytest.approx(results[0][0], rel=1e-13)
    forces = np.array(results[0][1])
    np.testing.assert_allclose(found.forces, forces, rtol=0, atol=1e-12 * np.abs(forces).max())
    assert [layer.activation for layer in made.networks["Pt"].layers] == ["tanh"] * 3


def test_polynomial_cutoff_and_sigmoid(tmp_path: Path) -> None:
    """Amp's text with another cutoff, which its Python cannot compute: see test_amp.py."""
    text = (DATA / "m0.amp").read_text()
    text = text.replace("'Cosine', 'kwargs': {'Rc': 5.5}", "'Polynomial', 'kwargs': {'Rc': 5.5}")
    (tmp_path / "x.amp").write_text(text.replace("activation='tanh'", "activation='sigmoid'"))
    made = import_potential([tmp_path / "x.amp"])
    assert made.functions.cutoff == Cutoff(5.5, "polynomial", 4.0)
    assert made.networks["Cu"].layers[2].activation == "sigmoid"


def test_symmetry_functions(tmp_path: Path) -> None:
    made = read_functions(DATA / "Gs.json", Cutoff(6.5))
    of = made.functions["Cu"]
    assert of[1] == G2("Pt", 0.05, 2.0)
    assert of[-1] == G5(("Cu", "Cu"), 0.1, 2.0, 1.0)
    assert made.functions["Pt"][15] == G4(("Pt", "Pt"), 0.005, 1.0, -1.0)
    assert (
        made.to_dict()["functions"]
        == import_potential([DATA / "m0.amp"]).functions.to_dict()["functions"]
    )
    out = tmp_path / "f.json"
    done = run_command("import", DATA / "Gs.json", "--cutoff", "6.5", "-o", out)
    assert done.code == 0, done.err
    assert SymmetryFunctions.load(out).functions == made.functions
    done = run_command("import", DATA / "Gs.json", "--cutoff", "5", "--gamma", "4", "-o", out)
    assert SymmetryFunctions.load(out).cutoff == Cutoff(5.0, "polynomial", 4.0)
    done = run_command("import", DATA / "Gs.json", "-o", out)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "does not hold the cutoff" in done.err


LITERALS = {
    "[1, -2.5e-3, (3,), {}]": [1, -2.5e-3, [3], {}],
    "dict(a=None, b={'x': [True]},)": {"a": None, "b": {"x": [True]}},
    "OrderedDict([('a', array([[1. , 2.]])), (2, matrix([3]))])": {"a": [[1.0, 2.0]], 2: [3]},
    r"""'it\'s \n "so"'""": 'it\'s \n "so"',
    "OrderedDict()": {},
}


@pytest.mark.parametrize("text", LITERALS)
def test_literals(text: str) -> None:
    assert read_literal(text) == LITERALS[text]


REFUSED = {
    "__import__('os').system('touch {place}')": "dict, OrderedDict, array or matrix",
    "dict(model=open('{place}', 'w'))": "dict, OrderedDict, array or matrix",
    "[x for x in (1,)]": "expected a value, found 'x for",
    "(lambda: 0)()": "expected a value, found 'lambda",
    "dict(a=1).__class__": "expected a value, found '.__class__'",
    "dict(1)": "dict, OrderedDict, array or matrix",
    "dict": "expected a value, found 'dict'",
    "{1, 2}": "expected a value, found '{1, 2}'",
    "{'a': 1": "no values of Python: .* was never closed",
    "[1)": "no values of Python: closing parenthesis",
    "[" * 500 + "]" * 500: "no more than 12 levels",
    "array([1], dtype=object)": r"expected a value, found 'object\)'",
    "{1.5: 2}": "keys that are text or whole numbers",
    "f'{1}'": "expected a value",
    "1e999": "a finite number",
    "[-1e999]": "a finite number",
    "9" * 5000: "a number of fewer digits",
    "'a' 'b'": "expected a comma",
    r"'\x'": "no values of Python",
    "'\0'": "no values of Python",
    "nan": "expected a value",
    "-" * 5000 + "1": "expected a value",
    "": "expected a value, found 'the end'",
    "OrderedDict([1, 2])": "pairs of a key and a value",
    # each would end the whole of Python 3.10 in its parser
    "1" + "+1" * 300_000: r"expected a comma, found '\+1",
    "dict" + "()" * 300_000: r"expected a comma, found '\(\)",
    "[]" + "[0]" * 300_000: r"expected a comma, found '\[0",
    "1" + ".a" * 300_000: "expected a value, found 'a.a",
    "1" + "*1" * 300_000: r"expected a value, found '\*1",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20].encode())
def test_texts_that_are_refused(text: str, tmp_path: Path) -> None:
    """Nothing in them is executed."""
    place = tmp_path / "executed"
    with pytest.raises(InputError, match=REFUSED[text]):
        read_literal(text.replace("{place}", str(place)))
    (tmp_path / "x.amp").write_text(text.replace("{place}", str(place)))
    with pytest.raises(InputError, match=r"x\.amp: n.*") as error:
        import_potential([tmp_path / "x.amp"])
    assert "\n" not in str(error.value)
    assert not place.exists()


CHANGES = {
    "descriptor": ("gaussian.Gaussian", "zernike.Zernike", "descriptor|importname"),
    "model": ("neuralnetwork.NeuralNetwork", "tflow.NeuralNetwork", "importname"),
    "mode": (
        "'atom-centered',\\n     scal",
        "'image-centered',\\n     scal",
        "mode",
    ),
    "activation": ("activation='tanh'", "activation='relu'", "activation"),
    "function": ("'type': 'G5'", "'type': 'G6'", "Gs.Pt"),
    "zeta": ("'zeta': 4.0", "'zeta': 0.5", "zeta of an angular symmetry function"),
    "range": ("fprange={'Pt': [[0.2, ", "fprange={'Pt': [[", "fprange.Pt.0"),
    "ranges": ("fprange={'Pt': [", "fprange={'Pt': [[0.0, 1.0], ", "28 ranges of 27"),
    "slope": ("'slope'", "'gradient'", "scalings.Pt.slope"),
    "layer": ("(2, array(", "(4, array(", "must be numbered from 1"),
    "weights": ("(1, array([[", "(1, array([[0.5], [", "layer 1 of Pt has"),
    "element": ("scalings=OrderedDict([('Pt'", "scalings=OrderedDict([('Ag'", "no scalings of Pt"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_potentials_that_are_refused(name: str, tmp_path: Path) -> None:
    old, new, sentence = CHANGES[name]
    text = (DATA / "m0.amp").read_text()
    assert old in text
    (tmp_path / "x.amp").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=sentence) as error:
        import_potential([tmp_path / "x.amp"])
    assert str(error.value).startswith(f"{tmp_path / 'x.amp'}: ")
    assert "\n" not in str(error.value)


def test_members_of_several_files() -> None:
    made = import_potential([DATA / "m0.amp", DATA / "three.ensemble"])
    assert len(made) == 4
    atoms = Atoms(**KNOWN["structures"][1])
    energies = made.evaluate(atoms).member_energies
    assert energies[0] == pytest.approx(energies[1], rel=1e-13)
