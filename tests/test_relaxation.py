"""Relaxations, step by step, against ASE's optimisers driving ASE's EMT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import ase.optimize
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixedPlane

from helpers import copper
from helpers.recorder import Recorder
from nearsight.config import (
    RelaxationSettings,
)
from nearsight.errors import InputError, ParentError
from nearsight.model.calculator import NearsightCalculator
from nearsight.model.ensemble import Ensemble
from nearsight.parents import Parent
from nearsight.simulation.known import doubt
from nearsight.simulation.relaxation import (
    EnsembleRelaxationResult,
    RelaxationResult,
    relax,
    relax_with_parent,
)

FREE = RelaxationSettings(on_uncertain="warn")
SHORT = RelaxationSettings(max_steps=6, on_uncertain="warn")


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Good enough for a rattled bulk cell."""
    return copper.trained()


@pytest.fixture(scope="module")
def particles(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """With labels of chunks of the particle."""
    folder = tmp_path_factory.mktemp("particles")
    nft, target = copper.nft(max_chunks=16), copper.particle()
    nft.run(copper.cells(), copper.functions(), target, Parent("emt"), folder)
    return Ensemble.load(folder / "best.json")


@pytest.fixture
def cell() -> Atoms:
    """Sixteen atoms of copper, rattled."""
    atoms = bulk("Cu", cubic=True).repeat((2, 2, 1))
    atoms.rattle(0.06, seed=30)
    return atoms


def by_ase(
    atoms: Atoms, calculator: Any, optimizer: str = "BFGS", steps: int = 500
) -> RelaxationResult:
    """What ASE's own relaxation goes through."""
    moving = atoms.copy()
    moving.calc = calculator
    energies, fmax = [], []

    def record() -> None:
        energies.append(moving.get_potential_energy())
        fmax.append(float(np.sqrt((moving.get_forces() ** 2).sum(axis=1).max())))

    with getattr(ase.optimize, optimizer)(moving, logfile=None) as run:
        run.attach(record)
        converged = bool(run.run(fmax=0.05, steps=steps))
    return RelaxationResult(
        atoms=moving,
        optimizer=optimizer,
        energies=np.array(energies),
        fmax=np.array(fmax),
        converged=converged,
    )


def assert_same(found: RelaxationResult, expected: RelaxationResult) -> None:
    assert found.steps == expected.steps > 2
    assert found.converged == expected.converged
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.fmax, expected.fmax, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.atoms.positions, expected.atoms.positions, atol=1e-8)


@pytest.mark.parametrize("optimizer", ["BFGS", "LBFGS", "FIRE", "BFGSLineSearch"])
def test_the_parent_s_relaxation_is_that_of_ase(cell: Atoms, optimizer: str) -> None:
    settings = RelaxationSettings(optimizer=optimizer)  # type: ignore[arg-type]
    found = relax_with_parent(Parent("emt"), cell, settings)
    assert_same(found, by_ase(cell, EMT(), optimizer))
    assert found.converged
    assert found.optimizer == optimizer
    assert found.fmax[-1] <= 0.05 < found.fmax[-2]
    assert not isinstance(found, EnsembleRelaxationResult)


def test_the_ensemble_s_relaxation_is_that_of_ase(ensemble: Ensemble, cell: Atoms) -> None:
    found = relax(ensemble, cell, FREE)
    assert_same(found, by_ase(cell, NearsightCalculator(ensemble)))
    assert found.converged
    # a trained ensemble relaxes nearly as its parent does
    parents = relax_with_parent(Parent("emt"), cell)
    change, expected = (r.energies[-1] - r.energies[0] for r in (found, parents))
    assert change == pytest.approx(expected, rel=0.2)


