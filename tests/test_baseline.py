"""Pair terms below the networks: their values, what is learned beyond them, and their file.

The reference is the same formulas in NumPy, over ASE's neighbour list.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list
from ase.units import Bohr, Hartree
from pydantic import ValidationError
from scipy.special import erfc

from helpers import Array, copper
from helpers.cli import run_command
from helpers.differences import error_of
from helpers.polar import POLAR, PolarEMT
from helpers.recorder import Recorder
from helpers.runs import make_workplace, tiny_config
from helpers.structures import ELEMENTS, functions_of, random_ensemble, structure
from helpers.trainings import train
from nearsight.config import BaselineSettings, EnsembleSettings, NetworkSettings, TrainingSettings
from nearsight.errors import DamagedFileError, InputError
from nearsight.learning.nft import NFT
from nearsight.model.baseline import Baseline
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Parent
from nearsight.run.run import Run
from nearsight.structures.images import Image, write_images
from nearsight.training.charges import make_baseline
from nearsight.training.fit import train_ensemble

RADII = {"Pt": 1.4, "Au": 1.3, "Cu": 1.2}
CHARGES = {"Pt": 0.6, "Au": -0.5, "Cu": -0.3}
TERMS = {
    "repulsion": Baseline(RADII, {}, 0.0, 1.0),
    "charges": Baseline({}, CHARGES, 0.25, 7.0),
    "charges within the cutoff": Baseline({}, CHARGES, 0.3, 5.0),
    "both": Baseline(RADII, CHARGES, 0.2, 8.0),
}


def pair_energy(baseline: Baseline, one: str, other: str, r: Array) -> Array:
    """The formulas of the literature."""
    coulomb = Hartree * Bohr
    energy = np.zeros_like(r)
    if baseline.radii:
        outer = baseline.radii[one] + baseline.radii[other]
        z1, z2 = atomic_numbers[one], atomic_numbers[other]
        x = r * (z1**0.23 + z2**0.23) / 0.46850
        phi = 0.18175 * np.exp(-3.19980 * x) + 0.50986 * np.exp(-0.94229 * x)
        phi += 0.28022 * np.exp(-0.40290 * x) + 0.02817 * np.exp(-0.20162 * x)
        t = np.clip((r - 0.5 * outer) / (0.5 * outer), 0.0, 1.0)
        energy += coulomb * z1 * z2 / r * phi * (1.0 - 10.0 * t**3 + 15.0 * t**4 - 6.0 * t**5)
    if baseline.charges:
        a, end = baseline.damping, baseline.cutoff

        def screened(d: Array | float) -> Array:
            return erfc(a * d) / d

        slope = -(screened(end) / end + 2.0 * a / np.sqrt(np.pi) * np.exp(-((a * end) ** 2)) / end)
        product = baseline.charges[one] * baseline.charges[other]
        shifted = screened(r) - screened(end) - slope * (r - end)
        energy += coulomb * product * np.where(r < end, shifted, 0.0)
    return energy


def pairs_of(baseline: Baseline, atoms: Atoms) -> tuple[Array, Array, Array]:
    """Of every ordered pair: the first atom, the energy, and the pull on it."""
    reach = 2.0 * max(baseline.radii.values(), default=0.0)
    first, second, r, away = neighbor_list("ijdD", atoms, max(reach, baseline.cutoff))
    energy, pull = np.zeros_like(r), np.zeros_like(away)
    symbols = np.array(atoms.get_chemical_symbols())
    for one in set(symbols):
        for other in set(symbols):
            these = (symbols[first] == one) & (symbols[second] == other)
            d = r[these]
            energy[these] = pair_energy(baseline, one, other, d)
            up, down = (pair_energy(baseline, one, other, d + step) for step in (1e-5, -1e-5))
            pull[these] = ((up - down) / 2e-5 / d)[:, None] * away[these]
    return first, energy, pull


def pair_sum(baseline: Baseline, atoms: Atoms) -> float:
    return 0.5 * float(pairs_of(baseline, atoms)[1].sum())


def potential(baseline: Baseline, atoms: Atoms, n_elements: int) -> Ensemble:
    functions = functions_of(ELEMENTS[:n_elements], 6.5, "G2 G4 G5")
    return replace(random_ensemble(functions, atoms), baseline=baseline)


# -- values


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("name", ["cluster", "tiny", "slab", "skewed", "left-handed", "chain"])
def test_energy_forces_and_stress_are_more_by_those_of_pairs(name: str, terms: str) -> None:
    """Energies by the reference, forces and virial by differences of its energies."""
    n_elements = min(3, len(structure(name)))
    atoms = structure(name, n_elements)
    with_baseline = potential(TERMS[terms], atoms, n_elements)
    found = with_baseline.evaluate(atoms)
    plain = replace(with_baseline, baseline=None).evaluate(atoms)
    expected = pair_sum(TERMS[terms], atoms)
    assert abs(expected) > 1e-3
    assert found.energy - plain.energy == pytest.approx(expected, rel=1e-7)
    np.testing.assert_allclose(found.energies.sum(), found.energy)
    np.testing.assert_allclose(found.member_energies - plain.member_energies, expected, rtol=1e-6)
    np.testing.assert_allclose(found.uncertainty_raw, plain.uncertainty_raw, rtol=1e-9)
    assert found.member_forces is not None
    np.testing.assert_allclose(found.member_forces.mean(axis=0), found.forces, atol=1e-10)
    mean = with_baseline.evaluate(atoms, members=False)
    np.testing.assert_allclose(mean.forces, found.forces, atol=1e-10)
    added = found.forces - plain.forces
    rng = np.random.default_rng(0)
    direction = rng.normal(size=added.shape)

    def energy(distance: float) -> float:
        moved = atoms.copy()
        moved.positions += distance * direction
        return pair_sum(TERMS[terms], moved)

    slope = -np.sum(added * direction)
    assert error_of(slope, energy, enough=1e-7) < 1e-6 * max(1.0, abs(slope))
    if found.stress is None or plain.stress is None:
        assert name in ("cluster", "chain")
        return
    change = rng.normal(size=(3, 3))
    change = 0.5 * (change + change.T)

    def strained_energy(strain: float) -> float:
        strained = atoms.copy()
        strained.set_cell(atoms.cell @ (np.eye(3) + strain * change), scale_atoms=True)
        return pair_sum(TERMS[terms], strained)

    voigt = (found.stress - plain.stress) * abs(atoms.get_volume())
    virial = voigt[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    slope = np.sum(virial * change)
    assert error_of(slope, strained_energy, enough=1e-7) < 1e-6 * max(1.0, abs(slope))


def test_no_bit_depends_on_threads_or_the_neighbour_list() -> None:
    atoms = structure("slab", 2)
    for baseline in TERMS.values():
        ensemble = potential(baseline, atoms, 2)
        one = ensemble.evaluate(atoms, threads=1)
        near = ensemble.evaluate(atoms, threads=3, neighbors=ensemble.neighbors(atoms, 0.5))
        np.testing.assert_array_equal(one.forces, near.forces)
        np.testing.assert_array_equal(one.stress, near.stress)
        assert one.energy == near.energy


def test_charges_of_caesium_chloride_by_madelung() -> None:
    """Energy per pair of ions: Madelung's constant 1.76267, and every charge with its screen."""
    a, damping = 4.12, 0.2
    atoms = bulk("CsCl", "cesiumchloride", a=a)
    baseline = Baseline({}, {"Cs": 1.0, "Cl": -1.0}, damping, 20.0)
    functions = functions_of(["Cs", "Cl"], 5.0)
    image = Image(atoms, np.zeros((2, 3)), 0.0)
    energy = -baseline.residual(image, functions).energy  # type: ignore[operator]
    screens = 2.0 * Hartree * Bohr * damping / np.sqrt(np.pi)
    madelung = -Hartree * Bohr * 1.76267477 / (0.5 * np.sqrt(3.0) * a)
    assert energy - screens == pytest.approx(madelung, rel=1e-6)


