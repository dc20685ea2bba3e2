"""The command line, in this process and in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from nearsight.cli import app


class Result(NamedTuple):
    """Exit code, stdout, and stderr without the lines on work as it goes on."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]

PROGRESS = re.compile(
    r"^(\d{4}-\d\d-\d\dT[\d:+]+  .*|the lines below are also in .*)\n", re.MULTILINE
)


def without_progress(err: str) -> str:
    """Stderr without the lines on work as it goes on."""
    return PROGRESS.sub("", err)


def run_command(*arguments: str | Path) -> Result:
    """Run a command in this process; its changes of ``sys.path`` are taken back."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as caught:
            app([str(argument) for argument in arguments], prog_name="nearsight")
    return Result(int(caught.value.code or 0), out.getvalue(), without_progress(err.getvalue()))


def python(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> Result:
    """Run Python in a process of its own, with additions to the environment."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(done.returncode, done.stdout, without_progress(done.stderr))
