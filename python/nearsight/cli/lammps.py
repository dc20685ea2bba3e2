"""Commands for LAMMPS: lammps input, md, build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import Seed, app, display, find_modules_in, output, show, work_folder
from nearsight.cli.carry_out import show_dynamics
from nearsight.cli.model import PANEL
from nearsight.cli.options import command
from nearsight.cli.places import (
    EnsembleFile,
    Folder,
    Format,
    check_ensemble,
    ensemble_file,
    load_ensemble,
    run_folder,
)
from nearsight.config import DynamicsSettings, RetrainingSettings
from nearsight.errors import InputError

lammps = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(
    lammps,
    name="lammps",
    help="Run a potential in LAMMPS: input, md, build.",
    rich_help_panel=PANEL,
)


@command(
    "input",
    PANEL,
    "Write a LAMMPS script for molecular dynamics.",
    "ENSEMBLE, and STRUCTURE in any format that ASE reads.",
    "A script for pair_style nearsight (pip install ./lammps, in a copy of nearsight), and the "
    "structure beside it (.data): masses, units, initial velocities, thermostat, the uncertainty "
    "of every atom by fix pair, and fix halt where it is above 1.5 times the threshold, or an atom "
    "outside what there are labels of, as with [bold]nearsight md[/bold].",
    "nearsight lammps input best.json particle.xyz --temperature 300",
    without=("max_rounds", "max_chunks", "max_hours"),
    group=lammps,
)
def lammps_input(
    ensemble: EnsembleFile,
    structure: Annotated[
        str, typer.Argument(metavar="STRUCTURE", help="The structure to begin with.")
    ],
    dynamics: DynamicsSettings,
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The script to write.")
    ] = Path("in.lammps"),
    seed: Seed = 0,
) -> None:
    """Write a script and its structure."""
    from nearsight.simulation.known import Limits
    from nearsight.simulation.lammps import data_file, write_lammps_input
    from nearsight.structures.images import check_structure, read_structure

    for file in (output_file, data_file(output_file)):
        output(file, ensemble_file(ensemble), structure)
    model = load_ensemble(ensemble, structure)
    if model.baseline is not None:
        raise InputError(f"{ensemble}: pair_style nearsight does not compute a baseline")
    atoms = read_structure(structure)
    check_structure(atoms, model.elements, structure)
    first = model.evaluate(atoms).uncertainty_raw
    assert first is not None
    limits = Limits.of(dynamics, RetrainingSettings().window, float(first.max()))
    data = write_lammps_input(
        output_file,
        ensemble_file(ensemble),
        model.elements,
        atoms,
        dynamics,
        limits,
        model.domain is not None,
        seed,
    )
    ends = f", which end where the raw uncertainty is above {limits.high:.4g} eV/Å"
    show(
        f"{output_file}, {data}: {len(atoms)} atoms, {dynamics.steps} steps"
        + (ends if model.has_spread else "")
    )


@command(
    "md",
    PANEL,
    "Molecular dynamics by LAMMPS that retrain where they become uncertain.",
    "A finished run (its folder or TOML) and STRUCTURE, in any format that ASE reads. LAMMPS needs "
    "pair_style nearsight (pip install ./lammps, in a copy of nearsight).",
    "A folder with the trajectory of all of it (md.traj), the last potential (best.json), and a "
    "folder for every script of LAMMPS. Where fix halt ends one, the parent of the run is asked "
    "about atoms of its uncertain frames, the ensemble learns them, and the next one goes on from "
    "the last trusted frame. Stop it at any moment: the same command continues.",
    "nearsight lammps md nft/ relaxed.extxyz --temperature 1000",
    group=lammps,
)
def lammps_md(
    folder: Folder,
    structure: Annotated[
        str, typer.Argument(metavar="STRUCTURE", help="The structure to begin with.")
    ],
    dynamics: DynamicsSettings,
    file_format: Format = None,
    program: Annotated[
        str, typer.Option(metavar="COMMAND", help="The command that starts LAMMPS.")
    ] = "lmp",
    workdir: Annotated[Path, typer.Option(help="The folder of the dynamics.")] = Path("lammps"),
    seed: Seed = 0,
) -> None:
    """Molecular dynamics by LAMMPS."""
    place = work_folder(workdir)
    from nearsight.run import finished
    from nearsight.structures.images import read_structure

    run = run_folder(folder)
    check_ensemble(run, structure)
    atoms = read_structure(structure, file_format)
    find_modules_in(run.absolute().parent)  # whose parent may be a module beside it
    with display() as progress:
        summary = finished.run_in_lammps(run, atoms, place, dynamics, program, seed, progress)
    show_dynamics(place, summary)


@command(
    "build",
    PANEL,
    "Build the plugin for another LAMMPS than that of PyPI.",
    "The headers of that LAMMPS, the folder [bold]src[/bold] of its source, and its program. Needs "
    "nearsight-lammps, whose source it is, CMake, a C++ compiler, Eigen and nlohmann/json.",
    "A folder with nearsightplugin.so and a library for each level of processors, for "
    "LAMMPS_PLUGIN_PATH or plugin load.",
    "nearsight lammps build ~/lammps/src --program ~/lammps/build/lmp -o plugins",
    group=lammps,
)
def lammps_build(
    headers: Annotated[
        Path, typer.Argument(metavar="HEADERS", help="Folder with pair.h of that LAMMPS.")
    ],
    program: Annotated[
        str, typer.Option(metavar="LMP", help="Its program: a name or a file.")
    ] = "lmp",
    mpi: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder with its mpi.h.",
            show_default="that of mpicxx, or STUBS in HEADERS",
        ),
    ] = None,
    output_folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the plugin goes.")
    ] = Path("plugins"),
) -> None:
    """Build the plugin."""
    try:
        from nearsight_lammps import BuildError, build
    except ImportError:
        raise InputError(
            "lammps build needs the source of the plugin: pip install ./lammps, in a copy of "
            "nearsight"
        ) from None
    try:
        version = build(headers, program, mpi, output_folder)
    except BuildError as error:
        raise InputError(str(error)) from error
    show(f"{output_folder}: plugin for LAMMPS {version}")
