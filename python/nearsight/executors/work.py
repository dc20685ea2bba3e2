"""What the engines share."""

from __future__ import annotations

__all__ = ["THREAD_VARIABLES", "WorkerLost"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What tells numerical libraries how many threads to use."""


class WorkerLost(RuntimeError):
    """The process or job of a call vanished before the call returned; the message says how."""
