"""Molecular dynamics: against ASE itself, taken up again to the last bit, bounded, constrained.

The model is trained on bulk cells of copper alone, so that at the surface of a particle it is
uncertain, and dynamics of bulk cells are trusted.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms, FixBondLengths
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

import nearsight.learning.on_the_fly
import nearsight.learning.uncertain
from helpers import copper
from helpers.recorder import Recorder, Stopped
from nearsight.config import (
    DynamicsSettings,
    RetrainingSettings,
)
from nearsight.errors import InputError
from nearsight.learning.learner import Learner
from nearsight.learning.on_the_fly import Dynamics
from nearsight.learning.targets import Targets
from nearsight.model.calculator import NearsightCalculator
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import stack
from nearsight.parents import Parent
from nearsight.simulation.integrators import Integrator, give_momenta
from nearsight.structures.labels import read_labels

CALM = {
    "threshold": 1e3, "max_extrapolation": 1e3, "timestep": 2.0, "temperature": 300.0, "steps": 20,
    "write_every": 5,
}  # fmt: skip
"""A threshold and a grade that are never reached."""


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Good enough for a bulk cell."""
    return copper.trained()


@pytest.fixture
def cell() -> Atoms:
    """Thirty-two atoms of copper."""
    return bulk("Cu", cubic=True).repeat((2, 2, 2))


def settings(**changes: Any) -> DynamicsSettings:
    return DynamicsSettings.model_validate(CALM | changes)


def frames(folder: Path) -> list[Atoms]:
    found = read(folder / "md.traj", index=":")
    assert isinstance(found, list)
    return found


def assert_same(folder: Path, other: Path) -> None:
    """The same frames to the last bit, and the same log."""
    first, second = frames(folder), frames(other)
    assert len(first) == len(second)
    for one, two in zip(first, second, strict=True):
        assert one.info == two.info
        assert (one.positions == two.positions).all()
        assert (one.get_momenta() == two.get_momenta()).all()
        assert (one.cell.array == two.cell.array).all()
    assert (folder / "md.log").read_text() == (other / "md.log").read_text()


# -- the integrators


@pytest.mark.parametrize("watch_every", [1, 7])
def test_constant_energy_is_ase_s_own(
    ensemble: Ensemble, cell: Atoms, tmp_path: Path, watch_every: int
) -> None:
    chosen = settings(conditions="NVE", watch_every=watch_every)
    sentence = Dynamics(chosen, seed=3).run(ensemble, cell, tmp_path)
    assert sentence == "all 20 steps are done"
    moving = cell.copy()
    give_momenta(moving, 300.0, 3)
    moving.calc = NearsightCalculator(ensemble)
    VelocityVerlet(moving, 2.0 * units.fs).run(20)
    last = frames(tmp_path)[-1]
    np.testing.assert_allclose(last.positions, moving.positions, rtol=0, atol=1e-10)
    np.testing.assert_allclose(last.get_momenta(), moving.get_momenta(), rtol=0, atol=1e-9)


def test_constant_energy_is_constant(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    """Velocity Verlet: the fluctuation goes with the square of the time step."""
    spread = []
    for timestep in (2.0, 1.0):
        folder = tmp_path / str(timestep)
        steps = round(60 / timestep)
        chosen = settings(conditions="NVE", timestep=timestep, steps=steps, write_every=3)
        Dynamics(chosen).run(ensemble, cell, folder)
        spread.append(np.std([atoms.get_total_energy() for atoms in frames(folder)]))
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.3)


