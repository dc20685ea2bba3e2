"""Calculations asked for together: submitted, waited for, kept, tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass

from nearsight.errors import InputError, ParentError, UnavailableError
from nearsight.executors import discard_finished
from nearsight.parents.attempts import Attempts
from nearsight.parents.database import ParentResult
from nearsight.parents.failures import Failure, name_of
from nearsight.parents.jobs import Job
from nearsight.parents.keeper import Patience
from nearsight.parents.probe import complaint_of
from nearsight.parents.results import Finished
from nearsight.parents.tasks import Outcome, outcomes_of, validate_result

__all__ = ["Batch"]


@dataclass
class Batch:
    """Calculations carried out until every structure has a result.

    Attributes
    ----------
    attempts : Attempts
    executor : concurrent.futures.Executor or None
        What carries out the calculations; None: this process.
    guard : callable
        Called before every submission; what it raises ends the batch.
    count : callable
        Called with every new result.
    tell : callable
        Called with the number of calculations under way, when it changes.
    note : callable
        See `nearsight.parents.Parent.calculate_many`.
    """

    attempts: Attempts
    executor: Executor | None
    guard: Callable[[], None]
    count: Callable[[ParentResult], None]
    tell: Callable[[int], None]
    note: Callable[[str], None]

    def __post_init__(self) -> None:
        self.method = self.attempts.method
        self.keeper = self.attempts.keeper
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
        most = 1 if self.executor is None else engine.workers
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
        discard_finished(self.executor)

    def probe(self, job: Job) -> None:
        """Calculate a structure as the first, and keep what comes of it.

        Raises
        ------
        InputError
            In one sentence what the parent lacks. Nothing is put on record then.
        """
        name = self.method.spec.name
        attempt = self.keeper.failures.attempts(job.key)
        call = self._submit([job])
        wait([call], self.method.engine.patience * 3600.0)
        if not call.done():
            return  # the patience of what asks next ends with a sentence
        outcome = outcomes_of(call, 1)[0]
        if self._finished(job, outcome) is None:
            folder = self.keeper.folders.path(job.key, attempt)
            complaint = complaint_of(name, name_of(job.atoms), outcome, folder)
            if complaint:
                files = self.keeper.folders.settle(job.key, attempt, failed=True)
                discard_finished(self.executor)
                raise InputError(complaint + f" (files in {files})" * bool(files))
        self._settle([job], [outcome])
        discard_finished(self.executor)

    def _calls(self, keys: Sequence[str], jobs: Mapping[str, Job]) -> deque[list[Job]]:
        """The structures to calculate, in the groups that make one call each.

        A group does not depend on what else is known already, so that a run that was stopped asks
        its engine for the calls it made before. One that failed or vanished goes alone: it may be
        what took the others with it.
        """
        per_job = 1 if self.executor is None else self.method.engine.per_job
        groups: dict[str | int, list[Job]] = {}
        for position, key in enumerate(keys):
            if key in jobs:
                group = key if self.keeper.failures.attempts(key) else position // per_job
                groups.setdefault(group, []).append(jobs[key])
        return deque(groups.values())

    def _submit(self, jobs: Sequence[Job]) -> Future[list[Outcome]]:
        self.guard()
        return self.attempts.submit(jobs, self.executor, self.note)

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
            about = self.attempts.about(job)
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
        over = self.attempts.is_last(job)
        failures.add(job.key, job.atoms, "failed", reason, given_up=over)
        return failures.find(job.key)