def test_every_step_has_its_figures(ensemble: Ensemble, tmp_path: Path) -> None:
    target = copper.particle()
    path = tmp_path / "steps.traj"
    found = relax(ensemble, target, SHORT, trajectory=path)
    frames = ase.io.read(path, ":")
    assert found.steps == 6
    for figures in (
        found.energies, found.fmax, found.max_uncertainty, found.mean_uncertainty, frames,
    ):  # fmt: skip
        assert len(figures) == 7
    for number, frame in enumerate(frames):
        expected = ensemble.evaluate(frame)
        raw = expected.uncertainty_raw
        assert raw is not None
        assert found.energies[number] == pytest.approx(expected.energy, abs=1e-9)
        assert frame.get_potential_energy() == pytest.approx(expected.energy, abs=1e-9)
        assert found.fmax[number] == pytest.approx(np.linalg.norm(expected.forces, axis=1).max())
        assert found.max_uncertainty[number] == pytest.approx(raw.max())
        assert found.mean_uncertainty[number] == pytest.approx(raw.mean())
    np.testing.assert_array_equal(frames[0].positions, target.positions)
    np.testing.assert_array_equal(frames[-1].positions, found.atoms.positions)
    assert not found.converged


@pytest.mark.parametrize("every", [1, 4, 100])
def test_trajectories_are_thinned(
    ensemble: Ensemble, cell: Atoms, tmp_path: Path, every: int
) -> None:
    """The first frame, every fourth and the last, whichever step that is."""
    settings = SHORT.model_copy(update={"write_every": every})
    whole = relax(ensemble, cell, SHORT, trajectory=tmp_path / "whole.traj")
    ours, parents = tmp_path / "ours.traj", tmp_path / "parents.traj"
    for path, found in (
        (ours, relax(ensemble, cell, settings, trajectory=ours)),
        (parents, relax_with_parent(Parent("emt"), cell, settings, trajectory=parents)),
    ):
        written = [*range(0, found.steps, every), found.steps]
        frames = ase.io.read(path, ":")
        np.testing.assert_array_equal(
            [frame.get_potential_energy() for frame in frames], found.energies[written]
        )
        np.testing.assert_array_equal(frames[-1].positions, found.atoms.positions)
        fmax = [np.linalg.norm(frame.get_forces(), axis=1).max() for frame in frames]
        np.testing.assert_allclose(fmax, found.fmax[written], rtol=1e-12)
    np.testing.assert_array_equal(whole.energies, relax(ensemble, cell, settings).energies)


def test_the_parent_s_trajectory_can_be_read(cell: Atoms, tmp_path: Path) -> None:
    path = tmp_path / "parent.traj"
    found = relax_with_parent(Parent("emt"), cell, SHORT, trajectory=path)
    frames = ase.io.read(path, ":")
    energies = [copper.emt(frame)[0] for frame in frames]
    np.testing.assert_allclose(found.energies, energies, atol=1e-9)


def test_what_is_given_is_left_alone(ensemble: Ensemble, cell: Atoms) -> None:
    cell.calc = calculator = EMT()
    before = cell.positions.copy()
    found = relax(ensemble, cell, SHORT)
    np.testing.assert_array_equal(cell.positions, before)
    assert cell.calc is calculator
    assert found.atoms.calc is None
    assert np.abs(found.atoms.positions - before).max() > 0.01


@pytest.mark.parametrize("by", ["ensemble", "parent"])
def test_constraints_hold(ensemble: Ensemble, cell: Atoms, by: str) -> None:
    cell.set_constraint([FixAtoms([0, 7]), FixedPlane(3, (0, 0, 1))])
    if by == "ensemble":
        found, calculator = relax(ensemble, cell, FREE), NearsightCalculator(ensemble)
    else:
        found, calculator = relax_with_parent(Parent("emt"), cell), EMT()
    moves = found.atoms.positions - cell.positions
    np.testing.assert_array_equal(moves[[0, 7]], 0.0)
    assert moves[3, 2] == pytest.approx(0.0, abs=1e-12)
    assert np.abs(moves[3, :2]).min() > 1e-4
    assert found.converged
    # the largest force is that on what may move: the forces on fixed atoms remain
    free = found.atoms.copy()
    free.set_constraint()
    free.calc = calculator
    assert np.linalg.norm(free.get_forces()[[0, 7]], axis=1).max() > found.fmax[-1]


