"""What labels that members do not know tell of them: errors, bounds, the expected error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, fcc111
from ase.calculators.emt import EMT
from ase.stress import full_3x3_to_voigt_6_stress
from scipy.stats import t as student

from helpers import copper
from nearsight.config import EnsembleSettings, NetworkSettings, TrainingSettings
from nearsight.files.records import Bound, Bounds
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import G2, G4, SymmetryFunctions
from nearsight.structures.chunks import extract_chunks
from nearsight.structures.images import Image
from nearsight.training.fit import train_ensemble
from nearsight.training.unseen import Deviations, Unseen, fit_bound, virial_of_forces

EXAMPLES = Path(__file__).parents[1] / "examples"
LINE = Atoms("Cu4", [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])


class Members:
    """An ensemble of a number of members that predict given forces, of one image after another."""

    def __init__(self, number: int, *predictions: Any) -> None:
        self.number = number
        self.results = iter(predictions)

    def __len__(self) -> int:
        return self.number

    def evaluate(self, atoms: Atoms, stress: bool) -> Any:
        """What counts here; the energies are zero."""
        forces = np.array(next(self.results), float)
        return SimpleNamespace(member_forces=forces, member_energies=np.zeros(self.number))


def unseen(ensemble: Members, *images: Any, **named: Any) -> Unseen:
    return Unseen.of(ensemble, *images, **named)  # type: ignore[arg-type]


def along_x(*values: float) -> np.ndarray:
    """Forces (n, 3)."""
    return np.array([[value, 0.0, 0.0] for value in values])


def test_members_that_lack_an_image_tell_its_error() -> None:
    """Three members, of which the last two lack the first image and only one the second.

    They predict 1 and 3 along x where the label is 7: the mean is 2, σ = √2, the error 5.
    """
    images = [Image(LINE[:1], along_x(7.0)), Image(LINE[:1], along_x(7.0))]
    predicted = np.array([along_x(100.0), along_x(1.0), along_x(3.0)])
    counts = np.array([[1, 1], [0, 0], [0, 2]])
    found = unseen(Members(3, predicted), images, counts)
    (only,) = found.out_of_bag
    np.testing.assert_allclose(only.forces.errors, [5.0], rtol=1e-14)
    np.testing.assert_allclose(only.forces.raw, [2.58 * np.sqrt(2.0)], rtol=1e-14)
    assert found.bounds is not None
    ratio = 5.0 / (2.58 * np.sqrt(2.0))
    assert found.bounds.forces.factor == pytest.approx(student.ppf(0.995, 1) * ratio, rel=1e-12)
    assert found.bounds.energy is None
    assert not found.bounds.forces.is_known


def test_only_inner_forces_tell_the_error_on_the_target() -> None:
    """Atoms at 0, 1, 2 and 3 Å: those within 70 % of the outermost are three, of a larger chunk,
    whose weights say which count, all that count."""
    image = Image(LINE, along_x(1.0, 2.0, 3.0, 4.0), 0.0, chunk=True)
    silent = np.zeros((2, 4, 3))
    out_of_bag = unseen(Members(2, silent), [image], np.zeros((2, 1), int)).expected_error
    assert out_of_bag is not None
    assert (out_of_bag.mean, out_of_bag.typical, out_of_bag.forces) == (2.0, 2.0, 3)
    assert (out_of_bag.low, out_of_bag.high) == (2.0, 2.0)  # nothing tells how others would be
    assert out_of_bag.source == "out-of-bag"
    larger = Image(LINE, image.forces, 0.0, np.array([1.0, 1.0, 0.0, 1.0]), chunk=True)
    found = unseen(Members(2, silent), validation=[larger]).expected_error
    assert found is not None
    assert (found.mean, found.forces, found.source) == (pytest.approx(7 / 3), 3, "validation")


def test_expected_error_and_its_reach() -> None:
    """Two chunks of one and three counted forces, mean errors 1 and 5: the mean is 4.

    Its variance is that of a weighted mean, Σ w² (m − mean)² k / (k − 1) = (1/16 · 9 + 9/16 · 1) 2.
    """
    first = Image(LINE[:1], along_x(1.0), 0.0, chunk=True)
    second = Image(LINE[:3], along_x(3.0, 5.0, 7.0), 0.0, chunk=True)
    ensemble = Members(2, np.zeros((2, 1, 3)), np.zeros((2, 3, 3)))
    found = unseen(ensemble, validation=[first, second]).expected_error
    assert found is not None
    assert found.mean == 4.0
    reach = student.ppf(0.95, 1) * 1.5
    assert found.low == max(4.0 - reach, 0.0)
    assert found.high == pytest.approx(4.0 + reach, rel=1e-12)
    assert found.relative == 1.0


def test_nothing_is_expected_without_chunks() -> None:
    cell = Image(bulk("Cu"), np.zeros((1, 3)), 0.0)
    found = unseen(Members(2, np.ones((2, 1, 3))), [cell], np.zeros((2, 1), int))
    assert found.expected_error is None
    assert found.bounds is None  # the members agree


def test_chunks_alone_bound_as_soon_as_there_are_ten_forces() -> None:
    cell = Image(bulk("Cu"), along_x(1000.0), 0.0)
    apart = np.array([along_x(1.0), along_x(-1.0)])  # δ = 2.58 √2
    for count, expected in ((9, np.sqrt((1000.0**2 + 9 * 2.0**2) / 10)), (10, 2.0)):
        chunks = [Image(LINE[:1], along_x(2.0))] * count
        ensemble = Members(2, *([apart] * (count + 1)))
        found = unseen(ensemble, [cell, *chunks], np.zeros((2, count + 1), int))
        assert found.bounds is not None
        width = found.bounds.forces.factor * 2.58 * np.sqrt(2.0)
        assert width == pytest.approx(student.ppf(0.995, 10) * expected, rel=1e-12)


def test_two_members_that_happen_to_agree_do_not_widen_the_bound() -> None:
    """Four members: the last three lack the first image, the last two the second.

    Where the two agree the error is 500 δ. That counts for the 95 % bound, not beyond the other,
    and in neither mean; as long as there is nothing else, it is all there is.
    """
    apart = np.repeat([along_x(9.0), along_x(1.0), along_x(0.0), along_x(-1.0)], 120, axis=1)
    agree = np.array([along_x(0.0), along_x(0.0), along_x(1e-3), along_x(-1e-3)])
    chain = Atoms("Cu120", np.linspace([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], 120))
    surely = Image(chain, np.repeat(along_x(2.0), 120, axis=0), 0.0, chunk=True)
    by_chance = Image(LINE[:1], along_x(500 * 2.58 * np.sqrt(2e-6)), 0.0, chunk=True)
    lack = np.array([[1, 1], [0, 1], [0, 0], [0, 0]])
    found = unseen(Members(4, apart, agree), [surely, by_chance], lack)
    assert found.bounds is not None
    assert found.bounds.forces.factor == pytest.approx(2.0 / 2.58, rel=1e-12)  # σ is 1
    assert found.bounds.forces.factor_95 <= found.bounds.forces.factor
    assert (found.bounds.forces.labels, found.bounds.forces.images) == (120, 1)
    assert found.expected_error is not None
    assert found.expected_error.mean == pytest.approx(2.0, rel=1e-12)
    alone = unseen(Members(4, agree), [by_chance], lack[:, 1:])
    assert alone.bounds is not None
    assert alone.bounds.forces.factor > 500.0
    assert alone.expected_error is not None


# -- bounds


def test_some_count_for_the_narrower_bound_alone() -> None:
    """100 ratios of 1 and, beside, 10 of 3: more than 5 % of all, but never above the other."""
    ones, more = Deviations(np.ones(100), np.ones(100)), Deviations(np.full(10, 3.0), np.ones(10))
    alike = Bound(factor=1.0, factor_95=1.0, knee=1.0, labels=100, images=1)
    assert fit_bound([ones], [more]) == alike
    less = Deviations(np.full(3000, 0.1), np.ones(3000))
    assert fit_bound([ones], [less]) == alike.model_copy(update={"factor_95": 0.1})


def test_factor_covers_what_follows() -> None:
    """Of n labels that of rank ⌈(n + 1) q⌉: an (n + 1)th is below it with probability q.

    Errors 1 to n where δ is 1: the factors are these ranks, as long as there are so many.
    """
    for n, stated, beside in ((99, 99, 95), (150, 150, 144), (499, 495, 475)):
        found = fit_bound([Deviations(np.arange(1.0, n + 1), np.ones(n))])
        assert found == Bound(factor=stated, factor_95=beside, knee=1.0, labels=n, images=1)


def test_few_labels_bound_less_sharply() -> None:
    """Below 99 labels the largest is not enough for 99 %: by Student's t, n = 10, 3.169 × RMS."""
    found = fit_bound([Deviations(np.ones(10), np.ones(10))])
    assert found is not None
    assert found.factor == pytest.approx(3.1693, rel=1e-4)
    assert found.factor_95 == pytest.approx(2.2281, rel=1e-4)
    wide = fit_bound([Deviations(np.array([*np.zeros(30), 1.0]), np.ones(31))])
    assert wide is not None
    assert wide.factor == 1.0


