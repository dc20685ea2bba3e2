"""Commands for a whole run: run, status, report, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import printer, work_folder
from nearsight.cli.carry_out import carry_out, show_report
from nearsight.cli.new import PANEL, SCHEMA
from nearsight.cli.options import command
from nearsight.cli.places import KEEP_RESULTS, Folder, run_folder
from nearsight.config import Config
from nearsight.errors import InputError


@command(
    "run",
    PANEL,
    "Do everything a configuration asks for.",
    "CONFIG, a TOML file (see [bold]nearsight new[/bold]); it is checked as a whole first. Or the "
    "folder of a run, to continue it.",
    "A folder with the ensemble (best.json), the report (report.html) and all results on the way. "
    "Stop it at any moment: the same command continues where it stopped.",
    "nearsight run nft.toml",
)
def run(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The configuration, or the folder.")
    ],
    workdir: Annotated[
        Path | None,
        typer.Option(help="The folder of the run.", show_default="beside CONFIG, named after it"),
    ] = None,
) -> None:
    """Carry out a configuration."""
    given = run_folder(config)
    folder = work_folder(workdir or (given if given.is_dir() else config.with_suffix("")))
    names = config.absolute().parent
    if config in (given, given / "best.json", given / "config.toml") and given.is_dir():
        config, names = _configuration_of(given), given.absolute().parent
    carry_out(config, folder, names)


def _configuration_of(folder: Path) -> Path:
    """The configuration of a run: the file it is named after, or else the copy in the folder."""
    beside = folder.parent / f"{folder.absolute().name}.toml"
    kept = folder / "config.toml"
    if not kept.is_file():
        raise InputError(f"{folder}: not the folder of a run; give a configuration (TOML)")
    return beside if beside.is_file() else kept


@command(
    "status",
    PANEL,
    "Tell where a run stands.",
    "FOLDER, the folder of a run: at work (here or on another machine), stopped or finished.",
    "What it does at present, the uncertainty by iteration, what the parent has cost so far, what "
    "it will cost at most (estimated from the chunks so far), and what it failed on.",
    "nearsight status nft/",
)
def status(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    follow: Annotated[
        bool, typer.Option("--watch", help="Again and again, as long as the run is at work.")
    ] = False,
) -> None:
    """Tell where a run stands."""
    from nearsight.cli.status import WIDEST, show_status, watch
    from nearsight.run.status import RunStatus

    if follow and as_json:
        raise InputError("--watch is a page for people; with --json ask again, without it")
    folder = run_folder(folder)
    console = printer()
    console.width = min(console.width, WIDEST)
    if follow:
        watch(folder, console)
        return
    found = RunStatus.of(folder)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
        return
    show_status(found, console)


@command(
    "report",
    PANEL,
    "Write the report of a finished run, retraining or dynamics again.",
    "FOLDER, the folder of a run, or one of retrain, relax (where something was learned), md or "
    "lammps md.",
    "report.html (one file, with the figures in it), report.json and figures/ in that folder.",
    "nearsight report nft/",
)
def report(
    folder: Folder,
) -> None:
    """Write the report of a run."""
    from nearsight.report.page import write_report
    from nearsight.report.work import is_work
    from nearsight.report.work_page import write_work_report

    if folder.name == "best.json" and is_work(folder.parent):
        folder = folder.parent
    folder = run_folder(folder)
    if not folder.is_dir():
        relaxed = [folder.with_suffix(suffix) for suffix in KEEP_RESULTS if not folder.suffix]
        for file in filter(Path.is_file, relaxed):
            raise InputError(
                f"{folder}: no such folder; a relaxation makes one where it has something to "
                f"learn, and has not. nearsight evaluate ENSEMBLE {file} tells the bounds of its "
                "errors, and nearsight report RUN of the potential"
            )
        wrong = "must be a folder" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {wrong}, that of a run, or of retrain, relax, md or lammps md")
    folder = work_folder(folder)
    write = write_work_report if is_work(folder) else write_report
    write(folder)
    show_report(folder)


@command(
    "schema",
    PANEL,
    "Print the JSON schema of configurations, for editors.",
    "Nothing.",
    f"The schema. An editor with taplo (VS Code: Even Better TOML) completes and checks the keys "
    f"of a configuration by it: write it beside the file, whose first line [bold]#:schema {SCHEMA}"
    "[/bold] leads to it.",
    f"nearsight schema > {SCHEMA}",
)
def schema() -> None:
    """Print the JSON schema."""
    typer.echo(json.dumps(Config.json_schema(), indent=1, ensure_ascii=False))
