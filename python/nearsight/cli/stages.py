"""Commands for the choices before training: init, select-images, select-features."""

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
from nearsight.config import FeatureSettings, ImageSettings, InitialSettings

PANEL = "Single stages"
INITIAL = InitialSettings()
IMAGES = ImageSettings()
FEATURES = FeatureSettings()

Images = Annotated[
    Path, typer.Argument(metavar="IMAGES", help="Labelled structures (energies and forces).")
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
    elements: Annotated[list[str], typer.Argument(metavar="ELEMENTS", help="Chemical symbols.")],
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Labelled cells.")
    ] = Path("initial.extxyz"),
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
    seed: Seed = 0,
) -> None:
    """Make initial bulk cells."""
    settings = checked(
        InitialSettings,
        positional="elements",
        elements=elements,
        a0=a0,
        space_groups=numbers(space_groups, int, "--space-groups"),
        minsep=minsep,
        posamp=posamp,
        n_rattled=n_rattled,
    )
    output(output_file)
    from nearsight.learning.initial_cells import Initialization
    from nearsight.structures.images import write_images

    labels = make_parent(parent, parent_arguments, database)
    cells = Initialization.of(settings, settings.elements or (), seed)
    with display() as progress:
        progress.stage("Initial cells", ", ".join(elements))
        images = cells.run(labels, progress)
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
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Images kept.")
    ] = Path("selected.extxyz"),
    count: Annotated[int, setting(ImageSettings, "count")] = IMAGES.count,
) -> None:
    """Choose images by farthest points."""
    settings = checked(ImageSettings, count=count)
    output(output_file)
    from nearsight.selection.choose import choose_images
    from nearsight.structures.images import read_images, write_images

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
        Path, typer.Option("--output", "-o", metavar="FILE", help="Symmetry functions chosen.")
    ] = Path("symmetry_functions.json"),
    count: Annotated[
        int, typer.Option(metavar="N", help="Symmetry functions kept per element.")
    ] = 21,
    method: Annotated[str, setting(FeatureSettings, "method")] = FEATURES.method,
    cutoff: Annotated[float, setting(FeatureSettings, "cutoff")] = FEATURES.cutoff,
    cutoff_function: Annotated[
        str, setting(FeatureSettings, "cutoff_function")
    ] = FEATURES.cutoff_function,
    gamma: Annotated[float | None, setting(FeatureSettings, "gamma", metavar="X")] = None,
    with_target: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A structure, without labels, whose atoms count too when the candidates are "
            "ranked; with method = cur.",
        ),
    ] = None,
) -> None:
    """Choose symmetry functions."""
    settings = checked(
        FeatureSettings,
        count=count,
        method=method,
        cutoff=cutoff,
        cutoff_function=cutoff_function,
        gamma=gamma,
        with_target=with_target is not None,
    )
    output(output_file)
    from nearsight.selection.choose import choose_features
    from nearsight.structures.images import read_images, read_structure

    with display() as progress:
        progress.stage("Symmetry functions", str(images))
        targets = () if with_target is None else (read_structure(with_target),)
        choice = choose_features(read_images(images), settings, targets)
    choice.symmetry_functions.save(output_file)
    show(f"{output_file}: {choice.summary}")


def _sizes(images: Any) -> str:
    counts = sorted(Counter(len(image.atoms) for image in images).items())
    return ", ".join(f"{number} of {size} atoms" for size, number in counts)
