"""Where a run stands: what the parent tells, what is written down, what is read and shown."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from filelock import FileLock
from rich.cells import cell_len
from rich.console import Console

import nearsight.run.status
from helpers.cli import python, run_command
from helpers.faulty import FAULTY, FaultyEMT
from helpers.recorder import Recorder
from helpers.records import make_iteration
from helpers.runs import GIVEN, make_workplace, tiny_config, write_given
from nearsight.cli.display import TerminalProgress
from nearsight.cli.status import describe_status, show_status
from nearsight.config import ExecutorSettings
from nearsight.errors import InputError
from nearsight.files.atomic import read_json
from nearsight.files.names import iteration_folder
from nearsight.files.records import (
    FailedStructure,
    FailuresRecord,
    Iteration,
    Stage,
    Stages,
    Status,
    Verdict,
)
from nearsight.files.records.verdict import RUN
from nearsight.parents import Parent, ParentResult
from nearsight.parents.database import ParentDatabase
from nearsight.progress import Progress, Tally
from nearsight.run.folder import RunFolder
from nearsight.run.status import Estimate, RunStatus, StatusProgress

# -- what the parent tells


def test_a_parent_tells_how_far_it_is() -> None:
    told: list[Tally] = []
    structures = [molecule(name) for name in ("N2", "CO", "H2O")]
    results = Parent(FaultyEMT, {"faults": {"CO": "raise"}}).calculate_many(
        structures, report=told.append
    )
    assert [(t.waiting, t.running, t.done, t.failed) for t in told] == [
        (3, 0, 0, 0),
        (2, 1, 0, 0),
        (2, 0, 1, 0),
        (1, 1, 1, 0),
        (1, 0, 1, 1),
        (0, 1, 1, 1),
        (0, 0, 2, 1),
    ]
    times = [each.seconds for each in results if isinstance(each, ParentResult)]
    assert told[-1].seconds == pytest.approx(sum(times))
    assert (told[-1].finished, told[-1].total) == (3, 3)


def test_what_runs_side_by_side_is_told() -> None:
    told: list[Tally] = []
    with ThreadPoolExecutor(2) as threads:
        parent = Parent("emt", executor=threads, engine=ExecutorSettings(workers=2))
        parent.calculate_many([molecule("N2")] * 2 + [molecule("H2O"), molecule("O2")],
                              report=told.append)  # fmt: skip
    assert {t.total for t in told} == {4}
    assert max(t.running for t in told) == 2
    assert told[-1] == Tally(0, 0, 4, 0, told[-1].seconds)


def test_what_is_known_is_done_at_once(tmp_path: Path) -> None:
    first = Parent("emt", database=tmp_path / "parent.db")
    seconds = first.calculate(molecule("N2")).seconds
    told: list[Tally] = []
    again = Parent("emt", database=tmp_path / "parent.db")
    again.calculate_many([molecule("N2")], report=told.append)
    assert told == [Tally(0, 0, 1, 0, seconds)]
    assert again.seconds == first.seconds == seconds


def test_a_parent_without_a_database_counts_its_time() -> None:
    parent = Parent("emt")
    assert parent.seconds == 0.0
    found = [parent.calculate(molecule(name)).seconds for name in ("N2", "H2O")]
    assert parent.seconds == pytest.approx(sum(found))


def test_calculations_are_steps_for_who_does_not_care() -> None:
    recorder = Recorder()
    recorder.calculations(Tally(5, 2, 3, 1), "chunks")
    assert recorder.steps == [(4, 11, "chunks")]


def test_the_display_shows_what_runs() -> None:
    progress = TerminalProgress(Console(file=io.StringIO(), width=80))
    progress.stage("Nearsighted force training")
    progress.calculations(Tally(9, 2, 3, 1), "chunks")
    steps, calculations = printed(progress._present()).splitlines()[1:]
    assert "4 of 15 chunks" in steps
    assert calculations.strip() == "2 running, 9 waiting, 1 given up"
    progress.advance(1, 10, "members trained")
    assert "running" not in printed(progress._present())
    progress.close()


def printed(*parts: Any, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


# -- what is written down


@pytest.fixture
def status_file(tmp_path: Path) -> Path:
    return tmp_path / "status.json"


def test_a_stage_is_written_at_once_and_steps_now_and_then(
    status_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    save = Status.save

    def write(status: Status, path: Path, sync: bool) -> None:
        written.append(status.stage)
        save(status, path, sync)

    monkeypatch.setattr(Status, "save", write)
    progress = StatusProgress(status_file)
    progress.stage("Initial cells", "Cu")
    assert read_json(status_file)["stage"] == "Initial cells"
    for done in range(200):
        progress.advance(done, 200, "relaxing")
    timer = progress._timer
    assert timer is not None
    timer.join(60)
    # what came last stands there though nothing came after it
    assert read_json(status_file)["step"] == [199, 200, "relaxing"]
    assert len(written) <= 4
    progress.stage("Choice of cells")
    assert read_json(status_file)["stage"] == "Choice of cells"
    assert read_json(status_file)["step"] is None


def test_chunks_and_their_time_are_summed_over_rounds(status_file: Path) -> None:
    progress = StatusProgress(status_file)
    progress.stage("Nearsighted force training")
    progress.calculations(Tally(0, 0, 3, 0, 30.0), "chunks")
    progress.advance(0, 10, "members trained")
    progress.calculations(Tally(1, 1, 0, 0, 0.0), "chunks")
    progress.calculations(Tally(0, 1, 1, 0, 11.0), "chunks")
    progress.calculations(Tally(0, 0, 1, 1, 11.0), "chunks")
    progress.calculations(Tally(0, 0, 7, 0, 99.0), "rattled cells")
    progress.close()
    content = read_json(status_file)
    assert (content["chunks"], content["chunk_seconds"]) == (4, 41.0)


OF_THE_PROGRAM = (
    "AssertionError: shapes. This is an error in nearsight or in a library, not in what it was "
    "given (traceback in run.log)"
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("the disk\n is full"), "the disk is full"),
        (KeyboardInterrupt(), "interrupted"),
        (AssertionError("shapes"), OF_THE_PROGRAM),
    ],
)
def test_the_end_is_written_with_its_reason(
    status_file: Path, error: BaseException, reason: str
) -> None:
    progress = StatusProgress(status_file)
    progress.stage("Report")
    with pytest.raises(type(error)):  # noqa: PT012
        try:
            raise error
        finally:
            progress.close()
    content = read_json(status_file)
    assert (content["ended"], content["error"]) == (True, reason)


def test_nothing_is_written_before_the_work_begins(status_file: Path) -> None:
    StatusProgress(status_file).close()
    assert not status_file.exists()


def test_a_status_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    progress = StatusProgress(tmp_path / "gone" / "status.json")
    progress.stage("Report")
    progress.close()
    assert list(tmp_path.iterdir()) == []


# -- what is read

CONFIG = """\
[target]
structure = "particle.extxyz"
[parent]
calculator = "gpaw"
[executor]
engine = "slurm"
workers = 4
cores = 2
threads = 3
[nft]
max_chunks = 20
"""


def save_iteration(folder: Path, number: int, chunks: int, raw: float, stop: str = "") -> None:
    """Seven atoms, the first of them with this uncertainty."""
    iteration = make_iteration(number, [raw, *6 * [0.05]], range(chunks), stop_reason=stop)
    place = iteration_folder(folder, number)
    place.mkdir(exist_ok=True)
    iteration.save(place / Iteration.FILE)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run in its third iteration: six chunks in the training, two of five new ones labelled."""
    folder = tmp_path / "nft"
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIG)
    done = Stage(name="Initial cells", seconds=4.0, summary="33 cells")
    Stages(stages={"Initial cells": done}).save(folder / Stages.FILE)
    for number, (chunks, raw) in enumerate([(0, 0.3), (3, 0.9), (6, 0.5)]):
        save_iteration(folder, number, chunks, raw)
    (folder / "iteration-003").mkdir()
    failures = {
        key: FailedStructure(structure=key, failed=failed, lost=lost, given_up=up)
        for key, failed, lost, up in (
            ("Cu13", ["no memory", "no convergence"], [], True),
            ("Cu14", ["no convergence"], [], False),
            ("Cu15", [], ["killed"], True),
        )
    }
    FailuresRecord(structures=failures).save(folder / FailuresRecord.FILE)
    database = ParentDatabase(folder / "parent.db")
    for number, seconds in enumerate((1.5, 2.0, 4.0)):
        result = ParentResult(0.0, np.zeros((2, 3)), seconds, cached=False)
        database.write(f"sha256-{number}", molecule("N2"), result, {"calculator": "gpaw"})
    progress = StatusProgress(folder / "status.json")
    progress.stage("Nearsighted force training")
    progress.calculations(Tally(0, 0, 6, 1, 62.0), "chunks")
    progress.calculations(Tally(1, 2, 2, 0, 18.0), "chunks")
    timer = progress._timer
    assert timer is not None
    timer.join(60)
    return folder


