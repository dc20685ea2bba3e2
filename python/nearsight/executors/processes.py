"""All processes that a worker or a calculation has started, wherever they have gone."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from nearsight.errors import plain_text

__all__ = ["MARK", "STARTED_BY", "kill_marked", "last_line", "marked", "refuse_in_worker"]

MARK = "NEARSIGHT_WORKER"
"""Environment variable of a worker, which all that it starts inherit."""

STARTED_BY = "NEARSIGHT_CALCULATION"
"""The same for a calculation in the program itself."""

ROUNDS = 20  # of looks for what was started while others were killed
PAUSE = 0.02  # s


@contextlib.contextmanager
def marked(mark: str) -> Iterator[None]:
    """Mark what this process starts, and end it when a signal ends the work inside."""
    before = os.environ.get(STARTED_BY)
    os.environ[STARTED_BY] = mark
    try:
        yield
    except Exception:
        raise
    except BaseException:
        kill_marked(mark, STARTED_BY)
        raise
    finally:
        if before is None:
            os.environ.pop(STARTED_BY, None)  # which the calculation may have emptied
        else:
            os.environ[STARTED_BY] = before


def kill_marked(mark: str, name: str = MARK) -> None:
    """Kill every other process whose environment has this mark.

    Process groups and sessions are not enough: ``mpirun`` leaves them. Without ``/proc`` nothing
    is found.
    """
    for _ in range(ROUNDS):
        found = list(_marked(f"{name}={mark}".encode()))
        if not found:
            return
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(PAUSE)


def _marked(wanted: bytes) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/environ"):
        # those of others cannot be read, those of zombies are empty
        with contextlib.suppress(OSError):
            process = int(path.parent.name)
            if process != os.getpid() and wanted in path.read_bytes().split(b"\0"):
                yield process


def refuse_in_worker() -> None:
    """Raise a RuntimeError in a worker, which imports a driver's script for a calculator in it."""
    if MARK in os.environ:
        raise RuntimeError(
            "a worker process cannot have workers of its own; what a script does must stand under "
            '`if __name__ == "__main__":`'
        )


def last_line(text: str) -> str:
    """Last line of what a process has printed, as the end of a sentence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f": {plain_text(lines[-1])}" if lines else ""
