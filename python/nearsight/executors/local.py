"""Calls in processes of this machine, which may crash or be killed one by one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NoResultInTime
from concurrent.futures.process import BrokenProcessPool
from threading import Thread
from types import FrameType, TracebackType
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool
from threadpoolctl import threadpool_limits

from nearsight.executors.work import THREAD_VARIABLES, WorkerLost

__all__ = ["LocalExecutor"]

CALLS_PER_PROCESS = 50
"""A process is replaced after so many calls: parent codes do not give back all their memory."""

Result = TypeVar("Result")


class LocalExecutor(Executor):
    """Processes side by side, each with its own threads; one that dies takes only its call along.

    They are spawned, never forked: OpenMP hangs in a child that was forked after it had been used.
    So a script that makes one needs ``if __name__ == "__main__":``.

    Parameters
    ----------
    workers : int
        Processes.
    threads : int
        Threads of each.
    timeout : float, s, optional
        After which a call is killed, together with the programs it has started; its future raises
        `TimeoutError`.
    """

    def __init__(self, workers: int, threads: int = 1, timeout: float | None = None) -> None:
        self._workers = workers
        self._threads = threads
        self._timeout = timeout
        self._closed = False
        self._proven = False
        self._unusable = False
        self._pool = self._new_pool()

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Queue a call; see `concurrent.futures.Executor.submit`. It cannot be cancelled.

        Raises
        ------
        RuntimeError
            After a shutdown, or if processes do not start here at all.
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
        if self._unusable:
            raise RuntimeError(
                "worker processes do not start; what a script does must be a file and stand under "
                '`if __name__ == "__main__":`'
            )
        if not self._pool.active:
            # pebble gives up a pool when a process is killed while none is at work
            self._pool.join()
            self._pool = self._new_pool()
        outer: Future[Result] = Future()
        outer.set_running_or_notify_cancel()
        inner = self._pool.schedule(fn, args=args, kwargs=kwargs, timeout=timeout)
        inner.add_done_callback(lambda done: self._pass_on(done, outer))
        return outer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the calls and end the processes; without ``wait``, kill them at once."""
        self._closed = True
        if wait and not cancel_futures:
            self._pool.close()  # type: ignore[no-untyped-call]
        else:
            self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown(wait=kind is None)

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self._workers,
            max_tasks=CALLS_PER_PROCESS,
            initializer=_prepare,
            initargs=(self._threads,),
            context=multiprocessing.get_context("spawn"),
        )

    def _pass_on(self, inner: Future[Result], outer: Future[Result]) -> None:
        """Hand a result, or what happened instead, to the future that the caller holds."""
        error = inner.exception()
        if isinstance(error, BrokenProcessPool):
            self._unusable = not self._proven
            error = WorkerLost("its process ended before it took the call")
        else:
            self._proven = True
        if error is None:
            outer.set_result(inner.result())
        elif isinstance(error, ProcessExpired):
            outer.set_exception(WorkerLost(f"its process ended with {_end_of(error.exitcode)}"))
        elif isinstance(error, NoResultInTime) and error.args[:1] == ("Task timeout",):
            outer.set_exception(TimeoutError(f"no result after {self._timeout:g} s"))
        elif isinstance(error, Exception):
            outer.set_exception(error)
        else:  # SystemExit and its like are about that process, not this one
            outer.set_exception(WorkerLost(f"its process was ended by {error!r}"))


class _WithoutTimeout(Executor):
    def __init__(self, submit: Callable[..., Future[Any]]) -> None:
        self._submit = submit

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        return self._submit(None, fn, *args, **kwargs)


def _end_of(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _prepare(threads: int) -> None:
    """Make a process ready for calls."""
    # a group of its own, so that programs started by a call die with it and get no Ctrl-C
    os.setpgrp()
    signal.signal(signal.SIGTERM, _end)
    Thread(target=_end_with_the_driver, daemon=True).start()
    # libraries loaded already do not look at the environment again
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    threadpool_limits(threads)
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # the terminal belongs to the driver
        os.dup2(silent, stream)


def _end(number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
    os.killpg(0, signal.SIGKILL)


def _end_with_the_driver() -> None:
    """Wait until the driver is gone, however it went."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        _end()
