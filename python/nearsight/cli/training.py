"""Commands that train: train, nft."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import (
    Arguments,
    Calculator,
    Database,
    Seed,
    checked,
    command,
    display,
    make_parent,
    numbers,
    output,
    setting,
    show,
)
from nearsight.cli.stages import PANEL, Images
from nearsight.config import EnsembleSettings, NetworkSettings, NFTSettings, TrainingSettings
from nearsight.errors import InputError

TRAINING = TrainingSettings()
ENSEMBLE = EnsembleSettings()
NFT_DEFAULTS = NFTSettings()
LAYERS = ",".join(str(nodes) for nodes in NetworkSettings().hidden_layers)

SymmetryFunctionFile = Annotated[
    Path,
    typer.Argument(
        metavar="SYMMETRY_FUNCTIONS", help="Symmetry functions: a file of select-features."
    ),
]
Layers = Annotated[str, setting(NetworkSettings, "hidden_layers", metavar="N,N,...")]
ForceCoefficient = Annotated[float, setting(TrainingSettings, "force_coefficient")]
L2 = Annotated[float, setting(TrainingSettings, "l2")]
InitialIterations = Annotated[int, setting(TrainingSettings, "initial_iterations")]
Members = Annotated[int, setting(EnsembleSettings, "members")]


@command(
    "train",
    PANEL,
    "Train an ensemble on labelled structures.",
    "IMAGES, labelled structures (chunks marked nearsight_chunk count with the force on their "
    "first atom), and SYMMETRY_FUNCTIONS.",
    "A JSON file with the ensemble, for evaluate, relax and the ASE calculator.",
    "nearsight train selected.extxyz symmetry_functions.json -o ensemble.json",
)
def train(
    images: Images,
    symmetry_functions: SymmetryFunctionFile,
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The ensemble.")
    ] = Path("ensemble.json"),
    target: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The large structure: scales the features over it as well."
        ),
    ] = None,
    hidden_layers: Layers = LAYERS,
    force_coefficient: ForceCoefficient = TRAINING.force_coefficient,
    l2: L2 = TRAINING.l2,
    initial_iterations: InitialIterations = TRAINING.initial_iterations,
    members: Members = ENSEMBLE.members,
    seed: Seed = 0,
) -> None:
    """Train an ensemble."""
    network = _network(hidden_layers)
    training = checked(
        TrainingSettings,
        force_coefficient=force_coefficient,
        l2=l2,
        initial_iterations=initial_iterations,
    )
    ensemble_settings = checked(EnsembleSettings, members=members)
    output(output_file)
    from nearsight.model.symmetry_functions import SymmetryFunctions
    from nearsight.structures.images import read_images, read_structure
    from nearsight.training.fit import train_ensemble

    found = read_images(images)
    functions = SymmetryFunctions.load(symmetry_functions)
    with display() as progress:
        progress.stage("Training", f"{len(found)} images, {members} members")
        ensemble = train_ensemble(
            found,
            functions,
            network,
            training,
            ensemble_settings,
            seed,
            progress,
            scale_over=[] if target is None else [read_structure(target)],
        )
    ensemble.save(output_file)
    show(f"{output_file}: {members} members trained on {len(found)} images")


@command(
    "nft",
    PANEL,
    "Train an ensemble for a large structure by nearsighted force training.",
    "TARGET, the large structure; IMAGES, labelled structures to start from; SYMMETRY_FUNCTIONS; "
    "and the parent that labels the chunks.",
    "A folder with the best ensemble (best.json) and every iteration. Stop it at any moment: the "
    "same command continues where it stopped.",
    "nearsight nft particle.xyz selected.extxyz symmetry_functions.json",
)
def nft(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="The structure; file@index picks one.")
    ],
    images: Images,
    symmetry_functions: SymmetryFunctionFile,
    workdir: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder of the training.")
    ] = Path("nft"),
    parent: Calculator = "emt",
    parent_arguments: Arguments = "{}",
    database: Database = None,
    chunk_radius: Annotated[
        float, setting(NFTSettings, "chunk_radius")
    ] = NFT_DEFAULTS.chunk_radius,
    vacuum: Annotated[float, setting(NFTSettings, "vacuum")] = NFT_DEFAULTS.vacuum,
    chunks_per_iteration: Annotated[
        int, setting(NFTSettings, "chunks_per_iteration")
    ] = NFT_DEFAULTS.chunks_per_iteration,
    environment: Annotated[str, setting(NFTSettings, "environment")] = NFT_DEFAULTS.environment,
    threshold: Annotated[float, setting(NFTSettings, "threshold")] = NFT_DEFAULTS.threshold,
    max_chunks: Annotated[int, setting(NFTSettings, "max_chunks")] = NFT_DEFAULTS.max_chunks,
    max_iterations: Annotated[
        int, setting(NFTSettings, "max_iterations")
    ] = NFT_DEFAULTS.max_iterations,
    stop_uncertainty: Annotated[
        float, setting(NFTSettings, "stop_uncertainty")
    ] = NFT_DEFAULTS.stop_uncertainty,
    steps_not_improved: Annotated[
        int, setting(NFTSettings, "steps_not_improved")
    ] = NFT_DEFAULTS.steps_not_improved,
    hidden_layers: Layers = LAYERS,
    force_coefficient: ForceCoefficient = TRAINING.force_coefficient,
    l2: L2 = TRAINING.l2,
    initial_iterations: InitialIterations = TRAINING.initial_iterations,
    iterations: Annotated[int, setting(TrainingSettings, "iterations")] = TRAINING.iterations,
    members: Members = ENSEMBLE.members,
    seed: Seed = 0,
) -> None:
    """Nearsighted force training."""
    settings = checked(
        NFTSettings,
        chunk_radius=chunk_radius,
        vacuum=vacuum,
        chunks_per_iteration=chunks_per_iteration,
        environment=environment,
        threshold=threshold,
        max_chunks=max_chunks,
        max_iterations=max_iterations,
        stop_uncertainty=stop_uncertainty,
        steps_not_improved=steps_not_improved,
    )
    network = _network(hidden_layers)
    training = checked(
        TrainingSettings,
        force_coefficient=force_coefficient,
        l2=l2,
        initial_iterations=initial_iterations,
        iterations=iterations,
    )
    ensemble = checked(EnsembleSettings, members=members)
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"{workdir}: must be a folder (give another one with --workdir)")
    from nearsight.learning.nft import NFT
    from nearsight.model.symmetry_functions import SymmetryFunctions
    from nearsight.progress import LogProgress, SeveralProgress
    from nearsight.structures.images import read_images, read_structure

    atoms = read_structure(target)
    found = read_images(images)
    functions = SymmetryFunctions.load(symmetry_functions)
    workdir.mkdir(parents=True, exist_ok=True)
    labels = make_parent(parent, parent_arguments, database or workdir / "parent.db")
    with display() as shown:
        progress = SeveralProgress(shown, LogProgress(workdir / "run.log"))
        progress.stage("Nearsighted force training", f"{atoms.symbols.formula:metal}")
        state = NFT(settings, network, training, ensemble, seed).run(
            found, functions, atoms, labels, workdir, progress
        )
    show(f"{workdir / 'best.json'}: {state.summary}")


def _network(hidden_layers: str) -> NetworkSettings:
    return checked(NetworkSettings, hidden_layers=numbers(hidden_layers, int, "--hidden-layers"))
