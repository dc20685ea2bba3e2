"""Commands that simulate and learn from it: retrain, md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import Seed, display, find_modules_in, show, work_folder
from nearsight.cli.model import PANEL, load_ensemble
from nearsight.cli.options import command
from nearsight.cli.run import Folder, run, run_folder
from nearsight.config import Config, DynamicsSettings, RelaxationSettings, RetrainingSettings
from nearsight.errors import InputError


@command(
    "retrain",
    PANEL,
    "Retrain on what the relaxation runs into.",
    "FOLDER, the folder of a finished run. Its parent is asked about atoms that the ensemble is "
    "uncertain of during the relaxation of the target.",
    "A folder with the retrained ensemble (best.json), the target as it relaxes it "
    "(retrained.extxyz), and every round. Stop it at any moment: the same command continues.",
    "nearsight retrain nft/",
    without=("with_parent",),
)
def retrain(
    folder: Folder,
    retraining: RetrainingSettings,
    relaxation: RelaxationSettings,
    workdir: Annotated[
        Path | None,
        typer.Option(help="The folder of the retraining.", show_default="retrained in FOLDER"),
    ] = None,
) -> None:
    """Retrain a finished run."""
    folder = run_folder(folder)
    place = work_folder(workdir or folder / "retrained")
    from nearsight.run import follow_up

    find_modules_in(folder.absolute().parent)
    with display() as progress:
        result = follow_up.retrain(folder, place, retraining, relaxation, progress)
    show(f"{place / 'best.json'}: {result.summary}")


@command(
    "md",
    PANEL,
    "Molecular dynamics that watches its uncertainty.",
    "A configuration with a section [bold]\\[dynamics][/bold]: everything in it is carried out, as "
    "by [bold]nearsight run[/bold]. Or an ensemble and STRUCTURE: the dynamics end where they "
    "become too uncertain. Or the folder of a finished run and STRUCTURE: its parent is asked "
    "about the atoms that are, the ensemble learns them, and the dynamics go on.",
    "A folder with the trajectory (md.traj) and the log (md.log) of ASE, and dynamics.json. Stop "
    "it at any moment: the same command continues, with the result it would have had.",
    "nearsight md nft/ relaxed.extxyz --temperature 300 --final-temperature 1500 --steps 5000",
)
def md(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="A configuration (TOML), an ensemble (JSON), a run's folder."
        ),
    ],
    dynamics: DynamicsSettings,
    structure: Annotated[
        str | None, typer.Argument(metavar="STRUCTURE", help="The structure to begin with.")
    ] = None,
    workdir: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the dynamics; with a configuration, that of the run.",
            show_default="md",
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Molecular dynamics."""
    if source.suffix == ".toml":
        if structure is not None:
            raise InputError("STRUCTURE cannot go with a configuration, which names its own")
        if dynamics.model_fields_set:
            raise InputError(f"settings of the dynamics cannot go with {source}, which has its own")
        if Config.load(source).dynamics is None:
            raise InputError(f"{source}: has no section [dynamics]")
        run(source, workdir)
        return
    if structure is None:
        raise InputError(f"STRUCTURE is missing: {source} is no configuration (TOML)")
    place = work_folder(workdir or Path("md"))
    from nearsight.run import follow_up
    from nearsight.structures.images import read_structure

    atoms = read_structure(structure)
    if source.is_dir():  # whose parent may be a module beside it
        find_modules_in(source.absolute().parent)
    model = None if source.is_dir() else load_ensemble(source)
    with display() as progress:
        summary = follow_up.run_dynamics(model or source, atoms, place, dynamics, seed, progress)
    show(f"{place / 'md.traj'}: {summary}")