def test_a_constant_is_used_where_it_is_as_sharp() -> None:
    """Where the spread says nothing of the error, a bound that follows it is wide."""
    rng = np.random.default_rng(0)
    raw, errors = rng.lognormal(0.0, 1.0, 5000), rng.uniform(0.0, 1.0, 5000)
    follows = fit_bound([Deviations(errors, raw)])
    assert follows is not None
    assert follows.floor == 0.0
    assert follows.of(raw).mean() > 5.0
    found = fit_bound([Deviations(errors, raw)], floor=0.9)
    assert found is not None
    assert found.is_constant
    assert found.floor == np.quantile(raw, 0.9)
    width = found.of(raw)
    common = raw <= found.floor
    assert np.ptp(width[common]) == 0.0
    assert width[common][0] == pytest.approx(np.quantile(errors, 0.99), abs=0.005)
    # of a kind of structure with larger δ it states more
    np.testing.assert_allclose(width[~common], found.factor * raw[~common])
    assert (errors <= width).mean() == pytest.approx(0.99, abs=0.003)
    assert (errors <= found.beside(width)).mean() == pytest.approx(0.95, abs=0.01)


def test_a_spread_that_tells_the_error_is_followed() -> None:
    rng = np.random.default_rng(0)
    raw = rng.lognormal(0.0, 1.0, 5000)
    errors = raw * rng.uniform(0.0, 1.0, 5000)
    found = fit_bound([Deviations(errors, raw)], floor=0.9)
    assert found is not None
    assert not found.is_constant
    assert found.factor == pytest.approx(0.99, abs=0.005)


