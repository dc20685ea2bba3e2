"""Status of a run: written while it works, read from its folder at any time.

Reading disturbs nobody, needs neither the core nor a parent code, and takes what is there: a run
may be at work, stopped, finished or just begun.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from shlex import quote
from threading import Lock, Timer
from typing import Any, TypeVar

from nearsight.config import Config
from nearsight.errors import DamagedFileError, InputError, explain, is_bug
from nearsight.files.names import evaluation_files, iteration_folder
from nearsight.files.records import (
    FailuresRecord,
    Iteration,
    Record,
    Stage,
    Stages,
    Status,
    Verdict,
    best_iteration,
)
from nearsight.progress import Progress, Tally
from nearsight.run.lock import RunLock

__all__ = ["Estimate", "RunStatus", "StatusProgress"]

PAUSE = 1.0  # s between two writings
COUNTED = ("chunks", "geometries")  # whose calculations tell how long those left will take
ANSWER = 5.0  # s that the queue or a database at work may take

R = TypeVar("R", bound=Record)


class StatusProgress(Progress):
    """Keeps ``status.json`` of a run up to date, whole at any moment.

    Written at every stage and otherwise about once per second at most; not synced, since it is of
    no use after a loss of power.

    Parameters
    ----------
    path : path
        The file; its folder must exist when the first event comes.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = Lock()
        self._timer: Timer | None = None
        self._written = -PAUSE
        self._status = Status(
            began=_now(), updated=_now(), host=socket.gethostname(), process=os.getpid()
        )

    def stage(self, name: str, detail: str = "") -> None:
        """Write the stage down."""
        self._tell(
            stage=name,
            detail=detail,
            stage_began=_now(),
            step=None,
            calculations=None,
            structures="",
            at_once=True,
        )

    def advance(self, done: int, total: int | None = None, what: str = "") -> None:
        """Write the step down."""
        self._tell(step=(done, total, what), calculations=None, structures="")

    def calculations(self, tally: Tally, what: str) -> None:
        """Write down the tally, and the time that chunks or geometries take."""
        changes: dict[str, Any] = {"step": None, "calculations": tally, "structures": what}
        if what in COUNTED and tally.finished == tally.total:
            changes["chunks"] = self._status.chunks + tally.done
            changes["chunk_seconds"] = self._status.chunk_seconds + tally.seconds
        self._tell(**changes)

    def close(self) -> None:
        """Write down that the work is over, and the exception that is on its way, if any."""
        if not self._status.stage:
            return
        error = sys.exc_info()[1]
        if _is_interrupt(error):
            reason = "interrupted"
        else:
            reason = "" if error is None else explain(error)
            if error is not None and is_bug(error):
                reason += " (traceback in run.log)"
        self._tell(ended=True, error=" ".join(reason.split()), at_once=True)

    def _tell(self, at_once: bool = False, **changes: Any) -> None:
        with self._lock:
            self._status = self._status.model_copy(update={"updated": _now(), **changes})
            left = self._written + PAUSE - time.monotonic()
            if at_once or left <= 0:
                self._write()
            elif self._timer is None:
                # the last event may stand for hours
                self._timer = Timer(left, self._write_late)
                self._timer.daemon = True
                self._timer.start()

    def _write_late(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._write()

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._written = time.monotonic()
        with suppress(InputError):  # a full disk stops the run elsewhere, if it has to
            self._status.save(self._path, sync=False)


@dataclass(frozen=True)
class Estimate:
    """Work of the parent that is left for the training, at most.

    Attributes
    ----------
    chunks : int
        Or geometries.
    core_seconds, seconds : float
        For these, if they take as long as those so far: of all cores, and wall time.
    """

    chunks: int
    core_seconds: float
    seconds: float


@dataclass(frozen=True)
class RunStatus:
    """Status of the run in a folder.

    Attributes
    ----------
    folder : Path
    config : Config
    is_running : bool or None
        A process holds the lock; None if that cannot be found out.
    finished : bool
    stages : list of Stage
        Those done.
    iterations : list of mapping
        Of the training, as `Progress.iteration` gets them, with ``stop_reason``.
    last : Status or None
        Content of ``status.json``.
    calculations, seconds : int, float, or None
        In ``parent.db``; None if calculations are kept elsewhere.
    given_up : list of (str, str)
        Structures the parent failed on, and the last reason.
    jobs : dict of str to int
        Jobs of the run in a SLURM queue, by their state.
    verdict : Verdict or None
        Of the report of a finished run.
    """

    folder: Path
    config: Config
    is_running: bool | None
    finished: bool
    stages: Sequence[Stage] = ()
    iterations: Sequence[Mapping[str, Any]] = ()
    last: Status | None = None
    calculations: int | None = None
    seconds: float | None = None
    given_up: Sequence[tuple[str, str]] = ()
    jobs: Mapping[str, int] = field(default_factory=dict)
    verdict: Verdict | None = None

    @classmethod
    def of(cls, folder: str | Path) -> RunStatus:
        """Read the folder of a run, which may be at work.

        Raises
        ------
        InputError
            If it is not the folder of a run.
        """
        folder = Path(folder)
        given = folder / "config.toml"
        if not given.is_file():
            if iteration_folder(folder, 0).is_dir():
                raise InputError(
                    f"{folder}: the folder of nearsight nft, which has no status; "
                    f"{folder / 'run.log'} tells where it stands, and the same command "
                    f"(nearsight nft TARGET ... --workdir {quote(str(folder))}) continues it"
                )
            raise InputError(f"{folder}: not the folder of a run (it holds no config.toml)")
        config = Config.parse(given.read_text(encoding="utf-8", errors="replace"), str(given))
        is_running = RunLock(folder).is_held_elsewhere()
        finished = is_running is not True and (folder / "run.json").exists()
        calculations, seconds = (None, None)
        if config.parent.database is None:
            calculations, seconds = _spent(folder / "parent.db")
        return cls(
            folder=folder,
            config=config,
            is_running=is_running,
            finished=finished,
            stages=_stages(folder),
            iterations=_iterations(folder),
            last=_read(folder / Status.FILE, Status),
            calculations=calculations,
            seconds=seconds,
            given_up=_given_up(folder),
            jobs=_jobs(folder) if config.executor.engine == "slurm" else {},
            verdict=_read(folder / Verdict.FILE, Verdict) if finished else None,
        )

    @property
    def state(self) -> str:
        """In a word or two: "finished", "at work", "not at work", "unknown"."""
        if self.finished:
            return "finished"
        return {True: "at work", False: "not at work", None: "unknown"}[self.is_running]

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON, in seconds and eV/Å."""
        best = self.folder / "best.json"
        return {
            "folder": str(self.folder),
            "state": self.state,
            "ensemble": str(best) if best.is_file() else None,
            "stages": [each.model_dump(mode="json") for each in self.stages],
            "iterations": [dict(each) for each in self.iterations],
            "at_most": self.config.most,
            "last": None if self.last is None else self.last.model_dump(mode="json"),
            "calculations": self.calculations,
            "core_seconds": self.core_seconds,
            "left": None if self.estimate is None else asdict(self.estimate),
            "given_up": [{"structure": name, "reason": why} for name, why in self.given_up],
            "jobs": dict(self.jobs),
        }

    @property
    def cores(self) -> int:
        """Cores of one calculation, as the configuration says."""
        return self.config.executor.cores * self.config.executor.threads

    @property
    def core_seconds(self) -> float | None:
        """Time of the parent so far, on all cores together."""
        return None if self.seconds is None else self.seconds * self.cores

    @property
    def estimate(self) -> Estimate | None:
        """Estimate of the parent's work left for the training; None without any figures."""
        last = self.last
        if self.finished or last is None:
            return None
        known, taken, tally = last.chunks, last.chunk_seconds, last.calculations
        if tally is not None and last.structures in COUNTED and tally.finished < tally.total:
            known += tally.done
            taken += tally.seconds
        if not known:
            return None
        ended = bool(self.iterations and self.iterations[-1]["stop_reason"])
        chunks = 0 if ended else max(self.config.most - known, 0)
        seconds = chunks * taken / known
        engine = self.config.executor
        side_by_side = 1 if engine.engine == "inline" else engine.workers
        return Estimate(chunks, seconds * self.cores, seconds / side_by_side)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether it is a signal to stop, or what a library has made of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _now() -> datetime:
    return datetime.now().astimezone()


def _read(path: Path, record: type[R]) -> R | None:
    """Content of a file; None if it is missing or incomplete, which is no mistake here."""
    if not path.exists():
        return None
    try:
        return record.load(path)
    except DamagedFileError:
        return None


def _stages(folder: Path) -> list[Stage]:
    record = _read(folder / Stages.FILE, Stages)
    return [] if record is None else list(record.stages.values())


def _iterations(folder: Path) -> list[Mapping[str, Any]]:
    read = (_read(path, Iteration) for path in evaluation_files(folder))
    history = [iteration for iteration in read if iteration is not None]
    if not history:
        return []
    best = best_iteration(history)
    return [
        {**iteration.summary(number == best), "stop_reason": iteration.stop_reason}
        for number, iteration in enumerate(history)
    ]


def _given_up(folder: Path) -> list[tuple[str, str]]:
    record = _read(folder / FailuresRecord.FILE, FailuresRecord)
    structures = [] if record is None else record.structures.values()
    return [(each.structure, each.reasons[-1]) for each in structures if each.given_up]


def _spent(database: Path) -> tuple[int | None, float | None]:
    """Calculations in an ASE database and the seconds they took; ASE would open it to write."""
    if not database.exists():
        return 0, 0.0
    query = "SELECT COUNT(*), TOTAL(value) FROM number_key_values WHERE key = 'seconds'"
    try:
        place = f"{database.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(place, timeout=ANSWER, uri=True)) as table:
            count, seconds = table.execute(query).fetchone()
    except sqlite3.Error:  # just being made, or no database
        return None, None
    return int(count), float(seconds)


def _jobs(folder: Path) -> dict[str, int]:
    """Jobs of the run in the queue, by their state."""
    known = {path.read_text().strip() for path in folder.glob("jobs/*/job")}
    if not known or shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--me", "--noheader", "--format=%A %T"]
    try:
        listed = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.split() for line in listed.splitlines())
    return dict(Counter(state.lower() for number, state in pairs if number in known))
