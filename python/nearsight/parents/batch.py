"""Calculations asked for together: submitted, waited for, kept, tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Any

from nearsight.config import ExecutorSettings
from nearsight.errors import InputError, ParentError, UnavailableError
from nearsight.executors import discard_finished
from nearsight.parents.database import ParentResult
from nearsight.parents.failures import Failure, name_of
from nearsight.parents.jobs import Job
from nearsight.parents.keeper import Keeper, Patience
from nearsight.parents.origin import method_of
from nearsight.parents.results import Finished, keep_result
from nearsight.parents.spec import CalculatorSpec
from nearsight.parents.tasks import (
    Outcome,
    make_task,
    outcomes_of,
    run_tasks,
    try_one,
    validate_result,
)

__all__ = ["Batch", "Method"]


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
    executor : concurrent.futures.Executor or None
        What carries out the calculations; None: this process.
    """

    spec: CalculatorSpec
    retries: Sequence[Mapping[str, Any]]
    max_force: float
    engine: ExecutorSettings
    executor: Executor | None


@dataclass
class Batch:
    """Calculations carried out until every structure has a result.

    Attributes
    ----------
    method : Method
    keeper : Keeper
    guard : callable
        Called before every submission; what it raises ends the batch.
    count : callable
        Called with every new result.
    tell : callable
        Called with the number of calculations under way, when it changes.
    note : callable
        See `nearsight.parents.Parent.calculate_many`.
    """

    method: Method
    keeper: Keeper
    guard: Callable[[], None]
    count: Callable[[ParentResult], None]
    tell: Callable[[int], None]
    note: Callable[[str], None]

    def __post_init__(self) -> None:
        self._patience = Patience(self.method.engine.patience, self.note)

    def look_up(self, job: Job) -> ParentResult | Failure | None:
        """What is known of a structure from before."""
        database = self.keeper.database
        if database is not None:
            cached = self._patience.until(lambda: database.read(job.key, len(job.atoms)))
            if cached and not (job.stress and cached.stress is None):
                reason = validate_result(vars(cached), len(job.atoms), self.method.max_force)
                if not reason:
                    return cached
                reason += " (in the database)"
                retries = len(self.method.retries)
                self.keeper.failures.doubt(job.key, job.atoms, reason, retries)
                self._patience.until(self.keeper.failures.save)
        return self.keeper.failures.find(job.key)

    def carry_out(
        self,
        keys: Sequence[str],
        jobs: Mapping[str, Job],
        results: MutableMapping[str, ParentResult | Failure],
    ) -> None:
        """Submit, wait, put on record and try again, until every structure has a result.

        Parameters
        ----------
        keys : sequence of str
            Of all structures asked for.
        jobs : mapping
            Those without a result, by key.
        results : mapping
            Gets the results.
        """
        waiting = self._calls(keys, jobs)
        running: dict[Future[list[Outcome]], list[Job]] = {}
        self.tell(0)
        engine = self.method.engine
        most = 1 if self.method.executor is None else engine.workers
        while waiting or running:
            while waiting and len(running) < most:
                group = waiting.popleft()
                self.tell(len(group) + sum(map(len, running.values())))
                running[self._submit(group)] = group
            done = wait(running, engine.patience * 3600.0, FIRST_COMPLETED).done
            if not done:
                raise ParentError(
                    f"waited {engine.patience:g} h for {len(running)} calculations of "
                    f"parent {self.method.spec.name} and none came back; start again to go on "
                    "waiting"
                )
            for future in done:
                group = running.pop(future)
                outcomes = outcomes_of(future, len(group))
                settled = self._settle(group, outcomes)
                for job, outcome, result in zip(group, outcomes, settled, strict=True):
                    if result is not None:
                        results[job.key] = result
                        continue
                    waiting.append([job])
                    if "lost" in outcome:
                        self.note(f"calculating {name_of(job.atoms)} again: {outcome['lost']}")
                full = [outcome["full"] for outcome in outcomes if "full" in outcome]
                if full:
                    self._patience.wait(UnavailableError(full[0]))
            self.tell(sum(map(len, running.values())))
        discard_finished(self.method.executor)

    def _calls(self, keys: Sequence[str], jobs: Mapping[str, Job]) -> deque[list[Job]]:
        """The structures to calculate, in the groups that make one call each.

        A group does not depend on what else is known already, so that a run that was stopped asks
        its engine for the calls it made before. One that failed or vanished goes alone: it may be
        what took the others with it.
        """
        per_job = 1 if self.method.executor is None else self.method.engine.per_job
        groups: dict[str | int, list[Job]] = {}
        for position, key in enumerate(keys):
            if key in jobs:
                group = key if self.keeper.failures.attempts(key) else position // per_job
                groups.setdefault(group, []).append(jobs[key])
        return deque(groups.values())

    def _submit(self, jobs: Sequence[Job]) -> Future[list[Outcome]]:
        self.guard()
        if self.method.executor is None:
            here: Future[list[Outcome]] = Future()
            here.set_result([self._try_here(job) for job in jobs])
            return here
        engine, failures = self.method.engine, self.keeper.failures
        tasks = [
            {
                **make_task(self.method.spec, job.atoms, self._changes(job), job.stress),
                "attempt_folder": self.keeper.folders.path(job.key, failures.attempts(job.key)),
                "shared": engine.engine == "slurm" and engine.cores > 1,
                # engines that know a call by its content must not take a new try for the old one
                "tries": [len(failures.failed(job.key)), len(failures.lost(job.key))],
                "result": self.keeper.results.path(job.key),
                "about": self._about(job),
            }
            for job in jobs
        ]
        try:
            return self.method.executor.submit(run_tasks, tasks)
        except RuntimeError as error:  # shut down, or broken by a worker that died
            raise ParentError(
                f"the executor takes no calculation of parent {self.method.spec.name}: {error}"
            ) from error

    def _try_here(self, job: Job) -> Outcome:
        folder = self.keeper.folders.path(job.key, self.keeper.failures.attempts(job.key))
        make = self.method.spec.maker(self._changes(job))
        outcome = try_one(make, job.atoms, job.stress, folder)
        about = self._about(job) | {"structure": job.atoms.todict()}
        keep_result(self.keeper.results.path(job.key), about, outcome)
        return outcome

    def _changes(self, job: Job) -> Mapping[str, Any]:
        """The arguments to change in this attempt."""
        retries = self.method.retries
        attempts = [{}, *retries]
        # there may be more failures on record than there are retries now
        return attempts[min(len(self.keeper.failures.failed(job.key)), len(retries))]

    def _about(self, job: Job) -> dict[str, Any]:
        """What is kept with the result of this attempt, besides the structure."""
        attempt = self.keeper.failures.attempts(job.key) + 1
        return {
            "key": job.key,
            "data": method_of(self.method.spec, job.atoms, self._changes(job)),
            "notes": {**job.notes, "attempt": attempt},
        }

    def _settle(
        self, jobs: Sequence[Job], outcomes: Sequence[Outcome]
    ) -> list[ParentResult | Failure | None]:
        """Put the outcomes of one call where they are kept; None: there is another attempt.

        The results go first, all of them or none.
        """
        finished = [self._finished(*pair) for pair in zip(jobs, outcomes, strict=True)]
        good = [each for each in finished if each is not None]
        if good:
            self._patience.until(lambda: self.keeper.store(good))
        settled: list[ParentResult | Failure | None] = []
        for job, outcome, each in zip(jobs, outcomes, finished, strict=True):
            if each is None:
                settled.append(self._fail(job, outcome))
                continue
            attempt = self.keeper.failures.attempts(job.key)
            self.keeper.folders.settle(job.key, attempt, failed=False)
            result = ParentResult(**each.outcome)
            self.count(result)
            settled.append(result)
        if len(good) < len(jobs):
            self._patience.until(self.keeper.failures.save)
        return settled

    def _finished(self, job: Job, outcome: Outcome) -> Finished | None:
        """A result that can be believed: of the call, or of the file of one that was lost."""
        if "energy" in outcome:
            if validate_result(outcome, len(job.atoms), self.method.max_force):
                self.keeper.results.remove([job.key])
                return None
            about = self._about(job)
            return Finished(job.key, job.atoms, about["data"], about["notes"], outcome)
        try:
            found = self.keeper.results.read(job.key)
        except InputError:
            return None
        if found is None or validate_result(found.outcome, len(job.atoms), self.method.max_force):
            return None
        if job.stress and found.outcome["stress"] is None:
            return None
        return Finished(job.key, job.atoms, found.data, found.notes, found.outcome)

    def _fail(self, job: Job, outcome: Outcome) -> Failure | None:
        """Note a failure; None if there is another attempt."""
        failures, engine = self.keeper.failures, self.method.engine
        attempt = failures.attempts(job.key)
        if "full" in outcome:
            self.keeper.folders.settle(job.key, attempt, failed=False)
            return None
        files = self.keeper.folders.settle(job.key, attempt, failed=True)
        reason = outcome.get("failure", "")
        if "lost" in outcome:
            failures.add(job.key, job.atoms, "lost", outcome["lost"])
            times = len(failures.lost(job.key))
            if times <= engine.resubmissions or not outcome["alone"]:
                return None
            reason = outcome["lost"] + f" (so it ended {times} times)" * (times > 1)
        reason = reason or validate_result(outcome, len(job.atoms), self.method.max_force)
        reason += f" (files in {files})" if files else ""
        over = len(failures.failed(job.key)) >= len(self.method.retries)
        failures.add(job.key, job.atoms, "failed", reason, given_up=over)
        return failures.find(job.key)
