"""Engines that need nothing but this machine, and what makes an engine impossible."""

from __future__ import annotations

import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from helpers.processes import alive, linger, until
from nearsight.config import ExecutorSettings
from nearsight.errors import InputError
from nearsight.executors import WorkerLost, discard_finished, make_executor, training_executor
from nearsight.executors.local import LocalExecutor

DRIVER = """\
import sys, time
from pathlib import Path
from nearsight.executors.local import LocalExecutor
from helpers.processes import linger
if __name__ == "__main__":
    with LocalExecutor(2) as executor:
        for number in range(2):
            executor.submit(linger, sys.argv[1], number)
        time.sleep(100)
"""
UNGUARDED = """\
from operator import add
from nearsight.executors.local import LocalExecutor
executor = LocalExecutor(2)
print(repr(executor.submit(add, 1, 2).exception()))
try:
    executor.submit(add, 1, 2)
except RuntimeError as error:
    print(error)
executor.shutdown()
"""


# calls: found by name in the processes that do them


def shout() -> None:
    print("printed", flush=True)
    print("complained", file=sys.stderr, flush=True)
    subprocess.run(["echo", "of a program"], check=True)


def threads() -> tuple[set[int], str | None]:
    np.ones((2, 2)) @ np.ones((2, 2))
    info = threadpoolctl.threadpool_info()
    return {each["num_threads"] for each in info}, os.environ.get("OMP_NUM_THREADS")


def noted(folder: Path, count: int) -> list[int]:
    """The processes that `linger` noted."""
    until(lambda: len(list(folder.glob("*.pids"))) == count)
    return [int(word) for file in folder.glob("*.pids") for word in file.read_text().split()]


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor(2, threads=1) as executor:
        yield executor


def test_results_come_back(executor: LocalExecutor) -> None:
    futures = [executor.submit(operator.add, number, 1) for number in range(20)]
    assert not wait(futures, 20).not_done
    assert [future.result() for future in futures] == list(range(1, 21))
    assert list(executor.map(operator.mul, [1, 2], [3, 4])) == [3, 8]


def test_exceptions_of_a_call_come_back(executor: LocalExecutor) -> None:
    with pytest.raises(ZeroDivisionError):
        executor.submit(operator.truediv, 1, 0).result(20)


@pytest.mark.parametrize(
    ("call", "argument", "words"),
    [
        (os._exit, 3, "exit code 3"),
        (signal.raise_signal, signal.SIGSEGV, "signal SIGSEGV"),
        (signal.raise_signal, signal.SIGKILL, "signal SIGKILL"),
        (sys.exit, 5, r"SystemExit\(5\)"),
    ],
)
def test_a_crash_takes_only_its_own_call(
    executor: LocalExecutor, call: Callable[[int], Any], argument: int, words: str
) -> None:
    others = [executor.submit(time.sleep, 0.5)]
    crash = executor.submit(call, argument)
    others += [executor.submit(operator.add, number, 1) for number in range(3)]
    with pytest.raises(WorkerLost, match=words):
        crash.result(20)
    assert [future.result(20) for future in others] == [None, 1, 2, 3]


def test_idle_processes_may_be_killed(executor: LocalExecutor) -> None:
    executor.submit(operator.add, 1, 2).result(20)
    for process in multiprocessing.active_children():
        process.kill()
        process.join()
    time.sleep(0.5)  # for the pool to see it
    assert executor.submit(operator.add, 1, 2).result(20) == 3


def test_processes_are_silent(executor: LocalExecutor, capfd: pytest.CaptureFixture[str]) -> None:
    executor.submit(shout).result(20)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", [1, 2])
def test_threads_are_pinned(number: int, executor: LocalExecutor) -> None:
    if number == 1:
        assert executor.submit(threads).result(20) == ({1}, "1")
        return
    with LocalExecutor(1, threads=number) as another:
        found, variable = another.submit(threads).result(20)
    assert found <= {1, number}  # no more than the machine has
    assert variable == str(number)


def test_a_call_out_of_time_is_killed_with_its_programs(tmp_path: Path) -> None:
    with LocalExecutor(2, timeout=2.0) as executor:
        late = executor.submit(linger, str(tmp_path))
        in_time = executor.submit(operator.add, 1, 2)
        processes = noted(tmp_path, 1)
        with pytest.raises(TimeoutError, match="no result after 2 s"):
            late.result(20)
        until(lambda: not any(map(alive, processes)))
        assert in_time.result(20) == 3


def test_an_interrupt_kills_at_once(tmp_path: Path) -> None:
    executor = LocalExecutor(2)
    executor.submit(linger, str(tmp_path))
    executor.submit(time.sleep, 100)
    processes = noted(tmp_path, 1)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), executor:
        raise KeyboardInterrupt
    assert time.monotonic() - start < 5.0
    # they are told before the shutdown ends, and the kernel takes its time
    until(lambda: not any(map(alive, processes)), 5.0)
    with pytest.raises(RuntimeError, match="after the shutdown"):
        executor.submit(operator.add, 1, 2)


def semaphores() -> set[Path]:
    return set(Path("/dev/shm").glob("sem.mp-*"))


def test_nothing_is_left_of_a_killed_driver(tmp_path: Path) -> None:
    before = semaphores()
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    path = os.pathsep.join(filter(None, sys.path))
    driver = subprocess.Popen(
        [sys.executable, script, tmp_path],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
    )
    try:
        processes = noted(tmp_path, 2)
        assert all(map(alive, processes))
    finally:
        driver.kill()
        driver.wait()
    until(lambda: not any(map(alive, processes)))
    until(lambda: semaphores() <= before)


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lost, refused = done.stdout.splitlines()
    assert lost == "WorkerLost('its process ended before it took the call')"
    assert 'stand under `if __name__ == "__main__":`' in refused


# what settings ask for


TRAININGS = ExecutorSettings(engine="local", trainings=True)


def test_inline_is_no_engine(tmp_path: Path) -> None:
    assert make_executor(ExecutorSettings(), tmp_path) is None


def test_local_is_what_the_settings_say(tmp_path: Path) -> None:
    settings = ExecutorSettings(engine="local", workers=1, threads=1)
    executor = make_executor(settings, tmp_path, timeout=0.5)
    assert executor is not None
    with executor:
        with pytest.raises(TimeoutError, match=r"no result after 0\.5 s"):
            executor.submit(time.sleep, 100).result(20)
        assert training_executor(executor, TRAININGS).submit(time.sleep, 1.0).result(20) is None
    assert list(tmp_path.iterdir()) == []


def test_any_executor_will_do() -> None:
    with ThreadPoolExecutor(1) as threads:
        assert training_executor(threads, TRAININGS) is threads
        assert training_executor(threads, ExecutorSettings()) is None
        assert training_executor(None, TRAININGS) is None
        discard_finished(threads)  # keeps nothing
        assert threads.submit(operator.add, 1, 2).result(20) == 3
    discard_finished(None)


def test_slurm_without_executorlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nearsight.executors.slurm", raising=False)
    monkeypatch.setitem(sys.modules, "executorlib.standalone.hdf", None)
    with pytest.raises(InputError, match=r'needs executorlib: pip install "nearsight\[slurm\]"'):
        make_executor(ExecutorSettings(engine="slurm"), tmp_path)


def test_slurm_without_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("executorlib")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="there is no sbatch on the PATH"):
        make_executor(ExecutorSettings(engine="slurm"), tmp_path)
