"""Engines that need nothing but this machine, and what makes an engine impossible."""

from __future__ import annotations

import atexit
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from textwrap import indent
from threading import Timer
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from helpers import any_function
from helpers.processes import alive, linger, until
from nearsight.config import ExecutorSettings
from nearsight.errors import InputError
from nearsight.executors import (
    CallError,
    WorkerLost,
    discard_finished,
    local,
    make_executor,
    protocol,
    training_executor,
)
from nearsight.executors.local import LocalExecutor
from nearsight.executors.slurm_commands import last_log_line, was_ended

DRIVER = """\
import sys, time
from pathlib import Path
from nearsight.executors.local import LocalExecutor
import helpers.any_function; helpers.any_function.use()
from helpers.processes import linger
if __name__ == "__main__":
    with LocalExecutor(2) as executor:
        for number in range(2):
            executor.submit(linger, sys.argv[1], number)
        time.sleep(100)
"""
UNGUARDED = """\
from ase.calculators.emt import EMT
from nearsight import Parent
from nearsight.executors.local import LocalExecutor
class Own(EMT):
    pass
executor = LocalExecutor(2)
from ase.build import bulk
print(Parent(Own, executor=executor).calculate_many([bulk("Cu")])[0])
executor.shutdown()
"""


# calls: found by name in the processes that do them


def leave_behind(folder: str) -> None:
    """Note programs that have left the group, the session and the parenthood of this process."""
    programs = [
        subprocess.Popen(["sleep", "100"], start_new_session=True).pid,
        int(subprocess.check_output("setsid sleep 100 >/dev/null & echo $!", shell=True)),
    ]
    Path(folder, "0.new").write_text(f"{os.getpid()} {' '.join(map(str, programs))}")
    Path(folder, "0.new").rename(Path(folder, "0.pids"))


def linger_far(folder: str) -> None:
    leave_behind(folder)
    time.sleep(100)


def leave_and_crash(folder: str) -> None:
    leave_behind(folder)
    os._exit(3)


def exit_slowly(code: int) -> None:
    atexit.register(time.sleep, 1)
    sys.exit(code)


def mistake() -> None:
    raise InputError("a mistake of the user's")


def shout() -> None:
    print("printed", flush=True)
    print("complained", file=sys.stderr, flush=True)
    subprocess.run(["echo", "of a program"], check=True)


def threads() -> tuple[list[int], str | None]:
    np.ones((2, 2)) @ np.ones((2, 2))
    info = threadpoolctl.threadpool_info()
    return sorted({each["num_threads"] for each in info}), os.environ.get("OMP_NUM_THREADS")


def noted(folder: Path, count: int) -> list[int]:
    """The processes that `linger` noted."""
    until(lambda: len(list(folder.glob("*.pids"))) == count)
    return [int(word) for file in folder.glob("*.pids") for word in file.read_text().split()]