def test_the_heat_bath_is_ase_s_own(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    Dynamics(settings(), seed=3).run(ensemble, cell, tmp_path)
    moving = cell.copy()
    give_momenta(moving, 300.0, 3)
    moving.calc = NearsightCalculator(ensemble)
    rng = np.random.default_rng([3, 6])
    friction = 10.0 / (1000 * units.fs)
    Langevin(
        moving, 2.0 * units.fs, temperature_K=300.0, friction=friction, fixcm=False, rng=rng
    ).run(20)
    np.testing.assert_allclose(frames(tmp_path)[-1].positions, moving.positions, atol=1e-10)


def test_a_ramp_heats(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    """The temperature follows a strong bath; that of 32 atoms fluctuates by 14 %, the mean by 4."""
    chosen = settings(final_temperature=900.0, steps=400, friction=100.0, write_every=8)
    Dynamics(chosen).run(ensemble, cell, tmp_path)
    found = np.array([atoms.get_temperature() for atoms in frames(tmp_path)])
    assert found[38:].mean() == pytest.approx(300 + 600 * 0.875, rel=0.1)
    assert found[13:25].mean() == pytest.approx(300 + 600 * 0.375, rel=0.1)


def test_first_momenta() -> None:
    atoms = copper.particle()
    give_momenta(atoms, 300.0, 0)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-10
    assert np.abs(atoms.get_angular_momentum()).max() < 1e-9
    temperatures = []
    for seed in range(200):
        give_momenta(atoms, 300.0, seed)
        temperatures.append(atoms.get_temperature())
    # 165 degrees of freedom: σ = T √(2/165), and that over √200 for the mean
    assert np.mean(temperatures) == pytest.approx(300.0, abs=3 * 300 * np.sqrt(2 / 165 / 200))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("positions", [[[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 2.3]]])
def test_first_momenta_of_an_atom_and_of_two(positions: list[list[float]]) -> None:
    atoms = Atoms("Cu" * len(positions), positions)
    give_momenta(atoms, 300.0, 0)
    assert np.isfinite(atoms.get_momenta()).all()
    assert atoms.get_kinetic_energy() > 0.0
    if len(atoms) > 1:
        assert np.abs(atoms.get_angular_momentum()).max() < 1e-12


def test_momenta_of_the_structure_are_kept(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    cell.set_momenta(np.linspace(-1, 1, 96).reshape(32, 3))
    Dynamics(settings()).run(ensemble, cell, tmp_path)
    assert (frames(tmp_path)[0].get_momenta() == cell.get_momenta()).all()


def test_constant_pressure(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    """A cell under 20 GPa shrinks, and keeps its shape."""
    pytest.importorskip("ase.md.langevinbaoab", reason="from ASE 3.27 on")
    chosen = settings(conditions="NPT", pressure=20.0, pressure_time=100.0, steps=60)
    Dynamics(chosen).run(ensemble, cell, tmp_path)
    lengths = frames(tmp_path)[-1].cell.lengths()
    assert lengths.max() < 0.99 * cell.cell.lengths()[0]
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-12)
    assert "stress" in (tmp_path / "md.log").read_text().splitlines()[0]


def test_frames_are_no_labels_in_any_format(
    ensemble: Ensemble, cell: Atoms, tmp_path: Path
) -> None:
    Dynamics(settings(steps=4, write_every=2)).run(ensemble, cell, tmp_path / "md")
    found = frames(tmp_path / "md")
    write(tmp_path / "frames.extxyz", found)
    for atoms in [*found, *read(tmp_path / "frames.extxyz", index=":")]:
        assert "forces" in atoms.calc.results
        assert read_labels(atoms).predicted


def test_a_log_as_ase_writes_it(ensemble: Ensemble, tmp_path: Path) -> None:
    Dynamics(settings()).run(ensemble, copper.particle(), tmp_path)
    lines = (tmp_path / "md.log").read_text().splitlines()
    assert lines[0].split() == ["Time[ps]", "Etot[eV]", "Epot[eV]", "Ekin[eV]", "T[K]"]
    assert [float(line.split()[0]) for line in lines[1:]] == [0.0, 0.01, 0.02, 0.03, 0.04]
    for line, atoms in zip(lines[1:], frames(tmp_path), strict=True):
        assert float(line.split()[2]) == pytest.approx(atoms.get_potential_energy(), abs=1e-4)


def test_the_record(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    Dynamics(settings()).run(ensemble, cell, tmp_path)
    record = json.loads((tmp_path / "dynamics.json").read_text())
    assert record["frames"]["time"] == [0.0, 0.01, 0.02, 0.03, 0.04]
    found = frames(tmp_path)
    assert record["frames"]["kinetic_energy"] == [atoms.get_kinetic_energy() for atoms in found]
    largest = [ensemble.evaluate(atoms).uncertainty_raw for atoms in found]
    expected = [float(each.max()) for each in largest if each is not None]
    assert record["frames"]["max_uncertainty"] == pytest.approx(expected, rel=1e-9)


# -- taken up again


def dies_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the step after ``step`` end the program."""
    advance = nearsight.learning.on_the_fly.Integrator.advance

    def lethal(self: Any) -> None:
        if self.step == step:
            raise Stopped
        advance(self)

    monkeypatch.setattr(nearsight.learning.on_the_fly.Integrator, "advance", lethal)


@pytest.mark.parametrize("conditions", ["NVE", "NVT", "NPT"])
@pytest.mark.parametrize(("stop", "watch_every"), [(1, 1), (13, 1), (13, 4)])
def test_taken_up_to_the_last_bit(
    ensemble: Ensemble,
    cell: Atoms,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    conditions: str,
    stop: int,
    watch_every: int,
) -> None:
    if conditions == "NPT":
        pytest.importorskip("ase.md.langevinbaoab", reason="from ASE 3.27 on")
    chosen = settings(conditions=conditions, watch_every=watch_every)
    Dynamics(chosen).run(ensemble, cell, tmp_path / "whole")
    with monkeypatch.context() as patch:
        dies_at(stop, patch)
        with pytest.raises(Stopped):
            Dynamics(chosen).run(ensemble, cell, tmp_path / "stopped")
    Dynamics(chosen).run(ensemble, cell, tmp_path / "stopped")
    assert_same(tmp_path / "whole", tmp_path / "stopped")


def test_killed_at_any_moment(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    """SIGKILL, twice, in another process."""
    ensemble.save(tmp_path / "ensemble.json")
    cell.write(tmp_path / "cell.traj")
    chosen = DynamicsSettings(steps=150, threshold=1000.0, max_extrapolation=1000.0, write_every=2)
    Dynamics(chosen).run(ensemble, cell, tmp_path / "whole")
    options = [
        "--steps",
        "150",
        "--threshold",
        "1000",
        "--max-extrapolation",
        "1000",
        "--write-every",
        "2",
    ]
    command = [sys.executable, "-m", "nearsight", "md", "ensemble.json", "cell.traj", *options]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command], cwd=tmp_path, stdout=subprocess.DEVNULL)

    for step in (10, 60):
        process = start()
        until = time.monotonic() + 300
        while _steps(tmp_path / "md") < step and time.monotonic() < until:
            assert process.poll() is None
        process.kill()
        process.wait()
    assert 60 <= _steps(tmp_path / "md") < 150
    assert start().wait(300) == 0
    assert_same(tmp_path / "whole", tmp_path / "md")


def _steps(folder: Path) -> int:
    """Steps up to the last checkpoint."""
    try:
        return int(json.loads((folder / "state.json").read_text())["step"])
    except FileNotFoundError:
        return -1


def test_a_finished_one_is_not_done_again(
    ensemble: Ensemble, cell: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Dynamics(settings()).run(ensemble, cell, tmp_path)
    dies_at(0, monkeypatch)
    assert Dynamics(settings()).run(ensemble, cell, tmp_path) == first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda ensemble, atoms: (Dynamics(settings(temperature=301.0)), ensemble, atoms),
            r"other settings \(temperature was .*, now 301.0\)",
        ),
        (
            lambda ensemble, atoms: (Dynamics(settings(), seed=1), ensemble, atoms),
            r"other settings \(seed was 0, now 1\)",
        ),
        (
            lambda ensemble, atoms: (Dynamics(settings()), ensemble, atoms[1:]),
            "another structure or ensemble",
        ),
        (
            lambda ensemble, atoms: (
                Dynamics(settings()),
                replace(ensemble, networks=stack(ensemble.members[1:])),
                atoms,
            ),
            "another structure or ensemble",
        ),
    ],
)
def test_a_folder_of_others(
    ensemble: Ensemble,
    cell: Atoms,
    tmp_path: Path,
    change: Callable[[Ensemble, Atoms], tuple[Dynamics, Ensemble, Atoms]],
    named: str,
) -> None:
    Dynamics(settings()).run(ensemble, cell, tmp_path)
    dynamics, model, atoms = change(ensemble, cell)
    with pytest.raises(InputError, match=f"holds dynamics of {named}; use another folder"):
        dynamics.run(model, atoms, tmp_path)


def test_a_trajectory_that_was_cut(
    ensemble: Ensemble, cell: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dies_at(12, patch)
        with pytest.raises(Stopped):
            Dynamics(settings()).run(ensemble, cell, tmp_path)
    frames(tmp_path)[0].write(tmp_path / "md.traj")
    said = Recorder()
    Dynamics(settings()).run(ensemble, cell, tmp_path, progress=said)
    (note,) = said.notes
    assert "md.traj: damaged, or cut: it holds 1 frames instead" in note
    assert note.endswith("; the dynamics begin again")
    Dynamics(settings()).run(ensemble, cell, tmp_path / "whole")
    assert (tmp_path / "md.traj").read_bytes() == (tmp_path / "whole" / "md.traj").read_bytes()


def test_a_frame_that_was_torn_leaves_nothing_behind(
    ensemble: Ensemble, cell: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dies_at(12, patch)
        with pytest.raises(Stopped):
            Dynamics(settings()).run(ensemble, cell, tmp_path)
    with (tmp_path / "md.traj").open("ab") as stream:  # of which its first page knows nothing yet
        stream.write(bytes(100))
    Dynamics(settings()).run(ensemble, cell, tmp_path)
    Dynamics(settings()).run(ensemble, cell, tmp_path / "whole")
    assert (tmp_path / "md.traj").read_bytes() == (tmp_path / "whole" / "md.traj").read_bytes()


# -- the bounds


def test_ends_above_the_bound(ensemble: Ensemble, tmp_path: Path) -> None:
    """A particle, of which the model knows nothing, shaken hard."""
    atoms = copper.particle()
    first = ensemble.evaluate(atoms).uncertainty_raw
    assert first is not None
    low = 1.02 * float(first.max())
    chosen = settings(threshold=low, temperature=4000.0, steps=500, friction=100.0)
    sentence = Dynamics(chosen).run(ensemble, atoms, tmp_path)
    assert " eV/Å, above " in sentence
    assert sentence.endswith("and there is no retraining")
    found = frames(tmp_path)
    assert found[-1].info["max_uncertainty"] > 1.5 * low  # the frame it is about is the last
    assert all(atoms.info["max_uncertainty"] <= 1.5 * low for atoms in found[:-1])


def test_ends_where_it_is_uncertain_for_too_long(
    ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearsight.learning.uncertain, "MAX_UNCERTAIN_IN_A_ROW", 7)
    atoms = copper.particle()
    first = ensemble.evaluate(atoms).uncertainty_raw
    assert first is not None
    wide = RetrainingSettings(window=1e6)
    chosen = settings(threshold=1e-3 * float(first.max()))
    sentence = Dynamics(chosen, wide).run(ensemble, atoms, tmp_path)
    assert sentence.startswith("the last 7 frames up to step 7 were all uncertain")


def test_ends_where_an_atom_is_outside(ensemble: Ensemble, tmp_path: Path) -> None:
    """However sure its members are: of a particle, the model has no labels."""
    grade = ensemble.evaluate(copper.particle()).extrapolation
    assert grade is not None
    for most, reason in (
        (1.01 * grade.max() / 1.5, "is outside"),
        (3 * grade.max(), "steps are done"),
    ):
        chosen = settings(max_extrapolation=most, temperature=1200.0)
        sentence = Dynamics(chosen).run(ensemble, copper.particle(), tmp_path / reason[:3])
        assert reason in sentence
    found = frames(tmp_path / "is ")
    assert found[-1].info["max_extrapolation"] > 1.5 * (1.01 * grade.max() / 1.5)
    assert all(atoms.info["max_extrapolation"] <= 1.01 * grade.max() for atoms in found[:-1])


def test_ends_in_time(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    sentence = Dynamics(settings(max_hours=1e-9)).run(ensemble, cell, tmp_path)
    assert sentence == "the time of 1e-09 h is over"


def test_ends_where_nothing_can_be_evaluated(
    ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Integrator.advance

    def fails(self: Integrator) -> None:
        if self.step == 3:
            raise InputError("atoms 1 and 2 overlap")
        advance(self)

    monkeypatch.setattr(Integrator, "advance", fails)
    sentence = Dynamics(settings(threshold=1e6)).run(ensemble, copper.particle(), tmp_path)
    assert "step 4 cannot be evaluated (atoms 1 and 2 overlap)" in sentence


def test_an_atom_that_leaves_for_good_is_told_of(ensemble: Ensemble, tmp_path: Path) -> None:
    atoms = copper.particle()
    momenta = np.zeros((55, 3))
    outermost = int(np.argmax(atoms.positions[:, 0]))
    momenta[outermost, 0] = 600.0
    atoms.set_momenta(momenta)
    chosen = settings(threshold=1e6, conditions="NVE")
    progress = Recorder()
    sentence = Dynamics(chosen).run(ensemble, atoms, tmp_path, progress=progress)
    assert sentence == f"all {chosen.steps} steps are done"
    assert f"no neighbour within the cutoff of atom {outermost}; " in "".join(progress.notes)
    assert len(progress.notes) == 1
    last = read(tmp_path / "md.traj")
    np.testing.assert_array_equal(last.get_forces()[outermost], 0.0)
    expected = ensemble.evaluate(last).uncertainty_raw
    np.testing.assert_allclose(last.info["uncertainty_raw"], expected, rtol=1e-9)


def test_the_default_threshold(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    """0.1 eV/Å for what is known well, twice the first uncertainty for what is not."""
    well = ensemble.evaluate(cell).uncertainty_raw
    particle = copper.particle()
    badly = ensemble.evaluate(particle).uncertainty_raw
    assert well is not None
    assert badly is not None
    assert well.max() < 0.05 < 0.1 < badly.max()
    for name, atoms, expected in (("a", cell, 0.1), ("b", particle, 2 * badly.max())):
        chosen, said = settings(threshold=None, steps=1), Recorder()
        Dynamics(chosen).run(ensemble, atoms, tmp_path / name, progress=said)
        raised = [f"twice that, {expected:.4g}, in place of 0.1" in note for note in said.notes]
        assert raised == [True] * (atoms is particle)
        record = json.loads((tmp_path / name / "dynamics.json").read_text())
        assert record["threshold"] == pytest.approx(expected, rel=1e-9)


# -- retraining on the way


def learner(folder: Path) -> Learner:
    """The small case of ``copper.py`` after its training, which is made or read back."""
    folder.mkdir(exist_ok=True)
    nft = copper.nft()
    parent = Parent("emt", database=folder / "parent.db")
    target = copper.particle()
    state = nft.run(copper.cells(), copper.functions(), target, parent, folder)
    return Learner.from_training(nft, state, folder, Targets.of(target), parent)


HOT = {"temperature": 2000.0, "friction": 100.0, "steps": 40, "max_rounds": 1, "write_every": 2}


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, str]:
    """A particle heated so fast that the model has to learn: folder, threshold, how it ended."""
    folder = tmp_path_factory.mktemp("hot")
    trained = learner(folder / "nft")
    first = trained.ensemble.evaluate(copper.particle()).uncertainty_raw
    assert first is not None
    threshold = 1.5 * float(first.max())
    dynamics = Dynamics(settings(**HOT, threshold=threshold))
    sentence = dynamics.run(trained.ensemble, copper.particle(), folder / "md", trained)
    return folder, threshold, sentence


def test_retrains_and_goes_on(hot: tuple[Path, float, str]) -> None:
    folder, _, sentence = hot
    record = json.loads((folder / "md" / "dynamics.json").read_text())
    assert len(record["rounds"]) == 1
    assert f"{len(record['rounds'])} retraining" in sentence
    for number, each in enumerate(record["rounds"], 1):
        place = folder / "md" / f"retraining-{number:02d}"
        harvested = json.loads((place / "harvest.json").read_text())
        assert len(harvested["chosen"]) == each["chosen"] > 0
        provenance = Ensemble.load(place / "best.json").provenance
        assert len(provenance["target"]["chunk_indices"]) == 24  # none of the target is added
    steps = record["frames"]["time"]
    assert steps == sorted(set(steps))  # frames that were gone back over are gone
    last = f"retraining-{len(record['rounds']):02d}"
    assert (folder / "md" / "best.json").read_bytes() == (
        folder / "md" / last / "best.json"
    ).read_bytes()


def test_labels_are_those_of_chunks_in_the_frames(hot: tuple[Path, float, str]) -> None:
    """The force on each chosen atom, by ASE's EMT in the chunk that was to be cut."""
    folder = hot[0] / "md" / "retraining-01"
    harvested = json.loads((folder / "harvest.json").read_text())
    kept = read(folder / "frames.traj", index=":")
    labels = read(folder / "chunks.extxyz", index=":")
    for (frame, atom), label in zip(harvested["chosen"], labels, strict=True):
        atoms = kept[frame]
        near = np.linalg.norm(atoms.positions - atoms.positions[atom], axis=1) <= 6.5
        others = [i for i in np.flatnonzero(near) if i != atom]
        expected = copper.emt(atoms[[atom, *others]])[1][0]
        np.testing.assert_allclose(label.get_forces()[0], expected, atol=1e-7)


def test_interrupted_in_a_retraining(
    hot: tuple[Path, float, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, threshold, sentence = hot
    shutil.copytree(folder / "nft", tmp_path / "nft")
    dynamics = Dynamics(settings(**HOT, threshold=threshold))
    trained = learner(tmp_path / "nft")
    with monkeypatch.context() as patch:
        patch.setattr("nearsight.learning.learner.write_images", _dies)
        with pytest.raises(Stopped):
            dynamics.run(trained.ensemble, copper.particle(), tmp_path / "md", trained)
    assert (tmp_path / "md" / "retraining-01" / "harvest.json").exists()
    known = trained.parent.known
    trained = learner(tmp_path / "nft")
    again = dynamics.run(trained.ensemble, copper.particle(), tmp_path / "md", trained)
    assert again == sentence
    assert_same(folder / "md", tmp_path / "md")
    # what the first attempt had asked for was not asked again
    other = learner(folder / "nft").parent
    assert trained.parent.known == other.known
    assert trained.parent.calculations == other.known - known


def _dies(*_: Any) -> None:
    raise Stopped


def test_no_further_retraining(hot: tuple[Path, float, str], tmp_path: Path) -> None:
    folder, threshold, _ = hot
    shutil.copytree(folder / "nft", tmp_path / "nft")
    trained = learner(tmp_path / "nft")
    for bound, words in (
        ({"max_rounds": 0}, "there is no retraining"),
        ({"max_rounds": 2, "max_chunks": 1}, "there was 1 chunk"),
    ):
        chosen = settings(**HOT | bound, threshold=threshold)
        place = tmp_path / words.replace(" ", "-")
        sentence = Dynamics(chosen).run(trained.ensemble, copper.particle(), place, trained)
        assert f", and {words}" in sentence


# -- constraints, and what cannot be


def test_fixed_atoms_stay(ensemble: Ensemble, cell: Atoms, tmp_path: Path) -> None:
    cell.set_constraint(FixAtoms([0, 5, 9]))
    Dynamics(settings()).run(ensemble, cell, tmp_path)
    for atoms in frames(tmp_path):
        assert (atoms.positions[[0, 5, 9]] == cell.positions[[0, 5, 9]]).all()
        assert not atoms.get_momenta()[[0, 5, 9]].any()
        (constraint,) = atoms.constraints
        assert sorted(constraint.index) == [0, 5, 9]
    moved = frames(tmp_path)[-1].positions - cell.positions
    assert np.abs(np.delete(moved, [0, 5, 9], axis=0)).min() > 0


def test_fixed_bonds_hold_and_are_taken_up(
    ensemble: Ensemble, cell: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constraints that extended XYZ would lose."""
    cell.set_constraint(FixBondLengths([(0, 1)], tolerance=1e-10))
    chosen = settings(conditions="NVE")
    with monkeypatch.context() as patch:
        dies_at(12, patch)
        with pytest.raises(Stopped):
            Dynamics(chosen).run(ensemble, cell, tmp_path)
    Dynamics(chosen).run(ensemble, cell, tmp_path)
    for atoms in frames(tmp_path):
        assert atoms.get_distance(0, 1) == pytest.approx(cell.get_distance(0, 1), abs=1e-8)


def test_no_constant_pressure_without_a_cell(ensemble: Ensemble, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="periodic in all three directions"):
        Dynamics(settings(conditions="NPT")).run(ensemble, copper.particle(), tmp_path)


def test_no_constant_pressure_with_constraints(
    ensemble: Ensemble, cell: Atoms, tmp_path: Path
) -> None:
    cell.set_constraint(FixAtoms([0]))
    with pytest.raises(InputError, match="FixAtoms"):
        Dynamics(settings(conditions="NPT")).run(ensemble, cell, tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"conditions": "NVE", "final_temperature": 500.0}, "final_temperature needs a heat bath"),
        ({"pressure": 1.0}, 'pressure needs conditions = "NPT"'),
        ({"timestep": 0.0}, "timestep"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        settings(**changes)
