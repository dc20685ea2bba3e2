"""Chunks around atoms, labelled by the parent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.config import NFTSettings
from nearsight.files.names import iteration_folder
from nearsight.files.records import Iteration
from nearsight.learning.alike import Alike
from nearsight.learning.targets import Targets
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Failure, Origin, Parent, ParentResult
from nearsight.parents.spec import plain_structure
from nearsight.progress import Progress
from nearsight.structures.images import Image, mend_images
from nearsight.training.unseen import INNER

__all__ = [
    "ask_parent",
    "label_all",
    "label_chunks",
    "label_geometries",
    "mend_image_files",
    "test_chunks",
    "validation_atoms",
    "validation_chunks",
]

NFT_CHUNK = Origin("chunk", "nft")


def ask_parent(
    parent: Parent, structures: Sequence[Atoms], what: str, origin: Origin, progress: Progress
) -> list[ParentResult | Failure]:
    """The parent's results, its progress told; ``what`` are the structures in the display."""
    return parent.calculate_many(
        structures,
        report=lambda tally: progress.calculations(tally, what),
        note=progress.note,
        origin=origin,
    )


def label_chunks(
    targets: Targets,
    numbers: Sequence[int],
    settings: NFTSettings,
    functions: SymmetryFunctions,
    parent: Parent,
    progress: Progress,
    origin: Origin = NFT_CHUNK,
) -> dict[int, Image | Failure]:
    """Ask the parent for the chunks around atoms of the targets.

    With ``labels = "chunk"`` a chunk is learned as the structure it is: the forces on the atoms of
    its core and its energy, which are exact for the chunk, whatever they would be in the target.

    With ``labels = "center"`` the force on its centre stands for that in the target (SI eq. 3).
    With ``environment = "target"`` the network is then asked for it in as much of the target as it
    depends on, two cutoffs, instead of in the chunk, whose cut surroundings it would never meet in
    the target; this costs no parent calculation.

    Parameters
    ----------
    targets : Targets
    numbers : sequence of int
        Atoms, numbered through all structures of the targets.
    settings : NFTSettings
        Labels, chunk radius, vacuum and environment.
    functions : SymmetryFunctions
    parent : Parent
    progress : Progress
    origin : Origin
        What the rows of the database say they are for.

    Returns
    -------
    dict of int to Image or Failure
        By atom, in the order of ``numbers``.
    """
    cut = surroundings = targets.extract(
        numbers, settings.chunk_radius, settings.vacuum, settings.trim is not None
    )
    if settings.labels == "center" and settings.environment == "target":
        reach = max(settings.chunk_radius, 2.0 * functions.cutoff.radius)
        surroundings = targets.extract(numbers, reach, settings.vacuum)
        for atoms in surroundings:  # the label is that of the chunk
            atoms.info |= {"chunk_radius": settings.chunk_radius, "surroundings_radius": reach}
    if not numbers:
        return {}
    results = ask_parent(parent, cut, "chunks", origin, progress)
    return {
        number: result if isinstance(result, Failure) else _image(settings, around, result)
        for number, result, around in zip(numbers, results, surroundings, strict=True)
    }


def mend_image_files(
    folder: Path,
    file: str,
    history: Sequence[Iteration],
    labelled: Mapping[int, Image | Failure],
    progress: Progress,
) -> None:
    """Write the images of iterations anew where they do not hold the labels of the database.

    Parameters
    ----------
    folder : Path
        Of the training.
    file : str
        In the folder of every iteration.
    history : sequence of Iteration
    labelled : mapping
        Atom or geometry → its image.
    progress : Progress
    """
    for before, after in pairwise(history):
        path = iteration_folder(folder, after.iteration) / file
        added = [labelled[number] for number in after.chunk_indices[before.chunks :]]
        if added and mend_images(path, [each for each in added if isinstance(each, Image)]):
            progress.note(f"{path}: damaged, or of an earlier version; writing it anew")


def label_all(
    structures: Sequence[Atoms],
    what: str,
    origin: Origin,
    parent: Parent,
    progress: Progress,
    skipping: str,
) -> list[Image]:
    """Structures with the parent's energies and forces; those it fails on are left out.

    Parameters
    ----------
    structures : sequence of ase.Atoms
    what : str
        What they are, in the display.
    origin : Origin
    parent : Parent
    progress : Progress
    skipping : str
        Beginning of the sentence on one that is left out.
    """
    results = ask_parent(parent, structures, what, origin, progress)
    images = []
    for atoms, result in zip(structures, results, strict=True):
        if isinstance(result, Failure):
            progress.note(f"{skipping} {result.explained}")
        else:
            images.append(Image(atoms, result.forces, result.energy))
    return images


