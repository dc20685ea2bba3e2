"""Waiting for processes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any


def until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    """Wait for a condition, and fail if it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def linger(folder: str, name: int = 0) -> None:
    """Note this process and a program started by it, which sleeps for long."""
    program = subprocess.Popen(["sleep", "100"])
    draft = Path(folder, f"{name}.new")
    draft.write_text(f"{os.getpid()} {program.pid}")
    draft.rename(draft.with_suffix(".pids"))
    program.wait()


def session(leader: int) -> list[int]:
    """The processes of a session that are no zombies."""
    return [process for process, words in _all() if int(words[3]) == leader and words[0] != "Z"]


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    return [process for process, words in _all() if int(words[1]) == parent]


def _all() -> Iterator[tuple[int, list[str]]]:
    """Every process, with what the system says of it from its state on."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield int(path.parent.name), path.read_text().rpartition(")")[2].split()
