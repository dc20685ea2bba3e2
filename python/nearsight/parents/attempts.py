"""Attempts at calculations: by an executor, in this process, or in a child of it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from nearsight.config import ExecutorSettings
from nearsight.errors import DamagedFileError, InputError, ParentError
from nearsight.executors.local import LocalExecutor
from nearsight.executors.processes import STARTED_BY, kill_marked, marked
from nearsight.files.records import BegunRecord
from nearsight.parents.failures import name_of
from nearsight.parents.jobs import Job
from nearsight.parents.keeper import Keeper
from nearsight.parents.origin import method_of
from nearsight.parents.results import keep_result
from nearsight.parents.spec import CalculatorSpec
from nearsight.parents.tasks import Outcome, make_task, run_tasks, try_one

__all__ = ["Attempts", "Method"]

TRUSTED = 1
"""Ends of this process in a calculation after which it is still repeated in it."""


@dataclass(frozen=True)
class Method:
    """How a parent calculates.

    Attributes
    ----------
    spec : CalculatorSpec
    retries : sequence of mapping
        Arguments to change in each further attempt after a failure.
    max_force : float, eV/Å
        A calculation with a larger force has failed.
    engine : ExecutorSettings
    """

    spec: CalculatorSpec
    retries: Sequence[Mapping[str, Any]]
    max_force: float
    engine: ExecutorSettings


class Attempts:
    """Where and how the next attempt on a structure is carried out.

    Without an executor that is this process. A calculation goes to a child of it if its calculator
    cannot be told where to write, or if this process has ended in it repeatedly.

    Parameters
    ----------
    method : Method
    keeper : Keeper

    Attributes
    ----------
    method : Method
    keeper : Keeper
    """

    def __init__(self, method: Method, keeper: Keeper) -> None:
        self.method = method
        self.keeper = keeper
        self._begun = _Begun(keeper.failures.path)
        self._child: LocalExecutor | None = None

    def is_last(self, job: Job) -> bool:
        """Whether a failure of this attempt is final."""
        return len(self.keeper.failures.failed(job.key)) >= len(self.method.retries)

    def about(self, job: Job) -> dict[str, Any]:
        """What is kept with the result of this attempt, besides the structure."""
        attempt = self.keeper.failures.attempts(job.key) + 1
        return {
            "key": job.key,
            "data": method_of(self.method.spec, job.atoms, self._changes(job)),
            "notes": {**job.notes, "attempt": attempt},
        }

    def submit(
        self,
        jobs: Sequence[Job],
        executor: Executor | None,
        note: Callable[[str], None] = lambda _: None,
    ) -> Future[list[Outcome]]:
        """Begin an attempt on structures, as one call; without an executor, carry it out.

        Raises
        ------
        ParentError
            The executor is broken or was shut down.
        """
        if executor is None:
            (job,) = jobs
            return self._carry_out(job, note)
        try:
            return executor.submit(run_tasks, [self._task(job) for job in jobs])
        except RuntimeError as error:  # shut down, or broken by a worker that died
            raise ParentError(
                f"the executor takes no calculation of parent {self.method.spec.name}: {error}"
            ) from error

    def _changes(self, job: Job) -> Mapping[str, Any]:
        """The arguments to change in this attempt."""
        retries = self.method.retries
        attempts = [{}, *retries]
        # there may be more failures on record than there are retries now
        return attempts[min(len(self.keeper.failures.failed(job.key)), len(retries))]

    def _task(self, job: Job) -> dict[str, Any]:
        engine, failures = self.method.engine, self.keeper.failures
        return {
            **make_task(self.method.spec, job.atoms, self._changes(job), job.stress),
            "attempt_folder": self._path(job),
            "shared": engine.engine == "slurm" and engine.cores > 1,
            # engines that know a call by its content must not take a new try for the old one
            "tries": [len(failures.failed(job.key)), len(failures.lost(job.key))],
            "result": self.keeper.results.path(job.key),
            "about": self.about(job),
        }

    def _path(self, job: Job) -> str | None:
        return self.keeper.folders.path(job.key, self.keeper.failures.attempts(job.key))

    def _carry_out(self, job: Job, note: Callable[[str], None]) -> Future[list[Outcome]]:
        ends = self._begun.times(job.key)
        spec = self.method.spec
        risky = ends > TRUSTED or self.keeper.failures.lost(job.key)
        # a thread cannot have a working folder of its own
        alone = threading.current_thread() is threading.main_thread()
        files = spec.findable and not spec.in_process
        if spec.apart or (spec.findable and risky) or (files and not alone):
            if ends > TRUSTED:
                note(f"calculating {name_of(job.atoms)} in a process of its own: {_ended(ends)}")
            future = self._in_child(job)
            self._begun.clear()
            return future
        here: Future[list[Outcome]] = Future()
        if ends > self.method.engine.resubmissions:
            self._begun.clear()
            here.set_result([{"failure": _ended(ends)}])
            return here
        with self._begun.mark(job.key):
            make = spec.maker(self._changes(job))
            outcome = try_one(make, job.atoms, job.stress, self._path(job), enter=files)
            about = self.about(job) | {"structure": job.atoms.todict()}
            keep_result(self.keeper.results.path(job.key), about, outcome)
            here.set_result([outcome])
        return here

    def _in_child(self, job: Job) -> Future[list[Outcome]]:
        if self._child is None:
            self._child = LocalExecutor(1, threads=None)
            weakref.finalize(self, self._child.shutdown)
        try:
            future = self._child.submit(run_tasks, [self._task(job)])
            wait([future])
        except BaseException:  # of a signal
            self._child.shutdown(wait=False)
            self._child = None
            raise
        return future


def _ended(times: int) -> str:
    return f"the program ended {times} times in this calculation"


class _Begun:
    """Mark, in a file, of the calculation that this process is at, which may not survive it.

    Parameters
    ----------
    failures : Path, optional
        The file of the failures, beside which it is kept; in memory when left out.
    """

    def __init__(self, failures: Path | None) -> None:
        self._path = None if failures is None else failures.with_name(BegunRecord.FILE)
        self._last = BegunRecord(key="", times=0)
        if self._path is not None and self._path.exists():
            with suppress(DamagedFileError):
                self._last = BegunRecord.load(self._path)

    def times(self, key: str) -> int:
        """How often in a row the process has ended in this calculation."""
        return self._last.times if self._last.key == key else 0

    @contextmanager
    def mark(self, key: str) -> Iterator[None]:
        """Keep the mark, unless the calculation inside ends by itself.

        What an earlier one has started, which did not, is ended first, wherever it is by now.
        """
        if self._last.mark:
            kill_marked(self._last.mark, STARTED_BY)
        self._last = BegunRecord(key=key, times=self.times(key) + 1, mark=uuid4().hex)
        if self._path is not None:
            with suppress(InputError):  # a full disk shows at the result
                self._last.save(self._path, sync=False)
        with marked(self._last.mark):
            yield
        self.clear()

    def clear(self) -> None:
        """Remove the mark."""
        self._last = BegunRecord(key="", times=0)
        if self._path is not None:
            self._path.unlink(missing_ok=True)
