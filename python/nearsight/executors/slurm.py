"""Calls as jobs in a SLURM queue.

Every call is known by its content. Its files in the folder of the jobs are KEY.call.json and
KEY.result.json, and in KEY/, where the job works, the number of the job and its log. So an engine
that starts on the folder of another, which was stopped or killed, finds what has become of its
calls, and submits none twice.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import shlex
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import Any, TypeVar

from nearsight.config import ExecutorSettings
from nearsight.errors import InputError
from nearsight.executors import protocol
from nearsight.executors.processes import refuse_in_worker
from nearsight.executors.protocol import CallError, WorkerLost
from nearsight.executors.slurm_commands import (
    LOG,
    Refusal,
    job_script,
    last_log_line,
    slurm,
    was_ended,
)
from nearsight.files.atomic import write_text

__all__ = ["SlurmExecutor"]

log = logging.getLogger(__name__)

FILES = 0.5  # s between two looks for results
QUEUE = 10.0  # s between two looks at the queue, one look for all jobs
PAUSES = (5.0, 15.0, 60.0)  # s before the next try when SLURM takes no job; the last for ever on
MPI_OPTIONS = ("--kill-on-bad-exit=1", "--wait=60")  # no waiting for ever for one that is gone
STOP = 5.0  # s that a shutdown waits for a command of SLURM

Result = TypeVar("Result")


class SlurmExecutor(Executor):
    """One SLURM job for each call, and never more than ``settings.workers`` in the queue.

    Parameters
    ----------
    settings : ExecutorSettings
    folder : Path
        For the files of the jobs; on a file system that the nodes share.

    Raises
    ------
    InputError
        See `nearsight.executors.make_executor`.
    """

    def __init__(self, settings: ExecutorSettings, folder: Path) -> None:
        refuse_in_worker()
        self._settings = settings
        self._folder = folder.resolve()
        self._check()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._calls: dict[str, _Call] = {}
        self._submitted: SimpleQueue[_Call] = SimpleQueue()
        self._queued: Mapping[int, str] = {}
        self._looked = -math.inf
        self._pauses = iter(PAUSES)
        self._refused_since = math.inf
        self._next_try = -math.inf
        self._closing = Event()
        self._broken = ""
        self._thread = Thread(target=self._work, name="nearsight-slurm", daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Queue a call; see `concurrent.futures.Executor.submit`. It cannot be cancelled.

        A call that was submitted before, by this engine or an earlier one on the same folder, is
        not submitted again, unless it failed.

        Raises
        ------
        RuntimeError
            After a shutdown, or when SLURM has taken no job for the patience of the settings.
        TypeError
            If an argument is not plain, or workers do not call the function.
        """
        if self._closing.is_set():
            raise RuntimeError("calls were submitted after the shutdown")
        if self._broken:
            raise RuntimeError(self._broken)
        text = protocol.call_text(fn, args, kwargs)
        name = f"{fn.__name__}-{protocol.digest(text)[:20]}"
        for key in itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2))):
            call = self._calls.get(key)
            if call is None:
                call = _Call(self._folder, key, text)
                if not call.has_failed():
                    self._calls[key] = call
                    self._submitted.put(call)
                    return call
            elif not (call.done() and call.exception()):
                return call
        raise AssertionError

    def discard_finished(self) -> None:
        """Remove the files of calls that are done, whose results must be kept elsewhere by now."""
        for key, call in list(self._calls.items()):
            if call.done() and call.exception() is None:
                del self._calls[key]
                call.remove_files()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the calls, or without ``wait`` leave their jobs in the queue."""
        if wait and not cancel_futures:
            wait_for(self._calls.values())
        self._closing.set()
        self._thread.join(STOP)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown(wait=kind is None)
        if kind is None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _check(self) -> None:
        if shutil.which("sbatch") is None:
            raise InputError('engine = "slurm" needs SLURM: there is no sbatch on the PATH')
        script = job_script(self._settings, "nearsight-test", self._folder, "true")
        try:
            with contextlib.suppress(Refusal):
                slurm("sbatch", "--test-only", script=script)
                return
            # that asks for nodes that are there now; one that is drained will come back
            slurm("scancel", slurm("sbatch", "--parsable", script=script).strip())
        except Refusal as refusal:
            raise InputError(f"SLURM takes no jobs with these settings: {refusal}") from refusal

    def _work(self) -> None:
        """Submit jobs and collect their results until told to stop."""
        waiting: deque[_Call] = deque()
        running: list[_Call] = []
        try:
            while not self._closing.wait(FILES):
                while not self._submitted.empty():
                    waiting.append(self._submitted.get())
                while waiting and len(running) < self._settings.workers and self._start(waiting[0]):
                    running.append(waiting.popleft())
                self._collect(running)
                if running and time.monotonic() - self._looked > QUEUE:
                    with contextlib.suppress(Refusal):  # an answer will come some time
                        self._look()
                        self._find_lost(running)
                running = [call for call in running if not call.done()]
        except Exception as error:
            self._broken = self._broken or f"jobs cannot be followed any longer: {error}"
            for call in list(self._calls.values()):
                if not call.done():
                    call.set_exception(WorkerLost(self._broken))

    def _start(self, call: _Call) -> bool:
        """Have a job for a call, which is submitted unless it has been."""
        if time.monotonic() < self._next_try:
            return False
        try:
            call.job = self._job_of(call)
        except Refusal as refusal:
            now = time.monotonic()
            self._refused_since = min(now, self._refused_since)
            if now - self._refused_since > 3600.0 * self._settings.patience:
                self._broken = f"SLURM has taken no job for a long time: {refusal}"
                raise
            pause = next(self._pauses, PAUSES[-1])
            log.warning("SLURM takes no job, asking again in %g s: %s", pause, refusal)
            call.begun = True  # it may have taken it all the same
            self._next_try = now + pause
            self._looked = -math.inf
            return False
        self._refused_since = math.inf
        self._pauses = iter(PAUSES)
        return True

    def _job_of(self, call: _Call) -> int:
        number = call.known_job()
        if call.begun or number is not None:
            if call.output.exists():
                return number or 0
            if time.monotonic() - self._looked > QUEUE:
                self._look()
            for job, name in self._queued.items():
                if job == number or name == call.key:
                    call.note_job(job)
                    return job
        call.write()
        command = [sys.executable, "-m", protocol.WORKER, str(call.path), str(call.output)]
        if self._settings.cores > 1:
            command = ["srun", f"--ntasks={self._settings.cores}", *MPI_OPTIONS, *command]
        script = job_script(self._settings, call.key, call.place, shlex.join(command))
        call.begun = True
        job = int(slurm("sbatch", "--parsable", script=script).partition(";")[0])
        call.note_job(job)
        return job

    def _look(self) -> None:
        """List our jobs in the queue."""
        listed = slurm("squeue", "--me", "--noheader", "--format=%A %j")
        pairs = (line.split(maxsplit=1) for line in listed.splitlines())
        self._queued = {int(job): name.strip() for job, name in pairs}
        self._looked = time.monotonic()

    def _collect(self, running: list[_Call]) -> None:
        there = set(self._folder.iterdir())  # to ask for single files may give an old answer
        for call in running:
            if not call.done() and call.output in there:
                call.finish()

    def _find_lost(self, running: list[_Call]) -> None:
        """Give up calls whose job is not in the queue and has left no result.

        A job is missed in two looks that follow one another: the result of one that has just ended
        may take a moment to be seen.
        """
        self._collect(running)
        for call in running:
            call.missed = 0 if call.job in self._queued else call.missed + 1
            if call.missed > 1 and not call.done():
                call.lose()


class _Call(Future[Any]):
    """A call, its files, and the future of its result."""

    def __init__(self, folder: Path, key: str, text: str) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self.key = key
        self.place = folder / key
        self.path = folder / f"{key}.call.json"
        self.output = folder / f"{key}.result.json"
        self.job = 0
        self.missed = 0
        self.begun = self.path.exists() or self.output.exists()
        self._text = text

    def known_job(self) -> int | None:
        """Number of the job that was submitted for it."""
        with contextlib.suppress(OSError, ValueError):
            return int(self.place.joinpath("job").read_text())
        return None

    def note_job(self, number: int) -> None:
        """Write the number of its job down."""
        self.place.mkdir(exist_ok=True)
        write_text(self.place / "job", f"{number}\n")

    def write(self) -> None:
        """Write the call, and empty the folder of its job."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(exist_ok=True)
        write_text(self.path, self._text)

    def has_failed(self) -> bool:
        """Look whether an earlier job ended without a value; its name is then not used again."""
        if (self.place / "lost").exists():
            return True
        if not self.output.exists():
            return False
        try:
            self._value()
        except (InputError, CallError):
            return True
        except ValueError as error:
            log.warning("%s: not a result of its call (%s); calculating again", self.output, error)
            return True
        return False

    def finish(self) -> None:
        """Take the result.

        What fails because SLURM ends the job is lost: it may have got the signal a moment later
        than a program that it had started.
        """
        try:
            self.set_result(self._value())
        except (InputError, CallError) as error:
            told = self.place / LOG
            lost = WorkerLost(f"its SLURM job was ended{last_log_line(told)}")
            self.set_exception(lost if was_ended(told) else error)
        except (ValueError, OSError) as error:
            self.lose(f"its result cannot be used: {error}")

    def lose(self, reason: str = "") -> None:
        """Give it up."""
        words = f"SLURM job {self.job} ended without a result{last_log_line(self.place / LOG)}"
        write_text(self.place / "lost", f"{reason or words}\n")
        self.set_exception(WorkerLost(reason or words))

    def remove_files(self) -> None:
        """Remove all that it has left."""
        shutil.rmtree(self.place, ignore_errors=True)
        for path in (self.path, self.output):
            path.unlink(missing_ok=True)

    def _value(self) -> Any:
        return protocol.read_result(self.output.read_bytes(), protocol.digest(self._text))
