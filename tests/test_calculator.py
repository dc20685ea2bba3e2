"""The ensemble as an ASE calculator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms

import nearsight
from helpers.structures import ELEMENTS, functions_of, random_ensemble, structure
from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return random_ensemble(functions_of(ELEMENTS[:2], 5.0, "G2 G4 G5"), structure("cluster", 2))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `evaluate` was asked for, call by call."""
    made = []
    evaluate = Ensemble.evaluate

    def counted(self: Ensemble, atoms: Atoms, **options: Any) -> Any:
        made.append(options)
        return evaluate(self, atoms, **options)

    monkeypatch.setattr(Ensemble, "evaluate", counted)
    return made


def with_calculator(name: str, ensemble: Ensemble | Path, **options: Any) -> Atoms:
    atoms = structure(name, 2)
    atoms.calc = nearsight.NearsightCalculator(ensemble, threads=1, **options)
    return atoms


@pytest.mark.parametrize("name", ["cluster", "slab"])
def test_results_are_those_of_the_ensemble(ensemble: Ensemble, name: str) -> None:
    atoms = with_calculator(name, ensemble)
    r = ensemble.evaluate(atoms, threads=1)
    assert atoms.get_potential_energy() == r.energy
    assert atoms.get_potential_energy(force_consistent=True) == r.energy
    np.testing.assert_array_equal(atoms.get_potential_energies(), r.energies)
    assert atoms.get_potential_energies().sum() == pytest.approx(r.energy, rel=1e-13)
    np.testing.assert_array_equal(atoms.get_forces(), r.forces)
    np.testing.assert_array_equal(atoms.calc.results["uncertainty"], r.uncertainty)
    np.testing.assert_array_equal(atoms.calc.results["uncertainty_raw"], r.uncertainty_raw)
    if name == "slab":
        np.testing.assert_array_equal(atoms.get_stress(), r.stress)


