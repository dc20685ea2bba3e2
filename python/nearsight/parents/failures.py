"""Failures of parent calculations, on record, so that no structure is tried for ever."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from nearsight.errors import DamagedFileError
from nearsight.files.records import FailedStructure, Failure, FailuresRecord
from nearsight.progress import count_noun

__all__ = ["Failure", "FailureRecord", "name_of"]


class FailureRecord:
    """Failed attempts on every structure, in a file if there is a path.

    Parameters
    ----------
    path : Path, optional
        JSON file; read if it is there, written whole by `save`.

    Raises
    ------
    InputError
        If the file is of another kind, or damaged: its content cannot be regenerated.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._structures: dict[str, FailedStructure] = {}
        if path is not None and path.exists():
            try:
                self._structures = dict(FailuresRecord.load(path).structures)
            except DamagedFileError as error:
                raise DamagedFileError(f"{error}; delete it to try again what failed") from error

    def failed(self, key: str) -> list[str]:
        """Reason of each failed attempt on a structure."""
        return list(self._of(key).failed)

    def lost(self, key: str) -> list[str]:
        """Cause of each loss of a process or job at work on a structure."""
        return list(self._of(key).lost)

    def attempts(self, key: str) -> int:
        """Attempts on a structure so far that came to nothing, lost ones included."""
        return len(self._of(key).failed) + len(self._of(key).lost)

    def given_up(self) -> list[Failure]:
        """All structures that were given up, in an order that does not depend on the engine."""
        return [_failure(each) for _, each in sorted(self._structures.items()) if each.given_up]

    def find(self, key: str) -> Failure | None:
        """Structure of that key, if it was given up."""
        known = self._of(key)
        return _failure(known) if known.given_up else None

    def add(self, key: str, atoms: Atoms, kind: str, reason: str, given_up: bool = False) -> None:
        """Note an event; it is on record after `save`.

        Parameters
        ----------
        key : str
            Fingerprint of the structure.
        atoms : ase.Atoms
        kind : str
            ``failed``, or ``lost`` where the process or job was lost.
        reason : str
        given_up : bool
            No further attempt is made.
        """
        known = self._of(key)
        changes = {
            "structure": known.structure or name_of(atoms),
            kind: [*getattr(known, kind), reason],
            "given_up": given_up,
        }
        self._structures[key] = known.model_copy(update=changes)

    def save(self) -> None:
        """Put all on record, before anything follows from it.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        if self.path is not None:
            FailuresRecord(structures=self._structures).save(self.path)

    def doubt(self, key: str, atoms: Atoms, reason: str, retries: int) -> None:
        """Put on record, once, that a result of earlier is not believed, like a new one.

        Parameters
        ----------
        key, atoms, reason
            See `add`.
        retries : int
            Further attempts there are after a failed one.
        """
        failed = self.failed(key)
        if reason not in failed and not self.find(key):
            self.add(key, atoms, "failed", reason, given_up=len(failed) >= retries)

    def _of(self, key: str) -> FailedStructure:
        none = FailedStructure(structure="", failed=[], lost=[], given_up=False)
        return self._structures.get(key, none)


def _failure(known: FailedStructure) -> Failure:
    return Failure(known.structure, tuple(known.reasons))


def name_of(atoms: Atoms) -> str:
    """Formula and number of atoms."""
    return f"{atoms.symbols} ({count_noun(len(atoms), 'atom')})"
