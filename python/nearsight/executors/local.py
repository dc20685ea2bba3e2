"""Calls in processes of this machine, which may crash or be killed one by one."""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Any, TypeVar

from nearsight.executors import protocol
from nearsight.executors.processes import MARK, kill_marked, last_line, refuse_in_worker
from nearsight.executors.protocol import BEGUN, READY, THREAD_VARIABLES, WorkerLost

__all__ = ["TIMED_OUT", "LocalExecutor"]

CALLS_PER_PROCESS = 50
"""A process is replaced after so many calls: parent codes do not give back all their memory."""

MAX_STARTS = 3
"""Processes that end before they are ready, one after the other, until no more are started."""

MAX_KILLS = 20
"""The same for those that somebody has killed: short of memory, a system kills what starts."""

TIMED_OUT = "no result after"
"""How the message of a call begins that took too long."""

START = 300.0  # s until a process is ready
GRACE = 5.0  # s for a process or thread to end
LOOK = 0.5  # s between two looks whether a process is alive, should its pipe not tell

Result = TypeVar("Result")


class LocalExecutor(Executor):
    """Processes side by side, each with its own threads; one that dies takes only its call along.

    A process ends together with all that it has started. It is a fresh interpreter, never a fork:
    OpenMP hangs in a child that was forked after it had been used.

    Parameters
    ----------
    workers : int
        Processes.
    threads : int, optional
        Threads of each; as the environment says when left out.
    timeout : float, s, optional
        After which a call is killed, together with the programs it has started; its future raises
        `TimeoutError`.
    """

    def __init__(self, workers: int, threads: int | None = 1, timeout: float | None = None) -> None:
        refuse_in_worker()
        self._timeout = timeout
        self._closed = False
        # of C, so that no signal that comes during a call leaves it locked
        calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._calls = calls
        self._slots = [_Slot(calls, threads) for _ in range(workers)]

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Queue a call; see `concurrent.futures.Executor.submit`. It cannot be cancelled.

        Raises
        ------
        RuntimeError
            After a shutdown, or if processes do not start here at all.
        TypeError
            If an argument is not plain, or workers do not call the function.
        """
        return self._submit(self._timeout, fn, *args, **kwargs)

    def without_timeout(self) -> Executor:
        """The same processes, for calls that may take any time."""
        return _WithoutTimeout(self._submit)

    def _submit(
        self, timeout: float | None, fn: Callable[..., Result], /, *args: Any, **kwargs: Any
    ) -> Future[Result]:
        if self._closed:
            raise RuntimeError("calls were submitted after the shutdown")
        for slot in self._slots:
            if slot.broken:
                raise RuntimeError(slot.broken)
        call: _Call = _Call(protocol.call_text(fn, args, kwargs), timeout, Future())
        call.future.set_running_or_notify_cancel()
        self._calls.put(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the calls and end the processes; without ``wait``, kill them at once."""
        self._closed = True
        kill = not wait or cancel_futures
        if kill:
            for slot in self._slots:
                slot.kill()
        for _ in self._slots:
            self._calls.put(None)
        for slot in self._slots:
            # an interrupt may have left a lock of a future behind, for which a slot waits for ever
            slot.join(GRACE if kill else None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown(wait=kind is None)


class _WithoutTimeout(Executor):
    def __init__(self, submit: Callable[..., Future[Any]]) -> None:
        self._submit = submit

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        return self._submit(None, fn, *args, **kwargs)


@dataclass
class _Call:
    """A call that waits for a process or is in one."""

    text: str
    timeout: float | None
    future: Future[Any]


class _Slot(Thread):
    """Thread that has one process at a time, to which it hands one call at a time.

    A call that a process has been given is this thread's until its future has a result: nothing
    that happens to the process loses it.
    """

    def __init__(self, calls: SimpleQueue[_Call | None], threads: int | None) -> None:
        super().__init__(name="nearsight-local", daemon=True)
        self.broken = ""
        self._calls = calls
        self._threads = threads
        self._worker: _Worker | None = None
        self._lock = Lock()
        self._killed = False
        self._proven = False
        self.start()

    def run(self) -> None:
        """Hand calls to processes until there are no more."""
        while (call := self._calls.get()) is not None:
            try:
                line = self._ask(call)
                value = protocol.read_result(line, protocol.digest(call.text))
            except BaseException as error:
                call.future.set_exception(error)
            else:
                call.future.set_result(value)
        self._end()

    def _ask(self, call: _Call) -> bytes:
        """Give a call to a process; to another one if that dies before it begins."""
        for _ in range(MAX_STARTS - 1):
            with contextlib.suppress(_NotBegun):
                return self._ready_worker().ask(call.text, call.timeout)
        return self._ready_worker().ask(call.text, call.timeout)

    def kill(self) -> None:
        """Kill the process, and start no other."""
        with self._lock:
            self._killed = True
            worker = self._worker
        if worker is not None:
            worker.kill()

    def _ready_worker(self) -> _Worker:
        if self._worker is not None and not self._worker.usable:
            self._end()
        if self._worker is not None:
            return self._worker
        left = MAX_STARTS
        for _ in range(MAX_KILLS):
            with self._lock:
                if self._killed:
                    raise WorkerLost("the executor was shut down")
                self._worker = _Worker(self._threads)
            reason = self._worker.wait_until_ready()
            if not reason:
                self._proven = True
                return self._worker
            left -= not self._worker.was_killed
            self._end()
            if not left:
                break
        words = f"worker processes do not start{reason}"
        self.broken = "" if self._proven else words
        raise WorkerLost(words)

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


class _NotBegun(WorkerLost):  # as WorkerLost
    """A process has ended before it began its call."""


class _Worker:
    """A process for calls, its pipes, and all that it starts."""

    def __init__(self, threads: int | None) -> None:
        self._mark = uuid.uuid4().hex
        self._left = CALLS_PER_PROCESS
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        # a group of its own, so that it gets no Ctrl-C; modules where they are found here
        code = (
            f"import os, sys; os.setpgrp(); sys.path[:] = {sys.path!r}; "
            f"from {protocol.WORKER} import serve; serve()"
        )
        environment = dict(os.environ)
        if threads is not None:
            environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment | {MARK: self._mark},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._pipes = selectors.DefaultSelector()
        self._pipes.register(self._output, selectors.EVENT_READ)
        self._received = bytearray()

    @property
    def usable(self) -> bool:
        """True for one that is alive and may take another call."""
        return self._left > 0 and self._process.poll() is None

    @property
    def was_killed(self) -> bool:
        """True for one that has ended because somebody wanted it to."""
        return self._process.returncode in (-signal.SIGKILL, -signal.SIGTERM)

    def wait_until_ready(self) -> str:
        """Wait for its first sign; what it said if it ended before, as the end of a sentence."""
        try:
            while self._line(START) != READY.encode():
                pass  # something that was printed by the start of Python
        except (WorkerLost, TimeoutError) as error:
            self._errors.seek(0)
            said = last_line(self._errors.read().decode(errors="replace"))
            return said or f": {error or 'no sign of life'}"
        return ""

    def ask(self, call: str, timeout: float | None) -> bytes:
        """Give it a call and wait for the result.

        Raises
        ------
        WorkerLost, TimeoutError
            The process has ended meanwhile, by itself or because the time was over.
        """
        self._left -= 1
        with contextlib.suppress(BrokenPipeError):  # it shows below
            self._input.write(f"{call}\n".encode())
            self._input.flush()
        try:
            line = self._line()
        except WorkerLost as error:
            raise _NotBegun(str(error)) from None
        if line != BEGUN.encode():
            return line  # it cannot be called
        try:
            return self._line(timeout)
        except TimeoutError:
            self.end(wait=False)
            raise TimeoutError(f"{TIMED_OUT} {timeout:g} s") from None

    def kill(self) -> None:
        """Kill it and all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        kill_marked(self._mark)

    def end(self, wait: bool = True) -> None:
        """End it, by itself if there is time, and all that it has started."""
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        if wait:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        self.kill()
        self._process.wait()
        self._left = 0
        self._pipes.close()
        self._output.close()

    def close(self) -> None:
        """End it, and forget what it has said."""
        self.end()
        self._errors.close()

    def _line(self, timeout: float | None = None) -> bytes:
        """Read a line of its output."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._received:
            # looked at before the pipe, which holds all that one wrote that is dead by now
            alive = self._process.poll() is None
            left = min(LOOK, deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError
            ready = self._pipes.select(left if alive else 0)
            part = os.read(self._output.fileno(), 1 << 20) if ready else b""
            self._received += part
            if not part and (ready or not alive):  # closed, or kept open by what it has started
                self.end()
                raise WorkerLost(f"its process ended with {_end_of(self._process.returncode)}")
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        return line + b"\n"


def _end_of(code: int) -> str:
    try:
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
    except ValueError:  # of those without a name
        return f"signal {-code}"
