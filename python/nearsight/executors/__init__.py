"""Executors: calls in processes of this machine, or as jobs in a SLURM queue.

Both are a `concurrent.futures.Executor` like any other, and any other will do in their place.
"""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import cast

from nearsight.config import ExecutorSettings
from nearsight.executors.protocol import CallError, WorkerLost

__all__ = [
    "CallError",
    "WorkerLost",
    "discard_finished",
    "has_calls",
    "make_executor",
    "training_executor",
]


def make_executor(
    settings: ExecutorSettings, folder: Path, timeout: float | None = None
) -> Executor | None:
    """Make the engine that the settings ask for, after checking that it can work.

    Use it in a ``with`` statement. Leaving it normally waits for what was submitted and removes all
    files. Leaving it by an exception (a Ctrl-C is one) kills local processes at once, but leaves
    jobs in the queue: another engine on the same folder finds them by their calls, running or
    finished, when the same calls are submitted again.

    Parameters
    ----------
    settings : ExecutorSettings
    folder : Path
        Folder of the run; jobs keep their files in ``jobs`` in it.
    timeout : float, s, optional
        Longest duration of a call, with ``engine = "local"``; its future then raises
        `TimeoutError`. Jobs have their time limit instead.

    Returns
    -------
    Executor or None
        None for ``engine = "inline"``. Futures raise `WorkerLost` if the process or job of a call
        vanished, and `CallError` if the call raised an exception. ``submit`` raises `RuntimeError`
        when the engine has broken down for good.

    Raises
    ------
    InputError
        An engine that cannot work here: SLURM is not there, or refuses such jobs.
    """
    if settings.engine == "local":
        from nearsight.executors.local import LocalExecutor

        longest = None if timeout is None else timeout * settings.per_job
        return LocalExecutor(settings.workers, settings.threads, longest)
    if settings.engine == "slurm":
        from nearsight.executors.slurm import SlurmExecutor

        return SlurmExecutor(settings, folder / "jobs")
    return None


def has_calls(folder: Path) -> bool:
    """True if calls of an engine on a folder may still be in a queue."""
    return any((folder / "jobs").glob("*.call.json"))


def discard_finished(executor: Executor | None) -> None:
    """Delete the results of finished calls, where the executor keeps any.

    To be called when the results of all finished calls are kept elsewhere: until then, another
    engine on the same folder gives them again.
    """
    forget = getattr(executor, "discard_finished", None)
    if forget is not None:
        forget()


def training_executor(executor: Executor | None, settings: ExecutorSettings) -> Executor | None:
    """The same engine for the training of members; None where they are trained in this process.

    The timeout of a parent calculation does not apply to them.
    """
    if executor is None or not settings.trainings:
        return None
    own = getattr(executor, "without_timeout", None)
    return executor if own is None else cast(Executor, own())