def test_beyond_the_labels_the_spread_counts_once() -> None:
    """Errors are three times δ, up to the largest; where members are farther apart, δ is enough."""
    raw = np.linspace(0.1, 2.0, 200)
    found = fit_bound([Deviations(3.0 * raw, raw)])
    assert found is not None
    assert (found.factor, found.knee) == (pytest.approx(3.0, rel=1e-12), 2.0)
    np.testing.assert_allclose(found.of(raw), 3.0 * raw, rtol=1e-12)
    np.testing.assert_allclose(found.of(np.array([2.0, 3.0, 50.0])), [6.0, 7.0, 54.0])
    np.testing.assert_allclose(found.beside(found.of(np.array([1.0, 9.0]))), [3.0, 13.0])
    # with a factor below 1 the spread is more than the error wherever it is larger still
    wide = fit_bound([Deviations(0.5 * raw, raw)])
    assert wide is not None
    np.testing.assert_allclose(wide.of(np.array([1.0, 50.0])), [0.5, 25.0])


def test_a_few_large_spreads_do_not_widen_the_bound_of_the_others() -> None:
    """Errors are 0.9 or less; where δ is a thousand times the usual, 500 times smaller than δ."""
    rng = np.random.default_rng(0)
    raw = np.concatenate([rng.uniform(0.1, 0.3, 900), rng.uniform(100.0, 300.0, 100)])
    errors = np.where(raw < 1.0, 3.0, 0.002) * raw
    found = fit_bound([Deviations(errors, raw)])
    assert found is not None
    assert found.knee == np.median(raw)
    assert (errors <= found.of(raw)).mean() >= 0.99
    assert found.of(raw).mean() < 1.05 * raw.mean()
    follows = found.model_copy(update={"knee": raw.max()})
    assert follows.of(raw).mean() > 2.9 * raw.mean()


