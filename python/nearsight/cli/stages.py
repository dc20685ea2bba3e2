"""Commands for the single stages: init, select-images, select-features, train, nft."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

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
from nearsight.config import (
    EnsembleSettings,
    FeatureSettings,
    ImageSettings,
    InitialSettings,
    NetworkSettings,
    NFTSettings,
    TrainingSettings,
)

PANEL = "Single stages"
INITIAL = InitialSettings()
FEATURES = FeatureSettings()
TRAINING = TrainingSettings()
NFT_SETTINGS = NFTSettings()

Images = Annotated[
    Path, typer.Argument(metavar="IMAGES", help="Labelled structures (energies and forces).")
]
SymmetryFunctionFile = Annotated[
    Path,
    typer.Argument(
        metavar="SYMMETRY_FUNCTIONS", help="Symmetry functions: a file of select-features."
    ),
]
Layers = Annotated[str, setting(NetworkSettings, "hidden_layers", metavar="N,N,...")]
ForceCoefficient = Annotated[float, setting(TrainingSettings, "force_coefficient")]
L2 = Annotated[float, setting(TrainingSettings, "l2")]
Iterations = Annotated[int, setting(TrainingSettings, "iterations")]
Members = Annotated[int, setting(EnsembleSettings, "members")]
LAYERS = ",".join(str(nodes) for nodes in NetworkSettings().hidden_layers)


@command(
    "init",
    PANEL,
    "Make the small bulk cells the first networks learn from.",
    "ELEMENTS, and the parent that labels the cells.",
    "Extended XYZ: cells relaxed at several symmetries, and rattled ones, each with its energy and "
    "forces.",
    "nearsight init Pt --parent emt -o initial.extxyz",
)
def init(
    elements: Annotated[list[str], typer.Argument(metavar="ELEMENTS", help="Chemical symbols.")],
    output_file: Annotated[Path, typer.Option("--output", "-o", help="Labelled cells.")] = Path(
        "initial.extxyz"
    ),
    parent: Calculator = "emt",
    parent_arguments: Arguments = "{}",
    database: Database = None,
    a0: Annotated[float, setting(InitialSettings, "a0")] = INITIAL.a0,
    space_groups: Annotated[
        str, setting(InitialSettings, "space_groups", metavar="N,N,...")
    ] = ",".join(str(number) for number in INITIAL.space_groups),
    minsep: Annotated[float, setting(InitialSettings, "minsep")] = INITIAL.minsep,
    posamp: Annotated[float, setting(InitialSettings, "posamp")] = INITIAL.posamp,
    n_rattled: Annotated[int, setting(InitialSettings, "n_rattled")] = INITIAL.n_rattled,
) -> None:
    """Make initial bulk cells."""
    settings = checked(
        InitialSettings,
        elements=elements,
        a0=a0,
        space_groups=numbers(space_groups, int, "--space-groups"),
        minsep=minsep,
        posamp=posamp,
        n_rattled=n_rattled,
    )
    output(output_file)
    from nearsight.images import write_images
    from nearsight.initialization import Initialization

    labels = make_parent(parent, parent_arguments, database)
    with display() as progress:
        images = Initialization(settings).run(labels, progress)
    write_images(output_file, images)
    show(f"{output_file}: {len(images)} cells ({_sizes(images)})")


@command(
    "select-images",
    PANEL,
    "Keep the most different of many labelled structures.",
    "IMAGES, labelled structures.",
    "Extended XYZ with the farthest points among them, in order of selection.",
    "nearsight select-images initial.extxyz --count 20 -o selected.extxyz",
)
def select_images(
    images: Images,
    output_file: Annotated[Path, typer.Option("--output", "-o", help="Images kept.")] = Path(
        "selected.extxyz"
    ),
    count: Annotated[int, setting(ImageSettings, "count")] = ImageSettings().count,
) -> None:
    """Choose images by farthest points."""
    settings = checked(ImageSettings, count=count)
    output(output_file)
    from nearsight.images import read_images, write_images
    from nearsight.stages import choose_images

    found = read_images(images)
    chosen = [found[index] for index in choose_images(found, settings.count)]
    write_images(output_file, chosen)
    show(f"{output_file}: {len(chosen)} of {len(found)} images ({_sizes(chosen)})")


@command(
    "select-features",
    PANEL,
    "Choose symmetry functions for labelled structures.",
    "IMAGES, labelled structures.",
    "A JSON file of symmetry functions, the best first.",
    "nearsight select-features selected.extxyz -o symmetry_functions.json",
)
def select_features(
    images: Images,
    output_file: Annotated[
        Path, typer.Option("--output", "-o", help="Symmetry functions chosen.")
    ] = Path("symmetry_functions.json"),
    count: Annotated[int, typer.Option(help="Symmetry functions kept per element.")] = 21,
    method: Annotated[
        str, setting(FeatureSettings, "method", metavar="force-correlation|cur")
    ] = FEATURES.method,
    cutoff: Annotated[float, setting(FeatureSettings, "cutoff")] = FEATURES.cutoff,
    cutoff_function: Annotated[
        str, setting(FeatureSettings, "cutoff_function", metavar="cosine|polynomial")
    ] = FEATURES.cutoff_function,
    gamma: Annotated[float | None, setting(FeatureSettings, "gamma")] = None,
) -> None:
    """Choose symmetry functions."""
    settings = checked(
        FeatureSettings,
        count=count,
        method=method,
        cutoff=cutoff,
        cutoff_function=cutoff_function,
        gamma=gamma,
    )
    output(output_file)
    from nearsight.images import read_images
    from nearsight.stages import choose_features

    with display() as progress:
        progress.stage("Symmetry functions", str(images))
        choice = choose_features(read_images(images), settings)
    choice.symmetry_functions.save(output_file)
    show(f"{output_file}: {choice.summary}")


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
    output_file: Annotated[Path, typer.Option("--output", "-o", help="The ensemble.")] = Path(
        "ensemble.json"
    ),
    target: Annotated[
        str | None,
        typer.Option(help="The large structure: scales the features over it as well."),
    ] = None,
    hidden_layers: Layers = LAYERS,
    force_coefficient: ForceCoefficient = TRAINING.force_coefficient,
    l2: L2 = TRAINING.l2,
    iterations: Iterations = TRAINING.iterations,
    members: Members = EnsembleSettings().members,
    seed: Seed = 0,
) -> None:
    """Train an ensemble."""
    network = _network(hidden_layers)
    training = checked(
        TrainingSettings, force_coefficient=force_coefficient, l2=l2, iterations=iterations
    )
    ensemble_settings = checked(EnsembleSettings, members=members)
    output(output_file)
    from nearsight.images import read_images, read_structure
    from nearsight.symmetry_functions import SymmetryFunctions
    from nearsight.training import train_ensemble

    found = read_images(images)
    functions = SymmetryFunctions.load(symmetry_functions)
    atoms = None if target is None else read_structure(target)
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
            target_atoms=atoms,
        )
    ensemble.save(output_file)
    show(f"{output_file}: {members} members trained on {len(found)} images")


def _network(hidden_layers: str) -> NetworkSettings:
    return checked(NetworkSettings, hidden_layers=numbers(hidden_layers, int, "--hidden-layers"))


def _sizes(images: Any) -> str:
    counts = sorted(Counter(len(image.atoms) for image in images).items())
    return ", ".join(f"{number} of {size} atoms" for size, number in counts)