def test_what_is_found_in_a_folder(begun: Path) -> None:
    status = RunStatus.of(begun)
    assert status.is_running is False
    assert not status.finished
    assert [stage.name for stage in status.stages] == ["Initial cells"]
    assert [(i["chunks"], i["structure_uncertainty"], i["best"]) for i in status.iterations] == [
        (0, 0.3, False),  # the lowest, but before any chunk
        (3, 0.9, False),
        (6, 0.5, True),
    ]
    assert status.last is not None
    assert status.last.calculations == Tally(1, 2, 2, 0, 18.0)
    assert status.calculations == 3
    assert status.core_seconds == 7.5 * 2 * 3
    assert status.given_up == [("Cu13", "no convergence"), ("Cu15", "killed")]
    # 20 - 6 - 2 at (62 + 18) / (6 + 2) s; 6 cores each, 4 at a time
    assert status.estimate == Estimate(chunks=12, core_seconds=720.0, seconds=30.0)


def test_nothing_is_left_when_the_training_has_ended(begun: Path) -> None:
    save_iteration(begun, 2, 6, 0.5, stop="there were 2 iterations")
    estimate = RunStatus.of(begun).estimate
    assert estimate is not None
    assert estimate.chunks == 0


def test_a_folder_just_begun(begun: Path) -> None:
    for path in begun.iterdir():
        if path.name != "config.toml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    status = RunStatus.of(begun)
    assert (status.is_running, status.finished, status.last) == (False, False, None)
    assert (status.calculations, status.estimate, status.iterations) == (0, None, [])
    assert "none done yet" in shown(status)


