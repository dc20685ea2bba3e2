"""The command line: ``nearsight COMMAND``."""

from __future__ import annotations

from nearsight.cli import runs, stages, using  # each adds its commands, help shows this order
from nearsight.cli.app import app

__all__ = ["app", "main", "runs", "stages", "using"]


def main() -> None:
    """Run the command line and exit."""
    app(prog_name="nearsight")
