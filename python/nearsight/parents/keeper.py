"""Where results and failures of a parent are kept, and the patience to wait for these places."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar

from ase import Atoms

from nearsight.errors import UnavailableError
from nearsight.parents.database import ParentDatabase, ParentResult, fingerprint
from nearsight.parents.failures import FailureRecord
from nearsight.parents.folders import AttemptFolders
from nearsight.parents.results import Finished, ResultFiles, results_in
from nearsight.parents.tasks import validate_result
from nearsight.progress import count_noun

__all__ = ["Keeper", "Patience"]

PAUSES = (0.2, 1.0, 5.0, 15.0)  # s before the next try; the last for ever on
SAY = 600.0  # s between two notes

T = TypeVar("T")


class Keeper:
    """Database, record of failures, and files of the calculations of a parent.

    Parameters
    ----------
    database : ParentDatabase, optional
    failures : FailureRecord, optional
        In memory when left out.
    folders : AttemptFolders, optional
        Temporary ones when left out.
    """

    def __init__(
        self,
        database: ParentDatabase | None = None,
        failures: FailureRecord | None = None,
        folders: AttemptFolders | None = None,
    ) -> None:
        self.database = database
        self.failures = failures or FailureRecord()
        self.folders = folders or AttemptFolders()
        # without a database there is nothing to take them in
        self.results = ResultFiles(None if database is None else self.folders.results)

    def store(self, results: Sequence[Finished]) -> None:
        """Commit results to the database, all or none; then their files are removed.

        Raises
        ------
        UnavailableError
            If the database is locked or the disk is full; the files stay.
        InputError
            If the database cannot be used.
        """
        if self.database is None or not results:
            return
        with self.database.transaction():
            for each in results:
                result = ParentResult(**each.outcome)
                self.database.write(each.key, each.atoms, result, each.data, each.notes)
        self.results.remove([each.key for each in results])

    def take_in(self, identity: Callable[[Atoms], str], max_force: float) -> list[str]:
        """Commit what an earlier run has finished but not committed; sentences about it.

        Parameters
        ----------
        identity : callable
            Text that identifies the parent's method on a structure.
        max_force : float, eV/Å

        Raises
        ------
        InputError
            If the database cannot be used.
        """
        said: list[str] = []
        new: list[Finished] = []
        for each in results_in(self.results):
            if isinstance(each, str):
                said.append(f"{each}; its result is not used")
            elif each.key != fingerprint(each.atoms, identity(each.atoms)):
                place = self.results.path(each.key)
                said.append(f"{place}: not of this parent and structure; its result is not used")
            elif self._knows(each) or validate_result(each.outcome, len(each.atoms), max_force):
                self.results.remove([each.key])
            else:
                new.append(each)
        self.store(new)
        for each in new:
            self.folders.settle(each.key, self.failures.attempts(each.key), failed=False)
        self.folders.tidy()
        if new:
            found = count_noun(len(new), "calculation")
            said.append(f"{found} taken in that an earlier run had finished")
        return said

    def _knows(self, each: Finished) -> bool:
        assert self.database is not None  # else there are no files
        known = self.database.read(each.key, len(each.atoms))
        return known is not None and (each.outcome["stress"] is None or known.stress is not None)


class Patience:
    """Waits while a database is locked or a disk is full, saying so.

    Parameters
    ----------
    hours : float
        After which it ends.
    note : callable
        Called with a sentence at first and then every ten minutes.
    """

    def __init__(self, hours: float, note: Callable[[str], None]) -> None:
        self._hours = hours
        self._note = note
        self._began = math.inf
        self._said = -math.inf
        self._pauses = iter(PAUSES)

    def until(self, work: Callable[[], T]) -> T:
        """Do work as soon as it can be done.

        Raises
        ------
        UnavailableError
            If it could not be done for so long.
        """
        while True:
            try:
                result = work()
            except UnavailableError as error:
                self.wait(error)
            else:
                self.over()
                return result

    def wait(self, error: UnavailableError) -> None:
        """Wait a moment because of an error; raise it if there were enough of them."""
        now = time.monotonic()
        self._began = min(self._began, now)
        if now - self._began > 3600.0 * self._hours:
            raise error
        if now - self._said > SAY:
            self._said = now
            self._note(f"{error}; waiting, what is finished is kept")
        Event().wait(next(self._pauses, PAUSES[-1]))

    def over(self) -> None:
        """Begin anew, after what went well."""
        if self._began < math.inf:
            self._note("it can be used again")
        self._began = math.inf
        self._said = -math.inf
        self._pauses = iter(PAUSES)
