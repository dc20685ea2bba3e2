"""The parent that labels structures: asked one by one or many at once, never twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator

from nearsight.config import ExecutorSettings, ParentSettings
from nearsight.errors import InputError, ParentError
from nearsight.executors import discard_finished
from nearsight.parents.database import ParentDatabase, ParentResult, fingerprint
from nearsight.parents.failures import Failure, FailureRecord, name_of
from nearsight.parents.folders import AttemptFolders
from nearsight.parents.jobs import Job, tally
from nearsight.parents.origin import Origin, method_of
from nearsight.parents.spec import CalculatorSpec
from nearsight.parents.tasks import (
    Outcome,
    make_task,
    outcomes_of,
    run_tasks,
    try_one,
    validate_result,
)
from nearsight.progress import Tally
from nearsight.structures.images import check_structure

__all__ = ["Parent", "as_parent"]


class Parent:
    """A parent code with its settings and, if wanted, a database of its calculations.

    Name and arguments are what tells one parent's calculations from another's: whoever changes
    what a factory does must start a new database.

    Parameters
    ----------
    calculator : str, callable or ASE calculator
        The name of a known code (``"emt"``, ``"gpaw"``); ``"package.module:factory"``, called
        with the arguments and returning an ASE calculator; such a callable itself; or a ready ASE
        calculator.
    arguments : mapping, optional
        Keyword arguments of the factory; what JSON can write.
    database : path or str, optional
        ASE database that keeps every calculation: an SQLite file, made if it does not exist, or
        the URL of a PostgreSQL database. Lambdas, local functions and ready calculators have no
        name it could go by.
    preset : str, optional
        Name of ready arguments of a known code; ``arguments`` go over them.
    chunks, bulk : mapping, optional
        Arguments for isolated and for periodic structures, over ``arguments``.
    max_force : float, eV/Å
        A calculation with a larger force has failed.
    retries : sequence of mapping
        Arguments to change in each further attempt after a failure.
    failures : path, optional
        JSON file that keeps what failed; kept in memory when left out.
    executor : concurrent.futures.Executor, optional
        What carries out the calculations; this process when left out. Its workers must be able to
        import nearsight and the calculator's module.
    engine : ExecutorSettings, optional
        How many calculations at once, how many in a job, how long to wait.

    Attributes
    ----------
    settings : dict
        ``calculator`` (name), ``arguments`` and, where given, ``preset``, ``chunks``, ``bulk``;
        as JSON writes them.
    calculations : int
        Calculations this object has had performed.
    failures : FailureRecord
        What went wrong.
    executor : concurrent.futures.Executor or None
        What carries out the calculations.

    Raises
    ------
    InputError
        Unknown or unusable calculator, arguments it does not take, or an unusable database.
    """

    def __init__(
        self,
        calculator: str | Callable[..., Any] | Calculator,
        arguments: Mapping[str, Any] | None = None,
        database: str | Path | None = None,
        *,
        preset: str | None = None,
        chunks: Mapping[str, Any] | None = None,
        bulk: Mapping[str, Any] | None = None,
        max_force: float = 100.0,
        retries: Sequence[Mapping[str, Any]] = (),
        failures: str | Path | None = None,
        executor: Executor | None = None,
        engine: ExecutorSettings | None = None,
    ) -> None:
        self._spec = CalculatorSpec(calculator, arguments, preset, chunks, bulk, retries)
        self.settings = self._spec.settings
        self.calculations = 0
        self._seconds = 0.0
        self._max_force = max_force
        self._retries = [dict(changes) for changes in retries]
        self.executor = executor
        self._engine = engine or ExecutorSettings()
        if executor is not None:
            self._refuse_without_name("an executor of parent calculations")
        self.attach(database, failures)

    @classmethod
    def of(cls, settings: ParentSettings, engine: ExecutorSettings | None = None) -> Parent:
        """The parent that settings describe, as yet without a database; see `Parent`."""
        return cls(
            settings.calculator,
            settings.arguments,
            preset=settings.preset,
            chunks=settings.chunks,
            bulk=settings.bulk,
            max_force=settings.max_force,
            retries=settings.retries,
            engine=engine,
        )

    def attach(
        self,
        database: str | Path | None,
        failures: str | Path | None = None,
        folders: AttemptFolders | None = None,
    ) -> None:
        """Keep calculations, failures and files in these places from now on; see `Parent`.

        Raises
        ------
        InputError
            If a place cannot be used, or the parent has no name that a database could go by.
        """
        if database is not None:
            self._refuse_without_name("a database of parent calculations")
        self.failures = FailureRecord(None if failures is None else Path(failures))
        self._database = None if database is None else ParentDatabase(database)
        self._folders = folders or AttemptFolders()

    def _refuse_without_name(self, what: str) -> None:
        if not self._spec.portable:
            raise InputError(
                f"{what} needs a parent given by name ('emt' or 'package.module:factory') or a "
                f"function found by its name, got {self._spec.name}"
            )

    @property
    def known(self) -> int:
        """Calculations in the database, or those performed where there is none."""
        return self.calculations if self._database is None else len(self._database)

    @property
    def seconds(self) -> float:
        """Wall time of those calculations, all together."""
        return self._seconds if self._database is None else self._database.seconds

    def calculate(
        self, atoms: Atoms, stress: bool = False, origin: Origin | None = None
    ) -> ParentResult:
        """Energy and forces of a structure; its constraints are disregarded.

        A structure in the database is read back, bit for bit what was calculated. A new result is
        committed to the database before it is returned.

        Parameters
        ----------
        atoms : ase.Atoms
        stress : bool
            Whether the stress is wanted as well.
        origin : Origin, optional
            See `calculate_many`.

        Raises
        ------
        InputError
            A structure that cannot be (see `check_structure`), or a database that cannot be used.
        ParentError
            The calculation and all further attempts failed, now or in an earlier run.
        """
        result = self.calculate_many([atoms], stress, origin=origin)[0]
        if isinstance(result, Failure):
            raise ParentError(f"parent {self._spec.name} failed on {result}")
        return result

    def calculate_many(
        self,
        structures: Sequence[Atoms],
        stress: bool = False,
        report: Callable[[Tally], None] = lambda _: None,
        note: Callable[[str], None] = lambda _: None,
        origin: Origin | None = None,
    ) -> list[ParentResult | Failure]:
        """Energies and forces of structures, as many side by side as the executor can.

        Whatever comes back is committed to the database before anything else happens. A failure
        is a normal result: it is tried again as the retries say, then put on record and given up.

        Parameters
        ----------
        structures : sequence of ase.Atoms
        stress : bool
            Whether the stress is wanted as well.
        report : callable
            Called at first, when a calculation begins, and when some have ended.
        note : callable
            Called with a sentence when a process or job has vanished and its calculation is done
            again.
        origin : Origin, optional
            What the structures are calculated for; the database keeps it with a new result.

        Returns
        -------
        list of ParentResult or Failure
            In the order of the structures.

        Raises
        ------
        InputError
            A structure that cannot be (see `check_structure`), or a database that cannot be used.
        ParentError
            The executor is broken, or nothing came back for as long as the patience lasts.
        """
        origin = origin or Origin()
        for atoms in structures:
            check_structure(atoms)
        plain = [_plain(atoms) for atoms in structures]
        keys = [fingerprint(atoms, self._spec.identity(atoms)) for atoms in plain]
        results: dict[str, ParentResult | Failure] = {}
        jobs: dict[str, Job] = {}
        with nullcontext() if self._database is None else self._database.connected():
            for key, atoms, given in zip(keys, plain, structures, strict=True):
                cached = self._look_up(key, atoms, stress)
                if cached is None:
                    jobs[key] = Job(key, atoms, stress, origin.notes(given))
                else:
                    results[key] = cached
        self._carry_out(
            self._calls(list(dict.fromkeys(keys)), jobs),
            results,
            lambda running: report(tally([results.get(key) for key in keys], running)),
            note,
        )
        return [results[key] for key in keys]

    def _look_up(self, key: str, atoms: Atoms, stress: bool) -> ParentResult | Failure | None:
        if self._database is not None:
            cached = self._database.read(key, len(atoms))
            if cached and not (stress and cached.stress is None):
                reason = validate_result(vars(cached), len(atoms), self._max_force)
                if not reason:
                    return cached
                self.failures.doubt(key, atoms, f"{reason} (in the database)", len(self._retries))
        return self.failures.find(key)

    def _calls(self, keys: Sequence[str], jobs: Mapping[str, Job]) -> deque[list[Job]]:
        """The structures to calculate, in the groups that make one call each.

        A group does not depend on what else is known already, so that a run that was stopped asks
        its engine for the calls it made before. One that failed or vanished goes alone: it may be
        what took the others with it.
        """
        per_job = 1 if self.executor is None else self._engine.per_job
        groups: dict[str | int, list[Job]] = {}
        for position, key in enumerate(keys):
            if key in jobs:
                group = key if self.failures.attempts(key) else position // per_job
                groups.setdefault(group, []).append(jobs[key])
        return deque(groups.values())

    def _carry_out(
        self,
        waiting: deque[list[Job]],
        results: MutableMapping[str, ParentResult | Failure],
        tell: Callable[[int], None],
        note: Callable[[str], None],
    ) -> None:
        """Submit, wait, put on record and try again, until every structure has a result."""
        running: dict[Future[list[Outcome]], list[Job]] = {}
        tell(0)
        most = 1 if self.executor is None else self._engine.workers
        while waiting or running:
            while waiting and len(running) < most:
                jobs = waiting.popleft()
                tell(len(jobs) + sum(map(len, running.values())))
                running[self._submit(jobs)] = jobs
            done = wait(running, self._engine.patience * 3600.0, FIRST_COMPLETED).done
            if not done:
                raise ParentError(
                    f"waited {self._engine.patience:g} h for {len(running)} calculations of "
                    f"parent {self._spec.name} and none came back; start again to go on waiting"
                )
            for future in done:
                jobs = running.pop(future)
                outcomes = outcomes_of(future, len(jobs))
                settled = self._settle_all(jobs, outcomes)
                for job, outcome, result in zip(jobs, outcomes, settled, strict=True):
                    if result is not None:
                        results[job.key] = result
                        continue
                    waiting.append([job])
                    if "lost" in outcome:
                        note(f"calculating {name_of(job.atoms)} again: {outcome['lost']}")
            tell(sum(map(len, running.values())))
        discard_finished(self.executor)

    def _submit(self, jobs: Sequence[Job]) -> Future[list[Outcome]]:
        if self.executor is None:
            here: Future[list[Outcome]] = Future()
            here.set_result([self._try_here(job) for job in jobs])
            return here
        tasks = [
            {
                **make_task(self._spec, job.atoms, self._changes(job), job.stress),
                "attempt_folder": self._folders.path(job.key, self.failures.attempts(job.key)),
                "shared": self._engine.engine == "slurm" and self._engine.cores > 1,
                # engines that know a call by its content must not take a new try for the old one
                "tries": [len(self.failures.failed(job.key)), len(self.failures.lost(job.key))],
            }
            for job in jobs
        ]
        try:
            return self.executor.submit(run_tasks, tasks)
        except RuntimeError as error:  # shut down, or broken by a worker that died
            raise ParentError(
                f"the executor takes no calculation of parent {self._spec.name}: {error}"
            ) from error

    def _try_here(self, job: Job) -> Outcome:
        folder = self._folders.path(job.key, self.failures.attempts(job.key))
        return try_one(self._spec.maker(self._changes(job)), job.atoms, job.stress, folder)

    def _changes(self, job: Job) -> Mapping[str, Any]:
        """The arguments to change in this attempt."""
        attempts = [{}, *self._retries]
        # there may be more failures on record than there are retries now
        return attempts[min(len(self.failures.failed(job.key)), len(self._retries))]

    def _settle_all(
        self, jobs: Sequence[Job], outcomes: Sequence[Outcome]
    ) -> list[ParentResult | Failure | None]:
        """Put the outcomes of one call where they are kept, all of them or none."""
        with nullcontext() if self._database is None else self._database.transaction():
            return [self._settle(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]

    def _settle(self, job: Job, outcome: Outcome) -> ParentResult | Failure | None:
        """Put an outcome where it is kept; None if there is another attempt."""
        reason = outcome.get("failure", "")
        attempt = self.failures.attempts(job.key)
        if "lost" in outcome:
            self._folders.settle(job.key, attempt, failed=True)
            self.failures.add(job.key, job.atoms, "lost", outcome["lost"])
            times = len(self.failures.lost(job.key))
            if times <= self._engine.resubmissions or not outcome["alone"]:
                return None
            reason = outcome["lost"] + f" (so it ended {times} times)" * (times > 1)
        reason = reason or validate_result(outcome, len(job.atoms), self._max_force)
        files = self._folders.settle(job.key, attempt, failed=bool(reason))
        if reason:
            reason += f" (files in {files})" if files else ""
            over = len(self.failures.failed(job.key)) >= len(self._retries)
            self.failures.add(job.key, job.atoms, "failed", reason, given_up=over)
            return self.failures.find(job.key)
        self.calculations += 1
        result = ParentResult(**outcome)
        self._seconds += result.seconds
        if self._database is not None:
            data = method_of(self._spec, job.atoms, self._changes(job))
            notes = {**job.notes, "attempt": attempt + 1}
            self._database.write(job.key, job.atoms, result, data, notes)
        return result


def _plain(atoms: Atoms) -> Atoms:
    plain = atoms.copy()
    plain.set_constraint()
    plain.info = {}
    return plain


def as_parent(parent: Parent | str | Callable[..., Any] | Calculator) -> Parent:
    """A `Parent` of what describes one: itself, a name, a callable, an ASE calculator.

    Raises
    ------
    InputError
        See `Parent`.
    """
    return parent if isinstance(parent, Parent) else Parent(parent)
