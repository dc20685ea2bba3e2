"""Commands for single stages: init, select-images, select-features, train, nft."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import Seed, display, open_parent, output, show, work_folder
from nearsight.cli.options import command, revise
from nearsight.config import (
    BaselineSettings,
    EnsembleSettings,
    ExecutorSettings,
    FeatureSettings,
    GeometrySettings,
    ImageSettings,
    InitialSettings,
    NetworkSettings,
    NFTSettings,
    ParentSettings,
    TrainingSettings,
)
from nearsight.errors import InputError

PANEL = "Single stages"

Images = Annotated[
    Path, typer.Argument(metavar="IMAGES", help="Labelled structures (energies and forces).")
]
SymmetryFunctionFile = Annotated[
    Path,
    typer.Argument(
        metavar="SYMMETRY_FUNCTIONS", help="Symmetry functions: a file of select-features."
    ),
]


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
    initial: InitialSettings,
    parent: ParentSettings,
    executor: ExecutorSettings,
    elements: Annotated[
        list[str] | None, typer.Argument(metavar="ELEMENTS", help="Chemical symbols.")
    ] = None,
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Labelled cells.")
    ] = Path("initial.extxyz"),
    first_seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of the first rattled cell.", min=0)
    ] = 0,
) -> None:
    """Make initial bulk cells."""
    if elements:
        initial = revise(initial, elements=elements)
    output(output_file)
    from nearsight.learning.initial_cells import Initialization, describe_sizes
    from nearsight.structures.images import write_images

    cells = Initialization.of(initial, seed=first_seed)
    with display() as progress, open_parent(parent, executor, Path()) as labelling:
        structures, stress, origin = cells.first()
        labelling.probe(structures, stress, origin, progress)
        progress.stage("Initial cells", ", ".join(initial.elements or ()))
        images = cells.run(labelling, progress)
    write_images(output_file, images)
    show(f"{output_file}: {len(images)} cells ({describe_sizes(images)})")


@command(
    "select-images",
    PANEL,
    "Keep the most different of many labelled structures.",
    "IMAGES, labelled structures.",
    "Extended XYZ with the farthest points among them, in order of selection.",
    "nearsight select-images initial.extxyz --count 20 -o selected.extxyz",
)
def select_images(
    labelled: Images,
    images: ImageSettings,
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Images kept.")
    ] = Path("selected.extxyz"),
) -> None:
    """Choose images by farthest points."""
    output(output_file, labelled)
    from nearsight.learning.initial_cells import describe_sizes
    from nearsight.selection.choose import choose_images
    from nearsight.structures.images import read_images, write_images

    found = read_images(labelled)
    chosen = [found[index] for index in choose_images(found, images.count)]
    write_images(output_file, chosen)
    show(f"{output_file}: {len(chosen)} of {len(found)} images ({describe_sizes(chosen)})")


@command(
    "select-features",
    PANEL,
    "Choose symmetry functions for labelled structures.",
    "IMAGES, labelled structures.",
    "A JSON file of symmetry functions, the best first.",
    "nearsight select-features selected.extxyz -o symmetry_functions.json",
    without=("with_target", "symmetry_functions"),
)
def select_features(
    labelled: Images,
    features: FeatureSettings,
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Symmetry functions chosen.")
    ] = Path("symmetry_functions.json"),
    target: Annotated[
        Path | None,
        typer.Option(
            "--with-target",
            metavar="FILE",
            help="A structure, without labels, whose atoms count too when the candidates are "
            "ranked; with method = cur.",
        ),
    ] = None,
) -> None:
    """Choose symmetry functions."""
    if features.symmetry_functions is not None:
        raise InputError("features.symmetry_functions names functions that are chosen already")
    if target is not None:
        features = revise(features, with_target=True)
    elif features.with_target:
        raise InputError("features.with_target: name the structure with --with-target FILE")
    output(output_file, labelled, target)
    from nearsight.selection.choose import choose_features
    from nearsight.structures.images import read_images, read_structure

    with display() as progress:
        progress.stage("Symmetry functions", str(labelled))
        targets = () if target is None else (read_structure(target),)
        choice = choose_features(read_images(labelled), features, targets)
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
    without=("iterations",),
)
def train(
    images: Images,
    symmetry_functions: SymmetryFunctionFile,
    baseline: BaselineSettings,
    network: NetworkSettings,
    training: TrainingSettings,
    ensemble: EnsembleSettings,
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The ensemble.")
    ] = Path("ensemble.json"),
    target: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The large structure: scales the features over it as well."
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Train an ensemble."""
    output(output_file, images, symmetry_functions, target)
    from nearsight.model.symmetry_functions import SymmetryFunctions
    from nearsight.structures.images import read_images, read_structure
    from nearsight.training.fit import train_ensemble

    found = read_images(images)
    functions = SymmetryFunctions.load(symmetry_functions)
    with display() as progress:
        progress.stage("Training", f"{len(found)} images, {ensemble.members} members")
        trained = train_ensemble(
            found,
            functions,
            network,
            training,
            ensemble,
            seed,
            progress,
            scale_over=[] if target is None else [read_structure(target)],
            baseline=baseline,
        )
    trained.save(output_file)
    show(f"{output_file}: {ensemble.members} members trained on {len(found)} images")


@command(
    "nft",
    PANEL,
    "Train an ensemble for a large structure by nearsighted force training.",
    "TARGET, the large structure; IMAGES, labelled structures to start from; SYMMETRY_FUNCTIONS; "
    "and the parent that labels the chunks (or the target: [bold]--labels target[/bold]).",
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
    nft: NFTSettings,
    baseline: BaselineSettings,
    network: NetworkSettings,
    training: TrainingSettings,
    ensemble: EnsembleSettings,
    geometries: GeometrySettings,
    parent: ParentSettings,
    executor: ExecutorSettings,
    workdir: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder of the training.")
    ] = Path("nft"),
    seed: Seed = 0,
) -> None:
    """Nearsighted force training."""
    work_folder(workdir)
    from nearsight.executors import training_executor
    from nearsight.learning.nft import NFT
    from nearsight.learning.targets import Targets
    from nearsight.model.symmetry_functions import SymmetryFunctions
    from nearsight.parents import Origin
    from nearsight.progress import LogProgress, SeveralProgress
    from nearsight.structures.images import read_images, read_structure
    from nearsight.training.charges import check_baseline

    atoms = read_structure(target)
    found = read_images(images)
    functions = SymmetryFunctions.load(symmetry_functions)
    workdir.mkdir(parents=True, exist_ok=True)
    with (
        display() as shown,
        open_parent(parent, executor, workdir, workdir / "parent.db") as labelling,
    ):
        progress = SeveralProgress(shown, LogProgress(workdir / "run.log"))
        targets = Targets.of(atoms, labelling.pass_info)
        targets.check(functions.elements, nft.within(functions.cutoff.radius))
        check_baseline(baseline, functions.elements)
        if nft.labels == "target":
            first, origin = atoms, Origin("whole", "nft")
        else:
            trim, origin = nft.trim is not None, Origin(stage="nft")
            first = targets.small_chunk(nft.chunk_radius, nft.vacuum, trim)
        labelling.probe([first], origin=origin, progress=progress)
        progress.stage("Nearsighted force training", f"{atoms.symbols.formula:metal}")
        state = NFT(
            nft, network, training, ensemble, seed, geometries=geometries, baseline=baseline
        ).run(
            found,
            functions,
            atoms,
            labelling,
            workdir,
            progress,
            executor=training_executor(labelling.executor, executor),
        )
    show(f"{workdir / 'best.json'}: {state.summary}")
