"""Files that users name: where they are, and their content."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nearsight.errors import InputError

__all__ = ["open_file", "read_file", "split_selection"]


def read_file(path: str | Path) -> bytes:
    """Read a file whole.

    Raises
    ------
    InputError
        If it is missing or unreadable, or no file but a folder, a pipe or a device, whose end may
        never come.
    """
    with open_file(path) as stream:
        return stream.read()


@contextmanager
def open_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file to be read.

    Raises
    ------
    InputError
        See `read_file`.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: cannot be read (not a file)")
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r}: cannot be read ({error})") from error


def split_selection(path: str | Path) -> tuple[str, str | None]:
    """The file and the selection in ASE's ``file.traj@-1`` and ``file.db@id=3``, if there is one.

    A name is taken as it is where there is such a file; a folder may have any name.
    """
    text = str(path)
    name = os.path.basename(text)  # noqa: PTH119  # of "folder/@0" it is "@0"
    if "@" not in name or Path(text).exists():
        return text, None
    file, _, selection = text.rpartition("@")
    return file, selection