def test_atoms_that_come_too_close_are_pushed_apart() -> None:
    """Outside the domain networks may attract; the grade is that of the environments alone."""
    plain = copper.trained()
    terms = make_baseline(BaselineSettings(repulsion="zbl"), [], copper.functions(), [])
    safe = replace(plain, baseline=terms)
    distances = np.linspace(0.3, 1.4, 23)
    pulls = []
    for distance in distances:
        pair = Atoms("Cu2", [[0, 0, 0], [0, 0, distance]])
        found, before = safe.evaluate(pair), plain.evaluate(pair)
        pulls.append((found.forces[1, 2], before.forces[1, 2]))
        assert found.extrapolation is not None
        np.testing.assert_array_equal(found.extrapolation, before.extrapolation)
        assert (found.extrapolation > 1.0).all()
        np.testing.assert_allclose(found.uncertainty, before.uncertainty)
    pushed, before = np.array(pulls).T
    assert (pushed > 0.0).all()
    assert (before <= 0.0).any()
    # no bond of the particle is so short that it feels it
    atoms = copper.particle()
    np.testing.assert_array_equal(safe.evaluate(atoms).forces, plain.evaluate(atoms).forces)


# -- learning


def labelled(atoms: Atoms, baseline: Baseline) -> Image:
    """Energy and forces of the reference."""
    first, energy, pull = pairs_of(baseline, atoms)
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, first, pull)
    return Image(atoms, forces, 0.5 * float(energy.sum()))


