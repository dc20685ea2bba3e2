"""Files written whole or not at all; JSON files with format and version."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.errors import DamagedFileError, InputError, cannot_be

__all__ = [
    "check_header",
    "content_digest",
    "read_json",
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


def remove_leftovers(folder: Path) -> None:
    """Remove leftovers of killed writes from the folder and those in it."""
    for path in folder.rglob(f".*{_PART}"):
        path.unlink(missing_ok=True)


_PART = ".part"


def _write(path: Path, content: bytes, sync: bool) -> None:
    # not tempfile's, which only its owner may read
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_PART}")
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


def content_digest(content: Any) -> str:
    """SHA-256 of content as JSON has it, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, default=_to_json, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If the file is missing or unreadable.
    DamagedFileError
        If it is truncated or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        reason = "too many levels" if isinstance(error, RecursionError) else error
        sentence = f"{path}: not valid JSON (truncated or corrupted? {reason})"
        raise DamagedFileError(sentence) from error


def check_header(content: Any, path: str | Path, kind: str, version: int) -> dict[str, Any]:
    """Check ``format`` and ``version`` of a JSON file of nearsight and return its content.

    Raises
    ------
    InputError
        If it is another kind of file, or comes from a newer version of nearsight.
    """
    if not isinstance(content, dict) or content.get("format") != kind:
        raise InputError(f"{path}: not a file of format {kind!r}")
    written = content.get("version")
    if not isinstance(written, int) or written < 1:
        raise InputError(f"{path}: no valid version number (found {written!r})")
    if written > version:
        raise InputError(
            f"{path}: written by a newer nearsight (file version {written}, "
            f"this one reads up to {version}); update nearsight"
        )
    return content


def _refuse(constant: str) -> object:
    """Refuse NaN and the infinities, which Python's reader accepts though JSON has none."""
    raise ValueError(f"{constant} is not a number")


def _to_json(value: object) -> object:
    """Plain Python form of NumPy arrays and scalars, and of paths."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
