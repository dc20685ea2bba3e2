"""The command line, ``nearsight COMMAND``."""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
import threading
from contextlib import suppress

# each module adds its commands to the app; the help shows them in this order
from nearsight.cli import new, run, simulate, stages, model, foreign, lammps, labels, doctor  # isort: skip
from nearsight.cli.app import app

__all__ = [
    "app",
    "doctor",
    "foreign",
    "labels",
    "lammps",
    "main",
    "model",
    "new",
    "run",
    "simulate",
    "stages",
]


def main() -> None:
    """Run the command line and exit."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # better a ? for an Å than no result
    # Threads that wait for the next force call shall sleep, not spin: on a busy machine spinning
    # ones take the cores from others. OpenMP reads this when it is loaded, with the core.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app(prog_name="nearsight")
    except SystemExit as end:
        _leave_threads(end)
        raise
    finally:
        # what is left is Python's own end: a Ctrl-C more than was needed shall not tear it
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _leave_threads(end: SystemExit) -> None:
    """End now if there are threads that Python would wait for, which a parent has left behind."""
    main = threading.main_thread()
    if all(each is main or each.daemon for each in threading.enumerate()):
        return
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
