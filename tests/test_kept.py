"""Nothing finished is lost: results are files until the database has them, places are waited for.

What has been calculated is counted by the log of ``helpers/faulty.py``; what is right is ASE's EMT.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from filelock import Timeout

from helpers.faulty import FAULTY
from helpers.processes import until
from helpers.recorder import Recorder
from nearsight.config import Config, ExecutorSettings
from nearsight.errors import InputError, ParentError, UnavailableError
from nearsight.executors.local import LocalExecutor
from nearsight.parents import Parent, database_file
from nearsight.parents.folders import AttemptFolders
from nearsight.run.folder import RunFolder
from nearsight.run.lock import RunLock

fcntl = pytest.importorskip("fcntl", reason="needs locks of folders")


def chain(count: int) -> Atoms:
    """A zigzag of copper atoms."""
    return Atoms(f"Cu{count}", [[2.3 * k, 0.9 * (k % 2), 0.0] for k in range(count)])


CHAINS = [chain(count) for count in range(2, 10)]


class Place:
    """A folder of a run on whatever disk, and a log of calculations elsewhere."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.log = log
        self.notes: list[str] = []

    @property
    def results(self) -> list[Path]:
        return sorted(self.folder.glob("parent/results/*"))

    @property
    def tries(self) -> list[str]:
        """Numbers of atoms of what was calculated."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return sorted(line.split()[0] for line in lines)

    def parent(
        self, executor: Executor | None = None, engine: dict[str, Any] | None = None, **more: Any
    ) -> Parent:
        arguments = {"log": str(self.log), **more}
        parent = Parent(FAULTY, arguments, engine=ExecutorSettings(**(engine or {})))
        parent.attach(
            self.folder / "parent.db",
            self.folder / "failures.json",
            AttemptFolders(self.folder / "parent"),
        )
        parent.executor = executor
        return parent

    def check(self, structures: list[Atoms]) -> None:
        """Every structure was calculated once and has its row, which is right."""
        assert self.tries == sorted(str(len(atoms)) for atoms in structures)
        known = self.parent()
        assert known.known == len(structures)
        for atoms in structures:
            expected = atoms.copy()
            expected.calc = EMT()
            found = known.calculate(atoms)
            assert found.cached
            assert found.energy == expected.get_potential_energy()
            np.testing.assert_array_equal(found.forces, expected.get_forces())
        assert not (self.folder / "parent").exists()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, tmp_path / "log")


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lock() -> Iterator[Callable[[Path], Callable[[], None]]]:
    """Has another process lock a database, until what comes back is called."""
    with ExitStack() as stack:

        def locked(path: Path) -> Callable[[], None]:
            command = [sys.executable, "-c", LOCK, path]
            other = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            assert other.stdout is not None
            assert other.stdout.readline() == b"locked\n"
            return lambda: other.communicate() and None

        yield locked


SECONDS = float(os.environ.get("NEARSIGHT_TEST_SECONDS", "3"))
"""That the database is locked, or the disk full."""


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_a_locked_database_is_waited_for(
    place: Place,
    lock: Callable[[Path], Callable[[], None]],
    engine: str,
    request: pytest.FixtureRequest,
) -> None:
    executor = None
    if engine == "local":
        executor = LocalExecutor(3)
        request.addfinalizer(executor.shutdown)
    parent = place.parent(executor, {"workers": 3})
    locked = lock(place.folder / "parent.db")
    timer = threading.Timer(SECONDS, locked)
    timer.start()
    parent.calculate_many(CHAINS, note=place.notes.append)
    timer.join()
    first, last = place.notes
    assert first == (
        f"{place.folder / 'parent.db'}: the database cannot be used (database is locked); waiting, "
        "what is finished is kept"
    )
    assert last == "it can be used again"
    place.check(CHAINS)


def test_what_waited_in_vain_is_taken_in(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = place.parent(engine={"patience": 1e-9})
    with closing(sqlite3.connect(place.folder / "parent.db")) as other:
        # it may be read
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="database is locked"):
            parent.calculate_many(CHAINS[:3])
        other.rollback()
    assert len(place.results) == 1
    assert place.tries == ["2"]
    again = place.parent()
    assert again.take_in() == ["1 calculation taken in that an earlier run had finished"]
    again.calculate_many(CHAINS[:3])
    assert place.parent().take_in() == []
    place.check(CHAINS[:3])


def test_a_worker_that_dies_takes_no_result_along(place: Place) -> None:
    with LocalExecutor(1) as executor:
        engine = {"workers": 1, "per_job": 3}
        parent = place.parent(executor, engine, faults={"4": "kill once"})
        parent.calculate_many(CHAINS[:3], note=place.notes.append)
    assert place.tries == ["2", "3", "4", "4"]
    assert len(place.notes) == 1
    assert place.parent(faults={"4": "kill once"}).known == 3


def test_a_stopped_group_keeps_what_is_finished(place: Place) -> None:
    executor = LocalExecutor(1)
    parent = place.parent(executor, {"workers": 1, "per_job": 3}, faults={"4": "sleep"})

    def stop() -> None:
        until(lambda: "4" in place.tries)
        executor.shutdown(wait=False)

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(ParentError, match="shutdown"):
        parent.calculate_many(CHAINS[:3])
    stopper.join()
    assert place.parent(faults={"4": "sleep"}).known == 2
    assert place.tries == ["2", "3", "4"]


@pytest.mark.parametrize("damage", ["torn", "digit", "another"])
def test_a_damaged_file_is_named_and_not_used(place: Place, damage: str) -> None:
    parent = place.parent(engine={"patience": 1e-9})
    parent._keeper.store = _locked  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        parent.calculate(CHAINS[0])
    (path,) = place.results
    content = json.loads(path.read_text())
    if damage == "torn":
        path.write_text(path.read_text()[:-20])
    elif damage == "digit":
        content["energy"] += 0.001
        path.write_text(json.dumps(content))
    else:
        path = path.rename(path.with_name("0123.json"))
    again = place.parent()
    (sentence,) = again.take_in()
    assert sentence.startswith(f"{path}: ")
    assert sentence.endswith("; its result is not used")
    assert not again.calculate(CHAINS[0]).cached
    assert place.tries == ["2", "2"]


def test_a_result_of_another_parent_is_not_taken(place: Place) -> None:
    parent = place.parent(engine={"patience": 1e-9}, mixer=0.3)
    parent._keeper.store = _locked  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        parent.calculate(CHAINS[0])
    (sentence,) = place.parent().take_in()
    assert "not of this parent and structure" in sentence
    assert place.parent(mixer=0.3).take_in() == [
        "1 calculation taken in that an earlier run had finished"
    ]


def test_a_run_begins_when_its_database_is_free(
    place: Place, lock: Callable[[Path], Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_file, "PATIENCE", 0.2)
    monkeypatch.setattr(database_file, "LOCKED", 0.1)
    place.parent().calculate(CHAINS[0])
    said = Recorder()
    locked = lock(place.folder / "parent.db")
    timer = threading.Timer(3.0, locked)
    timer.start()
    config = Config.parse('target = { structure = "x" }\nparent = { calculator = "emt" }')
    parent = Parent.of(config.parent)
    with RunFolder(place.folder, said).executing(config, parent):
        assert parent.known == 1
    timer.join()
    assert "(database is locked); waiting, what is finished is kept" in said.notes[0]
    assert said.notes[-1] == "it can be used again"


@pytest.mark.parametrize("what", ["attach", "calculate"])
def test_ctrl_c_does_not_wait_for_a_lock(
    place: Place, lock: Callable[[Path], Callable[[], None]], what: str
) -> None:
    code = (
        "import sys; from ase.build import bulk; from nearsight.parents import Parent\n"
        "parent = Parent('emt', database=None if sys.argv[2] == 'attach' else sys.argv[1])\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "parent.attach(sys.argv[1]) if sys.argv[2] == 'attach' else parent.calculate(bulk('Cu'))"
    )
    place.parent().calculate(CHAINS[0])
    path = place.folder / "parent.db"
    with subprocess.Popen(
        [sys.executable, "-c", code, path, what], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        locked = lock(path)
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(1.5)
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert time.monotonic() - began < 4.0
    locked()


def _locked(results: object) -> None:
    raise UnavailableError("locked")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    with path.open("ab", buffering=0) as stream:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    stream.write(b"\0" * size)
            except OSError:
                continue


def test_a_full_disk_is_waited_for(small_disk: Path, tmp_path: Path) -> None:
    place = Place(small_disk, tmp_path / "log")
    with LocalExecutor(3) as executor:
        parent = place.parent(executor, {"workers": 3}, pause=0.3)
        filler = small_disk / "filler"

        def disturb() -> None:
            until(lambda: len(place.tries) >= 2)
            fill(filler)
            time.sleep(SECONDS)
            filler.unlink()

        thread = threading.Thread(target=disturb)
        thread.start()
        parent.calculate_many(CHAINS, note=place.notes.append)
        thread.join()
    assert "; waiting, what is finished is kept" in place.notes[0]
    assert parent.failures.given_up() == []
    known = place.parent(pause=0.3)
    assert known.known == len(CHAINS)
    assert place.tries == sorted(str(len(atoms)) for atoms in CHAINS)


# -- the lock of a folder


def test_a_deleted_lock_lets_nobody_in(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    with first.held():
        (tmp_path / "run.lock").unlink()
        first.check()
        assert RunLock(tmp_path).is_held_elsewhere() is True
        with pytest.raises(Timeout), RunLock(tmp_path).held():
            pass
    assert RunLock(tmp_path).is_held_elsewhere() is False
    with RunLock(tmp_path).held():
        pass


def test_where_folders_cannot_be_locked_a_deleted_lock_ends_the_work(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("not on this file system")

    monkeypatch.setattr(fcntl, "flock", _except_for_folders(fcntl.flock, refuse))
    lock = RunLock(place.folder)
    parent = place.parent()
    parent.attach(place.folder / "parent.db", guard=lock.check)
    with lock.held():
        parent.calculate(CHAINS[0])
        (place.folder / "run.lock").unlink()
        with (
            RunLock(place.folder).held(),
            pytest.raises(InputError, match="was deleted while this run is at work"),
        ):
            parent.calculate(CHAINS[1])
    assert place.tries == ["2"]


def _except_for_folders(lock: Callable[..., None], other: Callable[..., None]) -> Any:
    def either(number: int, how: int) -> None:
        (other if stat.S_ISDIR(os.fstat(number).st_mode) else lock)(number, how)

    return either
