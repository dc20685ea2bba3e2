"""Calls as jobs in a SLURM queue, through executorlib.

Every call is known by its content. Its files in the folder of the jobs are, by executorlib,
KEY_i.h5 (the call, until it is done) and KEY_o.h5 (its result); and in KEY/, where the job works,
the number of the job and its log. So an engine that starts on the folder of another, which was
stopped or killed, finds what has become of its calls, and submits none twice.

executorlib's own `SlurmClusterExecutor` stops for good when ``squeue`` fails once, keeps a refusal
of ``sbatch`` as a result, forgets a job if it is killed while submitting it, and asks the queue for
every job singly. It lets submission and the look at the queue be exchanged, though not in its
public interface: hence the narrow range of versions in pyproject.toml.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import itertools
import json
import logging
import math
import queue
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from executorlib.standalone.hdf import dump, get_output
from executorlib.task_scheduler.file.shared import execute_tasks_h5

from nearsight.config import ExecutorSettings
from nearsight.errors import InputError
from nearsight.executors.slurm_commands import (
    CANCELLED,
    LOG,
    Refusal,
    job_script,
    last_log_line,
    slurm,
)
from nearsight.executors.work import WorkerLost
from nearsight.files.atomic import write_text

__all__ = ["SlurmExecutor"]

log = logging.getLogger(__name__)

FILES = 0.5  # s between two looks for results
QUEUE = 10.0  # s between two looks at the queue, one look for all jobs
PAUSES = (5.0, 15.0, 60.0)  # s before the next try when SLURM takes no job; the last for ever on

Result = TypeVar("Result")


class SlurmExecutor(Executor):
    """One SLURM job for each call, and never more than ``settings.workers`` in the queue.

    Arguments must be plain (text, numbers, bytes, arrays, lists and dicts of them) and functions be
    importable by name, since a call is known by these. Results may be anything that pickles.

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
        self._settings = settings
        self._folder = folder.resolve()
        self._check()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._calls: dict[str, _Call] = {}
        self._forgotten: set[str] = set()
        self._held: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._admitted = 0
        self._gate = Lock()
        self._queued: Mapping[int, str] = {}
        self._looks = 0
        self._looked = -math.inf
        self._missed: dict[str, int] = {}
        self._closing = Event()
        self._broken = ""
        self._tasks: queue.Queue[dict[str, Any]] = queue.Queue()
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
            If an argument is not plain.
        """
        if self._closing.is_set():
            raise RuntimeError("calls were submitted after the shutdown")
        if self._broken:
            raise RuntimeError(self._broken)
        name = _name(fn, args, kwargs)
        key = next(
            key
            for key in itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
            if not self._is_over(key)
        )
        if key not in self._calls:
            kind = _Call if self._settings.cores == 1 else _MPICall
            call = kind(self._folder / key / LOG)
            call.set_running_or_notify_cancel()
            self._calls[key] = call
            task = {"fn": fn, "args": args, "kwargs": kwargs, "future": call}
            self._held.put(task | {"resource_dict": {"cache_key": key}})
            call.add_done_callback(lambda _: self._admit(-1))
            self._admit(0)
        return self._calls[key]

    def discard_finished(self) -> None:
        """Remove the files of calls that are done, whose results must be kept elsewhere by now."""
        for key, call in list(self._calls.items()):
            if call.done() and call.exception() is None:
                self._forgotten.add(key)
                del self._calls[key]
                self._folder.joinpath(f"{key}_o.h5").unlink(missing_ok=True)
                shutil.rmtree(self._folder / key, ignore_errors=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the calls, or without ``wait`` leave their jobs in the queue."""
        if wait and not cancel_futures:
            wait_for(self._calls.values())
        self._closing.set()
        self._tasks.put({"shutdown": True, "wait": False})
        self._thread.join(PAUSES[0])

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
        if self._settings.cores > 1 and importlib.util.find_spec("mpi4py") is None:
            raise InputError(
                f"cores = {self._settings.cores} needs mpi4py, built for the MPI of the cluster: "
                "pip install mpi4py"
            )
        script = job_script(self._settings, "nearsight-test", self._folder, "true")
        try:
            with contextlib.suppress(Refusal):
                slurm("sbatch", "--test-only", script=script)
                return
            # that asks for nodes that are there now; one that is drained will come back
            slurm("scancel", slurm("sbatch", "--parsable", script=script).strip())
        except Refusal as refusal:
            raise InputError(f"SLURM takes no jobs with these settings: {refusal}") from refusal

    def _admit(self, change: int) -> None:
        """Hand calls over, no more at a time than there may be jobs in the queue."""
        with self._gate:
            self._admitted += change
            while self._admitted < self._settings.workers and not self._held.empty():
                self._tasks.put(self._held.get())
                self._admitted += 1

    def _is_over(self, key: str) -> bool:
        """Whether a call has no result to give any more; it is then done under another key."""
        if key in self._forgotten:
            return True
        call = self._calls.get(key)
        if call is not None and call.done():
            return call.exception() is not None
        if (self._folder / key / "lost").exists():
            return True
        output = self._folder / f"{key}_o.h5"
        try:
            return output.exists() and not all(get_output(str(output))[:2])
        except Exception:  # torn, or of a class that is no longer there
            return True

    def _work(self) -> None:
        """What the thread does: hand calls over to jobs and results back, until told to stop."""
        resources = {"cores": self._settings.cores, "cache_directory": str(self._folder)}
        try:
            execute_tasks_h5(
                self._tasks,
                execute_function=self._send,
                executor_kwargs=resources,
                validate_function=self._vanished,
                backend="slurm",
                disable_dependencies=True,
                refresh_rate=FILES,
            )
        except Exception as error:
            self._broken = self._broken or f"jobs cannot be followed any longer: {error}"
            for call in list(self._calls.values()):
                if not call.done():
                    call.set_exception(WorkerLost(self._broken))

    def _send(self, command: list[str], file_name: str, data_dict: Any, **_: Any) -> int:
        """The number of a call's job, which is submitted unless it has been; for executorlib."""
        started = time.monotonic()
        pauses = itertools.chain(PAUSES, itertools.repeat(PAUSES[-1]))
        again = False
        while not self._closing.is_set():
            try:
                return self._job_of(Path(file_name), shlex.join(command), data_dict, again)
            except OSError as error:
                self._broken = f"{self._folder}: cannot be written ({error.strerror})"
                raise
            except Refusal as refusal:
                if time.monotonic() - started > 3600.0 * self._settings.patience:
                    self._broken = f"SLURM has taken no job for a long time: {refusal}"
                    raise
                pause = next(pauses)
                log.warning("SLURM takes no job, asking again in %g s: %s", pause, refusal)
                self._closing.wait(pause)
                again = True
                self._looked = -math.inf
        raise Refusal("the engine is shut down")

    def _job_of(self, call: Path, command: str, content: Any, again: bool) -> int:
        key = call.name.removesuffix("_i.h5")
        place = self._folder / key
        place.mkdir(exist_ok=True)
        known = place / "job"
        number = int(known.read_text()) if known.exists() else None
        # an engine that was killed, or got no answer, may have submitted it all the same
        begun = again or number is not None or call.exists()
        found = self._find(key, number) if begun else None
        if found is None:
            _write(call, content)
            submitted = slurm(
                "sbatch", "--parsable", script=job_script(self._settings, key, place, command)
            )
            found = int(submitted.partition(";")[0])
        write_text(known, f"{found}\n")
        return found

    def _find(self, key: str, number: int | None) -> int | None:
        """The job of a call, if it is in the queue or has left a result."""
        if time.monotonic() - self._looked > QUEUE:
            self._look()
        for job, name in self._queued.items():
            if job == number or name == key:
                return job
        return (number or 0) if (self._folder / f"{key}_o.h5").exists() else None

    def _look(self) -> None:
        """List our jobs in the queue."""
        self._looked = time.monotonic()
        listed = slurm("squeue", "--me", "--noheader", "--format=%A %j")
        pairs = (line.split(maxsplit=1) for line in listed.splitlines())
        self._queued = {int(job): name.strip() for job, name in pairs}
        self._looks += 1

    def _vanished(self, task_key: str, file_name: str, queue_id: int, **_: Any) -> bool:
        """Give a call up whose job is not in the queue and has left no result; for executorlib.

        A job is missed in two looks that follow one another: the result of one that has just ended
        may take a moment to be seen.
        """
        if time.monotonic() - self._looked > QUEUE:
            with contextlib.suppress(Refusal):  # an answer will come some time
                self._look()
        if queue_id in self._queued:
            self._missed.pop(task_key, None)
            return False
        missed = self._looks - self._missed.setdefault(task_key, self._looks)
        if missed < 2 or Path(file_name) in self._folder.iterdir():  # not a remembered answer
            return False
        place = self._folder / task_key
        reason = f"SLURM job {queue_id} ended without a result{last_log_line(place / LOG)}"
        write_text(place / "lost", f"{reason}\n")
        self._calls[task_key].set_exception(WorkerLost(reason))
        return False