def test_too_few_steps_are_reported(ensemble: Ensemble) -> None:
    found = relax(ensemble, copper.particle(), RelaxationSettings(max_steps=2, on_uncertain="warn"))
    assert (found.converged, found.steps) == (False, 2)
    assert found.summary.startswith("NOT relaxed in 2 steps of LBFGS, ΔE -")
    assert f"{found.max_uncertainty[-1]:.4f} eV/Å at the end" in found.summary


def test_a_relaxed_structure_takes_no_step(ensemble: Ensemble, cell: Atoms) -> None:
    once = relax(ensemble, cell, FREE)
    again = relax(ensemble, once.atoms, FREE)
    assert (again.steps, again.converged, len(again.energies)) == (0, True, 1)
    assert again.summary.startswith("relaxed in 0 steps of BFGS, ΔE 0.000 eV")


def test_large_structures_go_by_lbfgs() -> None:
    """The dense matrix of BFGS grows as N², its diagonalisation as N³."""
    for repeats, optimizer in ((2, "BFGS"), (3, "LBFGS")):  # 32 and 108 atoms
        atoms = bulk("Cu", cubic=True).repeat(repeats)
        atoms.rattle(0.02, seed=1)
        found = relax_with_parent(Parent("emt"), atoms, RelaxationSettings(max_steps=1))
        assert found.optimizer == optimizer


def test_the_parent_is_asked_once_for_every_step(cell: Atoms, tmp_path: Path) -> None:
    parent = Parent("emt", database=tmp_path / "parent.db")
    found = relax_with_parent(parent, cell)
    assert parent.calculations == found.steps + 1
    again = relax_with_parent(parent, cell)
    assert parent.calculations == found.steps + 1
    np.testing.assert_array_equal(again.energies, found.energies)


def test_progress_counts_the_steps(cell: Atoms) -> None:
    progress = Recorder()
    found = relax_with_parent(Parent("emt"), cell, SHORT, progress)
    assert [done for done, _, _ in progress.steps] == list(range(found.steps + 1))
    assert all(what.startswith("steps, largest force ") for _, _, what in progress.steps)


def test_an_atom_without_neighbours_stays_where_it_is(ensemble: Ensemble, cell: Atoms) -> None:
    near = Atoms(cell.symbols, cell.positions)
    atoms = near.copy()
    atoms.append("Cu")
    atoms.positions[-1] = [60, 0, 0]
    settings = RelaxationSettings(max_steps=5, on_uncertain="warn")
    found, alone = relax(ensemble, atoms, settings), relax(ensemble, near, settings)
    np.testing.assert_array_equal(found.atoms.positions[-1], [60, 0, 0])
    np.testing.assert_allclose(found.atoms.positions[:-1], alone.atoms.positions, atol=1e-10)


