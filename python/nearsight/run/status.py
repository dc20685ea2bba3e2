"""Where a run stands: written down while it is at work, read from its folder at any time.

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
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from threading import Lock, Timer
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from nearsight.config import Config
from nearsight.errors import DamagedFileError, InputError, explain, is_bug
from nearsight.files.atomic import check_header, read_json, write_json
from nearsight.progress import Progress, Tally

__all__ = ["Estimate", "Moment", "RunStatus", "StatusProgress"]

FORMAT = "nearsight-status"
VERSION = 1
PAUSE = 1.0  # s between two writings
ANSWER = 5.0  # s that the queue or a database at work may take

Record = TypeVar("Record")


@dataclass(frozen=True)
class Moment:
    """What a run was doing when it last said so; the content of ``status.json``.

    Attributes
    ----------
    began, updated : datetime
        Of this process.
    host, process : where it is, or was, at work
    stage, detail : str
    stage_began : datetime or None
    step : (done, total, what) or None
        Of the stage.
    calculations : Tally or None
        What the parent is asked for at present; ``structures`` says what they are.
    chunks, chunk_seconds : int, float
        Chunks whose labels this process has had, those of earlier ones read back included, and
        the wall time of their calculations; without those of ``calculations``.
    ended : bool
    error : str
        What it ended with; empty if all went well.
    """

    began: datetime
    updated: datetime
    host: str
    process: int
    stage: str = ""
    detail: str = ""
    stage_began: datetime | None = None
    step: tuple[int, int | None, str] | None = None
    calculations: Tally | None = None
    structures: str = ""
    chunks: int = 0
    chunk_seconds: float = 0.0
    ended: bool = False
    error: str = ""


class StatusProgress(Progress):
    """Keeps ``status.json`` of a run up to date, whole at any moment.

    Written at every stage and otherwise about once per second at most; not synced, since what a
    loss of power takes away is of no use after it.

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
        self._moment = Moment(_now(), _now(), socket.gethostname(), os.getpid())

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
        """Write down how far they are, and how long chunks take."""
        changes: dict[str, Any] = {"step": None, "calculations": tally, "structures": what}
        if what == "chunks" and tally.finished == tally.total:
            changes["chunks"] = self._moment.chunks + tally.done
            changes["chunk_seconds"] = self._moment.chunk_seconds + tally.seconds
        self._tell(**changes)

    def close(self) -> None:
        """Write down that the work is over, and by what exception if one is on its way."""
        if not self._moment.stage:
            return
        error = sys.exc_info()[1]
        if isinstance(error, KeyboardInterrupt):
            reason = "interrupted"
        else:
            reason = "" if error is None else explain(error)
            if error is not None and is_bug(error):
                reason += " (traceback in run.log)"
        self._tell(ended=True, error=" ".join(reason.split()), at_once=True)

    def _tell(self, at_once: bool = False, **changes: Any) -> None:
        with self._lock:
            self._moment = replace(self._moment, updated=_now(), **changes)
            left = self._written + PAUSE - time.monotonic()
            if at_once or left <= 0:
                self._write()
            elif self._timer is None:
                # what comes last may stand for hours
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
        content = TypeAdapter(Moment).dump_python(self._moment, mode="json")
        with suppress(InputError):  # a full disk stops the run elsewhere, if it has to
            write_json(self._path, {"format": FORMAT, "version": VERSION, **content}, sync=False)


@dataclass(frozen=True)
class Estimate:
    """What the parent has still to do for the training, at most.

    Attributes
    ----------
    chunks : int
    core_seconds, seconds : float
        For these, if they take as long as those so far: of all cores, and by the clock.
    """

    chunks: int
    core_seconds: float
    seconds: float


