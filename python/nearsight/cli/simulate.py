"""Commands that simulate and learn from it: retrain, md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import Seed, checked, command, display, find_modules_in, setting, show
from nearsight.cli.model import PANEL
from nearsight.config import Config, DynamicsSettings, RelaxationSettings, RetrainingSettings
from nearsight.errors import InputError

RETRAINING = RetrainingSettings()
RELAXATION = RelaxationSettings()
MD = DynamicsSettings()


@command(
    "retrain",
    PANEL,
    "Retrain on what the relaxation runs into.",
    "FOLDER, the folder of a finished run. Its parent is asked about atoms that the ensemble is "
    "uncertain of during the relaxation of the target.",
    "A folder with the retrained ensemble (best.json), the target as it relaxes it "
    "(retrained.extxyz), and every round. Stop it at any moment: the same command continues.",
    "nearsight retrain nft/",
)
def retrain(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a run.")],
    workdir: Annotated[
        Path | None,
        typer.Option(help="The folder of the retraining.", show_default="retrained in FOLDER"),
    ] = None,
    threshold: Annotated[
        float | None, setting(RetrainingSettings, "threshold", metavar="X")
    ] = None,
    window: Annotated[float, setting(RetrainingSettings, "window", metavar="X")] = (
        RETRAINING.window
    ),
    chunks: Annotated[int, setting(RetrainingSettings, "chunks")] = RETRAINING.chunks,
    target_chunks: Annotated[
        int, setting(RetrainingSettings, "target_chunks", metavar="N")
    ] = RETRAINING.target_chunks,
    steps_not_improved: Annotated[
        int, setting(RetrainingSettings, "steps_not_improved")
    ] = RETRAINING.steps_not_improved,
    max_rounds: Annotated[int, setting(RetrainingSettings, "max_rounds")] = RETRAINING.max_rounds,
    optimizer: Annotated[str, setting(RelaxationSettings, "optimizer")] = RELAXATION.optimizer,
    fmax: Annotated[float, setting(RelaxationSettings, "fmax")] = RELAXATION.fmax,
    max_steps: Annotated[int, setting(RelaxationSettings, "max_steps")] = RELAXATION.max_steps,
) -> None:
    """Retrain a finished run."""
    settings = checked(
        RetrainingSettings,
        threshold=threshold,
        window=window,
        chunks=chunks,
        target_chunks=target_chunks,
        steps_not_improved=steps_not_improved,
        max_rounds=max_rounds,
    )
    relaxation = checked(RelaxationSettings, optimizer=optimizer, fmax=fmax, max_steps=max_steps)
    place = _folder(workdir or folder / "retrained")
    from dataclasses import replace

    from nearsight.learning.retraining import Retraining
    from nearsight.run.follow_up import open_finished_run
    from nearsight.structures.images import write_structures

    find_modules_in(folder.absolute().parent)
    with display() as progress, open_finished_run(folder, progress) as run:
        place.mkdir(parents=True, exist_ok=True)
        progress.stage("Retraining", str(folder))
        learner = replace(run.latest, settings=settings)
        found = Retraining(relaxation).run(learner, place, progress)
        found.learner.ensemble.save(place / "best.json")
        write_structures(place / "retrained.extxyz", found.relaxed)
    show(f"{place / 'best.json'}: {found.summary}")


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
    conditions: Annotated[str, setting(DynamicsSettings, "conditions")] = MD.conditions,
    temperature: Annotated[float, setting(DynamicsSettings, "temperature")] = MD.temperature,
    final_temperature: Annotated[
        float | None, setting(DynamicsSettings, "final_temperature", metavar="X")
    ] = None,
    timestep: Annotated[float, setting(DynamicsSettings, "timestep")] = MD.timestep,
    steps: Annotated[int, setting(DynamicsSettings, "steps")] = MD.steps,
    friction: Annotated[float, setting(DynamicsSettings, "friction")] = MD.friction,
    pressure: Annotated[float, setting(DynamicsSettings, "pressure")] = MD.pressure,
    pressure_time: Annotated[float, setting(DynamicsSettings, "pressure_time")] = MD.pressure_time,
    write_every: Annotated[int, setting(DynamicsSettings, "write_every")] = MD.write_every,
    watch_every: Annotated[int, setting(DynamicsSettings, "watch_every")] = MD.watch_every,
    threshold: Annotated[float | None, setting(DynamicsSettings, "threshold", metavar="X")] = None,
    max_rounds: Annotated[
        int, setting(DynamicsSettings, "max_rounds", metavar="N")
    ] = MD.max_rounds,
    max_chunks: Annotated[int, setting(DynamicsSettings, "max_chunks")] = MD.max_chunks,
    max_hours: Annotated[float | None, setting(DynamicsSettings, "max_hours", metavar="X")] = None,
    seed: Seed = 0,
) -> None:
    """Molecular dynamics."""
    if source.suffix == ".toml":
        if structure is not None:
            raise InputError("STRUCTURE cannot go with a configuration, which names its own")
        if Config.load(source).dynamics is None:
            raise InputError(f"{source}: has no section [dynamics]")
        from nearsight.cli.run import run

        run(source, workdir)
        return
    if structure is None:
        raise InputError(f"STRUCTURE is missing: {source} is no configuration (TOML)")
    settings = checked(
        DynamicsSettings,
        conditions=conditions,
        temperature=temperature,
        final_temperature=final_temperature,
        timestep=timestep,
        steps=steps,
        friction=friction,
        pressure=pressure,
        pressure_time=pressure_time,
        write_every=write_every,
        watch_every=watch_every,
        threshold=threshold,
        max_rounds=max_rounds,
        max_chunks=max_chunks,
        max_hours=max_hours,
    )
    place = _folder(workdir or Path("md"))
    from nearsight.learning.on_the_fly import Dynamics
    from nearsight.model.ensemble import Ensemble
    from nearsight.structures.images import read_structure

    atoms = read_structure(structure)
    with display() as progress:
        if source.is_dir():
            from nearsight.run.follow_up import open_finished_run

            find_modules_in(source.absolute().parent)
            with open_finished_run(source, progress) as finished:
                latest = finished.latest
                progress.stage("Dynamics", structure)
                dynamics = Dynamics(settings, latest.settings, seed)
                summary = dynamics.run(latest.ensemble, atoms, place, latest, progress)
        else:
            ensemble = Ensemble.load(source)
            progress.stage("Dynamics", structure)
            dynamics = Dynamics(settings, seed=seed)
            summary = dynamics.run(ensemble, atoms, place, progress=progress)
    show(f"{place / 'md.traj'}: {summary}")


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: must be a folder (give another one with --workdir)")
    return path