@pytest.mark.parametrize("factors", [(3.0, 2.0), (3.0, 0.5), (0.8, 0.5)])
@pytest.mark.parametrize("knee", [None, 0.7])
def test_the_narrower_bound_beside_the_stated_one(
    factors: tuple[float, float], knee: float | None
) -> None:
    """It follows from the stated one alone, grows with it, and is never above it."""
    bound = Bound(factor=factors[0], factor_95=factors[1], knee=knee, labels=100, images=2)
    raw = np.linspace(0.0, 3.0, 301)
    beside = bound.beside(bound.of(raw))
    alone = bound.model_copy(update={"factor": factors[1]})
    np.testing.assert_allclose(beside, alone.of(raw), rtol=1e-12, atol=1e-15)
    assert (np.diff(beside) > 0.0).all()
    assert (beside <= bound.of(raw)).all()


def test_how_much_is_enough() -> None:
    known = Bound(factor=1.0, factor_95=0.5, labels=100, images=3)
    assert known.is_known
    assert not known.model_copy(update={"labels": 99}).is_known
    assert known.model_copy(update={"images": 2}).is_known
    assert not known.model_copy(update={"images": 1}).is_known


# -- energies and stresses


def test_virial_is_what_stress_times_volume_would_be() -> None:
    """Of a particle in a box so large that it meets no image of itself, against ASE's EMT."""
    atoms = copper.particle()
    atoms.calc = EMT()
    forces = atoms.get_forces()
    box = atoms.copy()
    box.cell, box.pbc = [60.0, 60.0, 60.0], True
    box.calc = EMT()
    expected = box.get_stress() * 60.0**3
    found = virial_of_forces(atoms.positions, forces[None])[0]
    assert np.abs(expected).max() > 1.0
    np.testing.assert_allclose(found, expected, atol=1e-9)


@cache
def platinum() -> Ensemble:
    """Trained on cells and on chunks of the particle of the examples, EMT as the parent."""
    particle = ase.io.read(EXAMPLES / "pt260.extxyz")
    chunks = extract_chunks(particle, range(0, 260, 22), 7.0, 5.0)
    crystals = [bulk("Pt", a=3.92 * part, cubic=True) for part in np.linspace(0.94, 1.1, 9)]
    rattled = [crystal.repeat((2, 1, 1)) for crystal in crystals]
    for seed, crystal in enumerate(rattled):
        crystal.rattle(0.08, seed=seed)
    images = [copper.labelled(atoms) for atoms in (*crystals, *rattled)]
    for atoms in chunks:
        energy, forces = copper.emt(atoms)
        images.append(Image.whole_chunk(atoms, forces, energy))
    radial = [G2("Pt", eta, r_s) for eta in (1.0, 8.0, 20.0) for r_s in (0.0, 2.5, 4.0)]
    angular = [G4(("Pt", "Pt"), 0.005, zeta, gamma) for zeta in (1.0, 4.0) for gamma in (-1.0, 1.0)]
    return train_ensemble(
        images,
        SymmetryFunctions({"Pt": [*radial, *angular]}, 6.0),
        NetworkSettings(hidden_layers=(5, 5)),
        TrainingSettings(initial_iterations=40, iterations=20, l2=1e-6),
        EnsembleSettings(members=10),
        seed=1,
    )


