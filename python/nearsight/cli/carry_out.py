"""A configuration carried out with a display, and what is shown at its end."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from shlex import quote

from nearsight.cli.app import display, end_early, find_modules_in, printer, show, tell
from nearsight.config import Config
from nearsight.errors import InputError

__all__ = ["carry_out", "show_dynamics", "show_report"]


def carry_out(config: Path, folder: Path, names: Path) -> None:
    """Carry out a configuration whose file names start from ``names``.

    The copy in the folder of a run is carried out with the files that are kept there.
    """
    begun = None
    if (folder / "target.extxyz").is_file():
        begun = folder.absolute() if config.parent == folder else names
    try:
        settings = Config.load(config, names, begun)
    except InputError as error:
        if config.suffix == ".toml" or not config.exists():
            raise
        raise InputError(
            f"{error}; for a structure, nearsight new {config} writes a configuration"
        ) from error
    gc.disable()  # as in __main__
    from nearsight.progress import LogProgress, SeveralProgress
    from nearsight.run.run import Run
    from nearsight.run.status import StatusProgress

    gc.freeze()
    gc.enable()
    find_modules_in(names)
    if not sys.stderr.isatty():
        tell(
            f"the lines below are also in {folder / 'run.log'}; to see where it stands: "
            f"nearsight status {quote(str(folder))}\n"
        )
    with display() as progress:
        files = LogProgress(folder / "run.log"), StatusProgress(folder / "status.json")
        Run(settings, folder, SeveralProgress(progress, *files)).execute()
    show(f"ensemble: {folder / 'best.json'}")
    show_report(folder)


def show_dynamics(folder: Path, summary: str) -> None:
    """Print where dynamics are, how they ended, and their report; leave if that was too early."""
    from nearsight.files.records import DynamicsRecord

    show(f"{folder / 'md.traj'}: {summary}")
    show_report(folder)
    if not DynamicsRecord.load(folder / DynamicsRecord.FILE).is_done:
        end_early()


def show_report(folder: Path) -> None:
    """Print where the report is, and its verdict, with the next command last."""
    from nearsight.cli.display import verdict_text
    from nearsight.files.records import Verdict

    show(f"report: {folder / 'report.html'}", "")
    if (folder / Verdict.FILE).exists():
        console = printer()
        verdict = Verdict.load(folder / Verdict.FILE)
        console.print(verdict_text(verdict, folder, console), soft_wrap=True)
