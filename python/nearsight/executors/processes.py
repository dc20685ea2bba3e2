"""All processes that a worker has started, wherever they have gone."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from nearsight.errors import plain_text

__all__ = ["MARK", "kill_marked", "last_line", "refuse_in_worker"]

MARK = "NEARSIGHT_WORKER"
"""Environment variable of a worker, which all that it starts inherit."""

ROUNDS = 20  # of looks for what was started while others were killed
PAUSE = 0.02  # s


def kill_marked(mark: str) -> None:
    """Kill every other process whose environment has this mark.

    Process groups and sessions are not enough: ``mpirun`` leaves them. Without ``/proc`` nothing
    is found.
    """
    for _ in range(ROUNDS):
        found = list(_marked(f"{MARK}={mark}".encode()))
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