def of_platinum() -> Iterator[tuple[str, Atoms]]:
    """Structures that a potential for platinum is used for, none of them in the training."""
    for part in (0.96, 0.98, 1.0, 1.02, 1.04, 1.06):
        yield (
            f"a crystal at {part:g} of its lattice constant",
            bulk("Pt", a=3.92 * part + 0.01, cubic=True),
        )
    vacancy = bulk("Pt", a=3.93, cubic=True).repeat(3)
    del vacancy[0]
    yield "a vacancy", vacancy
    for name, slab in (("111", fcc111), ("100", fcc100)):
        atoms = slab("Pt", (3, 3, 6), a=3.93, vacuum=8.0)
        atoms.pbc = True
        yield f"a ({name}) slab", atoms


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "atoms"), list(of_platinum()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_energies_and_stresses_are_within_their_bounds(name: str, atoms: Atoms) -> None:
    """Of an equation of state, a vacancy and surfaces, against ASE's EMT; and no bound is idle."""
    found = platinum().evaluate(atoms)
    assert found.extrapolation is not None
    assert found.extrapolation.max() < 1.1, name
    assert found.energy_uncertainty is not None
    assert found.stress is not None
    assert found.stress_uncertainty is not None
    energy, _ = copper.emt(atoms)
    assert abs(found.energy - energy) <= found.energy_uncertainty
    assert found.energy_uncertainty / len(atoms) < 0.02  # eV
    atoms.calc = EMT()
    assert (np.abs(found.stress - atoms.get_stress()) <= found.stress_uncertainty + 1e-12).all()
    assert found.stress_uncertainty.max() < 0.02  # eV/Å³, 3 GPa


def test_bounds_of_energy_and_stress_by_hand() -> None:
    """The factor times 2.58 σ of the members, per atom, or the floor; times the largest grade."""
    bound = Bound(factor=2.0, factor_95=1.0, labels=100, images=3)
    energy = bound.model_copy(update={"factor": 3.0})
    constant = bound.model_copy(update={"floor": 10.0})
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    trained = replace(copper.trained(), calibration=2.0, domain=None)
    made = replace(trained, bounds=Bounds(forces=bound, energy=energy, virial=bound))
    found = made.evaluate(atoms)
    spread = 2.58 * found.member_energies.std(ddof=1)
    assert found.energy_uncertainty == pytest.approx(3.0 * spread, rel=1e-12)
    virials = made.core.evaluate(made.functions.structure(atoms), "members", virial=True)["virials"]
    stresses = [full_3x3_to_voigt_6_stress(each / atoms.get_volume()) for each in virials]
    expected = 2.0 * 2.58 * np.std(stresses, axis=0, ddof=1).max()
    np.testing.assert_allclose(found.stress_uncertainty, np.full(6, expected), rtol=1e-9)
    np.testing.assert_allclose(found.uncertainty_95, found.uncertainty / 2.0, rtol=1e-12)
    floored = replace(trained, bounds=Bounds(forces=constant, energy=constant)).evaluate(atoms)
    assert floored.energy_uncertainty == pytest.approx(2.0 * 10.0 * len(atoms), rel=1e-12)
    np.testing.assert_array_equal(floored.uncertainty, 20.0)
    assert floored.stress_uncertainty is None
    assert made.evaluate(atoms, members=False).energy_uncertainty is None
