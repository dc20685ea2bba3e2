"""The parent that labels structures: asked one by one or many at once, never twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from nearsight.errors import InputError, ParentError
from nearsight.images import check_structure
from nearsight.parents.database import ParentDatabase, ParentResult, fingerprint
from nearsight.parents.failures import Failure, FailureRecord
from nearsight.parents.method import Method
from nearsight.parents.work import Outcome, attempt, perform, reason_of
from nearsight.settings import ExecutorSettings, ParentSettings

__all__ = ["Parent", "ParentCalculator", "as_parent"]


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
        self._method = Method(calculator, arguments, preset, chunks, bulk, retries)
        self.settings = self._method.settings
        self.calculations = 0
        self._max_force = max_force
        self._retries = [dict(each) for each in retries]
        self.executor = executor
        self._engine = engine or ExecutorSettings()
        if not self._method.portable:
            for what, given in (
                ("a database of parent calculations", database),
                ("an executor of parent calculations", executor),
            ):
                if given is not None:
                    raise InputError(
                        f"{what} needs a parent given by name ('emt' or 'package.module:factory') "
                        f"or a function found by its name, got {self._method.name}"
                    )
        self.failures = FailureRecord(None if failures is None else Path(failures))
        self._database = None if database is None else ParentDatabase(database)

    @classmethod
    def of(
        cls,
        settings: ParentSettings,
        database: str | Path | None = None,
        failures: str | Path | None = None,
        executor: Executor | None = None,
        engine: ExecutorSettings | None = None,
    ) -> Parent:
        """The parent that settings describe; see `Parent`."""
        return cls(
            settings.calculator,
            settings.arguments,
            database,
            preset=settings.preset,
            chunks=settings.chunks,
            bulk=settings.bulk,
            max_force=settings.max_force,
            retries=settings.retries,
            failures=failures,
            executor=executor,
            engine=engine,
        )

    @property
    def known(self) -> int:
        """Calculations in the database, or those performed where there is none."""
        return self.calculations if self._database is None else len(self._database)

    def calculate(self, atoms: Atoms, stress: bool = False) -> ParentResult:
        """Energy and forces of a structure; its constraints are disregarded.

        A structure in the database is read back, bit for bit what was calculated. A new result is
        committed to the database before it is returned.

        Parameters
        ----------
        atoms : ase.Atoms
        stress : bool
            Whether the stress is wanted as well.

        Raises
        ------
        InputError
            A structure that cannot be (see `check_structure`), or a database that cannot be used.
        ParentError
            The calculation and all further attempts failed, now or in an earlier run.
        """
        found = self.calculate_many([atoms], stress)[0]
        if isinstance(found, Failure):
            raise ParentError(f"parent {self._method.name} failed on {found}")
        return found

    def calculate_many(
        self,
        structures: Sequence[Atoms],
        stress: bool = False,
        report: Callable[[int], None] = lambda _: None,
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
            Called with the number of structures finished.

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
        for atoms in structures:
            check_structure(atoms)
        plain = [_plain(atoms) for atoms in structures]
        keys = [fingerprint(atoms, self._method.identity(atoms)) for atoms in plain]
        found: dict[str, ParentResult | Failure] = {}
        waiting: deque[_Job] = deque()
        for key, atoms in dict(zip(keys, plain, strict=True)).items():
            known = self._look_up(key, atoms, stress)
            if known is None:
                waiting.append(_Job(key, atoms, stress))
            else:
                found[key] = known
        for key, result in self._carry_out(waiting):
            found[key] = result
            report(sum(each in found for each in keys))
        return [found[key] for key in keys]

    def _look_up(self, key: str, atoms: Atoms, stress: bool) -> ParentResult | Failure | None:
        if self._database is not None:
            known = self._database.read(key, len(atoms))
            if known and not (stress and known.stress is None):
                return known
        return self.failures.find(key)

    def _carry_out(self, waiting: deque[_Job]) -> Iterator[tuple[str, ParentResult | Failure]]:
        """Submit, wait, put on record and try again, until every structure has a result."""
        running: dict[Future[list[Outcome]], list[_Job]] = {}
        most = 1 if self.executor is None else self._engine.workers
        while waiting or running:
            while waiting and len(running) < most:
                jobs = [waiting.popleft()]
                # one that vanished goes alone: it may be what took the others with it
                while (
                    waiting
                    and len(jobs) < self._engine.per_job
                    and not any(self.failures.lost(job.key) for job in (jobs[-1], waiting[0]))
                ):
                    jobs.append(waiting.popleft())
                running[self._submit(jobs)] = jobs
            done = wait(running, self._engine.patience * 3600.0, FIRST_COMPLETED).done
            if not done:
                raise ParentError(
                    f"waited {self._engine.patience:g} h for {len(running)} calculations of "
                    f"parent {self._method.name} and none came back; start again to go on waiting"
                )
            for future in done:
                jobs = running.pop(future)
                for job, outcome in zip(jobs, _outcomes(future, len(jobs)), strict=True):
                    result = self._settle(job, outcome)
                    if result is None:
                        waiting.append(job)
                    else:
                        yield job.key, result

    def _submit(self, jobs: Sequence[_Job]) -> Future[list[Outcome]]:
        if self.executor is None:
            here: Future[list[Outcome]] = Future()
            here.set_result(
                [
                    attempt(self._method.maker(self._changes(job)), job.atoms, job.stress)
                    for job in jobs
                ]
            )
            return here
        tasks = [
            {
                "calculator": self._method.name,
                "folder": self._method.folder,
                "arguments": self._method.arguments(job.atoms, self._changes(job)),
                "structure": job.atoms.todict(),
                "stress": job.stress,
                # engines that know a call by its content must not take a new try for the old one
                "tries": [len(self.failures.failed(job.key)), len(self.failures.lost(job.key))],
            }
            for job in jobs
        ]
        try:
            return self.executor.submit(perform, tasks)
        except RuntimeError as error:  # shut down, or broken by a worker that died
            raise ParentError(
                f"the executor takes no calculation of parent {self._method.name}: {error}"
            ) from error

    def _changes(self, job: _Job) -> Mapping[str, Any]:
        """The arguments to change in this attempt."""
        return [{}, *self._retries][len(self.failures.failed(job.key))]

    def _settle(self, job: _Job, outcome: Outcome) -> ParentResult | Failure | None:
        """Put an outcome where it is kept; None if there is another attempt."""
        if "lost" in outcome:
            lost = len(self.failures.lost(job.key)) + 1
            over = lost > self._engine.resubmissions
            self.failures.add(job.key, job.atoms, "lost", outcome["lost"], given_up=over)
            return self.failures.find(job.key)
        reason = outcome.get("failure") or self._unbelievable(job, outcome)
        if reason:
            over = len(self.failures.failed(job.key)) == len(self._retries)
            self.failures.add(job.key, job.atoms, "failed", reason, given_up=over)
            return self.failures.find(job.key)
        self.calculations += 1
        result = ParentResult(**outcome)
        if self._database is not None:
            self._database.write(job.key, job.atoms, result, self.settings)
        return result

    def _unbelievable(self, job: _Job, outcome: Outcome) -> str:
        """What is wrong with a result; empty if it can be believed."""
        for name, shape in (("energy", ()), ("forces", (len(job.atoms), 3)), ("stress", (6,))):
            value = outcome[name]
            if value is None:
                continue
            if np.shape(value) != shape:
                return f"{name} of shape {np.shape(value)}, not {shape}"
            if not np.isfinite(value).all():
                return f"{name} not finite"
        largest = float(np.linalg.norm(outcome["forces"], axis=1).max())
        if largest > self._max_force:
            return f"a force of {largest:.4g} eV/Å, beyond max_force = {self._max_force:g} eV/Å"
        return ""


@dataclass(frozen=True)
class _Job:
    """A structure to calculate."""

    key: str
    atoms: Atoms
    stress: bool


def _plain(atoms: Atoms) -> Atoms:
    plain = atoms.copy()
    plain.set_constraint()
    plain.info = {}
    return plain


def _outcomes(future: Future[list[Outcome]], count: int) -> list[Outcome]:
    """What came of the structures of one call."""
    try:
        return future.result()
    except TimeoutError as error:
        return [{"failure": str(error) or "no result in time"}] * count
    except Exception as error:  # engines say in ways of their own that a worker vanished
        return [{"lost": reason_of(error)}] * count


class ParentCalculator(Calculator):  # type: ignore[misc, unused-ignore]  # ASE is partly untyped
    """A parent as an ASE calculator, for relaxations whose every step goes through `Parent`.

    Parameters
    ----------
    parent : Parent
    stress : bool
        Whether every calculation shall give the stress too (relaxation of a cell).
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, parent: Parent, stress: bool = False) -> None:
        super().__init__()
        self._parent = parent
        self._stress = stress

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Ask the parent; ASE calls this when it wants a result.

        Raises
        ------
        InputError, ParentError
            See `Parent.calculate`.
        """
        super().calculate(atoms, properties, system_changes)
        result = self._parent.calculate(self.atoms, self._stress or "stress" in properties)
        self.results = {
            "energy": result.energy,
            "free_energy": result.energy,
            "forces": result.forces,
        }
        if result.stress is not None:
            self.results["stress"] = result.stress


def as_parent(parent: Parent | str | Callable[..., Any] | Calculator) -> Parent:
    """A `Parent` of what describes one: itself, a name, a callable, an ASE calculator.

    Raises
    ------
    InputError
        See `Parent`.
    """
    return parent if isinstance(parent, Parent) else Parent(parent)