def test_from_a_file(ensemble: Ensemble, tmp_path: Path) -> None:
    ensemble.save(tmp_path / "best.json")
    one = with_calculator("slab", tmp_path / "best.json").get_forces()
    two = with_calculator("slab", str(tmp_path / "best.json")).get_forces()
    np.testing.assert_array_equal(one, with_calculator("slab", ensemble).get_forces())
    np.testing.assert_array_equal(two, one)
    (tmp_path / "best.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        nearsight.NearsightCalculator(tmp_path / "best.json")


def test_stress_is_for_cells_only(ensemble: Ensemble) -> None:
    atoms = with_calculator("cluster", ensemble)
    atoms.get_forces()
    with pytest.raises(PropertyNotImplementedError, match="periodic cell"):
        atoms.get_stress()
    assert "stress" not in atoms.calc.results


def test_what_did_not_change_is_not_computed_again(
    ensemble: Ensemble, calls: list[dict[str, Any]]
) -> None:
    atoms = with_calculator("slab", ensemble)
    atoms.get_forces()
    atoms.get_potential_energy()
    atoms.get_potential_energies()
    atoms.get_stress()
    atoms.calc.get_property("uncertainty", atoms)
    assert len(calls) == 1
    changes = [
        lambda: atoms.rattle(1e-9, seed=0),
        lambda: atoms.set_cell(1.01 * np.asarray(atoms.cell)),
        lambda: atoms.set_pbc([True, False, True]),
        lambda: atoms.symbols.__setitem__(0, "Au"),
        lambda: atoms.pop(),
    ]
    for n, change in enumerate(changes, start=2):
        change()
        atoms.get_forces()
        atoms.get_potential_energy()
        assert len(calls) == n


def test_the_structure_is_a_copy(ensemble: Ensemble) -> None:
    """What the user does to the atoms afterwards, once the first and once a later call is done."""
    atoms = with_calculator("slab", ensemble)
    for _ in range(3):
        atoms.get_forces()
        kept = atoms.positions.copy()
        atoms.positions += 0.01
        np.testing.assert_array_equal(atoms.calc.atoms.positions, kept)
        np.testing.assert_array_equal(
            atoms.calc.get_property("forces"), atoms.calc.results["forces"]
        )
    with pytest.raises(InputError, match="no structure has been calculated"):
        nearsight.NearsightCalculator(ensemble).calculate()


@pytest.mark.parametrize("name", ["uncertainty", "uncertainty_raw"])
def test_uncertainty_only_when_it_is_asked_for(
    ensemble: Ensemble, calls: list[dict[str, Any]], name: str
) -> None:
    atoms = with_calculator("cluster", ensemble, uncertainty=False)
    forces = atoms.get_forces()
    assert "uncertainty" not in atoms.calc.results
    found = atoms.calc.get_property(name, atoms)
    assert [call["members"] for call in calls] == [False, True]
    r = ensemble.evaluate(atoms, threads=1)
    np.testing.assert_array_equal(found, getattr(r, name))
    np.testing.assert_allclose(forces, r.forces, atol=1e-13)


def test_constraints_are_respected(ensemble: Ensemble) -> None:
    atoms = with_calculator("slab", ensemble)
    free = atoms.get_forces()
    atoms.set_constraint(FixAtoms([0, 5]))
    forces = atoms.get_forces()
    assert not forces[[0, 5]].any()
    np.testing.assert_array_equal(np.delete(forces, [0, 5], 0), np.delete(free, [0, 5], 0))
    np.testing.assert_array_equal(atoms.get_forces(apply_constraint=False), free)


def test_properties_are_announced() -> None:
    assert set(nearsight.NearsightCalculator.implemented_properties) == {
        "energy", "free_energy", "energies", "forces", "stress", "uncertainty", "uncertainty_raw",
        "extrapolation", "isolated", "uncertainty_95", "energy_uncertainty", "stress_uncertainty",
    }  # fmt: skip


@pytest.mark.parametrize("skin", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("name", ["particle", "slab", "tiny"])
def test_results_do_not_depend_on_the_skin(ensemble: Ensemble, name: str, skin: float) -> None:
    """A walk in small steps, long enough for several lists: every result to the last bit."""
    atoms = with_calculator(name, ensemble, skin=skin)
    rng = np.random.default_rng(0)
    for _ in range(12):
        atoms.positions += rng.normal(0.0, 0.03, (len(atoms), 3))
        fresh = ensemble.evaluate(atoms, threads=1)
        np.testing.assert_array_equal(atoms.get_forces(), fresh.forces)
        np.testing.assert_array_equal(atoms.calc.results["uncertainty"], fresh.uncertainty)


def test_many_atoms_are_worked_on_in_another_order(ensemble: Ensemble) -> None:
    """Above 2000 atoms along a curve through space: what a user sees stays in the user's order."""
    atoms = bulk("Pt", a=4.0, cubic=True).repeat((9, 8, 8))
    atoms.numbers[::3] = 79
    atoms.pbc = [True, False, True]
    atoms.rattle(0.1, seed=0)
    shuffled = np.random.default_rng(0).permutation(len(atoms))
    other = atoms[shuffled]
    for each in (atoms, other):
        each.calc = nearsight.NearsightCalculator(ensemble, threads=1, skin=0.4)
    forces = atoms.get_forces()
    np.testing.assert_allclose(other.get_forces(), forces[shuffled], rtol=0, atol=1e-12)
    for name in ("energies", "uncertainty"):
        expected = atoms.calc.results[name][shuffled]
        np.testing.assert_allclose(other.calc.results[name], expected, rtol=0, atol=1e-12)
    # The force is the slope of the energy.
    energy = atoms.get_potential_energy()
    step = 1e-4
    atoms.positions[1234, 1] += step
    assert atoms.get_potential_energy() - energy == pytest.approx(
        -step * 0.5 * (forces[1234, 1] + atoms.get_forces()[1234, 1]), abs=1e-10
    )


def test_a_list_is_kept_until_it_is_no_longer_valid(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = []
    neighbors = Ensemble.neighbors

    def counted(self: Ensemble, *arguments: Any) -> Any:
        lists.append(arguments)
        return neighbors(self, *arguments)

    monkeypatch.setattr(Ensemble, "neighbors", counted)
    atoms = with_calculator("slab", ensemble, skin=0.4)

    def lists_after(change: Callable[[], object]) -> int:
        change()
        np.testing.assert_array_equal(
            atoms.get_forces(), ensemble.evaluate(atoms, threads=1).forces
        )
        return len(lists)

    assert lists_after(lambda: None) == 1
    assert lists_after(lambda: atoms.positions.__iadd__(np.array([0.19, 0, 0]))) == 1
    assert lists_after(lambda: atoms.positions.__iadd__(np.array([0.02, 0, 0]))) == 2
    assert lists_after(lambda: atoms.symbols.__setitem__(0, "Au")) == 2
    assert lists_after(lambda: atoms.set_cell(1.001 * np.asarray(atoms.cell))) == 3
    assert lists_after(lambda: atoms.set_pbc([True, False, False])) == 4
    assert lists_after(lambda: atoms.pop()) == 5


def test_one_calculator_for_several_structures(ensemble: Ensemble) -> None:
    calculator = nearsight.NearsightCalculator(ensemble, threads=1)
    for name in ("slab", "cluster", "slab", "tiny"):
        atoms = structure(name, 2)
        atoms.calc = calculator
        expected = ensemble.evaluate(atoms, threads=1)
        np.testing.assert_array_equal(atoms.get_forces(), expected.forces)
        assert ("stress" in calculator.results) == (expected.stress is not None)


@pytest.mark.parametrize("members", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_atom_without_neighbours(ensemble: Ensemble, members: bool, threads: int) -> None:
    """It has the energy of the networks at features of zero and no force, and is marked."""
    near = structure("cluster", 2)
    atoms = near.copy()
    atoms.append("Au")
    atoms.positions[-1] = [40.0, 0.0, 0.0]
    expected = ensemble.evaluate(near, members=members, threads=threads)
    found = ensemble.evaluate(atoms, members=members, threads=threads)
    assert found.isolated.tolist() == [False] * len(near) + [True]
    assert not expected.isolated.any()
    np.testing.assert_allclose(found.forces[:-1], expected.forces, atol=1e-13)
    assert not found.forces[-1].any()
    _, offset = ensemble.scaling.linear("Au")
    alone = []
    for member in ensemble.members:
        x = offset
        for layer in member["Au"].layers:
            x = layer.weights @ x + layer.bias
            x = np.tanh(x) if layer.activation == "tanh" else x
        alone.append(member["Au"].intercept + member["Au"].slope * x[0])
    assert found.energies[-1] == pytest.approx(np.mean(alone), rel=1e-12)
    assert found.energy == pytest.approx(expected.energy + np.mean(alone), rel=1e-12)


def test_the_last_atom_to_leave_changes_no_energy(ensemble: Ensemble) -> None:
    """Cu2 at 5.00 Å where 4.99 works: across the cutoff, energy and force go on smoothly."""
    atoms = Atoms("Pt2", [[0, 0, 0], [0, 0, 4.9999]])
    atoms.calc = nearsight.NearsightCalculator(ensemble)
    near = atoms.get_potential_energy()
    assert not atoms.calc.results["isolated"].any()
    atoms.positions[1, 2] = 5.0001
    assert atoms.get_potential_energy() == pytest.approx(near, abs=1e-6)
    assert atoms.calc.results["isolated"].all()
    assert not atoms.get_forces().any()
    atoms.positions[1, 2] = 2.5
    atoms.get_forces()
    assert not atoms.calc.results["isolated"].any()


@pytest.mark.parametrize("n", [1, 14, 1000])
def test_a_skewed_cell_is_the_same_crystal(ensemble: Ensemble, n: int) -> None:
    straight = bulk("Pt", a=3.95, cubic=True) * (1, 1, 2)
    straight.symbols[::3] = "Au"
    straight.rattle(0.1, seed=0)
    skewed = straight.copy()
    cell = straight.cell.array
    skewed.set_cell([cell[0], cell[1] + n * cell[0], cell[2] - n * cell[0] + 2 * n * cell[1]])
    one, two = ensemble.evaluate(straight), ensemble.evaluate(skewed)
    np.testing.assert_allclose(two.forces, one.forces, atol=1e-10)
    np.testing.assert_allclose(two.stress, one.stress, atol=1e-10)
    assert two.energy == pytest.approx(one.energy, rel=1e-12)


def test_bad_structures_each_have_their_sentence(ensemble: Ensemble) -> None:
    atoms = with_calculator("cluster", ensemble)
    atoms.get_forces()
    good = atoms.positions.copy()
    for position, message in [
        (np.nan, "structure: the position of atom 3 is not finite"),
        (good[7], "atoms 3 and 7 overlap"),
    ]:
        atoms.positions[3] = position
        for _ in range(2):  # a failure is not remembered as a result
            with pytest.raises(InputError, match=message):
                atoms.get_forces()
        atoms.positions[3] = good[3]
        atoms.get_forces()
    atoms.symbols[0] = "Pb"
    with pytest.raises(InputError, match="contains Pb"):
        atoms.get_potential_energy()
    empty = Atoms()
    empty.calc = atoms.calc
    with pytest.raises(InputError, match="no atoms"):
        empty.get_potential_energy()


@pytest.mark.parametrize("skin", [-0.1, np.nan, np.inf])
def test_skin_is_a_length(ensemble: Ensemble, skin: float) -> None:
    with pytest.raises(InputError, match="skin must be"):
        nearsight.NearsightCalculator(ensemble, skin=skin)
