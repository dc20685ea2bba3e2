"""A folder of its own for every attempt of every calculation.

File-based codes (VASP, Quantum ESPRESSO, CP2K, ...) read and write files of fixed names: two
calculations in one folder get each other's results.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from nearsight.errors import cannot_be

__all__ = ["SCRATCH", "AttemptFolders", "attempt_folder", "with_absolute_paths", "working_in"]

SCRATCH = {"outdir", "wfcdir", "perm", "scratch"}
"""Arguments (of Quantum ESPRESSO, NWChem) that name a folder for files of fixed names."""

KEY_LENGTH = 16  # of the name of a folder; 64 bits of the fingerprint


class AttemptFolders:
    """The folders of the attempts, as the driver sees them.

    Parameters
    ----------
    root : Path, optional
        Folder that holds them, made when it is needed; temporary folders when left out.
    keep : {"failed", "all", "none"}
        Attempts whose files are kept.
    """

    def __init__(
        self, root: Path | None = None, keep: Literal["failed", "all", "none"] = "failed"
    ) -> None:
        self._root = None if root is None else root.absolute()
        self._keep = keep

    def path(self, key: str, attempt: int) -> str | None:
        """Path of the folder of an attempt on a structure; None: a temporary one."""
        if self._root is None:
            return None
        return str(self._root / f"{key.removeprefix('sha256-')[:KEY_LENGTH]}-{attempt}")

    @property
    def results(self) -> Path | None:
        """Folder for results that the database does not hold yet; None: there is none."""
        return None if self._root is None else self._root / "results"

    def settle(self, key: str, attempt: int, failed: bool) -> str:
        """Remove the folder of an attempt that is over, unless its files are to be kept.

        Returns
        -------
        str
            Where files of a failed attempt are, or empty.
        """
        path = self.path(key, attempt)
        if self._root is None or path is None:
            return ""
        kept = ""
        # those of several processes carry the number of their job
        for folder in [Path(path), *self._root.glob(f"{Path(path).name}-job*")]:
            with suppress(OSError):
                folder.rmdir()  # no file was written
            if not folder.is_dir():
                continue
            if self._keep == "all" or (failed and self._keep == "failed"):
                kept = str(folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)
        self.tidy()
        return kept if failed else ""

    def tidy(self) -> None:
        """Remove the folder itself, if nothing is in it."""
        if self._root is not None and self.results is not None:
            for folder in (self.results, self._root):
                with suppress(OSError):
                    folder.rmdir()


@contextmanager
def attempt_folder(path: str | None, shared: bool = False) -> Iterator[str]:
    """Make the empty folder of an attempt.

    Parameters
    ----------
    path : str, optional
        Its absolute path; a temporary folder, removed afterwards, when left out. What an
        interrupted attempt left there is removed.
    shared : bool
        Several processes of one SLURM job carry out the calculation together: they find the same
        folder by the number of their job.

    Yields
    ------
    str
        Its absolute path.

    Raises
    ------
    UnavailableError
        If the disk is full.
    InputError
        If it cannot be made for another reason.
    """
    with ExitStack() as stack:
        try:
            if path is None:
                path = stack.enter_context(tempfile.TemporaryDirectory(prefix="nearsight-"))
            elif shared:
                path = f"{path}-job{os.environ.get('SLURM_JOB_ID', '')}"
                Path(path).mkdir(parents=True, exist_ok=True)
            else:
                if Path(path).exists():
                    shutil.rmtree(path)
                Path(path).mkdir(parents=True)
        except OSError as error:
            raise cannot_be("made", path, error) from error
        yield path


@contextmanager
def working_in(folder: str, calculator: Any, enter: bool) -> Iterator[None]:
    """Have a calculator work in a folder.

    Its ``directory``, where it has one, is set: one that is among its arguments would be the same
    for all calculations.

    Parameters
    ----------
    folder : str
    calculator : ASE calculator
    enter : bool
        Make it the working folder of this process.
    """
    main = threading.current_thread() is threading.main_thread()
    before = Path.cwd() if main else None  # the calculator may go elsewhere
    own = getattr(calculator, "directory", None)
    try:
        if enter:
            os.chdir(folder)
        if own is not None and not (enter and Path(own).resolve() == Path(folder).resolve()):
            calculator.directory = Path(folder)
        yield
    finally:
        if before is not None:
            os.chdir(before)
        if own is not None:
            calculator.directory = own


def with_absolute_paths(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a calculator whose relative paths hold in any working folder.

    A text is a path if something of that name is here and it contains a slash, or its key ends in
    ``dir``, ``directory``, ``folder``, ``path`` or ``file``; those of `SCRATCH` stay in the folder
    of the attempt.
    """

    def absolute(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: absolute(str(name), each) for name, each in value.items()}
        if isinstance(value, list):
            return [absolute(key, each) for each in value]
        named = key.lower().endswith(("dir", "directory", "folder", "path", "file"))
        if isinstance(value, str) and value and key not in SCRATCH and (named or "/" in value):
            with suppress(OSError, ValueError):  # too long for a path, or with a NUL
                if Path(value).exists():
                    return str(Path(value).absolute())
        return value

    return {key: absolute(key, value) for key, value in arguments.items()}