@pytest.mark.parametrize(
    "name",
    ["status.json", "stages.json", "failures.json", "parent.db", "iteration-002/evaluation.json"],
)
def test_a_torn_file_is_passed_over(begun: Path, name: str) -> None:
    path = begun / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    status = RunStatus.of(begun)
    assert "not at work" in shown(status)
    assert status.config.nft.max_chunks == 20


def test_a_file_that_lacks_something_is_passed_over(begun: Path) -> None:
    (begun / "status.json").write_text('{"format": "nearsight-status", "version": 1}')
    assert RunStatus.of(begun).last is None


def test_a_database_at_work_is_not_waited_for_long(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearsight.run.status, "ANSWER", 0.1)
    with sqlite3.connect(begun / "parent.db") as connection:
        connection.execute("BEGIN EXCLUSIVE")
        status = RunStatus.of(begun)
        connection.rollback()
    assert status.calculations is None
    assert "cannot be read" in shown(status)


def test_a_database_elsewhere_is_said_to_be(begun: Path) -> None:
    given = begun / "config.toml"
    given.write_text(CONFIG.replace("[executor]", 'database = "shared.db"\n[executor]'))
    status = RunStatus.of(begun)
    assert status.core_seconds is None
    assert "its calculations are kept in shared.db" in shown(status)


def test_a_run_at_work_is_noticed_and_left_alone(begun: Path) -> None:
    at_work = RunFolder(begun, Progress())
    with at_work.exclusive():
        before = {path: path.stat().st_mtime_ns for path in begun.rglob("*")}
        assert RunStatus.of(begun).is_running is True
        assert {path: path.stat().st_mtime_ns for path in begun.rglob("*")} == before
        with pytest.raises(InputError, match="locked by another nearsight"), at_work.exclusive():
            pass  # the lock was not lost by looking at it
    assert RunStatus.of(begun).is_running is False


def test_a_run_can_begin_while_it_is_looked_at(begun: Path) -> None:
    lock = FileLock(begun / "run.lock", thread_local=False)
    lock.acquire()
    timer = threading.Timer(0.1, lock.release)
    timer.start()
    with RunFolder(begun, Progress()).exclusive():
        pass
    timer.join()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may open every file")
def test_a_lock_of_somebody_else(begun: Path) -> None:
    (begun / "run.lock").touch(mode=0o400)
    assert RunStatus.of(begun).is_running is None


