"""The folder of a run: which stages are done, whether their files are whole, who is at work."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nearsight.config import Config
from nearsight.errors import DamagedFileError, InputError
from nearsight.executors import make_executor, training_executor
from nearsight.files.atomic import check_header, read_json, remove_leftovers, write_json
from nearsight.parents import Parent
from nearsight.progress import Progress

__all__ = ["RunFolder"]


class RunFolder:
    """A folder and the record of its finished stages (``stages.json``).

    A file that is damaged or gone is noticed by its checksum, and made again by its stage.

    Parameters
    ----------
    path : Path
        It exists.
    progress : Progress
        Is told of every stage.

    Attributes
    ----------
    stages : dict of str to dict
        What is done, known while `exclusive`: ``name``, ``seconds``, ``summary`` and, for a stage
        with a file, ``file`` and ``sha256``.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path = path
        self._progress = progress
        self.stages: dict[str, dict[str, Any]] = {}

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep a second run out while this one is at work, however it ends.

        Raises
        ------
        InputError
            If another one is at work.
        """
        try:
            # nearsight status may have it for an instant
            with FileLock(self / "run.lock", timeout=0.5):
                remove_leftovers(self.path)
                self.stages = self._earlier()  # another run may have ended just now
                yield
        except Timeout:
            raise InputError(
                f"{self.path}: another nearsight is at work here; wait for it, or stop it first"
            ) from None

    @contextmanager
    def executing(self, config: Config, parent: Parent) -> Iterator[Executor | None]:
        """Be alone here, with a parent that keeps its results here and an engine at its service.

        Yields
        ------
        concurrent.futures.Executor or None
            What members are trained in; None for this process.

        Raises
        ------
        InputError
            If another one is at work, or the database or the engine cannot be used.
        """
        with self.exclusive(), ExitStack() as stack:
            parent.attach(config.parent.database or self / "parent.db", self / "failures.json")
            engine = make_executor(config.executor, self.path, config.parent.timeout)
            parent.executor = None if engine is None else stack.enter_context(engine)
            yield training_executor(parent.executor, config.executor)

    def stage(self, name: str, file: str | None, work: Callable[[], str]) -> None:
        """Do a stage whose file is not there, and keep its time and its sentence.

        Parameters
        ----------
        name : str
        file : str, optional
            What the stage writes last; a stage without one is done every time.
        work : callable
            Does it; gives one sentence.

        Raises
        ------
        InputError
            If a file that was made again is not what it was, so that others do not fit to it.
        """
        self._progress.stage(name)
        done = self.stages.get(name)
        if done is None or file is None or not self._whole(done, file):
            began = time.perf_counter()
            summary = work()
            seconds = time.perf_counter() - began + (done["seconds"] if done else 0.0)
            earlier, done = done, {"name": name, "seconds": seconds, "summary": summary}
            if file is not None:
                done |= {"file": file, "sha256": _sha256(self / file)}
                if earlier is not None and earlier["sha256"] != done["sha256"]:
                    raise InputError(
                        f"{self / file}: had to be made again and came out different, so what was "
                        "made of it later does not fit; start again in another folder (what the "
                        "parent calculated is in parent.db)"
                    )
            self.stages[name] = done
            write_json(
                self / "stages.json",
                {"format": "nearsight-stages", "version": 1, "stages": self.stages},
            )
        self._progress.note(done["summary"])

    def _whole(self, done: dict[str, Any], file: str) -> bool:
        path = self / file
        if path.is_file() and _sha256(path) == done["sha256"]:
            return True
        how = "damaged or changed since it was written" if path.exists() else "gone"
        self._progress.note(f"{file} is {how}; it is made again")
        return False

    def _earlier(self) -> dict[str, dict[str, Any]]:
        path = self / "stages.json"
        if not path.exists():
            return {}
        try:
            content = check_header(read_json(path), path, "nearsight-stages", 1)
        except DamagedFileError as error:
            self._progress.note(f"{error}; every stage is done again")
            return {}
        return dict(content["stages"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
