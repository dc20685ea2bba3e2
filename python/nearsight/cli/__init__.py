"""The command line: ``nearsight COMMAND``."""

from __future__ import annotations

import io
import sys

# each module adds its commands to the app; the help shows them in this order
from nearsight.cli import run, simulate, stages, training, model  # isort: skip
from nearsight.cli.app import app

__all__ = ["app", "main", "model", "run", "simulate", "stages", "training"]


def main() -> None:
    """Run the command line and exit."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # better a ? for an Å than no result
    app(prog_name="nearsight")
