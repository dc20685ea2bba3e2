"""The database of everything a parent has calculated, so that nothing is calculated twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import ase.db
import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.row import AtomsRow
from ase.db.sqlite import all_tables

from nearsight.errors import InputError, UnavailableError
from nearsight.parents.database_file import INDEX, check_file, copy_file, key_in, make_file
from nearsight.parents.rows import Row, digest_of, read_row

__all__ = ["ParentDatabase", "ParentResult", "fingerprint", "without_password"]

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


KEYS = "WHERE key = 'fingerprint'"
WRITING = 0x6E656172
"""Number of the lock of a PostgreSQL database that writers hold, one at a time."""


class ParentDatabase:
    """The calculations of parents in an ASE database, keyed by `fingerprint`.

    ASE keeps forces and stress as raw bytes and the energy as a double: what is read is bit for
    bit what was written. SQLite does the locking; the lock file ASE makes by default would stay
    behind, and block for ever, when a run is killed.

    Parameters
    ----------
    place : Path or str
        An SQLite file, made if it does not exist; or the URL of a PostgreSQL database, which
        several machines can share.
    inspect : bool
        To look at an existing one, whatever its rows are like. Otherwise one of an earlier version
        is given digests and index, and rows that cannot be found by their keys are refused.

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
        self._secrets = [] if self._is_file else _passwords(str(place))
        with self._translate_errors():
            if self._is_file:
                if inspect and not Path(place).is_file():
                    raise InputError(f"{self.name}: no such file")
                if not inspect:
                    make_file(Path(place), {"format": self.FORMAT, "version": self.VERSION})
                check_file(Path(place), writable=not inspect)
            kind = "db" if self._is_file else "postgresql"
            self._table = ase.db.connect(str(place), type=kind, use_lock_file=False)
            header = self._table.metadata
            if not header and len(self._table) == 0 and not inspect:
                header = {"format": self.FORMAT, "version": self.VERSION}
                self._table.metadata = header
                self._make_index()
        if header.get("format") != self.FORMAT:
            raise InputError(f"{self.name}: an ASE database, but not one of parent calculations")
        if header["version"] > self.VERSION:
            raise InputError(
                f"{self.name}: written by a newer nearsight (file version {header['version']}, "
                f"this one reads up to {self.VERSION}); update nearsight"
            )
        self.version = int(header["version"])
        if inspect:
            return
        lost = self.unfindable()
        if lost:
            raise InputError(self._damage(lost, "cannot be found by their keys"))
        if self.version < self.VERSION:
            self._upgrade(header)

    def __len__(self) -> int:
        with self._translate_errors():
            return len(self._table)

    @property
    def seconds(self) -> float:
        """Wall time of all calculations together."""
        with self._translate_errors():
            total = "SELECT sum(value) FROM number_key_values WHERE key = 'seconds'"
            return float(self._query(total)[0][0] or 0.0)

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
                return None
            row = self.row(number)
            if isinstance(row, str):
                raise InputError(self._damage([number], row))
            if row.key != key or len(row.atoms) != count:
                raise InputError(self._damage([number], "it is of another structure"))
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
                return f"it cannot be read ({type(error).__name__}: {error})"
            try:
                return read_row(found, with_digest=self.version >= self.VERSION)
            except ValueError as error:
                return str(error)

    def unfindable(self) -> list[int]:
        """Numbers of the rows of a file that looking up their keys does not lead to.

        Their structures would be calculated again without a word. Numbers of rows that are gone,
        though their keys are there, are among them.
        """
        if not self._is_file:
            return []  # the server looks after its tables and indices itself
        with self.connected():
            self._query("BEGIN")  # others may be writing
            # as bytes: damaged text may be no text
            listed = set(self._query(f"SELECT id, CAST(value AS BLOB) FROM text_key_values {KEYS}"))
            pairs = self._query("SELECT id, CAST(key_value_pairs AS BLOB) FROM systems")
        held = {(number, key_in(text).encode()) for number, text in pairs}
        numbers = {number for number, _ in held}
        return sorted(
            {number for number, _ in held - listed}
            | {number for number, _ in listed if number not in numbers}
        )

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
            if not self._is_file:
                # a new row takes its number from the sequence, whoever raised that last
                self._table.connection.cursor().execute(f"SELECT pg_advisory_xact_lock({WRITING})")
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
        with self._translate_errors():
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

    def _make_index(self) -> None:
        with self._table.managed_connection() as connection:
            connection.cursor().execute(INDEX)

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

    def _damage(self, numbers: Sequence[int], reason: str) -> str:
        """What to do about damaged rows, in a sentence."""
        many = len(numbers) > 1
        named = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
        return (
            f"{self.name}: row{'s' * many} {named} {'are' if many else 'is'} damaged ({reason}); "
            f"nearsight labels verify {self.name} --repair removes "
            f"{'them' if many else 'it'}, to be calculated again, or put a copy in its place"
        )

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
            text = " ".join(str(error).split())
            for secret in self._secrets:
                text = text.replace(secret, "...")
            # read-only, full, locked; a server that is not there
            if isinstance(error, sqlite3.OperationalError) or not self._is_file:
                passing = self._is_file and ("locked" in text or "full" in text)
                kind = UnavailableError if passing else InputError
                raise kind(f"{self.name}: the database cannot be used ({text})") from error
            raise InputError(
                f"{self.name}: truncated or corrupted database of parent calculations ({text}); "
                "move it away to start a new one"
            ) from error


def _passwords(url: str) -> list[str]:
    """The password in a URL, as it is written there and as it is meant."""
    found = urlsplit(url).password
    return [] if not found else sorted({found, unquote(found)}, key=len, reverse=True)


def without_password(url: str) -> str:
    """The URL of a database as messages may show it."""
    password = urlsplit(url).password
    return url if not password else url.replace(f":{password}@", "@", 1)