def test_every_step_has_its_uncertainties(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    """As lists in info, which ASE's trajectories keep; and they are not carried on from there."""
    result = relax(
        ensemble,
        cell,
        RelaxationSettings(max_steps=3, on_uncertain="warn"),
        None,
        tmp_path / "a.traj",
    )
    frames = ase.io.read(tmp_path / "a.traj", ":")
    assert len(frames) == len(result.energies)
    for atoms in frames:
        expected = ensemble.evaluate(atoms)
        for name in ("uncertainty", "uncertainty_raw"):
            np.testing.assert_allclose(atoms.info[name], getattr(expected, name), rtol=1e-9)
        assert atoms.info["nearsight_potential"] == ensemble.digest
    assert "uncertainty" not in relax(ensemble, frames[0]).atoms.info


def test_what_cannot_be_relaxed(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    gold = cell.copy()
    gold.symbols[2] = "Au"
    with pytest.raises(InputError, match="contains Au, but only Cu is known here"):
        relax(ensemble, gold, trajectory=tmp_path / "steps.traj")
    iron = bulk("Fe").repeat(2)
    with pytest.raises(ParentError, match="parent emt failed on Fe8"):
        relax_with_parent(Parent("emt"), iron)


# -- frames that are not known


def reasons(ensemble: Ensemble, frames: list[Atoms], limit: float) -> list[bool]:
    """By frame, whether it is known: by what the ensemble itself says of it."""
    found = [ensemble.evaluate(atoms) for atoms in frames]
    for each in found:
        assert each.uncertainty is not None
        assert each.extrapolation is not None
    return [each.uncertainty.max() <= limit and each.extrapolation.max() <= 1 for each in found]


def test_it_ends_at_the_last_frame_that_is_known(particles: Ensemble, tmp_path: Path) -> None:
    atoms = copper.particle()
    relax(particles, atoms, SHORT, trajectory=tmp_path / "free.traj")
    free = ase.io.read(tmp_path / "free.traj", ":")
    bounds = [float(max(frame.info["uncertainty"])) for frame in free]
    limit = 0.5 * (bounds[0] + max(bounds))
    known = reasons(particles, free, limit)
    assert known[0]
    assert not all(known)
    last = known.index(False) - 1
    for choice in ("stop", "retrain"):
        settings = SHORT.model_copy(update={"on_uncertain": choice, "max_uncertainty": limit})
        found = relax(particles, atoms, settings, trajectory=tmp_path / "a.traj")
        assert found.steps == last
        assert not found.converged
        np.testing.assert_array_equal(found.atoms.positions, free[last].positions)
        assert len(ase.io.read(tmp_path / "a.traj", ":")) == last + 1
        assert found.stopped is not None
        assert found.stopped.startswith(f"at step {last + 1} ")
        assert found.stopped in found.summary
        thin = settings.model_copy(update={"write_every": 1000})
        relax(particles, atoms, thin, trajectory=tmp_path / "a.traj")
        assert ase.io.read(tmp_path / "a.traj", ":")[-1] == free[last]
    assert found.max_calibrated is not None
    np.testing.assert_allclose(found.max_calibrated, bounds[: last + 1])


def test_an_unknown_beginning_is_said(ensemble: Ensemble) -> None:
    """Of bulk cells alone the ensemble has labels."""
    found = relax(ensemble, copper.particle(), RelaxationSettings(max_uncertainty=1e5))
    assert (found.steps, found.converged) == (0, False)
    assert found.stopped is not None
    assert found.stopped.startswith("in the structure to begin with atom ")
    assert " is outside what the potential has labels of, grade " in found.stopped
    np.testing.assert_array_equal(found.atoms.positions, copper.particle().positions)


def test_what_is_known_is_relaxed_as_ever(particles: Ensemble) -> None:
    atoms = copper.particle()
    kind = RelaxationSettings(max_steps=3, max_uncertainty=50.0)
    found, free = relax(particles, atoms, kind), relax(particles, atoms, SHORT)
    assert found.stopped is None
    np.testing.assert_array_equal(found.energies, free.energies[:4])


def test_doubt() -> None:
    """By hand: 0.1 is the threshold; an atom of grade 1.5 counts as 0.15, or more."""
    raw, grade = np.array([0.05, 0.05, 0.3, 0.2]), np.array([0.9, 1.5, 1.5, 0.5])
    np.testing.assert_allclose(doubt(raw, grade, 0.1), [0.05, 0.15, 0.3, 0.2])
    np.testing.assert_allclose(doubt(raw, grade, 0.1, most=1.2), [0.05, 0.125, 0.3, 0.2])
    np.testing.assert_array_equal(doubt(raw, None, 0.1), raw)
