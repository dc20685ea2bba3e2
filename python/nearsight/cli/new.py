"""Commands that begin with a structure: new, distil."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from nearsight.cli.app import (
    Calculator,
    Seed,
    find_modules_in,
    open_parent,
    output,
    show,
    table_of,
    work_folder,
)
from nearsight.cli.options import command, revise
from nearsight.cli.places import Format
from nearsight.config import Config, GeometrySettings
from nearsight.errors import InputError, ParentError

if TYPE_CHECKING:
    from ase import Atoms

PANEL = "A whole run"
SCHEMA = "nearsight.schema.json"

WHAT_IS_SHOWN = {
    True: "File names are relative to this file. A line like #key = value is switched off.",
    False: "File names are relative to this file. All other keys have their defaults, which\n"
    "nearsight new --full shows.",
}
PATIENCE = 20.0
"""Seconds that a first calculation may take which nobody has asked for."""
FAILED = "A run would fail likewise: give the parent what it needs, as arguments under [parent]."

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


@command(
    "new",
    PANEL,
    "Write a configuration for your own structure, and say what its run will ask for.",
    "TARGET, the large structure the potential is for, in any format that ASE reads.",
    "A short TOML file that runs as it is; change in it what you know better (--full writes every "
    "key). In the terminal what the structure is taken for, how large its chunks are, how many "
    "calculations the parent is asked for, how long they take, and what does not look right.",
    "nearsight new particle.xyz --parent emt -o nft.toml",
)
def new(
    target: Target,
    parent: Calculator = "emt",
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
    ] = Path("nft.toml"),
    accuracy: Accuracy = 0.0,
    full: Annotated[
        bool, typer.Option("--full", help="Write every key, with its default and a comment.")
    ] = False,
    probe: Annotated[
        bool | None,
        typer.Option(
            help="Calculate a chunk to tell the time of all; the result is kept for the run.",
            show_default=f"a chunk that takes less than {PATIENCE:g} s",
        ),
    ] = None,
    file_format: Format = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    seed: Seed = 0,
) -> None:
    """Write a configuration for a target."""
    from nearsight.files.atomic import write_text
    from nearsight.run.passport import Passport

    output(output_file, target, force=force)
    atoms, config, text = _proposal(
        target, parent, output_file, seed, accuracy, file_format=file_format, full=full
    )
    write_text(output_file, text)
    timed, why_not = _timed(atoms, config, output_file, probe)
    table = table_of("", "", left=1)
    table.columns[1].justify, table.columns[1].no_wrap = "left", False
    for row in Passport(atoms, config).rows(timed):
        table.add_row(*row)
    show(table, *why_not)
    _warn(atoms, config)
    adapt = config.parent.arguments or FAILED in why_not
    first = "adapt the arguments in [parent], then " if adapt else ""
    show(
        f"{output_file}: written for {atoms.symbols.formula:metal}; {first}start with: nearsight "
        f"run {quote(str(output_file))}"
    )


def _timed(
    atoms: Atoms, config: Config, file: Path, wanted: bool | None
) -> tuple[tuple[int, float] | None, list[str]]:
    """Atoms of a chunk and the seconds its calculation took; or a sentence on why not."""
    import time

    from nearsight.executors.local import TIMED_OUT
    from nearsight.learning.targets import Targets
    from nearsight.parents import Origin, Parent
    from nearsight.run.suggest import CHEAP_PARENTS

    whole = config.nft.labels == "target"
    adapt = bool(config.parent.arguments) and wanted is None  # they are to be adapted first
    if wanted is False or whole or adapt:
        command = f"nearsight new ... --parent {config.parent.calculator} --probe"
        return None, [f"Not timed yet: {command} calculates a chunk."] if adapt else []
    nft = config.nft
    chunk = Targets.of(atoms).small_chunk(nft.chunk_radius, nft.vacuum)
    if config.parent.calculator in CHEAP_PARENTS:
        began = time.perf_counter()
        Parent(config.parent.calculator).calculate(chunk)
        return (len(chunk), time.perf_counter() - began), []
    limit = None if wanted else PATIENCE
    settings = config.parent.model_copy(update={"timeout": limit, "retries": ()})
    engine = config.executor.model_copy(update={"engine": "local", "workers": 1})
    folder = file.with_suffix("")
    folder.mkdir(exist_ok=True)
    try:
        with open_parent(settings, engine, folder, folder / "parent.db") as labelling:
            result = labelling.calculate(chunk, origin=Origin(stage="nft"))
    except ParentError as error:
        return None, [f"Not timed: {error}.", *([] if TIMED_OUT in str(error) else [FAILED])]
    return (len(chunk), result.seconds), []


def _proposal(
    target: str,
    parent: str,
    file: Path,
    seed: int,
    accuracy: float,
    change: Callable[[Config], Config] = lambda config: config,
    file_format: str | None = None,
    full: bool = False,
) -> tuple[Atoms, Config, str]:
    """The target, settings that suit it, and the text of their file."""
    from ase import Atoms

    from nearsight.config.template import to_toml
    from nearsight.parents import Parent
    from nearsight.parents.codes import CODES
    from nearsight.run.advice import check_distances, check_lengths
    from nearsight.run.suggest import CHEAP_PARENTS, suggest_config
    from nearsight.structures.images import check_structure, read_structure

    folder = file.absolute().parent
    atoms = read_structure(target, file_format)
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
    check_distances(atoms, target)
    config = change(suggest_config(atoms, structure, parent, seed, accuracy))
    if file_format is not None:
        named = config.target.model_copy(update={"format": file_format})
        config = config.model_copy(update={"target": named})
    check_structure(atoms, name=target, radius=config.nft.within(config.features.cutoff))
    title = (
        f"nearsight: nearsighted force training of {atoms.symbols.formula:metal}.\n"
        f"Run it with:  nearsight run {quote(str(file))}\n"
        f"{WHAT_IS_SHOWN[full]}\n"
        f"For editors with taplo (key completion):  nearsight schema > {SCHEMA}"
    )
    text = f"#:schema {SCHEMA}\n{to_toml(config, title, short=not full)}"
    Config.parse(text, str(file), folder)
    return atoms, config, text


def _warn(atoms: Atoms, config: Config) -> None:
    """Say what does not look right."""
    from nearsight.learning.targets import Targets
    from nearsight.run.advice import advice

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
    output(file, target)

    def change(config: Config) -> Config:
        from nearsight.run.suggest import distilled

        changes = {"temperature": temperature, "max_geometries": max_geometries}
        given = {key: value for key, value in changes.items() if value is not None}
        return distilled(config, revise(GeometrySettings(), options=True, **given))

    atoms, config, text = _proposal(target, parent, file, seed, accuracy, change)
    if not file.exists():
        from nearsight.files.atomic import write_text

        write_text(file, text)
        _warn(atoms, config)
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
    from nearsight.cli.carry_out import carry_out

    carry_out(file, folder, file.absolute().parent)
