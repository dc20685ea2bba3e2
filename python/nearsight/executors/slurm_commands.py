"""The commands of SLURM and the scripts of its jobs."""

from __future__ import annotations

import math
import shlex
import subprocess
from pathlib import Path

from nearsight.config import ExecutorSettings
from nearsight.executors.processes import MARK, last_line
from nearsight.executors.protocol import THREAD_VARIABLES

__all__ = ["LOG", "Refusal", "job_script", "last_log_line", "slurm", "was_ended"]

ANSWER = 120.0
"""Longest duration of a command, s."""

LOG = "job.log"
"""File for the output of a job, in its folder."""

CANCELLED = "CANCELLED AT"
"""Words of SLURM in the log of a job that it ends; the time and the reason follow."""

WHOLE_JOB = "*** JOB "
"""Before them, if it is not a step of the job alone, which srun ends where a process has failed."""


class Refusal(Exception):
    """A command of SLURM failed; the message is what it said."""


def slurm(*command: str, script: str = "") -> str:
    """Output of a command of SLURM.

    Raises
    ------
    Refusal
        It failed, or gave no answer.
    """
    try:
        done = subprocess.run(
            command,
            input=script,
            capture_output=True,
            text=True,
            timeout=ANSWER,
            start_new_session=True,  # Ctrl-C is not for it: a job is submitted or it is not
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refusal(f"{command[0]}: {error}") from error
    if done.returncode:
        words = "; ".join(line for line in done.stderr.splitlines() if line.strip())
        raise Refusal(words or f"{command[0]} ended with exit code {done.returncode}")
    return done.stdout


def job_script(settings: ExecutorSettings, name: str, place: Path, command: str) -> str:
    """The script of a job that gives a command in a folder."""
    options = {
        "job-name": name,
        "chdir": shlex.quote(str(place)),
        "output": LOG,
        # two jobs of one call, should that ever happen, do not run at the same time
        "dependency": "singleton",
        "partition": settings.partition,
        "ntasks": settings.cores,
        "cpus-per-task": settings.threads,
        "time": math.ceil(settings.time_limit * 60.0),
        "mem": f"{math.ceil(settings.memory * 1024.0)}M",
    }
    lines = [f"#SBATCH --{key}={value}" for key, value in options.items() if value is not None]
    # srun does not take the cores of a process over from sbatch
    variables = (*THREAD_VARIABLES, "SRUN_CPUS_PER_TASK")
    exports = [f"export {variable}={settings.threads}" for variable in variables]
    exports.append(f"export {MARK}={name}")
    return "\n".join(
        ["#!/bin/bash", *lines, *settings.header, *exports, *settings.setup, command, ""]
    )


def was_ended(log: Path) -> bool:
    """Whether SLURM ended the job of a log."""
    if not log.exists():
        return False
    lines = log.read_text(errors="replace").splitlines()
    return any(CANCELLED in line and WHOLE_JOB in line for line in lines)


def last_log_line(log: Path) -> str:
    """The end of a sentence: the line of a log where SLURM says why it ended a job, or the last.

    What SLURM ended, the shell or a program, may say a word of its own after it.
    """
    if not log.exists():
        return ""
    text = log.read_text(errors="replace")
    said = [line for line in text.splitlines()[-20:] if CANCELLED in line]
    return last_line(said[-1] if said else text)