@dataclass(frozen=True)
class RunStatus:
    """Where the run of a folder stands.

    Attributes
    ----------
    folder : Path
    config : Config
    at_work : bool or None
        Whether a process is; None if that cannot be found out.
    finished : bool
        Whether it has come to its end.
    stages : list of mapping
        Those done: ``name``, ``seconds``, ``summary``.
    iterations : list of mapping
        Of the training, as `Progress.iteration` gets them, with ``stop_reason``.
    moment : Moment or None
        What it was doing when it last said so.
    calculations, seconds : int, float, or None
        In ``parent.db``; None if calculations are kept elsewhere.
    given_up : list of (str, str)
        Structures the parent failed on, and the last reason.
    jobs : dict of str to int
        Jobs of the run in a SLURM queue, by their state.
    """

    folder: Path
    config: Config
    at_work: bool | None
    finished: bool
    stages: Sequence[Mapping[str, Any]] = ()
    iterations: Sequence[Mapping[str, Any]] = ()
    moment: Moment | None = None
    calculations: int | None = None
    seconds: float | None = None
    given_up: Sequence[tuple[str, str]] = ()
    jobs: Mapping[str, int] = field(default_factory=dict)

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
            raise InputError(f"{folder}: not the folder of a run (it holds no config.toml)")
        config = Config.parse(given.read_text(encoding="utf-8", errors="replace"), str(given))
        at_work = _is_at_work(folder)
        calculations, seconds = (None, None)
        if config.parent.database is None:
            calculations, seconds = _spent(folder / "parent.db")
        return cls(
            folder=folder,
            config=config,
            at_work=at_work,
            finished=at_work is not True and (folder / "run.json").exists(),
            stages=_stages(folder),
            iterations=_iterations(folder),
            moment=_read(folder / "status.json", FORMAT, Moment),
            calculations=calculations,
            seconds=seconds,
            given_up=_given_up(folder),
            jobs=_jobs(folder) if config.executor.engine == "slurm" else {},
        )

    @property
    def cores(self) -> int:
        """Cores of one calculation, as the configuration says."""
        return self.config.executor.cores * self.config.executor.threads

    @property
    def core_seconds(self) -> float | None:
        """What the parent has taken so far, on all cores together."""
        return None if self.seconds is None else self.seconds * self.cores

    @property
    def estimate(self) -> Estimate | None:
        """What is left of the parent's work for the training; None if nothing tells."""
        moment = self.moment
        if self.finished or moment is None:
            return None
        known, taken, tally = moment.chunks, moment.chunk_seconds, moment.calculations
        if tally is not None and moment.structures == "chunks" and tally.finished < tally.total:
            known += tally.done
            taken += tally.seconds
        if not known:
            return None
        ended = bool(self.iterations and self.iterations[-1]["stop_reason"])
        chunks = 0 if ended else max(self.config.nft.max_chunks - known, 0)
        seconds = chunks * taken / known
        engine = self.config.executor
        side_by_side = 1 if engine.engine == "inline" else engine.workers
        return Estimate(chunks, seconds * self.cores, seconds / side_by_side)


def _now() -> datetime:
    return datetime.now().astimezone()


def _is_at_work(folder: Path) -> bool | None:
    """Whether another process holds the lock, which is let go at once if not."""
    lock = folder / "run.lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # the folder of somebody else
        return None


@dataclass(frozen=True)
class _Evaluation:
    iteration: int
    chunk_indices: list[int]
    uncertainty_raw: list[float]
    uncertainty: list[float]
    seconds: float
    stop_reason: str


@dataclass(frozen=True)
class _Given:
    structure: str
    failed: list[str]
    lost: list[str]
    given_up: bool


@dataclass(frozen=True)
class _Failures:
    structures: dict[str, _Given]


@dataclass(frozen=True)
class _Stages:
    stages: dict[str, dict[str, Any]]


def _read(path: Path, kind: str, record: type[Record]) -> Record | None:
    """The content of a file; None if it is not there or not whole, which is no mistake here."""
    if not path.exists():
        return None
    try:
        return TypeAdapter(record).validate_python(check_header(read_json(path), path, kind, 1))
    except (DamagedFileError, ValidationError):
        return None


def _stages(folder: Path) -> list[Mapping[str, Any]]:
    found = _read(folder / "stages.json", "nearsight-stages", _Stages)
    return [] if found is None else list(found.stages.values())


def _iterations(folder: Path) -> list[Mapping[str, Any]]:
    read = (
        _read(path, "nearsight-evaluation", _Evaluation)
        for path in sorted(folder.glob("iteration-*/evaluation.json"))
    )
    found = [each for each in read if each is not None]
    raw = [max(each.uncertainty_raw) for each in found]
    # the first one counts only while it is alone (see nft.State.best)
    best = raw.index(min(raw[1:])) if len(raw) > 1 else 0
    return [
        {
            "iteration": each.iteration,
            "chunks": len(each.chunk_indices),
            "structure_uncertainty": raw[number],
            "structure_uncertainty_calibrated": max(each.uncertainty),
            "seconds": each.seconds,
            "best": number == best,
            "stop_reason": each.stop_reason,
        }
        for number, each in enumerate(found)
    ]


def _given_up(folder: Path) -> list[tuple[str, str]]:
    found = _read(folder / "failures.json", "nearsight-failures", _Failures)
    events = [] if found is None else [e for e in found.structures.values() if e.given_up]
    return [(each.structure, (each.failed or each.lost)[-1]) for each in events]


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
