"""Commands for a whole run: new, run, status, report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nearsight.cli.app import (
    Calculator,
    Seed,
    display,
    find_modules_in,
    output,
    printer,
    show,
    work_folder,
)
from nearsight.cli.options import command, revise
from nearsight.config import Config, GeometrySettings
from nearsight.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

PANEL = "A whole run"
SCHEMA = "nearsight.schema.json"

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The folder of a run, or its configuration.")
]

Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="The structure; file@index picks one of several.")
]
Accuracy = Annotated[
    float,
    typer.Option(
        metavar="EV/Å",
        min=0.0,
        help="Largest uncertainty of an atom (calibrated) at which training may end.",
    ),
]


def run_folder(path: Path) -> Path:
    """The folder of a run, of which the configuration may be given instead."""
    return path.with_suffix("") if path.suffix == ".toml" and not path.is_dir() else path


@command(
    "new",
    PANEL,
    "Write a configuration for your own structure.",
    "TARGET, the large structure the potential is for, in any format that ASE reads.",
    "A commented TOML file that runs as it is; change in it what you know better.",
    "nearsight new particle.xyz --parent emt -o nft.toml",
)
def new(
    target: Target,
    parent: Calculator = "emt",
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
    ] = Path("nft.toml"),
    accuracy: Accuracy = 0.0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    seed: Seed = 0,
) -> None:
    """Write a configuration for a target."""
    from nearsight.run.cost import estimate_cost

    output(output_file, force)
    atoms, config, text = _proposal(target, parent, output_file, seed, accuracy)
    _write(output_file, text, atoms, config)
    first = "adapt the arguments in [parent], then " if config.parent.arguments else ""
    show(
        f"{output_file}: written for {atoms.symbols.formula:metal}; {first}start with: nearsight "
        f"run {output_file}"
    )
    show(
        f"labels of {config.nft.max_chunks} chunks and {config.nft.validation_chunks} larger ones: "
        f"the cost of {estimate_cost(atoms, config):.2g} calculations of the whole target, if it "
        "grows with the third power of the number of atoms"
    )


def _proposal(
    target: str,
    parent: str,
    file: Path,
    seed: int,
    accuracy: float,
    change: Callable[[Config], Config] = lambda config: config,
) -> tuple[Atoms, Config, str]:
    """The target, settings that suit it, and the text of their file."""
    from ase import Atoms

    from nearsight.config.template import to_toml
    from nearsight.parents import Parent
    from nearsight.parents.codes import CODES
    from nearsight.run.advice import check_lengths
    from nearsight.run.suggest import CHEAP_PARENTS, suggest_config
    from nearsight.structures.images import check_structure, read_structure

    folder = file.absolute().parent
    atoms = read_structure(target)
    find_modules_in(folder)
    if parent in CODES:
        CODES[parent].check()  # its arguments are to be adapted
    else:
        Parent(parent)
    if parent in CHEAP_PARENTS:
        labelling = Parent(parent)
        for symbol in sorted(set(atoms.symbols)):
            labelling.calculate(Atoms(symbol))  # not every parent knows every element
    try:
        structure = Path(os.path.relpath(target, folder))
    except ValueError:  # on another drive (Windows)
        structure = Path(target).absolute()
    check_lengths(atoms, target)
    config = change(suggest_config(atoms, structure, parent, seed, accuracy))
    check_structure(atoms, name=target, radius=config.nft.within(config.features.cutoff))
    title = (
        f"nearsight: nearsighted force training of {atoms.symbols.formula:metal}.\n"
        f"Run it with:  nearsight run {file}\n"
        "File names are relative to this file. A line like #key = value is switched off.\n"
        f"For editors with taplo (key completion):  nearsight schema > {SCHEMA}"
    )
    text = f"#:schema {SCHEMA}\n{to_toml(config, title)}"
    Config.parse(text, str(file), folder)
    return atoms, config, text


def _write(file: Path, text: str, atoms: Atoms, config: Config) -> None:
    """Write a configuration, and say what is worth saying of it."""
    from nearsight.files.atomic import write_text
    from nearsight.learning.targets import Targets
    from nearsight.run.advice import advice

    write_text(file, text)
    show(*(f"{each[:1].upper()}{each[1:]}." for each in advice(config, Targets.of(atoms))))


@command(
    "distil",
    PANEL,
    "Distil a quick parent into a much quicker potential for a structure.",
    "TARGET, the structure, and a parent that can calculate it as a whole many times: a foundation "
    "model, a force field, a linear-scaling code.",
    "WORKDIR.toml, the configuration (labels from the whole target), which is carried out at once "
    "in WORKDIR, as by [bold]nearsight run[/bold]. The same command continues where it stopped.",
    "nearsight distil particle.xyz --parent emt --temperature 600",
)
def distil(
    target: Target,
    parent: Calculator = "emt",
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="K",
            help="Temperature of the dynamics that geometries come from.",
            show_default=f"{GeometrySettings().temperature:g}",
        ),
    ] = None,
    max_geometries: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Calculations of the target to train on at most; those of validation come on top.",
            show_default=str(GeometrySettings().max_geometries),
        ),
    ] = None,
    accuracy: Accuracy = 0.0,
    workdir: Annotated[
        Path | None,
        typer.Option(help="The folder of the run.", show_default="distil-TARGET"),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Write a configuration with labels from the whole target, and carry it out."""
    folder = work_folder(workdir or Path(f"distil-{Path(target.partition('@')[0]).stem}"))
    file = folder.with_name(f"{folder.name}.toml")
    output(file)

    def change(config: Config) -> Config:
        from nearsight.run.suggest import distilled

        changes = {"temperature": temperature, "max_geometries": max_geometries}
        given = {key: value for key, value in changes.items() if value is not None}
        return distilled(config, revise(GeometrySettings(), **given))

    atoms, config, text = _proposal(target, parent, file, seed, accuracy, change)
    if not file.exists():
        _write(file, text, atoms, config)
        allowed = config.geometries
        show(
            f"{file}: labels of at most {allowed.max_geometries} geometries and "
            f"{allowed.validation} to validate, each a calculation of the whole target"
        )
    elif file.read_text(encoding="utf-8") != text:
        raise InputError(
            f"{file}: exists already, with other settings; continue it with nearsight run {file}, "
            "or give another folder with --workdir"
        )
    _carry_out(file, folder, file.absolute().parent)


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
    folder = work_folder(workdir or (config if config.is_dir() else config.with_suffix("")))
    names = config.absolute().parent
    if config.is_dir():
        config = _configuration_of(config)
    _carry_out(config, folder, names)