def test_jobs_in_the_queue_are_counted(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (101, 102, 103):
        place = begun / "jobs" / f"run_tasks-{number}"
        place.mkdir(parents=True)
        (place / "job").write_text(f"{number}\n")
    programs = begun.parent / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    assert RunStatus.of(begun).jobs == {}  # no squeue here
    squeue = programs / "squeue"
    squeue.write_text("#!/bin/sh\necho '101 RUNNING\n102 PENDING\n103 PENDING\n104 RUNNING'\n")
    squeue.chmod(0o755)
    assert RunStatus.of(begun).jobs == {"running": 1, "pending": 2}
    squeue.write_text("#!/bin/sh\nexit 1\n")
    assert RunStatus.of(begun).jobs == {}


# -- what is shown


def shown(status: RunStatus, width: int = 80) -> str:
    return printed(*describe_status(status, Console(width=width)), width=width)


@pytest.mark.parametrize("width", [80, 120])
def test_a_screenful(begun: Path, width: int) -> None:
    text = shown(RunStatus.of(begun), width)
    lines = text.splitlines()
    assert len(lines) <= 24
    assert all(cell_len(line) <= width for line in lines)
    words = " ".join(text.split())
    for expected in (
        "not at work",
        "Nearsighted force training",
        "Initial cells: 33 cells",
        "2 of 5 done: 2 running, 1 waiting",
        "6 of at most 20 chunks",
        "gpaw: 3 calculations, 45 core-seconds so far",
        "at most 12 chunks: 0.200 core-hours, 30 s",
        "given up: 2 Cu13: no convergence",
        "killed, or its machine went down",
    ):
        assert expected in words
    assert [line.split()[:3] for line in lines if "━" in line][-3:] == [
        ["0", "0", "0.3000"],
        ["1", "3", "0.9000"],
        ["2", "6", "0.5000"],
    ]


def test_the_command_of_a_verdict_is_one_line(begun: Path) -> None:
    verdict = Verdict(
        use="dynamics", findings=[], expected=None, true_error=None, test_error=None, bound=None,
        largest_bound=0.0, outside=None, advice="go on", command=f"nearsight md {RUN} {'x' * 90}",
    )  # fmt: skip
    shown = io.StringIO()
    status = replace(RunStatus.of(begun), verdict=verdict)
    show_status(status, Console(width=60, file=shown))
    assert f"  nearsight md {begun} {'x' * 90}" in shown.getvalue().splitlines()


def test_lines_of_a_verdict_that_go_on_stand_further_in(begun: Path) -> None:
    verdict = Verdict(
        use="dynamics", findings=[], expected=None, true_error=0.001, test_error=0.002,
        bound=None, largest_bound=0.0, outside=None, advice="go on", command="nearsight md x",
    )  # fmt: skip
    shown = io.StringIO()
    status = replace(RunStatus.of(begun), verdict=verdict)
    show_status(status, Console(width=40, file=shown, force_terminal=True, color_system=None))
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    start = next(n for n, line in enumerate(lines) if line.startswith("  true error"))
    assert " ".join(lines[start : start + 2]).split() == (
        "true error 1 meV/Å on average; error in test chunks 2 meV/Å".split()
    )
    assert lines[start + 1].startswith("    ")
    assert max(map(len, lines[start:])) <= 40
    assert lines[-2:] == ["Next: go on", "  nearsight md x"]


def test_one_way_to_ask_at_a_time(begun: Path) -> None:
    code, out, err = run_command("status", begun, "--json", "--watch")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    sentence = f"{tmp_path}: not the folder of a run (it holds no config.toml)\n"
    assert run_command("status", tmp_path) == (2, "", sentence)
    assert run_command("status", tmp_path / "none").code == 2


def test_neither_the_core_nor_gpaw_is_needed(begun: Path) -> None:
    code = (
        "import sys; sys.modules.update({'nearsight._core': None, 'gpaw': None, 'ase': None}); "
        "from nearsight.cli import app; app(['status', sys.argv[1]])"
    )
    exit_code, out, err = python("-c", code, begun)
    assert (exit_code, err) == (0, "")
    assert "gpaw: 3 calculations" in out


# -- a real run


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., tuple[Path, str]]:
    """Run a small case with a parent; its folder, and the error that ended it."""
    write_given(tmp_path)

    def run(calculator: str, **arguments: Any) -> tuple[Path, str]:
        parent = {"calculator": calculator, "arguments": arguments}
        make_workplace(tmp_path, tiny_config(GIVEN, parent=parent, nft={"max_chunks": 4}))
        return tmp_path / "nft", run_command("run", tmp_path / "nft.toml").err.strip()

    return run


def test_a_run_that_has_ended(place: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = place("emt")
    status = RunStatus.of(folder)
    assert status.finished
    assert status.calculations == 4
    assert [iteration["chunks"] for iteration in status.iterations] == [0, 2, 4]
    assert status.last is not None
    assert status.last.chunks == 4
    assert status.estimate is None
    text = shown(status)
    assert "finished" in text
    assert "ended, since there are 4 chunks" in text
    assert str(folder / "report.html") in text.replace("\n", "")


def test_a_run_that_could_not_go_on(place: Callable[..., tuple[Path, str]]) -> None:
    folder, reason = place(FAULTY, faults={"*": "raise"})
    assert "failed on all" in reason
    status = RunStatus.of(folder)
    assert not status.finished
    assert status.last is not None
    assert (status.last.stage, status.last.error) == ("Nearsighted force training", reason)
    # the first one of the run, the two asked for, and the two most uncertain after them
    assert len(status.given_up) == 5
    assert "RuntimeError: SCF did not converge" in shown(status)
