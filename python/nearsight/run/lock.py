"""The lock of a run's folder, which goes with the process, however that ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from filelock import FileLock, Timeout

from nearsight.errors import InputError

if sys.platform != "win32":
    import fcntl

__all__ = ["RunLock"]

PATIENCE = 0.5  # s; nearsight status may hold a lock for an instant
PAUSE = 0.05  # s


class RunLock:
    """Two locks: on ``run.lock``, and on the folder itself, which nobody deletes by mistake.

    Not every file system can lock a folder; there, `check` finds out whether ``run.lock`` is gone.

    Parameters
    ----------
    folder : Path
        An existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._file = self._folder / "run.lock"
        self._held: tuple[int, int] | None = None
        self._has_folder = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder.

        Raises
        ------
        Timeout
            If another process holds the lock.
        """
        with FileLock(self._file, timeout=PATIENCE), self._folder_locked():
            self._held = _identity(self._file)
            try:
                yield
            finally:
                self._held = None

    def check(self) -> None:
        """Raise an InputError if another process may hold the lock, too, since it was deleted."""
        if self._held is None or self._has_folder or _identity(self._file) == self._held:
            return
        raise InputError(
            f"{self._file}: was deleted while this run is at work, so that another one may have "
            "begun in the folder; end all of them and start one again"
        )

    def is_held_elsewhere(self) -> bool | None:
        """Look whether another process holds the lock; None if that cannot be found out."""
        try:
            if self._file.exists():
                with FileLock(self._file, blocking=False):
                    pass
            with self._folder_locked(shared=True, patience=0.0):
                return False
        except Timeout:
            return True
        except OSError:  # no permission
            return None

    @contextmanager
    def _folder_locked(self, shared: bool = False, patience: float = PATIENCE) -> Iterator[None]:
        number = os.open(self._folder, os.O_RDONLY)
        try:
            self._has_folder = self._lock(number, shared, patience)
            yield
        finally:
            self._has_folder = False
            os.close(number)

    def _lock(self, number: int, shared: bool, patience: float) -> bool:
        """Lock an open folder; whether its file system can."""
        if sys.platform == "win32":
            return False
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Timeout(str(self._folder)) from None
            except OSError:
                return False
            Event().wait(PAUSE)


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