def test_an_image_without_what_is_known() -> None:
    atoms = structure("cluster", 3)
    rest = labelled(atoms, TERMS["both"])
    found = TERMS["both"].residual(rest, functions_of(ELEMENTS[:3], 5.0))
    np.testing.assert_allclose(found.forces, 0.0, atol=1e-5)
    assert found.energy == pytest.approx(0.0, abs=1e-6)
    centre = TERMS["both"].residual(Image(atoms, rest.forces[:1]), functions_of(ELEMENTS[:3], 5.0))
    assert centre.energy is None
    np.testing.assert_allclose(centre.forces, 0.0, atol=1e-5)


def test_what_is_known_need_not_be_learned() -> None:
    """Labels with the pair terms added, learned with them: the same networks as without both."""
    settings = BaselineSettings(repulsion="zbl", repulsion_range=1.2)
    terms = make_baseline(settings, [], copper.functions(), [])
    assert terms is not None

    def trained(images: Sequence[Image], baseline: BaselineSettings | None) -> Ensemble:
        return train_ensemble(
            images,
            copper.functions(),
            NetworkSettings(hidden_layers=(3,)),
            TrainingSettings(initial_iterations=5),
            EnsembleSettings(members=2),
            baseline=baseline,
        )

    more = []
    for image in copper.cells():
        rest = terms.residual(image, copper.functions())
        assert rest.energy is not None
        assert image.energy is not None
        energy, forces = 2.0 * image.energy - rest.energy, 2.0 * image.forces - rest.forces
        more.append(Image(image.atoms, forces, energy))
    assert (
        max(np.abs(a.forces - b.forces).max() for a, b in zip(more, copper.cells(), strict=True))
        > 0.1
    )
    known, bare = trained(more, settings), trained(copper.cells(), None)
    assert known.baseline == terms
    atoms = copper.particle()
    plain = bare.evaluate(atoms)
    found = replace(known, baseline=None).evaluate(atoms)
    np.testing.assert_allclose(found.forces, plain.forces, atol=1e-6)
    assert found.energy == pytest.approx(plain.energy, abs=1e-5)


@pytest.mark.parametrize("repulsion", [None, "zbl"])
@pytest.mark.parametrize("n_elements", [2, 3])
def test_fitted_charges_are_those_of_the_labels(n_elements: int, repulsion: str | None) -> None:
    elements = ELEMENTS[:n_elements]
    atoms = structure("cluster", n_elements)
    count = {e: atoms.symbols.count(e) for e in elements}
    charges = {"Pt": 0.9, "Au": -0.4}
    if n_elements == 2:
        charges["Au"] = -0.9 * count["Pt"] / count["Au"]
    else:
        charges["Cu"] = -(0.9 * count["Pt"] - 0.4 * count["Au"]) / count["Cu"]
    radii = {e: 0.8 * float(covalent_radii[atomic_numbers[e]]) for e in elements}
    truth = Baseline(radii if repulsion else {}, charges, 0.3, 7.0)
    images = []
    for seed in range(4):
        moved = atoms.copy()
        moved.rattle(0.1, seed=seed)
        images.append(labelled(moved, truth))
    settings = BaselineSettings(
        repulsion=repulsion, charges="fitted", charge_damping=0.3, charge_cutoff=7.0
    )
    found = make_baseline(settings, images, functions_of(elements, 5.0), [atoms])
    assert found is not None
    assert found.charges == pytest.approx(charges, abs=1e-4)
    assert found.radii == pytest.approx(truth.radii)
    rng = np.random.default_rng(1)
    noisy = [replace(i, forces=i.forces + rng.normal(0.0, 0.02, i.forces.shape)) for i in images]
    found = make_baseline(settings, noisy, functions_of(elements, 5.0), [atoms])
    assert found is not None
    assert found.charges == pytest.approx(charges, abs=0.1)
    assert sum(count[e] * found.charges[e] for e in elements) == pytest.approx(0.0, abs=1e-4)


