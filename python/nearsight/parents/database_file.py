"""The SQLite file of a database of parent calculations: made, checked and copied."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase.db

from nearsight.errors import InputError

__all__ = ["INDEX", "check_file", "copy_file", "key_in", "make_file"]

INDEX = "CREATE INDEX IF NOT EXISTS nearsight_keys ON text_key_values (key, value, id)"
"""Index by which a look-up takes as long in any number of rows; ASE's own is on the key alone."""


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
    with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        # another run may have made it by now
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in statements:
                connection.execute(statement)


def check_file(path: Path, writable: bool) -> None:
    """Find damage, foreign files and missing write permission before any calculation."""
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        if tables and not {"systems", "information"} <= tables:
            raise InputError(f"{path}: an SQLite file, but no ASE database")
        found = connection.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        if writable:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()


def key_in(pairs: bytes) -> str:
    """Fingerprint among key-value pairs as ASE writes them; empty if there is none."""
    try:
        return str(json.loads(pairs)["fingerprint"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""


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
