"""A progress that keeps what it is told, or stops the work at a chosen event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearsight.progress import Progress


class Stopped(Exception):
    """Stands for whatever ends a program."""


class Recorder(Progress):
    """Keeps all events.

    Parameters
    ----------
    **stop_at
        Raise `Stopped` at this event: ``stage="Relaxation"``, ``iteration=1``, or
        ``within="Relaxation", step=3``.

    Attributes
    ----------
    stages : list of str
    steps : list of tuple
        ``done``, ``total`` and ``what``.
    iterations : list of int
    notes : list of str
    """

    def __init__(self, **stop_at: Any) -> None:
        self.stages: list[str] = []
        self.steps: list[tuple[int, int | None, str]] = []
        self.iterations: list[int] = []
        self.notes: list[str] = []
        self._stop_at = stop_at

    def stage(self, name: str, detail: str = "") -> None:
        self.stages.append(name)
        self._stop_if(stage=name)

    def advance(self, done: int, total: int | None = None, what: str = "") -> None:
        self.steps.append((done, total, what))
        if self.stages:
            self._stop_if(within=self.stages[-1], step=done)

    def iteration(self, record: Mapping[str, Any]) -> None:
        self.iterations.append(record["iteration"])
        self._stop_if(iteration=record["iteration"])

    def note(self, text: str) -> None:
        self.notes.append(text)

    def _stop_if(self, **event: Any) -> None:
        if event == self._stop_at:
            raise Stopped
