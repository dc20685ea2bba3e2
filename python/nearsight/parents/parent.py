"""The parent that labels structures: asked one by one or many at once, never twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator

from nearsight.config import ExecutorSettings, ParentSettings
from nearsight.errors import InputError, ParentError
from nearsight.parents.attempts import Attempts, Method
from nearsight.parents.batch import Batch
from nearsight.parents.database import ParentDatabase, ParentResult, fingerprint
from nearsight.parents.failures import Failure, FailureRecord, name_of
from nearsight.parents.folders import AttemptFolders
from nearsight.parents.jobs import Job, tally
from nearsight.parents.keeper import Keeper
from nearsight.parents.origin import Origin
from nearsight.parents.spec import CalculatorSpec, plain_structure
from nearsight.progress import Progress, Tally
from nearsight.structures.images import check_structure

__all__ = ["Parent", "as_parent"]

FIRST = "First calculation"
"""Stage in which a parent is tried."""


class Parent:
    """A parent code with its settings and, if wanted, a database of its calculations.

    Name and arguments are what tells one parent's calculations from another's: whoever changes
    what a factory does must start a new database.

    Parameters
    ----------
    calculator : str, callable or ASE calculator
        The name of a code (``"emt"``, ``"espresso"``); ``"package.module:factory"``, called
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
    pass_info : sequence of str
        Keys of ``atoms.info`` that the calculator sees beside ``charge`` and ``spin``; their
        values are numbers, texts or lists, and another value is another calculation.
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
        pass_info: Sequence[str] = (),
        max_force: float = 100.0,
        retries: Sequence[Mapping[str, Any]] = (),
        failures: str | Path | None = None,
        executor: Executor | None = None,
        engine: ExecutorSettings | None = None,
    ) -> None:
        self._spec = CalculatorSpec(calculator, arguments, preset, chunks, bulk, retries)
        self.settings = self._spec.settings
        self.pass_info = tuple(pass_info)
        self.calculations = 0
        self._seconds = 0.0
        changes = [dict(each) for each in retries]
        self._method = Method(self._spec, changes, max_force, engine or ExecutorSettings())
        self.executor = executor
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
            pass_info=settings.pass_info,
            max_force=settings.max_force,
            retries=settings.retries,
            engine=engine,
        )

    def attach(
        self,
        database: str | Path | None,
        failures: str | Path | None = None,
        folders: AttemptFolders | None = None,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep calculations, failures and files in these places from now on; see `Parent`.

        Parameters
        ----------
        database, failures
        folders : AttemptFolders, optional
            Results are files there until the database holds them; see `take_in`.
        guard : callable
            Called before every calculation; what it raises ends the work.

        Raises
        ------
        InputError
            If a place cannot be used, or the parent has no name that a database could go by.
        """
        if database is not None:
            self._refuse_without_name("a database of parent calculations")
        self.failures = FailureRecord(None if failures is None else Path(failures))
        self._database = None if database is None else ParentDatabase(database)
        self._keeper = Keeper(self._database, self.failures, folders)
        self._attempts = Attempts(self._method, self._keeper)
        self._guard = guard

    def take_in(self) -> list[str]:
        """Commit results that were finished but not committed; sentences about what was found.

        Raises
        ------
        InputError
            If the database cannot be used.
        """
        return self._keeper.take_in(self._spec.identity, self._method.max_force)

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

        Whatever comes back is committed to the database before anything else happens; while that
        is locked or the disk is full, it is waited for. A failure is a normal result: it is tried
        again as the retries say, then put on record and given up.

        Parameters
        ----------
        structures : sequence of ase.Atoms
        stress : bool
            Whether the stress is wanted as well.
        report : callable
            Called at first, when a calculation begins, and when some have ended.
        note : callable
            Called with a sentence when a process or job has vanished and its calculation is done
            again, or when a locked database or a full disk is waited for.
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
        plain = [plain_structure(atoms, self.pass_info) for atoms in structures]
        keys = [self._key(atoms) for atoms in plain]
        results: dict[str, ParentResult | Failure] = {}
        batch = Batch(
            self._attempts,
            self.executor,
            self._guard,
            self._count,
            lambda running: report(tally([results.get(key) for key in keys], running)),
            note,
        )
        jobs: dict[str, Job] = {}
        with nullcontext() if self._database is None else self._database.connected():
            for key, atoms, given in zip(keys, plain, structures, strict=True):
                job = Job(key, atoms, stress, origin.notes(given))
                known = batch.look_up(job)
                if known is None:
                    jobs[key] = job
                else:
                    results[key] = known
        batch.carry_out(list(dict.fromkeys(keys)), jobs, results)
        return [results[key] for key in keys]

    def probe(
        self,
        structures: Sequence[Atoms],
        stress: bool = False,
        origin: Origin | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Calculate the smallest of structures first, to find out what the parent lacks.

        Nothing happens where it is known already, or was tried before. Its result is kept; so is a
        failure of another kind, which the retries are for.

        Parameters
        ----------
        structures : sequence of ase.Atoms
        stress, origin
            See `calculate_many`.
        progress : Progress, optional
            Gets a stage of its own if there is something to calculate.

        Raises
        ------
        InputError
            In one sentence what is missing (a program, forces, pseudopotentials, ...), and what to
            do. Nothing is put on record then.
        """
        if self._spec.certain or not structures:
            return
        given = min(structures, key=len)
        check_structure(given)
        atoms = plain_structure(given, self.pass_info)
        job = Job(self._key(atoms), atoms, stress, (origin or Origin()).notes(given))
        told = progress or Progress()
        batch = Batch(
            self._attempts, self.executor, self._guard, self._count, lambda _: None, told.note
        )
        if batch.look_up(job) is None and not self.failures.attempts(job.key):
            told.stage(FIRST, f"parent {self._spec.name} on {name_of(atoms)}")
            batch.probe(job)

    def _key(self, plain: Atoms) -> str:
        return fingerprint(plain, self._spec.identity(plain))

    def _count(self, result: ParentResult) -> None:
        self.calculations += 1
        self._seconds += result.seconds


def as_parent(parent: Parent | str | Callable[..., Any] | Calculator) -> Parent:
    """A `Parent` of what describes one: itself, a name, a callable, an ASE calculator.

    Raises
    ------
    InputError
        See `Parent`.
    """
    return parent if isinstance(parent, Parent) else Parent(parent)
