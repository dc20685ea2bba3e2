"""Commands that simulate and learn from it: retrain, md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import Seed, display, find_modules_in, show, work_folder
from nearsight.cli.carry_out import show_dynamics, show_report
from nearsight.cli.model import PANEL
from nearsight.cli.options import command
from nearsight.cli.places import Folder, Format, check_ensemble, is_run, run_folder
from nearsight.cli.run import run
from nearsight.config import Config, DynamicsSettings, RelaxationSettings, RetrainingSettings
from nearsight.errors import InputError
from nearsight.reading import split_selection


@command(
    "retrain",
    PANEL,
    "Retrain on what the relaxation runs into, or on frames of your own.",
    "FOLDER, the folder of a finished run. Its parent is asked about atoms that the ensemble is "
    "uncertain of, or that are outside what it has labels of: during the relaxation of the target, "
    "or in the frames of --frames.",
    "A folder with the retrained ensemble (best.json) and every round; without --frames also the "
    "target as it relaxes it (retrained.extxyz). Stop it at any moment: the same command "
    "continues.",
    "nearsight retrain nft/ --frames neb.traj",
    without=("with_parent", "on_uncertain", "max_uncertainty"),
)
def retrain(
    folder: Folder,
    retraining: RetrainingSettings,
    relaxation: RelaxationSettings,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Frames to learn from, in any format that ASE reads: a band, a search, displaced "
            "structures, dynamics; file@index picks some.",
        ),
    ] = None,
    file_format: Format = None,
    types: Annotated[
        str | None,
        typer.Option(
            metavar="Pt,Cu,...",
            help="Elements of the atom types, where the frames are a dump of LAMMPS that does not "
            "tell them.",
        ),
    ] = None,
    workdir: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the retraining.",
            show_default="retrained in FOLDER; with --frames retrained-NAME",
        ),
    ] = None,
) -> None:
    """Retrain a finished run."""
    folder = run_folder(folder)
    name = "retrained" if frames is None else f"retrained-{Path(split_selection(frames)[0]).stem}"
    place = work_folder(workdir or folder / name)
    from nearsight.run import finished
    from nearsight.structures.images import read_structures
    from nearsight.structures.lammps_dump import read_dump

    if frames is None and types is not None:
        raise InputError("--types is for the frames of --frames")
    given = None if frames is None or types is not None else read_structures(frames, file_format)
    if frames is not None and types is not None:
        given = read_dump(frames, [each.strip() for each in types.split(",")])
    find_modules_in(folder.absolute().parent)
    with display() as progress:
        result = finished.retrain(folder, place, retraining, relaxation, progress, given)
    show(f"{place / 'best.json'}: {result.summary}")
    show_report(place)


@command(
    "md",
    PANEL,
    "Molecular dynamics that watches its uncertainty.",
    "A configuration with a section [bold]\\[dynamics][/bold]: everything in it is carried out, as "
    "by [bold]nearsight run[/bold]. Or an ensemble and STRUCTURE: the dynamics end where they "
    "become too uncertain. Or a finished run (its folder or TOML) and STRUCTURE: its parent is "
    "asked about the atoms that are, the ensemble learns them, and the dynamics go on.",
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
    file_format: Format = None,
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
    if source.suffix == ".toml" and structure is None:
        if dynamics.model_fields_set:
            raise InputError(f"settings of the dynamics cannot go with {source}, which has its own")
        if Config.load(source).dynamics is None:
            raise InputError(
                f"{source}: has no section [dynamics]; for dynamics with the ensemble of its run, "
                f"nearsight md {source} STRUCTURE"
            )
        run(source, workdir)
        return
    if structure is None:
        raise InputError(f"STRUCTURE is missing: {source} is no configuration (TOML)")
    place = work_folder(workdir or Path("md"))
    from nearsight.run import finished
    from nearsight.structures.images import read_structure

    check_ensemble(source, structure)
    atoms = read_structure(structure, file_format)
    learns = is_run(source)
    run_of_it = run_folder(source)
    if learns:  # whose parent may be a module beside it
        find_modules_in(run_of_it.absolute().parent)
    with display() as progress:
        summary = finished.run_dynamics(
            run_of_it if learns else source, atoms, place, dynamics, seed, progress
        )
    show_dynamics(place, summary)