def label_geometries(
    structures: Sequence[Atoms], what: str, origin: Origin, parent: Parent, progress: Progress
) -> list[Image | Failure]:
    """Geometries of whole targets: every force counts by itself, as in a chunk; see `label_all`."""
    plain = [plain_structure(atoms, parent.pass_info) for atoms in structures]
    results = ask_parent(parent, plain, what, origin, progress)
    return [
        result
        if isinstance(result, Failure)
        else Image(atoms, result.forces, result.energy, chunk=True)
        for atoms, result in zip(plain, results, strict=True)
    ]


def validation_atoms(targets: Targets, settings: NFTSettings, seed: int) -> list[int]:
    """Atoms in the centres of the validation chunks, which no chunk of the training has.

    Drawn at random, but no two whose chunks are alike; fewer where there are no more.
    """
    if settings.labels == "center":
        return []
    rng = np.random.default_rng([seed, _VALIDATION])
    count = min(settings.validation_chunks, len(targets) // 2)
    drawn = [*rng.choice(len(targets), count, replace=False), *rng.permutation(len(targets))]
    alike = Alike(targets, settings.chunk_radius)
    return sorted(alike.different([int(i) for i in drawn], [], count))


def validation_chunks(
    targets: Targets, settings: NFTSettings, seed: int, parent: Parent, progress: Progress
) -> tuple[Image, ...]:
    """Larger chunks around random atoms, whose inner forces tell models apart.

    Where ``core_radius`` leaves the forces farther out unlearned, they do not count here either.
    Those that the parent fails on are left out, with a note.
    """
    numbers = validation_atoms(targets, settings, seed)
    return _larger_chunks(targets, numbers, settings, parent, progress, "validation")


def test_chunks(
    targets: Targets,
    settings: NFTSettings,
    seed: int,
    known: Iterable[int],
    count: int,
    parent: Parent,
    progress: Progress,
) -> tuple[Image, ...]:
    """Larger chunks around random atoms unlike all that a training has used in any way.

    Parameters
    ----------
    targets : Targets
    settings : NFTSettings
    seed : int
    known : iterable of int
        Atoms whose chunks it has used, those of validation apart.
    count : int
        How many; fewer where the targets have no more.
    parent : Parent
    progress : Progress
    """
    used = {*known, *validation_atoms(targets, settings, seed)}
    left = [number for number in range(len(targets)) if number not in used]
    drawn = np.random.default_rng([seed, _TEST]).permutation(left).astype(int).tolist()
    alike = Alike(targets, settings.chunk_radius)
    numbers = sorted(alike.different(drawn, sorted(used), count))
    if len(numbers) < count:
        progress.note(f"the target has {len(numbers)} chunks for a test that are like none in use")
    return _larger_chunks(targets, numbers, settings, parent, progress, "test")


def _larger_chunks(
    targets: Targets,
    numbers: Sequence[int],
    settings: NFTSettings,
    parent: Parent,
    progress: Progress,
    stage: str,
) -> tuple[Image, ...]:
    if not numbers:
        return ()
    radius = settings.larger_radius
    chunks = targets.extract(numbers, radius, settings.vacuum, settings.trim is not None)
    results = ask_parent(parent, chunks, f"{stage} chunks", Origin("chunk", stage), progress)
    inner = min(INNER * radius, settings.core_radius or radius)
    images = []
    for number, atoms, result in zip(numbers, chunks, results, strict=True):
        if isinstance(result, Failure):
            progress.note(f"skipping the {stage} chunk of atom {number} {result.explained}")
            continue
        images.append(Image.whole_chunk(atoms, result.forces, result.energy, inner))
    return tuple(images)


_VALIDATION = 5  # keeps this random stream apart from those of training.bootstrap
_TEST = 11


def _image(settings: NFTSettings, atoms: Atoms, result: ParentResult) -> Image:
    if settings.labels == "center":
        return Image(atoms, result.forces[:1])
    return Image.whole_chunk(atoms, result.forces, result.energy, settings.core_radius)
