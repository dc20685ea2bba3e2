"""The database of everything a parent has calculated, so that nothing is calculated twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ase.db
import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.row import AtomsRow
from ase.db.sqlite import all_tables

from nearsight.errors import InputError, UnavailableError, plain_text
from nearsight.files.atomic import check_version
from nearsight.parents.database_file import (
    INDEX,
    KEYS,
    LISTED_AND_HELD,
    DatabaseFile,
    check_file,
    check_pages,
    copy_file,
    key_in,
    lost_rows,
    make_file,
    when_free,
)
from nearsight.parents.database_url import passwords_in, without_password
from nearsight.parents.rows import Row, damage_of, digest_of, read_row

__all__ = ["ParentDatabase", "ParentResult", "fingerprint"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ParentResult:
    """Result of a parent calculation.

    Attributes
    ----------
    energy : float, eV
        The energy the forces derive from (ASE's ``free_energy`` where there is one).
    forces : (N, 3) float64, eV/Å
    seconds : float
        Wall time of the calculation, also when an earlier run did it.
    cached : bool
        Whether it was read from the database.
    stress : (6,) float64, eV/Å³, Voigt order xx, yy, zz, yz, xz, xy; None if not asked for
    """

    energy: float
    forces: Array
    seconds: float
    cached: bool
    stress: Array | None = None


def fingerprint(atoms: Atoms, parent: str) -> str:
    """SHA-256 over all that decides a result, to the last bit.

    Parameters
    ----------
    atoms : ase.Atoms
    parent : str
        What identifies the parent and its settings.
    """
    digest = hashlib.sha256(parent.encode())
    for array, dtype in (
        (atoms.numbers, "<i8"),
        (atoms.positions, "<f8"),
        (np.asarray(atoms.cell), "<f8"),
        (atoms.pbc, "?"),
        (atoms.get_initial_magnetic_moments(), "<f8"),
        (atoms.get_initial_charges(), "<f8"),
    ):
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    return f"sha256-{digest.hexdigest()}"  # the prefix keeps ASE from reading it as a number


WRITING = 0x6E656172
"""Number of the lock of a PostgreSQL database that writers hold, one at a time."""


class ParentDatabase:
    """The calculations of parents in an ASE database, keyed by `fingerprint`.

    ASE keeps forces and stress as raw bytes and the energy as a double: what is read is bit for
    bit what was written. A row is checked when it is read; that the file is whole, and that its
    keys lead to all rows, when a result is asked for that seems not to be there.

    Parameters
    ----------
    place : Path or str
        An SQLite file, made if it does not exist; or the URL of a PostgreSQL database, which
        several machines can share.
    inspect : bool
        To look at an existing one, whatever its rows are like. Otherwise one of an earlier version
        is given digests and index.

    Raises
    ------
    UnavailableError
        If it is locked by another process for long, or the disk is full; so do all methods.
    InputError
        If the file is damaged, something else, from a newer nearsight, or cannot be written.
    """

    FORMAT = "nearsight-parent"
    VERSION = 2  # 1 had no digests

    def __init__(self, place: Path | str, inspect: bool = False) -> None:
        self._is_file = "://" not in str(place)
        self.name = str(place) if self._is_file else without_password(str(place))
        if not self._is_file and urlsplit(str(place)).scheme not in ("postgresql", "postgres"):
            raise InputError(
                "a database of parent calculations must be a file or the URL of a PostgreSQL "
                f"database, got {self.name!r}"
            )
        self._secrets = [] if self._is_file else passwords_in(str(place))
        self._is_checked = not self._is_file  # a server looks after its tables and indices itself
        header = when_free(lambda: self._open(place, inspect))
        if not isinstance(header, dict) or header.get("format") != self.FORMAT:
            raise InputError(f"{self.name}: an ASE database, but not one of parent calculations")
        self.version = check_version(header, self.name, self.VERSION)
        if self.version < self.VERSION and not inspect:
            self.check()
            self._upgrade(header)

    def _open(self, place: Path | str, inspect: bool) -> dict[str, Any]:
        """Open or make it; its header."""
        new = {"format": self.FORMAT, "version": self.VERSION}
        with self._translate_errors():
            if self._is_file:
                if not inspect:
                    make_file(Path(place), new)
                elif not Path(place).is_file():
                    raise InputError(f"{self.name}: no such file")
                check_file(Path(place), writable=not inspect)
                self._table = DatabaseFile(place)
            else:
                self._table = ase.db.connect(str(place), type="postgresql", use_lock_file=False)
            header: dict[str, Any] = self._table.metadata
            if not header and len(self._table) == 0 and not inspect:
                header = new
                self._table.metadata = header
                with self._table.managed_connection() as connection:
                    connection.cursor().execute(INDEX)
        return header

    def __len__(self) -> int:
        return int(self._total("SELECT count(*) FROM systems"))

    @property
    def seconds(self) -> float:
        """Wall time of all calculations together."""
        total = "SELECT sum(value) FROM number_key_values WHERE key = 'seconds'"
        return float(self._total(total) or 0.0)

    def _total(self, statement: str) -> Any:
        def ask() -> Any:
            with self._translate_errors():
                return self._query(statement)[0][0]

        return when_free(ask)

    def read(self, key: str, count: int) -> ParentResult | None:
        """The result of the structure of that fingerprint with ``count`` atoms, or None.

        Raises
        ------
        InputError
            If the database cannot be read, or the row is damaged: it does not have the digest of
            what it holds, is of another structure, or no parent could have given it.
        """
        with self.connected():
            number = self._number(key)
            if number is None:
                self.check()
                return None
            row = self.row(number)
            if isinstance(row, str):
                raise InputError(damage_of(self.name, [number], row))
            if row.key != key or len(row.atoms) != count:
                raise InputError(damage_of(self.name, [number], "it is of another structure"))
            return ParentResult(row.energy, row.forces, row.seconds, cached=True, stress=row.stress)

    def numbers(self) -> list[int]:
        """Numbers of all rows."""
        with self._translate_errors():
            return [int(number) for (number,) in self._query("SELECT id FROM systems ORDER BY id")]

    def row(self, number: int) -> Row | str:
        """A row with all it says, or its damage in words."""
        with self._translate_errors():
            try:
                found = self._table.get(id=number)
            except Exception as error:  # a damaged row makes ASE raise anything
                if isinstance(error, sqlite3.Error) and "decode" not in str(error):
                    raise  # not the row's
                return f"it cannot be read ({plain_text(f'{type(error).__name__}: {error}', 200)})"
            try:
                return read_row(found, with_digest=self.version >= self.VERSION)
            except ValueError as error:
                return str(error)

    def check(self) -> None:
        """Find damage because of which something known would be calculated again without a word.

        A file is looked at once, which takes seconds for 100,000 rows.

        Raises
        ------
        InputError
            If the file is damaged, or there are rows that cannot be found by their keys.
        """
        if self._is_checked:
            return
        self.check_pages()
        lost = self.unfindable()
        if lost:
            raise InputError(damage_of(self.name, lost, "cannot be found by their keys"))
        self._is_checked = True

    def check_pages(self) -> None:
        """Raise an `InputError` if a file is damaged as a whole."""
        if self._is_file:
            with self._translate_errors():
                check_pages(self._table.filename)

    def unfindable(self) -> list[int]:
        """Numbers of the rows of a file that their keys do not lead to; see `lost_rows`."""
        if not self._is_file:
            return []
        with self._translate_errors():
            return lost_rows(self._query(LISTED_AND_HELD))

    def repair(self, damaged: Sequence[int]) -> None:
        """Remove rows, and make the list of keys anew from the ones that stay."""
        with self.transaction():
            cursor = self._table.connection.cursor()
            if self._is_file:
                cursor.execute("REINDEX")
            for number in damaged:
                for name in all_tables[::-1]:
                    cursor.execute(f"DELETE FROM {name} WHERE id = ?", (number,))
            if self._is_file:
                cursor.execute(f"DELETE FROM text_key_values {KEYS}")
                cursor.execute("SELECT id, CAST(key_value_pairs AS BLOB) FROM systems")
                entries = [("fingerprint", key_in(text), number) for number, text in cursor]
                cursor.executemany("INSERT INTO text_key_values VALUES (?, ?, ?)", entries)

    def copy(self, target: Path) -> None:
        """Copy the file whole, also while others write it (SQLite's backup).

        Raises
        ------
        InputError
            If it is not a file.
        """
        if not self._is_file:
            raise InputError(f"{self.name}: not a file; copy a PostgreSQL database with pg_dump")
        with self._translate_errors():
            copy_file(self._table.filename, target)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Have all that is read and written inside go through one connection."""
        if self._table.connection is not None:
            with self._translate_errors():
                yield
            return
        with self._translate_errors(), self._table as table:
            if not self._is_file:  # ase_db_backends lacks it
                table.connection.rollback = table.connection.con.rollback
            try:
                yield
                if self._is_file:
                    table.connection.commit()
            except BaseException:
                if self._is_file:  # which ASE leaves open when a commit fails
                    table.connection.rollback()
                raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is written inside as one: all of it or nothing."""
        with self.connected():
            connection = self._table.connection
            if not self._is_file:
                # a new row takes its number from the sequence, whoever raised that last
                connection.cursor().execute(f"SELECT pg_advisory_xact_lock({WRITING})")
            elif not connection.in_transaction:
                # another writer may add the same row between a look-up and the writing
                connection.execute("BEGIN IMMEDIATE")
            yield

    def write(
        self,
        key: str,
        atoms: Atoms,
        result: ParentResult,
        data: Mapping[str, Any],
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Commit a result; it takes the place of an earlier one of the same fingerprint.

        Parameters
        ----------
        key : str
        atoms : ase.Atoms
        result : ParentResult
        data : mapping
            ``settings``, ``arguments`` and ``versions`` of the parent; JSON can write it.
        notes : mapping, optional
            See `nearsight.parents.rows.NOTES`.

        Raises
        ------
        InputError
            If the database cannot be written.
        """
        labelled = atoms.copy()
        labelled.calc = SinglePointCalculator(
            labelled, energy=result.energy, forces=result.forces, stress=result.stress
        )
        if atoms.info:
            said = {name: np.asarray(value).tolist() for name, value in atoms.info.items()}
            data = {**data, "info": said}
        pairs = {"fingerprint": key, "seconds": result.seconds, **(notes or {})}
        digest = digest_of(AtomsRow(labelled), pairs, data)
        with self.transaction():
            self._table.write(
                labelled, id=self._number(key), data={**data, "digest": digest}, **pairs
            )

    def _number(self, key: str) -> int | None:
        """Number of the row of a fingerprint."""
        found = self._query(f"SELECT id FROM text_key_values {KEYS} AND value = ?", (key,))
        return int(found[0][0]) if found else None

    def _query(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._table.managed_connection() as connection:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def _upgrade(self, header: Mapping[str, Any]) -> None:
        """Give the rows of an earlier version their digests; a damaged one stays without."""
        numbers = self.numbers()
        with self.transaction():
            cursor = self._table.connection.cursor()
            for number in numbers:
                row = self._table.get(id=number)
                if isinstance(self.row(number), str):
                    continue
                data = dict(row.data)
                data["digest"] = digest_of(row, row.key_value_pairs, data)
                text = self._table.encode(data, binary=self._table.version >= 9)
                cursor.execute("UPDATE systems SET data = ? WHERE id = ?", (text, number))
            cursor.execute(INDEX)
            self._table.metadata = {**header, "version": self.VERSION}
        self.version = self.VERSION

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn the errors of SQLite and ASE into one sentence."""
        try:
            yield
        except InputError:
            raise
        except ImportError as error:
            raise InputError(
                f'{self.name}: needs pip install "nearsight[postgres]" ({error})'
            ) from error
        except Exception as error:  # what ASE meets in a damaged row can be any error
            text = plain_text(str(error))
            for secret in self._secrets:
                text = text.replace(secret, "...")
            if isinstance(error, sqlite3.OperationalError) or not self._is_file:
                # else read-only, or a server that is not there
                passing = self._is_file and ("locked" in text or "full" in text)
                kind = UnavailableError if passing else InputError
                raise kind(f"{self.name}: the database cannot be used ({text})") from error
            raise InputError(
                f"{self.name}: truncated or corrupted database of parent calculations ({text}); "
                "move it away to start a new one"
            ) from error
