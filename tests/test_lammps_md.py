"""``nearsight lammps md``: LAMMPS, retraining, LAMMPS again; with a program in LAMMPS's place, and
with LAMMPS itself."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import read

from helpers import copper, stub_lammps
from helpers.cli import run_command, without_progress
from helpers.lammps import need_lammps
from helpers.processes import alive, until
from helpers.recorder import Recorder, Stopped
from helpers.runs import GIVEN, make_workplace, tiny_config, write_given
from nearsight.config import Config, DynamicsSettings, RetrainingSettings
from nearsight.errors import InputError
from nearsight.files.records import DynamicsRecord, LammpsState
from nearsight.learning.lammps import LammpsDynamics
from nearsight.learning.learner import Learner
from nearsight.learning.on_the_fly import Dynamics
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble
from nearsight.parents import Parent
from nearsight.progress import LineProgress, SeveralProgress
from nearsight.run.run import Run
from nearsight.simulation.lammps import Placement, Segment
from nearsight.simulation.lammps_program import LammpsProgram

EXAMPLES = Path(__file__).parents[1] / "examples"
STUB = shlex.join((sys.executable, str(Path(stub_lammps.__file__).absolute())))
HOT: dict[str, Any] = {
    "temperature": 3000.0, "friction": 100.0, "steps": 60, "max_rounds": 2, "write_every": 2,
    "max_extrapolation": 1e3,
}  # fmt: skip


def learner(folder: Path) -> Learner:
    """The small case of ``copper.py`` after its training, which is made or read back."""
    folder.mkdir(exist_ok=True)
    nft = copper.nft()
    parent = Parent("emt", database=folder / "parent.db")
    target = copper.particle()
    state = nft.run(copper.cells(), copper.functions(), target, parent, folder)
    return Learner.from_training(nft, state, folder, Targets.of(target), parent)


def dynamics(folder: Path, **changes: Any) -> LammpsDynamics:
    """A particle heated so fast that the model has to learn."""
    first = learner(folder / "nft").ensemble.evaluate(copper.particle()).uncertainty_raw
    assert first is not None
    settings = {**HOT, "threshold": 1.02 * float(first.max()), **changes}
    program = LammpsProgram.parse(STUB)
    return LammpsDynamics(DynamicsSettings.model_validate(settings), program=program)


def calculations(folder: Path) -> int:
    """Finished calculations of the parent."""
    return len(read(folder / "nft" / "parent.db", ":"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training alone."""
    folder = tmp_path_factory.mktemp("trained")
    learner(folder / "nft")
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def hot(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Undisturbed dynamics: their folder, and how they ended."""
    folder = tmp_path_factory.mktemp("hot")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    loop = dynamics(folder)
    return folder, loop.run(learner(folder / "nft"), copper.particle(), folder / "md")


def frames(folder: Path) -> list[Atoms]:
    found = read(folder / "md.traj", index=":")
    assert isinstance(found, list)
    return found


def state_of(folder: Path) -> LammpsState:
    return LammpsState.load(folder / "lammps.json")


# -- the loop


def test_it_learns_and_goes_on(hot: tuple[Path, str]) -> None:
    folder, sentence = hot
    state = state_of(folder / "md")
    assert len(state.rounds) == 2
    assert sentence == f"{state.ended}; 2 retrainings with {state.chunks} chunks"
    assert state.segments == 3
    first, second = (each.step for each in state.rounds)
    assert 0 < first <= second
    # one trajectory, which goes on from the last trusted frames
    found = frames(folder / "md")
    steps = [atoms.info["step"] for atoms in found]
    assert steps == sorted(set(steps))
    assert steps[: first // 2 + 2] == list(range(0, first + 3, 2))
    for number, at in ((1, 0), (2, first), (3, second)):
        script = (folder / "md" / f"segment-0{number}" / "in.lammps").read_text()
        assert f"run {60 - at}" in script
        assert ("reset_timestep" in script) == (at > 0)
    before = (folder / "nft" / "parent.db").stat().st_size
    assert before > 0
    last = Ensemble.load(folder / "md" / "best.json")
    assert last.digest == Ensemble.load(folder / "md" / "retraining-02" / "best.json").digest
    record = DynamicsRecord.load(folder / "md" / "dynamics.json")
    assert record.rounds == state.rounds
    assert len(record.frames.time) == len(found)


def test_frames_carry_what_their_potential_says(hot: tuple[Path, str]) -> None:
    folder, _ = hot
    state = state_of(folder / "md")
    begins = [0, *(each.step for each in state.rounds)]
    for atoms in frames(folder / "md")[1:]:
        number = max(i for i, at in enumerate(begins, 1) if at < atoms.info["step"])
        potential = Ensemble.load(folder / "md" / f"segment-0{number}" / "potential.json")
        expected = potential.evaluate(atoms)
        assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)
        assert expected.uncertainty_raw is not None
        np.testing.assert_allclose(
            atoms.info["uncertainty_raw"], expected.uncertainty_raw, rtol=1e-9
        )
        assert atoms.info["nearsight_potential"] == potential.digest


def test_the_particle_does_not_jump_where_a_segment_begins(hot: tuple[Path, str]) -> None:
    """LAMMPS has it in a box of its own; in two steps of 2 fs an atom moves 0.05 Å or so."""
    found = frames(hot[0] / "md")
    for one, two in pairwise(found):
        stride = (two.info["step"] - one.info["step"]) * 2.0 * units.fs
        expected = one.positions + stride * one.get_velocities()
        assert np.abs(two.positions - expected).max() < 0.1


def test_the_same_again(place: Path, hot: tuple[Path, str]) -> None:
    sentence = dynamics(place).run(learner(place / "nft"), copper.particle(), place / "md")
    assert sentence == hot[1]
    assert (place / "md" / "md.traj").read_bytes() == (hot[0] / "md" / "md.traj").read_bytes()


@pytest.mark.parametrize("stop", [{"iteration": 0}, {"within": "Chunks", "step": 1}])
def test_stopped_while_it_learns(place: Path, hot: tuple[Path, str], stop: dict[str, Any]) -> None:
    """Nothing is lost, and no calculation is asked for twice."""
    progress = Recorder(**stop)
    if "within" in stop:
        progress.stages.append("Chunks")
    lines: list[str] = []
    told = LineProgress(lines.append)
    both = SeveralProgress(told, progress)
    with pytest.raises(Stopped):
        dynamics(place).run(learner(place / "nft"), copper.particle(), place / "md", both)
    sentence = dynamics(place).run(learner(place / "nft"), copper.particle(), place / "md", told)
    assert sentence == hot[1]
    assert (place / "md" / "md.traj").read_bytes() == (hot[0] / "md" / "md.traj").read_bytes()
    assert calculations(place) == calculations(hot[0])
    # what was told is not told again with the time of today
    iterations = [line.split(maxsplit=1)[1] for line in lines if " iteration " in line]
    assert len(set(iterations)) == len(iterations) >= 2


def test_lammps_killed(place: Path, hot: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has dumped is kept, up to the last trusted frame."""
    monkeypatch.setenv("STUB_LAMMPS", "killed 5")
    with pytest.raises(InputError, match="ended with signal SIGKILL"):
        dynamics(place).run(learner(place / "nft"), copper.particle(), place / "md")
    state = state_of(place / "md")
    assert state.step in (2, 4)
    assert (state.segments, state.rounds) == (1, [])
    monkeypatch.delenv("STUB_LAMMPS")
    dynamics(place).run(learner(place / "nft"), copper.particle(), place / "md")
    second = (place / "md" / "segment-02" / "in.lammps").read_text()
    assert f"reset_timestep {state.step}\n" in second
    found, expected = frames(place / "md"), frames(hot[0] / "md")
    kept = slice(state.frames)
    for one, two in zip(found[kept], expected[kept], strict=True):
        np.testing.assert_array_equal(one.positions, two.positions)
    steps = [atoms.info["step"] for atoms in found]
    assert steps == sorted(set(steps))


def test_killed_together_with_lammps(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the power had gone: the next command reads the segment as far as it came."""
    monkeypatch.setattr(
        "nearsight.simulation.lammps_program.LammpsProgram._failure", _power_failure
    )
    monkeypatch.setenv("STUB_LAMMPS", "killed 7")
    with pytest.raises(Stopped):
        dynamics(place).run(learner(place / "nft"), copper.particle(), place / "md")
    assert state_of(place / "md").segments == 0
    monkeypatch.undo()
    with (place / "md" / "segment-01" / "frames.dump").open("a") as dump:
        dump.write("ITEM: TIMESTEP\n8\nITEM: NUMBER OF ATOMS\n55\n")  # torn
    progress = Recorder()
    dynamics(place).run(learner(place / "nft"), copper.particle(), place / "md", progress)
    assert any("segment-01: read as far as LAMMPS came" in note for note in progress.notes)
    second = (place / "md" / "segment-02" / "in.lammps").read_text()
    assert re.search("^reset_timestep [246]$", second, re.M)


def _power_failure(*_: Any) -> str:
    raise Stopped


def test_lammps_that_cannot_go_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After uncertain frames that is a reason to learn; else it is a mistake."""
    monkeypatch.setenv("STUB_LAMMPS", "error 3")
    message = r"ERROR: Non-numeric atom coords - simulation unstable .*\(see .*log\.lammps\)"
    with pytest.raises(InputError, match=message):
        dynamics(place, threshold=1e3).run(
            learner(place / "nft"), copper.particle(), place / "sure"
        )
    wide = RetrainingSettings(window=1e3)
    unsure = replace(dynamics(place, threshold=1e-3, max_rounds=0), retraining=wide)
    sentence = unsure.run(learner(place / "nft"), copper.particle(), place / "unsure")
    assert sentence.startswith("LAMMPS cannot go on from step 2 (ERROR: Non-numeric")
    assert sentence.endswith("and there is no retraining")


def test_the_time_is_over(place: Path) -> None:
    loop = dynamics(place, max_hours=1e-9)
    sentence = loop.run(learner(place / "nft"), copper.particle(), place / "md")
    assert sentence == "the time of 1e-09 h is over"


def test_a_trajectory_that_was_cut(place: Path, hot: tuple[Path, str]) -> None:
    shutil.copytree(hot[0] / "md", place / "md")
    path = place / "md" / "lammps.json"
    LammpsState.load(path).model_copy(update={"ended": ""}).save(path)
    frames(place / "md")[0].write(place / "md" / "md.traj")
    progress = Recorder()
    sentence = dynamics(place).run(
        learner(place / "nft"), copper.particle(), place / "md", progress
    )
    assert sentence == hot[1]
    assert any(note.endswith("; the dynamics begin again") for note in progress.notes)
    assert (place / "md" / "md.traj").read_bytes() == (hot[0] / "md" / "md.traj").read_bytes()


def test_a_folder_of_others(place: Path, hot: tuple[Path, str]) -> None:
    shutil.copytree(hot[0] / "md", place / "md")
    for other, named in (
        (dynamics(place, temperature=2001.0), "temperature was 3000.0, now 2001.0"),
        (
            dynamics(place, steps=61, write_every=4),
            "steps was 60, now 61; write_every was 2, now 4",
        ),
        (replace(dynamics(place), seed=1), "seed was 0, now 1"),
    ):
        with pytest.raises(InputError, match=rf"md: holds dynamics of other settings \({named}\)"):
            other.run(learner(place / "nft"), copper.particle(), place / "md")
    moved = copper.particle()
    moved.positions[0] += 0.01
    with pytest.raises(InputError, match="md: holds dynamics of another structure or ensemble;"):
        dynamics(place).run(learner(place / "nft"), moved, place / "md")
    # as an earlier version wrote it
    path = place / "md" / "lammps.json"
    LammpsState.load(path).model_copy(update={"settings": None}).save(path)
    assert "settings" not in path.read_text()
    with pytest.raises(InputError, match="of other settings, another structure or ensemble;"):
        dynamics(place, steps=61).run(learner(place / "nft"), copper.particle(), place / "md")


def test_a_folder_of_dynamics_by_ase(place: Path, hot: tuple[Path, str]) -> None:
    """Neither takes the other's trajectory for its own."""
    trained = learner(place / "nft")
    settings = DynamicsSettings(threshold=1e3, max_extrapolation=1e3, steps=2)
    Dynamics(settings).run(trained.ensemble, copper.particle(), place / "md")
    with pytest.raises(InputError, match="md: holds other dynamics; use another folder"):
        dynamics(place).run(trained, copper.particle(), place / "md")
    with pytest.raises(InputError, match="md: holds dynamics of LAMMPS; use another folder"):
        Dynamics(settings).run(trained.ensemble, copper.particle(), hot[0] / "md")


# -- parts of it


@pytest.mark.parametrize("kind", ["particle", "slab", "skewed"])
def test_there_and_back(kind: str) -> None:
    """Distances, and a fixed cell, to the last digits; a rotated cell keeps its place."""
    atoms = copper.particle()
    if kind != "particle":
        atoms = bulk("Cu").repeat((2, 2, 3))  # its first vector is not along x
        atoms.pbc = (True, True, kind == "skewed")
        atoms.rattle(0.1, seed=3)
    atoms.set_constraint(FixAtoms([1]))
    atoms.set_momenta(np.random.default_rng(1).normal(size=(len(atoms), 3)))
    placement = Placement(atoms)
    there = placement.boxed.copy()
    there.positions = placement.prism.vector_to_lammps(there.positions)
    there.set_momenta(placement.prism.vector_to_lammps(atoms.get_momenta()))
    there.cell = placement.prism.lammps_tilt
    assert np.triu(there.cell.array, 1) == pytest.approx(np.zeros((3, 3)), abs=1e-12)
    if kind != "particle":
        assert np.abs(there.positions - atoms.positions).max() > 0.5
    back = placement.back(there)
    np.testing.assert_allclose(back.positions, atoms.positions, atol=1e-12)
    np.testing.assert_allclose(back.get_momenta(), atoms.get_momenta(), atol=1e-12)
    np.testing.assert_allclose(back.cell.array, atoms.cell.array, atol=1e-12)
    assert back.constraints[0].index.tolist() == [1]
    with pytest.raises(InputError, match="LAMMPS has dumped"):
        placement.back(there[1:])


def test_seeds_of_heat_baths() -> None:
    seeds = [Segment(0, number).heat_seed(3) for number in range(1, 50)]
    assert seeds[0] == 4
    assert len(set(seeds)) == 49
    assert all(0 < each <= 900_000_000 for each in seeds)
    assert Segment(0, 2).heat_seed(2**64 - 1) != Segment(0, 2).heat_seed(3)


# -- the command


@pytest.fixture(scope="module")
def run_of_it(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, in its folder's folder."""
    folder = tmp_path_factory.mktemp("run")
    write_given(folder)
    config = make_workplace(folder, tiny_config(GIVEN, parent={"calculator": "emt"}))
    Run(config, folder / "nft").execute()
    return folder


COMMAND = (
    "lammps", "md", "nft", "particle.extxyz", "--temperature", "300", "--steps", "6",
    "--write-every", "2", "--threshold", "1e3", "--max-extrapolation", "1e3",
)  # fmt: skip


def test_the_command(run_of_it: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_of_it)
    folder = tmp_path / "my md"
    done = run_command(*COMMAND, "--program", STUB, "--workdir", folder)
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "md.traj: all 6 steps are done" in said
    assert f"report: {folder / 'report.html'}" in said
    assert "Next: " in said
    assert [atoms.info["step"] for atoms in frames(folder)] == [0, 2, 4, 6]
    assert (folder / "best.json").is_file()


@pytest.mark.parametrize(
    ("program", "trouble", "sentence"),
    [
        ("no-such-lmp -x", "", "no-such-lmp: no such program; pip install ./lammps, in a copy of"),
        ("", "", "program must be a command such as lmp, got nothing"),
        ("lmp 'x", "", 'program "lmp \'x": No closing quotation'),
        ("false", "", "false: ended with exit code 1"),
        ("true", "", "true: has written no"),
        (STUB, "mute", "has written no"),
        (STUB, "plain", "this LAMMPS has no pair_style nearsight (ERROR: Unrecognized pair style"),
        (STUB, "killed 1", "ended with signal SIGKILL"),
    ],
)
def test_a_lammps_that_fails(
    run_of_it: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    trouble: str,
    sentence: str,
) -> None:
    monkeypatch.chdir(run_of_it)
    monkeypatch.setenv("STUB_LAMMPS", trouble)
    folder = tmp_path / "md"
    done = run_command(*COMMAND, "--program", program, "--workdir", folder)
    assert done.code == 2
    assert sentence in done.err
    assert len(done.err.splitlines()) == 1
    # with another program, the same folder goes on
    monkeypatch.delenv("STUB_LAMMPS")
    done = run_command(*COMMAND, "--program", STUB, "--workdir", folder)
    assert done.code == 0, done.err


def test_no_finished_run(run_of_it: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_of_it)
    done = run_command("lammps", "md", "elsewhere", "particle.extxyz", "--program", STUB)
    assert done.code == 2
    done = run_command("lammps", "md", "nft.toml", "particle.extxyz", "--workdir", "nft")
    assert done.code == 2
    assert "is the folder of a run" in done.err or "no such program" in done.err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs signals and /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_ends_all_that_lammps_has_started(
    run_of_it: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """After a kill of this program, what it has left behind is ended by the next command."""
    command = [sys.executable, "-m", "nearsight", *COMMAND, "--program", STUB]
    command += ["--workdir", str(tmp_path / "md")]
    environment = os.environ | {"STUB_LAMMPS": "hangs 3", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=run_of_it, env=environment, stderr=subprocess.PIPE, text=True
    )
    pids = tmp_path / "md" / "segment-01" / "hangs"
    try:
        until(lambda: pids.is_file() and len(pids.read_text().split()) == 2)
        started = [int(each) for each in pids.read_text().split()]
        assert all(map(alive, started))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert without_progress(err) == "Interrupted; the same command continues from here.\n"
        assert not any(map(alive, started))
    done = subprocess.run(
        command, cwd=run_of_it, env=os.environ | {"STUB_LAMMPS": ""}, check=False,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not any(map(alive, started))
    assert [atoms.info["step"] for atoms in frames(tmp_path / "md")] == [0, 2, 4, 6]


def test_a_dump_is_learned(
    run_of_it: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of types alone, whose elements are given."""
    monkeypatch.chdir(run_of_it)
    options = ("--program", STUB, "--workdir", tmp_path / "md")
    assert run_command(*COMMAND, *options).code == 0
    text = (tmp_path / "md" / "segment-01" / "frames.dump").read_text()
    text = text.replace("id element", "id type").replace(" Cu ", " 1 ")
    (tmp_path / "types.dump").write_text(text)
    learn = ["retrain", "nft", "--frames", str(tmp_path / "types.dump")]
    learn += ["--workdir", str(tmp_path / "learned"), "--threshold", "1e-3", "--window", "1e6"]
    learn += ["--chunks", "2", "--max-rounds", "1", "--target-chunks", "0"]
    done = run_command(*learn)
    assert done.code == 2
    assert "does not tell the elements" in done.err
    done = run_command(*learn, "--types", "Cu")
    assert done.code == 0, done.err
    assert (tmp_path / "learned" / "retraining-01" / "chunks.extxyz").is_file()
    done = run_command("retrain", "nft", "--types", "Cu")
    assert (done.code, done.err) == (2, "--types is for the frames of --frames\n")


# -- LAMMPS itself


def lammps_dynamics(program: str = "lmp", **settings: Any) -> LammpsDynamics:
    """Short ones, which nothing ends."""
    calm = {"threshold": 1e6, "max_extrapolation": 1e9, "steps": 20, "write_every": 5}
    return LammpsDynamics(
        DynamicsSettings.model_validate(calm | settings), program=LammpsProgram.parse(program)
    )


def logged_energies(folder: Path) -> list[float]:
    """Potential energies of the table of LAMMPS."""
    rows = [
        line.split() for line in (folder / "segment-01" / "log.lammps").read_text().splitlines()
    ]
    rows = [each for each in rows if len(each) == 8 and set("".join(each)) <= set("0123456789.e+-")]
    return [float(words[2]) for words in rows]


@pytest.mark.slow
@pytest.mark.lammps
@pytest.mark.parametrize("kind", ["particle", "slab"])
def test_the_trajectory_is_that_of_ase(place: Path, kind: str) -> None:
    """NVE where the structure was; the constants of LAMMPS differ in the seventh digit."""
    need_lammps()
    atoms = copper.particle()
    if kind == "slab":
        atoms = bulk("Cu").repeat((4, 4, 3))
        atoms.pbc = (True, True, False)
        atoms.rattle(0.05, seed=3)
        atoms.set_constraint(FixAtoms([0, 5]))
    trained = learner(place / "nft")
    program = "lmp" if kind == "particle" else "mpiexec -n 2 lmp"
    loop = lammps_dynamics(program, conditions="NVE", temperature=400.0)
    assert loop.run(trained, atoms, place / "md") == "all 20 steps are done"
    Dynamics(loop.settings).run(trained.ensemble, atoms, place / "ase")
    for one, two in zip(frames(place / "md"), frames(place / "ase"), strict=True):
        assert one.info["step"] == two.info["step"]
        np.testing.assert_allclose(one.positions, two.positions, atol=2e-6)
        np.testing.assert_allclose(one.get_momenta(), two.get_momenta(), atol=1e-4)
        np.testing.assert_array_equal(one.cell, two.cell)
        assert one.get_potential_energy() == pytest.approx(two.get_potential_energy(), abs=1e-4)
    assert np.abs(one.positions - atoms.positions).max() > 0.05


@pytest.mark.slow
@pytest.mark.lammps
def test_a_cell_that_changes_is_turned_back(place: Path) -> None:
    """The energies of the frames are those of LAMMPS's own table."""
    need_lammps()
    atoms = bulk("Cu").repeat((4, 4, 4))
    atoms.rattle(0.05, seed=3)
    loop = lammps_dynamics(conditions="NPT", pressure=20.0, pressure_time=100.0, steps=60)
    loop.run(learner(place / "nft"), atoms, place / "md")
    found = frames(place / "md")
    assert found[-1].cell.volume < 0.99 * atoms.cell.volume
    stretch = found[-1].cell.array @ np.linalg.inv(atoms.cell.array)
    np.testing.assert_allclose(stretch, stretch[0, 0] * np.eye(3), atol=1e-9)
    energies = [frame.get_potential_energy() for frame in found]
    np.testing.assert_allclose(energies, logged_energies(place / "md"), atol=2e-4)


@pytest.mark.slow
@pytest.mark.lammps
def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of its first lines, and what EMT says of the trajectory."""
    need_lammps()
    config = EXAMPLES / "cu55_lammps.toml"
    for name in ("cu55_lammps.toml", "cu55.extxyz"):
        shutil.copy(EXAMPLES / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    Run(Config.load("cu55_lammps.toml"), tmp_path / "cu55_lammps").execute()
    line = next(each for each in config.read_text().splitlines() if "nearsight lammps md" in each)
    arguments = line.removeprefix("#").split()[1:]
    done = run_command(*arguments)
    assert done.code == 0, done.err
    found = frames(tmp_path / "lammps")
    assert "steps are done; " in " ".join(done.out.split())
    assert found[-1].info["step"] == int(arguments[arguments.index("--steps") + 1])
    assert found[-1].get_temperature() > 700
    errors = {}
    for name in ("cu55_lammps", "lammps"):
        ensemble = Ensemble.load(tmp_path / name / "best.json")
        errors[name] = max(
            np.linalg.norm(ensemble.evaluate(atoms).forces - copper.emt(atoms)[1], axis=1).max()
            for atoms in found
        )
    assert errors["lammps"] < 0.15  # eV/Å, where the dynamics end
    assert errors["lammps"] < 0.25 * errors["cu55_lammps"]