def _carry_out(config: Path, folder: Path, names: Path) -> None:
    """Carry out a configuration whose file names start from ``names``."""
    try:
        settings = Config.load(config, names)
    except InputError as error:
        if config.suffix == ".toml":
            raise
        raise InputError(
            f"{error}; for a structure, nearsight new {config} writes a configuration"
        ) from error
    from nearsight.files.records import Verdict
    from nearsight.progress import LogProgress, SeveralProgress
    from nearsight.run.run import Run
    from nearsight.run.status import StatusProgress

    find_modules_in(names)
    with display() as progress:
        files = LogProgress(folder / "run.log"), StatusProgress(folder / "status.json")
        Run(settings, folder, SeveralProgress(progress, *files)).execute()
    show(f"ensemble: {folder / 'best.json'}", f"report: {folder / 'report.html'}", "")
    # not broken at the width of the terminal: the last line is to be copied
    verdict = folder / Verdict.FILE
    if verdict.exists():
        typer.echo("\n".join(Verdict.load(verdict).lines(folder)))


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
) -> None:
    """Tell where a run stands."""
    from nearsight.cli.status import describe_status
    from nearsight.run.status import RunStatus

    found = RunStatus.of(run_folder(folder))
    console = printer()
    console.width = min(console.width, 100)
    for part in describe_status(found, console):
        console.print(part)


@command(
    "report",
    PANEL,
    "Write the report of a finished run again.",
    "FOLDER, the folder of a run.",
    "report.html (one file, with the figures in it), report.json and figures/ in that folder.",
    "nearsight report nft/",
)
def report(
    folder: Folder,
) -> None:
    """Write the report of a run."""
    from nearsight.report.page import write_report

    folder = work_folder(run_folder(folder))
    write_report(folder)
    show(f"report: {folder / 'report.html'}")


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