def test_forces_that_charges_cannot_explain() -> None:
    """Like charges that attract: none are the best."""
    atoms = structure("cluster", 2)
    truth = Baseline({}, {"Pt": 0.9, "Au": -0.9}, 0.3, 7.0)
    image = labelled(atoms, truth)
    against = replace(image, forces=-image.forces)
    settings = BaselineSettings(charges="fitted", charge_damping=0.3, charge_cutoff=7.0)
    equal = Atoms("PtAu")
    assert make_baseline(settings, [against], functions_of(ELEMENTS[:2], 5.0), [equal]) is None


def two_elements() -> tuple[list[Image], SymmetryFunctions, Atoms]:
    cells, atoms = copper.cells(), copper.particle()
    atoms.symbols[::2] = "Ni"
    images = []
    for cell in cells:
        cell.atoms.symbols[::2] = "Ni"
        cell.atoms.calc = PolarEMT()
        energy = cell.atoms.get_potential_energy()
        images.append(Image(cell.atoms.copy(), cell.atoms.get_forces(), energy))
    return images, functions_of(["Cu", "Ni"], 4.5, "G2"), atoms


def with_charges(nft: NFT) -> NFT:
    settings = BaselineSettings(repulsion="zbl", charges="fitted", charge_cutoff=6.0)
    return replace(nft, baseline=settings)


@pytest.mark.parametrize("kind", ["whole", "by centres"])
def test_a_training_with_a_baseline_can_be_stopped(tmp_path: Path, kind: str) -> None:
    """Charges are fitted to the first images, then to the first chunks too, and stay."""
    images, functions, atoms = two_elements()
    given: dict[str, Any] = {"images": images, "functions": functions, "target": atoms}
    given["parent"] = Parent(POLAR, database=tmp_path / "parent.db")
    nft = copper.whole() if kind == "whole" else copper.nft(max_chunks=16)
    nft = with_charges(nft)
    first = nft.settings.first_chunks
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    state = train(nft, whole, **given)
    for most in (first, nft.settings.max_chunks):
        part = replace(nft, settings=nft.settings.model_copy(update={"max_chunks": most}))
        train(part, parts, **given)
    found = [
        Ensemble.load(path).baseline for path in sorted(whole.glob("iteration-*/ensemble.json"))
    ]
    assert all(each is not None and each.charges["Cu"] > 0.0 for each in found)
    assert found[0] != found[1]
    assert all(each == found[1] for each in found[1:])
    assert state.ensemble.baseline == found[-1]
    assert found[1].charges["Cu"] == pytest.approx(0.8, abs=0.3)
    last = sorted(parts.glob("iteration-*/ensemble.json"))[-1]
    expected = Ensemble.load(whole / last.relative_to(parts)).evaluate(atoms)
    np.testing.assert_array_equal(Ensemble.load(last).evaluate(atoms).forces, expected.forces)


# -- files


def test_the_file_is_of_a_version_that_older_programs_refuse(tmp_path: Path) -> None:
    atoms = structure("slab", 2)
    ensemble = potential(TERMS["both"], atoms, 2)
    place = tmp_path / "potential.json"
    ensemble.save(place)
    assert json.loads(place.read_text())["version"] == 2
    back = Ensemble.load(place)
    assert back.baseline == ensemble.baseline
    assert back.digest == ensemble.digest
    np.testing.assert_array_equal(back.evaluate(atoms).forces, ensemble.evaluate(atoms).forces)
    plain = replace(ensemble, baseline=None)
    assert plain.digest != ensemble.digest
    plain.save(place)
    content = json.loads(place.read_text())
    assert content["version"] == 1
    assert "baseline" not in content


