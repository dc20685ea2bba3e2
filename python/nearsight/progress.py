"""Progress reports of long work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nearsight.errors import cannot_be, is_full

__all__ = [
    "LineProgress",
    "LogProgress",
    "Progress",
    "SeveralProgress",
    "Tally",
    "count_noun",
    "iteration_sentence",
]

SECONDS_BETWEEN_STEPS = 60.0
"""The log holds one line per stretch of this length for the steps of a stage."""


@dataclass(frozen=True)
class Tally:
    """Numbers of parent calculations, of structures asked for together, by state.

    Attributes
    ----------
    waiting : int
        Not begun, or to be tried again.
    running : int
        Under way, or in a queue of an engine.
    done : int
        With a result, also one that was known before.
    failed : int
        Given up.
    seconds : float
        Wall time of those done, all together.
    """

    waiting: int
    running: int
    done: int
    failed: int
    seconds: float = 0.0

    @property
    def finished(self) -> int:
        """Those nothing more is to be done about."""
        return self.done + self.failed

    @property
    def total(self) -> int:
        """All of them."""
        return self.waiting + self.running + self.finished


class Progress:
    """Receives what a run does; this base class is silent.

    Stages call it, nothing ever asks it: a display, a log or a test derives from it.
    """

    def stage(self, name: str, detail: str = "") -> None:
        """A stage begins, e.g. ``stage("Initial cells", "Pt, space groups 225, 79")``."""

    def advance(self, done: int, total: int | None = None, what: str = "") -> None:
        """``done`` of ``total`` steps of the stage are finished; ``what`` names the next one."""

    def calculations(self, tally: Tally, what: str) -> None:
        """Parent calculations of the stage: how far they are; ``what`` names the structures.

        Who does not care for more than the steps gets them as such.
        """
        self.advance(tally.finished, tally.total, what)

    def iteration(self, record: Mapping[str, Any]) -> None:
        """One NFT iteration has been evaluated.

        Keys as in ``evaluation.json``'s summary: ``iteration``, ``chunks``,
        ``structure_uncertainty`` (raw, eV/Å), ``structure_uncertainty_calibrated`` (None: not
        calibrated yet), ``seconds``, ``best`` (bool: it is the best so far); ``read_back`` is there
        if it was told before the work was interrupted.
        """

    def note(self, text: str) -> None:
        """One sentence worth keeping, e.g. a result of the stage."""

    def close(self) -> None:
        """The work is over, well or not."""


class SeveralProgress(Progress):
    """Passes every event on to several others, e.g. a display and a log."""

    def __init__(self, *others: Progress) -> None:
        self.others = others


def _pass_on(event: str) -> Callable[..., None]:
    def tell(self: SeveralProgress, *details: Any, **named: Any) -> None:
        for other in self.others:
            getattr(other, event)(*details, **named)

    return tell


for _event in ("stage", "advance", "calculations", "iteration", "note", "close"):
    setattr(SeveralProgress, _event, _pass_on(_event))


class LineProgress(Progress):
    """Writes a line with date and time for every event.

    Parameters
    ----------
    write : callable
        Is given every line, with its end.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._last_step = -SECONDS_BETWEEN_STEPS

    def stage(self, name: str, detail: str = "") -> None:
        """Write the name and the detail."""
        self._last_step = time.monotonic()
        self._line(f"{name}: {detail}" if detail else name)

    def advance(self, done: int, total: int | None = None, what: str = "") -> None:
        """Write the step, unless one was written a moment ago."""
        now = time.monotonic()
        if now - self._last_step >= SECONDS_BETWEEN_STEPS:
            self._last_step = now
            self._line(f"  {done}{f' of {total}' if total else ''} {what}".rstrip())

    def iteration(self, record: Mapping[str, Any]) -> None:
        """Write the figures of the iteration, unless an earlier line has them."""
        if not record.get("read_back"):
            self._line(f"  {iteration_sentence(record)}")

    def note(self, text: str) -> None:
        """Write the sentence."""
        self._line(f"  {text}")

    def _line(self, text: str) -> None:
        self._write(f"{datetime.now().astimezone().isoformat(timespec='seconds')}  {text}\n")


class LogProgress(LineProgress):
    """Appends the lines to a file.

    Lines for which there is no room on the disk are written later.

    Parameters
    ----------
    path : path
        The file; its folder must exist when the first event comes.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(self._append)
        self.path = Path(path)
        self._left = b""

    def _append(self, line: str) -> None:
        self._left += line.encode(errors="backslashreplace")
        try:
            # opened anew each time: the file is whole whenever the run is killed
            with self.path.open("ab", buffering=0) as stream:
                self._left = self._left[stream.write(self._left) :]
        except OSError as error:
            if not is_full(error):
                raise cannot_be("written", self.path, error) from error


def count_noun(count: int, noun: str) -> str:
    """A number with its noun: ``1 chunk``, ``2 chunks``, ``2 geometries``."""
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun}"


def iteration_sentence(record: Mapping[str, Any]) -> str:
    """One NFT iteration in a line."""
    calibrated = record.get("structure_uncertainty_calibrated")
    return (
        f"iteration {record['iteration']}: {record['chunks']} {record.get('noun', 'chunks')}, "
        f"uncertainty {record['structure_uncertainty']:.4f} eV/Å"
        + (f", calibrated {calibrated:.4f} eV/Å" if calibrated is not None else ", not calibrated")
        + f", {record['seconds']:.1f} s"
        + (", the best so far" if record.get("best") else "")
    )
