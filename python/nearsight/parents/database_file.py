"""The SQLite file of a database of parent calculations: opened, made, checked and copied."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, TypeVar

import ase.db
from ase.db.sqlite import SQLite3Database

from nearsight.errors import InputError, UnavailableError

__all__ = [
    "INDEX",
    "KEYS",
    "LISTED_AND_HELD",
    "DatabaseFile",
    "check_file",
    "check_pages",
    "copy_file",
    "key_in",
    "lost_rows",
    "make_file",
    "when_free",
]

T = TypeVar("T")

INDEX = "CREATE INDEX IF NOT EXISTS nearsight_keys ON text_key_values (key, value, id)"
"""Index by which a look-up takes as long in any number of rows; ASE's own is on the key alone."""


KEYS = "WHERE key = 'fingerprint'"
LISTED_AND_HELD = (
    f"SELECT 1, id, CAST(value AS BLOB) FROM text_key_values {KEYS} UNION ALL "
    "SELECT 0, id, CAST(key_value_pairs AS BLOB) FROM systems"
)
"""The keys by which rows are found, and the rows: at once, since others may be writing, and as
bytes, since damaged text may be no text."""
LOCKED = 1.0
"""s that SQLite waits for others; nothing interrupts it meanwhile, so that this is not longer."""
PATIENCE = 20.0
"""s that looking at a file waits for others."""


class DatabaseFile(SQLite3Database):  # type: ignore[misc]
    """ASE's database, which SQLite locks alone.

    The lock file ASE makes by default would stay behind, and block for ever, when a run is killed.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(str(path), use_lock_file=False)

    def _connect(self) -> sqlite3.Connection:
        return _connect(self.filename)


def when_free(work: Callable[[], T]) -> T:
    """Look at a file as soon as others leave it, for a while; Ctrl-C ends that at once."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except UnavailableError:
            if time.monotonic() > end:
                raise
        Event().wait(0.05)


def _connect(path: str | Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=LOCKED)


def make_file(path: Path, header: dict[str, Any]) -> None:
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
            connection.execute(INDEX)
            _, *statements, _ = connection.iterdump()  # the first begins, the last commits
    with closing(_connect(path)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        # another run may have made it by now
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in statements:
                connection.execute(statement)


def check_file(path: Path, writable: bool) -> None:
    """Find foreign and cut files and missing write permission before any calculation."""
    with closing(_connect(path)) as connection:
        pages, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "page_size")
        )
        if pages * size > path.stat().st_size:
            raise sqlite3.DatabaseError("its end is missing")
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        if tables and not {"systems", "information"} <= tables:
            raise InputError(f"{path}: an SQLite file, but no ASE database")
        if writable:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()


def check_pages(path: str | Path) -> None:
    """Find damage of a file as a whole; that of a row shows when it is read."""
    with closing(_connect(path)) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)


def key_in(pairs: bytes) -> str:
    """Fingerprint among key-value pairs as ASE writes them; empty if there is none."""
    try:
        return str(json.loads(pairs)["fingerprint"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""


def lost_rows(found: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """Numbers of the rows in the answer to `LISTED_AND_HELD` that their keys do not lead to.

    Numbers of rows that are gone, though their keys are there, are among them.
    """
    listed = {(number, key) for is_listed, number, key in found if is_listed}
    held = {(number, key_in(text).encode()) for is_listed, number, text in found if not is_listed}
    numbers = {number for number, _ in held}
    gone = {number for number, _ in listed if number not in numbers}
    return sorted({number for number, _ in held - listed} | gone)


def copy_file(source: str | Path, target: Path) -> None:
    """Copy a database that others may be writing, whole or not at all."""
    draft = target.with_name(f".{target.name}.part")
    draft.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(source, timeout=60)) as original,
            closing(sqlite3.connect(draft)) as copy,
        ):
            original.backup(copy)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
