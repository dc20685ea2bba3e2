"""The database of everything a parent has calculated, so that nothing is calculated twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import ase.db
import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from nearsight.errors import InputError

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
    bit what was written. SQLite does the locking; the lock file ASE makes by default would stay
    behind, and block for ever, when a run is killed.

    Parameters
    ----------
    place : Path or str
        An SQLite file, made if it does not exist; or the URL of a PostgreSQL database, which
        several machines can share.

    Raises
    ------
    InputError
        If the file is damaged, something else, from a newer nearsight, or cannot be written.
    """

    FORMAT = "nearsight-parent"
    VERSION = 1

    def __init__(self, place: Path | str) -> None:
        self._is_file = "://" not in str(place)
        self.name = str(place) if self._is_file else _without_password(str(place))
        if not self._is_file and urlsplit(str(place)).scheme not in ("postgresql", "postgres"):
            raise InputError(
                "a database of parent calculations must be a file or the URL of a PostgreSQL "
                f"database, got {self.name!r}"
            )
        self._secrets = [] if self._is_file else _passwords(str(place))
        with self._translate_errors():
            if self._is_file:
                _make_file(Path(place), {"format": self.FORMAT, "version": self.VERSION})
                _check_file(Path(place))
            kind = "db" if self._is_file else "postgresql"
            self._table = ase.db.connect(str(place), type=kind, use_lock_file=False)
            header = self._table.metadata
            if not header and len(self._table) == 0:
                header = {"format": self.FORMAT, "version": self.VERSION}
                self._table.metadata = header
        if header.get("format") != self.FORMAT:
            raise InputError(f"{self.name}: an ASE database, but not one of parent calculations")
        if header["version"] > self.VERSION:
            raise InputError(
                f"{self.name}: written by a newer nearsight (file version {header['version']}, "
                f"this one reads up to {self.VERSION}); update nearsight"
            )

    def __len__(self) -> int:
        with self._translate_errors():
            return len(self._table)

    @property
    def seconds(self) -> float:
        """Wall time of all calculations together."""
        with self._translate_errors():
            rows = self._table.select(columns=["id", "key_value_pairs"], include_data=False)
            return float(sum(row.seconds for row in rows))

    def read(self, key: str, count: int) -> ParentResult | None:
        """The result of the structure of that fingerprint with ``count`` atoms, or None.

        Raises
        ------
        InputError
            If the database cannot be read.
        """
        with self._translate_errors():
            row = self._row(key)
            if row is None:
                return None
            stress = row.get("stress")
            return ParentResult(
                energy=float(row.energy),
                forces=row.forces.reshape(count, 3).copy(),
                seconds=float(row.seconds),
                cached=True,
                stress=None if stress is None else stress.reshape(6).copy(),
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is written inside as one: all of it or nothing."""
        with self._translate_errors(), self._table as table:
            if not self._is_file:
                connection = table.connection
                connection.rollback = connection.con.rollback  # which ase_db_backends lacks
                # it takes the number of a new row from the sequence, whoever raised that last
                connection.cursor().execute(f"SELECT pg_advisory_xact_lock({WRITING})")
            yield

    def write(self, key: str, atoms: Atoms, result: ParentResult, settings: dict[str, Any]) -> None:
        """Commit a result; it takes the place of an earlier one of the same fingerprint.

        Raises
        ------
        InputError
            If the database cannot be written.
        """
        labelled = atoms.copy()
        labelled.calc = SinglePointCalculator(
            labelled, energy=result.energy, forces=result.forces, stress=result.stress
        )
        with self._translate_errors():
            earlier = self._row(key)
            self._table.write(
                labelled,
                id=None if earlier is None else earlier.id,
                data={"settings": settings},
                fingerprint=key,
                seconds=result.seconds,
            )

    def _row(self, key: str) -> Any:
        rows = list(self._table.select(fingerprint=key, limit=1, include_data=False))
        return rows[0] if rows else None

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
                raise InputError(f"{self.name}: the database cannot be used ({text})") from error
            raise InputError(
                f"{self.name}: truncated or corrupted database of parent calculations ({text}); "
                "move it away to start a new one"
            ) from error


def _make_file(path: Path, header: dict[str, Any]) -> None:
    """Make a database where there is none, whole or not at all.

    ASE would commit every table on its own, and not take up again what was killed in between.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be made, there is no folder {path.parent}")
    if path.exists() and path.stat().st_size > 0:
        return
    with TemporaryDirectory() as folder:
        draft = Path(folder, "empty.db")
        ase.db.connect(draft, use_lock_file=False).metadata = header
        with closing(sqlite3.connect(draft)) as connection:
            _, *statements, _ = connection.iterdump()  # the first begins, the last commits
    with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        # another run may have made it by now
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in statements:
                connection.execute(statement)


def _check_file(path: Path) -> None:
    """Find damage, foreign files and missing write permission before any calculation."""
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        if tables and not {"systems", "information"} <= tables:
            raise InputError(f"{path}: an SQLite file, but no ASE database")
        found = connection.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def _passwords(url: str) -> list[str]:
    """The password in a URL, as it is written there and as it is meant."""
    found = urlsplit(url).password
    return [] if not found else sorted({found, unquote(found)}, key=len, reverse=True)


def _without_password(url: str) -> str:
    password = urlsplit(url).password
    return url if not password else url.replace(f":{password}@", "@", 1)
