"""Files written whole or not at all; JSON files with format and version."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from nearsight.errors import DamagedFileError, InputError, cannot_be
from nearsight.reading import read_file

__all__ = [
    "check_header",
    "check_version",
    "check_writable",
    "content_digest",
    "file_digest",
    "parse_json",
    "read_json",
    "remove",
    "remove_leftovers",
    "write_bytes",
    "write_json",
    "write_text",
]


def write_bytes(path: str | Path, content: bytes, sync: bool = True) -> None:
    """Write ``content`` to ``path`` whole or not at all.

    A temporary file in the same folder is written, synced and renamed over ``path``.

    Parameters
    ----------
    sync : bool
        Make it outlive a loss of power, which takes milliseconds or more.

    Raises
    ------
    UnavailableError
        If the disk is full.
    InputError
        If it cannot be written for another reason.
    """
    path = Path(path)
    try:
        _write(path, content, sync)
    except OSError as error:
        raise cannot_be("written", path, error) from error


def check_writable(path: Path) -> None:
    """Raise the `InputError` of `write_bytes` now, where it would be lost work later."""
    try:
        temporary = _temporary(path)
        temporary.open("xb").close()
        temporary.unlink()
    except OSError as error:
        raise cannot_be("written", path, error) from error


def remove(path: Path) -> None:
    """Remove what has a name, be it a file, a pipe or a folder; nothing may have it.

    Raises
    ------
    InputError
        If that is not allowed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_be("removed", path, error) from error


def remove_leftovers(folder: Path) -> None:
    """Remove leftovers of killed writes from the folder and those in it."""
    for path in folder.rglob(f".*{_PART}"):
        path.unlink(missing_ok=True)


_PART = ".part"


def _temporary(path: Path) -> Path:
    # not tempfile's, which only its owner may read
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{_PART}")


def _write(path: Path, content: bytes, sync: bool) -> None:
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, content: str, sync: bool = True) -> None:
    """Write text (UTF-8) whole or not at all."""
    write_bytes(path, content.encode(), sync)


def write_json(path: str | Path, content: Any, sync: bool = True) -> None:
    """Write JSON whole or not at all; floats round-trip to the last bit."""
    write_text(path, json.dumps(content, indent=1, default=_to_json, allow_nan=False) + "\n", sync)


def read_json(path: str | Path) -> Any:
    """Read a JSON file; see `read_file` and `parse_json`."""
    return parse_json(read_file(path), path)


def parse_json(content: bytes, path: str | Path) -> Any:
    """What JSON holds; ``path`` is the name of its file in messages.

    Raises
    ------
    DamagedFileError
        If it is truncated or not JSON, names an entry twice, or holds a number beyond all bounds
        or more than `MAX_LEVELS` levels of brackets.
    """
    try:
        _check_levels(content)
        return json.loads(
            content,
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_without_duplicates,
        )
    except (ValueError, RecursionError) as error:
        sentence = f"{path}: not valid JSON (truncated or corrupted? {error})"
        raise DamagedFileError(sentence) from error


MAX_LEVELS = 100
"""Levels of brackets in JSON; files of nearsight have about ten."""
MAX_DIGITS = 60
"""Of a whole number; the states of random number generators have 39."""


def _check_levels(content: bytes) -> None:
    """Refuse deep nesting, at which the recursion of readers and writers fails."""
    if _levels(content) > MAX_LEVELS and _levels(_TEXT.sub(b"", content)) > MAX_LEVELS:
        raise ValueError(f"too many levels of brackets, more than {MAX_LEVELS}")


_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def _levels(content: bytes) -> int:
    """Levels of brackets, those in texts counted."""
    found = np.frombuffer(content, dtype=np.uint8)
    steps = np.isin(found, (0x5B, 0x7B)).astype(np.int64) - np.isin(found, (0x5D, 0x7D))
    return int(np.cumsum(steps).max(initial=0))


def _finite(digits: str) -> float:
    value = float(digits)
    if value - value != 0.0:
        raise ValueError(f"{digits[:40]} is beyond all bounds")
    return value


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"{digits[:20]}... is beyond all bounds")
    return int(digits)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:40]!r} stands twice")
    return found


def content_digest(content: Any) -> str:
    """SHA-256 of what JSON would hold, whatever the order of its entries."""
    text = json.dumps(content, sort_keys=True, default=_to_json, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def check_header(content: Any, path: str | Path, kind: str, version: int) -> dict[str, Any]:
    """Check ``format`` and ``version`` of a JSON file of nearsight and return its content.

    Raises
    ------
    InputError
        If it is another kind of file, or comes from a newer version of nearsight.
    """
    if not isinstance(content, dict) or content.get("format") != kind:
        raise InputError(f"{path}: not a file of format {kind!r}")
    check_version(content, path, version)
    return content


def check_version(content: Mapping[str, Any], path: str | Path, version: int) -> int:
    """The ``version`` of a file; see `check_header`."""
    written = content.get("version")
    if not isinstance(written, int) or isinstance(written, bool) or written < 1:
        raise InputError(f"{path}: no valid version number (found {repr(written)[:40]})")
    if written > version:
        raise InputError(
            f"{path}: written by a newer nearsight (file version {written}, "
            f"this one reads up to {version}); update nearsight"
        )
    return written


def _refuse(constant: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python's reader accepts though JSON has none."""
    raise ValueError(f"{constant} is not a number")


def _to_json(value: object) -> object:
    """Plain Python form of NumPy arrays and scalars, and of paths."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
