"""The ensemble: its mean, its uncertainty, its file."""

from __future__ import annotations

import json
import pickle
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

import nearsight
from helpers import Array, reference
from helpers.differences import error_of
from helpers.structures import ELEMENTS, functions_of, random_ensemble, structure
from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble, as_ensemble, mean_and_raw_uncertainty
from nearsight.model.network import stack
from nearsight.model.symmetry_functions import Cutoff, SymmetryFunctions


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Four members, platinum and gold, calibration 1.7."""
    return random_ensemble(functions_of(ELEMENTS[:2], 5.0), structure("cluster", 2), members=4)


@pytest.fixture(scope="module")
def single() -> Ensemble:
    return random_ensemble(functions_of(ELEMENTS[:2], 5.0), structure("cluster", 2), members=1)


# --- predictions -------------------------------------------------------------------------------


def test_raw_uncertainty_by_hand() -> None:
    """σ² = Σ_m |f_m − mean|² / (M − 1), δ = 2.58 σ."""
    forces = np.zeros((3, 2, 3))
    forces[:, 0] = [[1, 0, 0], [0, 1, 0], [2, 2, 0]]  # mean (1, 1, 0), squares 1, 1, 2
    forces[:, 1] = [0, 0, 5]
    mean, raw = mean_and_raw_uncertainty(forces)
    np.testing.assert_allclose(mean, [[1, 1, 0], [0, 0, 5]], rtol=1e-15)
    np.testing.assert_allclose(raw, [2.58 * np.sqrt(2.0), 0.0], rtol=1e-15)


@pytest.mark.parametrize("name", ["cluster", "slab", "skewed"])
def test_evaluation(ensemble: Ensemble, name: str) -> None:
    atoms = structure(name, 2)
    n = len(atoms)
    r = ensemble.evaluate(atoms)
    assert isinstance(r, nearsight.Evaluation)
    assert isinstance(r.energy, float)
    assert r.energies.shape == (n,)
    assert r.forces.shape == (n, 3)
    assert r.member_energies.shape == (4,)
    assert r.member_forces.shape == (4, n, 3)
    assert r.uncertainty.shape == r.uncertainty_raw.shape == (n,)
    assert (r.stress is None) == (name == "cluster")
    if r.stress is not None:
        assert r.stress.shape == (6,)

    atomic = reference.atomic_energies(atoms, ensemble)
    np.testing.assert_allclose(r.member_energies, atomic.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(r.energies, atomic.mean(axis=0), atol=1e-12)
    assert r.energy == pytest.approx(r.energies.sum(), rel=1e-13)
    np.testing.assert_allclose(r.forces, r.member_forces.mean(axis=0), atol=1e-13)
    np.testing.assert_allclose(r.forces.sum(axis=0), 0.0, atol=1e-11)
    deviation = r.member_forces - r.member_forces.mean(axis=0)
    sigma = np.sqrt((deviation**2).sum(axis=2).sum(axis=0) / 3.0)
    assert sigma.min() > 1e-3
    np.testing.assert_allclose(r.uncertainty_raw, 2.58 * sigma, rtol=1e-12)
    np.testing.assert_allclose(r.uncertainty, 1.7 * 2.58 * sigma, rtol=1e-12)


def test_evaluation_without_members(ensemble: Ensemble) -> None:
    atoms = structure("slab", 2)
    whole, mean = ensemble.evaluate(atoms), ensemble.evaluate(atoms, members=False)
    assert mean.member_forces is mean.uncertainty is mean.uncertainty_raw is None
    assert mean.energy == whole.energy
    np.testing.assert_array_equal(mean.member_energies, whole.member_energies)
    np.testing.assert_allclose(mean.forces, whole.forces, atol=1e-13)
    np.testing.assert_allclose(mean.stress, whole.stress, atol=1e-13)


def test_a_single_network_has_no_uncertainty(single: Ensemble) -> None:
    r = single.evaluate(structure("cluster", 2))
    assert not r.uncertainty.any()
    assert len(single) == 1


@pytest.mark.parametrize("name", ["slab", "skewed", "left-handed"])
def test_stress_is_the_derivative_by_strain_over_the_volume(ensemble: Ensemble, name: str) -> None:
    """Voigt order of ASE: xx, yy, zz, yz, xz, xy."""
    atoms = structure(name, 2)
    r = ensemble.evaluate(atoms)
    stress = voigt_6_to_full_3x3_stress(r.stress)
    for a, b in [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]:
        direction = np.zeros((3, 3))
        direction[a, b] += 0.5
        direction[b, a] += 0.5

        def energy(strain: float, direction: Array = direction) -> float:
            strained = atoms.copy()
            strained.set_cell(
                np.asarray(atoms.cell) @ (np.eye(3) + strain * direction), scale_atoms=True
            )
            return (ensemble.evaluate(strained, members=False).energies - r.energies).sum()

        slope = stress[a, b] * atoms.get_volume()
        scale = np.abs(stress).max() * atoms.get_volume()
        assert error_of(slope, energy, enough=1e-9 * scale) < 1e-8 * scale


def test_stress_is_for_cells(ensemble: Ensemble) -> None:
    assert ensemble.evaluate(structure("sheet", 2)).stress is None
    assert ensemble.evaluate(structure("slab", 2), stress=False).stress is None
    box = structure("cluster", 2)
    box.cell = [30, 30, 30]
    assert ensemble.evaluate(box).stress is None  # a box around a cluster is no cell


def test_structures_stay_as_they_are(ensemble: Ensemble) -> None:
    atoms = structure("slab", 2)
    before = atoms.copy()
    ensemble.evaluate(atoms)
    assert atoms == before
    np.testing.assert_array_equal(atoms.positions, before.positions)


REFUSED = {
    "empty": (Atoms(), "^structure has no atoms"),
    "nan": (
        Atoms("Pt2", [[0, 0, 0], [np.nan, 0, 0]]),
        "^structure: .*atom 1 is not finite",
    ),
    "element": (
        Atoms("PtPb", [[0, 0, 0], [2, 0, 0]]),
        "^structure contains Pb",
    ),
    "no cell": (
        Atoms("Pt2", [[0, 0, 0], [2, 0, 0]], pbc=[0, 0, 1]),
        "^structure is periodic in z",
    ),
    "one place": (
        Atoms("Pt2", [[2, 0, 0], [2, 0, 0]]),
        "^atoms 0 and 1 ",
    ),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", REFUSED)
def test_structures_that_are_refused(ensemble: Ensemble, case: str, threads: int) -> None:
    atoms, message = REFUSED[case]
    for members in (True, False):
        with pytest.raises(InputError, match=message):
            ensemble.evaluate(atoms, members=members, threads=threads)


def test_after_a_refusal_the_next_structure_is_fine(ensemble: Ensemble) -> None:
    """An exception inside a parallel region leaves nothing behind."""
    good = structure("particle", 2)
    expected = ensemble.evaluate(good, threads=2).forces
    bad = good.copy()
    bad.positions[5] = bad.positions[30]
    with pytest.raises(InputError, match="atoms 5 and 30 overlap"):
        ensemble.evaluate(bad, threads=2)
    np.testing.assert_array_equal(ensemble.evaluate(good, threads=2).forces, expected)


def test_an_ensemble_has_members(ensemble: Ensemble) -> None:
    with pytest.raises(InputError, match="at least one member"):
        stack([])


# --- file --------------------------------------------------------------------------------------


@pytest.fixture
def saved(ensemble: Ensemble, tmp_path: Path) -> Path:
    path = tmp_path / "best.json"
    rng = np.random.default_rng(0)
    replace(
        ensemble,
        multiplicities=rng.poisson(1.0, (4, 9)),
        calibration=float(np.nextafter(1.7, 2.0)),
        provenance={"seed": 3, "parent": {"calculator": "emt"}, "note": "δ"},
    ).save(path)
    return path


def test_file_keeps_everything_to_the_last_bit(
    ensemble: Ensemble, saved: Path, tmp_path: Path
) -> None:
    again = Ensemble.load(saved)
    assert {f.name for f in fields(again)} == {
        "functions", "scaling", "networks", "calibration", "multiplicities", "provenance",
        "domain", "baseline", "bounds",
    }  # fmt: skip
    assert again.functions.functions == ensemble.functions.functions
    assert again.functions.cutoff == ensemble.functions.cutoff
    assert again.elements == ensemble.elements
    assert again.calibration == np.nextafter(1.7, 2.0)
    assert again.provenance == {"seed": 3, "parent": {"calculator": "emt"}, "note": "δ"}
    np.testing.assert_array_equal(
        again.multiplicities, np.random.default_rng(0).poisson(1.0, (4, 9))
    )
    assert again.multiplicities.dtype == np.int64
    for one, two in zip(ensemble.members, again.members, strict=True):
        for element in ensemble.elements:
            assert one[element].slope == two[element].slope
            assert one[element].intercept == two[element].intercept
            for a, b in zip(one[element].layers, two[element].layers, strict=True):
                assert a.activation == b.activation
                np.testing.assert_array_equal(a.weights, b.weights)
                np.testing.assert_array_equal(a.bias, b.bias)
    atoms = structure("slab", 2)
    for name, value in vars(ensemble.evaluate(atoms, threads=1)).items():
        if name != "uncertainty":  # another calibration
            np.testing.assert_array_equal(vars(again.evaluate(atoms, threads=1))[name], value)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == saved.read_bytes()


def test_file_without_multiplicities(ensemble: Ensemble, tmp_path: Path) -> None:
    ensemble.save(tmp_path / "a.json")
    assert Ensemble.load(tmp_path / "a.json").multiplicities is None


def test_file_can_be_read_by_people(saved: Path) -> None:
    content = json.loads(saved.read_text())
    assert content["format"] == "nearsight-ensemble"
    assert content["version"] == 6
    assert content["units"] == {"energy": "eV", "length": "Å"}
    assert content["elements"] == ["Pt", "Au"]
    assert len(content["members"]) == 4


@pytest.mark.parametrize(
    ("kinds", "angular", "version"),
    [
        ("G2 G4 G5", None, 1),
        ("G2 G4 G5", Cutoff(4.0, "polynomial"), 3),
        ("G2 G4 G5 R_s", None, 6),
        ("G2 G5 R_s", Cutoff(4.0, "polynomial"), 6),
    ],
)
def test_a_file_is_as_old_as_what_it_holds(
    tmp_path: Path, kinds: str, angular: Cutoff | None, version: int
) -> None:
    plain = functions_of(ELEMENTS[:2], 5.0, kinds)
    functions = SymmetryFunctions(plain.functions, 5.0, angular)
    made = random_ensemble(functions, structure("cluster", 2), members=1)
    place = tmp_path / "a.json"
    made.save(place)
    again = Ensemble.load(place)
    content = json.loads(place.read_text())
    assert content["version"] == version
    rows = [row for of in content["symmetry_functions"]["functions"].values() for row in of]
    assert any("r_s" in row for row in rows if row["type"] != "G2") == ("R_s" in kinds)
    assert again.functions.to_dict() == functions.to_dict()


def test_an_ensemble_or_its_file(ensemble: Ensemble, saved: Path) -> None:
    assert as_ensemble(ensemble) is ensemble
    assert len(as_ensemble(saved)) == len(as_ensemble(str(saved))) == 4


class Exploit:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a file was executed",))


def test_nothing_in_a_file_is_executed(saved: Path) -> None:
    saved.write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(InputError, match="not valid JSON"):
        Ensemble.load(saved)
    saved.write_text("import pytest; pytest.fail('a file was executed')")
    with pytest.raises(InputError, match="not valid JSON"):
        Ensemble.load(saved)


def test_truncated_file(saved: Path) -> None:
    content = saved.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 3):
        saved.write_bytes(content[:length])
        with pytest.raises(InputError, match="not valid JSON"):
            Ensemble.load(saved)


def layer(content: Any) -> Any:
    return content["members"][1]["Au"]["layers"][0]


DAMAGE = {
    "other kind": (lambda c: c.update(format="report"), "not a file of format 'nearsight-ensemble"),
    "future version": (lambda c: c.update(version=7), r"newer nearsight \(file version 7"),
    "no version": (lambda c: c.pop("version"), r"no valid version number \(found None\)"),
    "no members": (lambda c: c.update(members=[]), "at least one member"),
    "no network": (lambda c: c["members"][2].pop("Au"), "a member has no network for Au"),
    "number": (lambda c: layer(c)["bias"].__setitem__(0, "x"), "incomplete or damaged"),
    "ragged": (lambda c: layer(c)["weights"][0].pop(), "incomplete or damaged"),
    "row": (lambda c: layer(c)["weights"].pop(), "members' networks for Au differ in shape"),
    "bias": (lambda c: layer(c)["bias"].pop(), "incomplete or damaged"),
    "activation": (
        lambda c: [m["Au"]["layers"][0].update(activation="__import__") for m in c["members"]],
        "unknown activation '__import__'",
    ),
    "scaling": (lambda c: c["scaling"]["Pt"]["minimum"].pop(), "incomplete or damaged"),
    "list": (lambda c: c.update(members=3), "incomplete or damaged"),
    "element": (
        lambda c: c["symmetry_functions"]["functions"]["Pt"][0].update(element="Qq"),
        "'Qq', an unknown chemical element",
    ),
}
DAMAGE |= {
    "units": (lambda c: c["units"].update(length="nm"), "units must be eV and Å"),
    "elements": (lambda c: c.update(elements=["Pt"]), "elements: not those of its symmetry"),
    "calibration 0": (lambda c: c.update(calibration=0.0), "calibration: input should be greater"),
    "calibration -1": (lambda c: c.update(calibration=-1), "calibration: input should be greater"),
    "text": (lambda c: c.update(calibration="1.7"), "calibration: input should be a valid number"),
    "true": (lambda c: layer(c)["bias"].__setitem__(0, True), "bias: expected numbers of shape"),
    "null": (lambda c: layer(c)["bias"].__setitem__(0, None), "bias: expected finite numbers"),
    "nan": (lambda c: layer(c)["bias"].__setitem__(0, "nan"), "bias: expected numbers of shape"),
    "slope": (lambda c: c["members"][0]["Pt"].update(slope=None), "slope: input should be a valid"),
    "eta": (
        lambda c: c["symmetry_functions"]["functions"]["Pt"][0].update(eta=True),
        "eta: input should be a valid number",
    ),
    "drawn": (lambda c: c["multiplicities"][0].__setitem__(0, -1), "must not be negative"),
    "draws": (lambda c: c["multiplicities"].pop(), "multiplicities must be those of every"),
    "range": (
        lambda c: c["scaling"]["Pt"]["minimum"].__setitem__(0, 1e9), "a maximum for every minimum"
    ),
    "weight": (lambda c: layer(c)["bias"].__setitem__(0, 0.125), "digest is that of another"),
    "origin": (lambda c: c["provenance"].update(seed=4), "digest is that of another"),
}  # fmt: skip
for key in ("symmetry_functions", "scaling", "members", "calibration", "multiplicities"):
    DAMAGE[f"no {key}"] = (lambda c, key=key: c.pop(key), "incomplete or damaged")


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_file(saved: Path, case: str) -> None:
    damage, message = DAMAGE[case]
    content = json.loads(saved.read_text())
    damage(content)
    saved.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        Ensemble.load(saved)
    assert str(caught.value).startswith(f"{saved}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"calibration": 1.7', '"calibration": NaN, "x": 1.7', "NaN is not a number"),
        ('"calibration": 1.7', '"calibration": 1e999, "x": 1.7', "1e999 is beyond all bounds"),
        ('"seed": 3', f'"seed": {"9" * 5000}', "999... is beyond all bounds"),
        ('"seed": 3', '"seed": 3, "seed": 3', "'seed' stands twice"),
        ('"seed": 3', f'"seed": {"[" * 150}3{"]" * 150}', "too many levels of brackets"),
        ('"seed": 3', f'"seed": {"[" * 100_000}', "too many levels of brackets"),
    ],
)
def test_json_that_is_none_of_ours(saved: Path, old: str, new: str, message: str) -> None:
    content = saved.read_text()
    assert content.count(old) == 1
    saved.write_text(content.replace(old, new))
    with pytest.raises(InputError) as caught:
        Ensemble.load(saved)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{saved}: not valid JSON")


def test_brackets_in_texts_are_no_levels(ensemble: Ensemble, tmp_path: Path) -> None:
    noted = replace(ensemble, provenance={"note": '\\"[{' * 300})
    noted.save(tmp_path / "a.json")
    assert Ensemble.load(tmp_path / "a.json").provenance == noted.provenance


def test_the_digest_is_of_all_content(ensemble: Ensemble, saved: Path) -> None:
    assert Ensemble.load(saved).digest == json.loads(saved.read_text())["digest"]
    assert ensemble.digest == replace(ensemble).digest
    other = replace(ensemble, calibration=float(np.nextafter(ensemble.calibration, 2.0)))
    assert other.digest != ensemble.digest
    content = json.loads(saved.read_text())
    del content["digest"]  # as in files of older versions
    content["calibration"] = 2
    saved.write_text(json.dumps(content))
    assert Ensemble.load(saved).calibration == 2.0


def test_no_result_that_is_not_finite(ensemble: Ensemble) -> None:
    """Weights may be finite and their sums not."""
    for name, value in (("slope", 1e300), ("intercept", 1.7e308)):  # squares; sums
        networks = {
            element: replace(network, **{name: np.full(4, value)})
            for element, network in ensemble.networks.items()
        }
        huge = replace(ensemble, networks=networks)
        for members in (True,) if name == "slope" else (True, False):
            with pytest.raises(InputError, match="gives no finite energy"):
                huge.evaluate(structure("slab", 2), members=members)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json: cannot be read"):
        Ensemble.load(tmp_path / "nowhere.json")