class _Call(Future[Any]):
    """The future of a call. What fails because SLURM ends its job is lost: it may have got the
    signal a moment later than a program that it had started.
    """

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log

    def set_exception(self, exception: BaseException | None) -> None:
        words = last_log_line(self._log)
        if CANCELLED in words and not isinstance(exception, WorkerLost):
            exception = WorkerLost(f"its SLURM job was ended{words}")
        super().set_exception(exception)


class _MPICall(_Call):
    """The future of a call in several MPI processes, each of which returns the same."""

    def set_result(self, result: list[Any]) -> None:
        super().set_result(result[0])


def _name(fn: Callable[..., Any], args: Any, kwargs: Any) -> str:
    """What a call is known by: the function and a digest of all that goes into it.

    executorlib's own key is a digest of a pickle, which depends on whether equal texts are the same
    object.
    """
    content = json.dumps([fn.__module__, fn.__qualname__, args, kwargs], default=_plain)
    return f"{fn.__name__}-{hashlib.sha256(content.encode()).hexdigest()[:20]}"


def _plain(value: object) -> object:
    """Arrays and bytes, for JSON, by their digests."""
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return [value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    raise TypeError(f"an argument of a job must be plain, got {type(value).__name__}")


def _write(call: Path, content: Mapping[str, Any]) -> None:
    """Write the file of a call, whole or not at all."""
    draft = call.with_suffix(".new")
    draft.unlink(missing_ok=True)
    dump(str(draft), dict(content))
    draft.replace(call)