@pytest.mark.parametrize(
    ("key", "value"),
    [("radii", {"Pt": -1.0}), ("charges", {"Pt": "x"}), ("charges", {"Pt": 1.0}), ("cutoff", 0.0)],
)
def test_a_damaged_file(tmp_path: Path, key: str, value: Any) -> None:
    place = tmp_path / "potential.json"
    potential(TERMS["both"], structure("slab", 2), 2).save(place)
    content = json.loads(place.read_text())
    content["baseline"][key] = value
    place.write_text(json.dumps(content))
    with pytest.raises((InputError, DamagedFileError), match=str(place)):
        Ensemble.load(place)


# -- mistakes


def test_an_element_without_a_charge() -> None:
    settings = BaselineSettings(charges={"Mg": 1.0})
    with pytest.raises(InputError, match=r"^baseline\.charges leaves out O$"):
        make_baseline(settings, [], functions_of(["Mg", "O"], 4.0), [])


def test_charges_of_one_element_cannot_be_fitted() -> None:
    settings = BaselineSettings(charges="fitted")
    with pytest.raises(InputError, match="a target of two elements or more"):
        make_baseline(settings, [], copper.functions(), [copper.particle()])


def test_magnitudes_that_make_no_sense() -> None:
    """Before, a run ended at them with a sentence on the height of a cell, or went on for hours."""
    for key, value in (
        ("repulsion_range", 1e30), ("charge_cutoff", 200.0), ("charges", {"Cu": 1e30, "Ni": -1e30}),
    ):  # fmt: skip
        with pytest.raises(ValidationError, match="less than or equal"):
            BaselineSettings.model_validate({key: value})


def test_nothing_is_asked_for() -> None:
    assert make_baseline(BaselineSettings(), [], copper.functions(), []) is None


def test_the_command(tmp_path: Path) -> None:
    images, functions = tmp_path / "images.extxyz", tmp_path / "functions.json"
    made, _, _ = two_elements()
    write_images(images, made)
    functions_of(["Cu", "Ni"], 4.5, "G2").save(functions)
    place = tmp_path / "made.json"
    options = ["--repulsion", "zbl", "--members", "2", "--output", place]
    for charges in ("{ Cu = 0.3, Ni = -0.3 }", "fitted"):
        run_command("train", images, functions, *options, "--charges", charges)
        found = Ensemble.load(place).baseline
        assert found is not None
        assert set(found.radii) == set(found.charges) == {"Cu", "Ni"}
    shown = run_command("info", place).out
    assert f"charges Cu {found.charges['Cu']:+.2f}, Ni {found.charges['Ni']:+.2f} e" in shown
    assert "repulsion of equal atoms within Cu 2.11, Ni 1.98 Å" in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": {"charges": "fitted"}}, "a target of two elements or more"),
        ({"baseline": {"charges": {"Pt": 1.0}}}, r"^baseline\.charges leaves out Cu$"),
        ({"baseline": {"charges": {"Cu": 1.0}}}, "so that it can be neutral"),
        ({"baseline": {"charges": {"Cu": 1.0, "Au": 0.0}}, "target": 54}, "so that it can be neut"),
        ({"nft": {"trim": "stoichiometric"}, "target": 54}, r"it does not hold Cu54Au1; take a"),
    ],
)
def test_a_run_refuses_it_before_anything_is_done(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    target = copper.particle()
    if changes.get("target"):
        target.symbols[54] = "Au"
    sections = {name: change for name, change in changes.items() if name != "target"}
    config = make_workplace(tmp_path, tiny_config(**sections), target)
    with pytest.raises(InputError, match=message):
        Run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_with_repulsion(tmp_path: Path) -> None:
    """Its log, its potential, and going on in the same folder; another range is another run."""
    text = tiny_config(baseline={"repulsion": "zbl"}, relaxation=None, locality=None)
    config, folder = make_workplace(tmp_path, text), tmp_path / "run"
    Run(config, folder, progress := Recorder()).execute()
    assert any("baseline: repulsion of equal atoms within Cu 2.11 Å" in n for n in progress.notes)
    assert Ensemble.load(folder / "best.json").baseline == Baseline(
        {"Cu": pytest.approx(0.8 * 1.32)}, {}, 0.2, 10.0
    )
    before = (folder / "best.json").read_bytes()
    Run(config, folder).execute()
    assert (folder / "best.json").read_bytes() == before
    other = make_workplace(tmp_path, text.replace('"zbl"', '"zbl"\nrepulsion_range = 0.9'))
    with pytest.raises(InputError, match=r"baseline\.repulsion_range was 0\.8, now 0\.9"):
        Run(other, folder)
