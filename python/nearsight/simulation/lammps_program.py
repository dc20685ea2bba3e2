"""LAMMPS as a program: found, run, watched, and ended with all it has started."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nearsight.errors import InputError, plain_text
from nearsight.executors.processes import STARTED_BY, kill_marked, last_line

__all__ = ["LOG", "LammpsProgram", "error_in", "halt_in", "state_in"]

LOG = "log.lammps"
OUTPUT = "output.txt"
"""What it prints, and MPI with it."""
LOOK = 1.0  # s between two looks how far it is
TAIL = 4000  # bytes of a log, in which there is a line of its table
_HALT = re.compile(r"^Fix halt condition for fix-id (?:uncertain|outside) met on step (\d+)", re.M)


@dataclass(frozen=True)
class LammpsProgram:
    """The words LAMMPS is started by.

    Attributes
    ----------
    words : tuple of str
        E.g. ``("mpiexec", "-n", "2", "lmp")``.
    """

    words: tuple[str, ...] = ("lmp",)

    @property
    def name(self) -> str:
        """As a shell would take it."""
        return shlex.join((Path(self.words[0]).name, *self.words[1:]))

    @classmethod
    def parse(cls, text: str) -> LammpsProgram:
        """The program of a line as a shell would take it.

        Raises
        ------
        InputError
            If there is no such program.
        """
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise InputError(f"program {text!r}: {error}") from error
        if not words:
            raise InputError("program must be a command such as lmp, got nothing")
        found = shutil.which(words[0], path=_path())
        if found is None:
            raise InputError(
                f"{words[0]}: no such program; pip install ./lammps, in a copy of nearsight, "
                'brings lmp, and --program names another one, e.g. --program "mpiexec -n 4 lmp"'
            )
        # it is started in another folder
        places = (str(Path(each).absolute()) if os.sep in each else each for each in words[1:])
        return cls((str(Path(found).absolute()), *places))

    def run(
        self,
        script: Path,
        mark: str,
        look: Callable[[int, str], None],
        seconds: float | None = None,
    ) -> str:
        """Run a script in its folder to the end, or until the time is over.

        What it has started ends with it, also when a signal ends the work here.

        Parameters
        ----------
        script : Path
        mark : str
            Put into the environment, see `kill_marked`.
        look : callable
            Is told the step, and what the log says of it, now and then.
        seconds : float, optional
            After which it is ended.

        Returns
        -------
        str
            How it failed, in a sentence; empty if it did not.
        """
        folder = script.parent
        log = folder / LOG
        log.unlink(missing_ok=True)
        until = None if seconds is None else time.monotonic() + seconds
        environment = os.environ | {STARTED_BY: mark, "PATH": _path()}
        with (folder / OUTPUT).open("wb") as output:
            process = subprocess.Popen(
                [*self.words, "-in", script.name, "-log", LOG],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that it gets no Ctrl-C before us
            )
            try:
                while until is None or time.monotonic() < until:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(LOOK)
                        return self._failure(process.returncode, folder)
                    now = state_in(log)
                    if now is not None:
                        look(*now)
                return ""
            finally:
                _end(process, mark)

    def _failure(self, code: int, folder: Path) -> str:
        if code == 0:
            return ""
        said = error_in(folder / LOG) or error_in(folder / OUTPUT)
        name = self.name
        if re.search(r"[Uu]n(recognized|known) pair style 'nearsight'", said):
            return (
                f"{name}: this LAMMPS has no pair_style nearsight ({said}); pip install ./lammps, "
                "in a copy of nearsight, brings one that has, and nearsight lammps build makes it "
                "for another"
            )
        if said:
            return f"{name}: {said} (see {folder / LOG})"
        how = f"signal {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        text = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace")
        return f"{name}: ended with {how}{last_line(text)}"


def _path() -> str:
    """Where programs are looked for: also beside Python, whose environment may not be active."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.wait()
    kill_marked(mark, STARTED_BY)  # what mpiexec has started is in no group of ours


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # of those without a name
        return str(number)


def error_in(log: Path) -> str:
    """The last error in a log, in a line; empty if there is none."""
    found = [line for line in _text(log).splitlines() if line.startswith("ERROR")]
    return plain_text(found[-1]) if found else ""


def halt_in(log: Path) -> int | None:
    """The step at which uncertainty or grade ended the run, if they did."""
    found = _HALT.search(_text(log))
    return int(found[1]) if found else None


def state_in(log: Path) -> tuple[int, str] | None:
    """The last step in the log of a script of ours that runs, and what it is like there."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL))
            lines = stream.read().decode(errors="replace").splitlines(keepends=True)
    except OSError:
        return None
    for line in reversed(lines):
        words = line.split()
        # step temp pe ke etotal press and what is watched
        if len(words) in (7, 8) and words[0].isdigit() and line.endswith("\n"):
            with contextlib.suppress(ValueError):
                temperature, raw = float(words[1]), float(words[6])
                return int(words[0]), f"{temperature:.0f} K, uncertainty {raw:.3f} eV/Å"
    return None


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