@pytest.fixture(autouse=True, scope="module")
def any_call() -> Iterator[None]:
    """Workers that call whatever they are asked to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "FUNCTIONS", any_function.Everything())
        patch.setattr(protocol, "WORKER", any_function.__name__)
        yield


@pytest.fixture(scope="module")
def executor(any_call: None) -> Iterator[LocalExecutor]:
    with LocalExecutor(2, threads=1) as executor:
        yield executor


def processes() -> list[int]:
    """Worker processes of this one."""
    return [
        int(words[0])
        for line in subprocess.check_output(
            ["ps", "-A", "-o", "pid=,ppid=,args="], text=True
        ).splitlines()
        if int((words := line.split(maxsplit=2))[1]) == os.getpid() and "serve()" in words[2]
    ]


def test_results_come_back(executor: LocalExecutor) -> None:
    futures = [executor.submit(operator.add, number, 1) for number in range(20)]
    assert not wait(futures, 20).not_done
    assert [future.result() for future in futures] == list(range(1, 21))
    assert list(executor.map(operator.mul, [1, 2], [3, 4])) == [3, 8]


def test_exceptions_of_a_call_come_back(executor: LocalExecutor) -> None:
    with pytest.raises(CallError, match="ZeroDivisionError: division by zero") as caught:
        executor.submit(operator.truediv, 1, 0).result(20)
    assert "Traceback" in str(caught.value.__cause__)
    with pytest.raises(InputError, match=r"^a mistake of the user's$"):
        executor.submit(mistake).result(20)


def test_only_plain_content_is_taken(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TypeError, match="must be plain, got object"):
        executor.submit(operator.add, 1, object())
    with pytest.raises(
        CallError, match=r"TypeError: arguments and results .* plain, got frozenset"
    ):
        executor.submit(frozenset, [1]).result(20)
    monkeypatch.setattr(protocol, "FUNCTIONS", frozenset())
    with pytest.raises(TypeError, match="workers do not call _operator:add"):
        executor.submit(operator.add, 1, 2)


@pytest.mark.parametrize(
    ("call", "argument", "words"),
    [
        (os._exit, 3, "exit code 3"),
        (signal.raise_signal, signal.SIGSEGV, "signal SIGSEGV"),
        (signal.raise_signal, signal.SIGKILL, "signal SIGKILL"),
        (sys.exit, 5, "exit code 5"),
        (exit_slowly, 6, "exit code 6"),
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
    for process in processes():
        os.kill(process, signal.SIGKILL)
    assert executor.submit(operator.add, 1, 2).result(20) == 3


def test_processes_are_silent(executor: LocalExecutor, capfd: pytest.CaptureFixture[str]) -> None:
    executor.submit(shout).result(20)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", [1, 2])
def test_threads_are_pinned(number: int, executor: LocalExecutor) -> None:
    if number == 1:
        assert executor.submit(threads).result(20) == [[1], "1"]
        return
    with LocalExecutor(1, threads=number) as another:
        found, variable = another.submit(threads).result(20)
    assert {*found} <= {1, number}  # no more than the machine has
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


@pytest.mark.parametrize("call", [linger_far, leave_and_crash])
def test_programs_cannot_leave_their_call(tmp_path: Path, call: Callable[[str], None]) -> None:
    """As those of ``mpirun`` do: processes with sessions of their own."""
    with LocalExecutor(1, timeout=3.0) as executor:
        future = executor.submit(call, str(tmp_path))
        there = noted(tmp_path, 1)
        with pytest.raises((TimeoutError, WorkerLost)):
            future.result(20)
        assert not any(map(alive, there))


@pytest.mark.slow
def test_no_killed_worker_takes_a_call_with_it() -> None:
    """Workers killed at any moment, also while they start or are handed a call."""
    rng = np.random.default_rng(0)
    lost = 0
    with LocalExecutor(2) as executor:
        executor.submit(operator.add, 1, 2).result(60)
        for _ in range(60):
            futures = [executor.submit(time.sleep, 1e-3 * rng.random()) for _ in range(8)]
            time.sleep(0.02 * rng.random())
            there = processes()
            if there:
                os.kill(rng.choice(there), signal.SIGKILL)
            assert not wait(futures, 60).not_done
            ends = [future.exception() for future in futures]
            assert all(end is None or isinstance(end, WorkerLost) for end in ends)
            lost += sum(end is not None for end in ends)
        assert executor.submit(operator.add, 1, 2).result(60) == 3
    assert lost <= 60


@pytest.mark.slow
def test_no_interrupt_hangs() -> None:
    """Ctrl-C at any moment: while calls are submitted, waited for, or the engine is shut down."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        began = time.monotonic()
        main = threading.main_thread().ident
        timer = Timer(1.5 * rng.random(), signal.pthread_kill, [main, signal.SIGINT])
        with suppress(KeyboardInterrupt):
            timer.start()
            with LocalExecutor(2) as executor:
                while True:
                    wait([executor.submit(operator.add, 1, 2) for _ in range(4)])
        timer.join()
        assert time.monotonic() - began < 15.0
        until(lambda: not processes())


def test_a_worker_that_dies_at_its_start_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[str] = []

    def start(self: Any) -> str:
        starts.append("")
        if len(starts) < 6:  # more often than one that fails by itself is started
            self.kill()
        return usual(self)

    usual = local._Worker.wait_until_ready
    monkeypatch.setattr(local._Worker, "wait_until_ready", start)
    with LocalExecutor(1) as executor:
        assert executor.submit(operator.add, 1, 2).result(60) == 3
    assert len(starts) == 6


def test_workers_that_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WORKER", "no_such_module")
    words = "worker processes do not start: ModuleNotFoundError: No module named 'no_such_module'"
    with LocalExecutor(2) as executor:
        with pytest.raises(WorkerLost, match=words):
            executor.submit(operator.add, 1, 2).result(60)
        with pytest.raises(RuntimeError, match=words):
            executor.submit(operator.add, 1, 2)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_calculator_of_the_script_itself(tmp_path: Path, guarded: bool) -> None:
    script = tmp_path / "script.py"
    text = UNGUARDED
    if guarded:
        begin = text.index("executor =")
        text = text[:begin] + 'if __name__ == "__main__":\n' + indent(text[begin:], "    ")
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ("ParentResult(energy=" in done.stdout) == guarded
    assert ('must stand under `if __name__ == "__main__":`' in done.stdout) != guarded


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


def test_slurm_without_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="there is no sbatch on the PATH"):
        make_executor(ExecutorSettings(engine="slurm"), tmp_path)


def test_why_slurm_ended_a_job_stands_before_what_others_say_of_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_log_line(log) == ""
    log.write_text("begun\nslurmstepd: error: *** JOB 28 ON n CANCELLED AT now ***\nTerminated\n")
    assert last_log_line(log) == ": slurmstepd: error: *** JOB 28 ON n CANCELLED AT now ***"
    log.write_text("begun\nTerminated\n\n")
    assert last_log_line(log) == ": Terminated"


def test_a_step_that_srun_ended_is_not_the_end_of_a_job(tmp_path: Path) -> None:
    """Lines of SLURM 22.05: where a process failed, srun ends the others, and says so alike."""
    log = tmp_path / "log"
    assert not was_ended(log)
    failed = (
        "srun: error: vm: task 0: Exited with exit code 1\n"
        "srun: Terminating StepId=24.0\n"
        "slurmstepd-vm: error: *** STEP 24.0 ON vm CANCELLED AT 2026-11-30T02:44:23 ***\n"
    )
    log.write_text(failed)
    assert not was_ended(log)
    log.write_text(
        "slurmstepd-vm: error: *** JOB 24 ON vm CANCELLED AT 2026-11-30T02:44:23 ***\n" + failed
    )
    assert was_ended(log)
