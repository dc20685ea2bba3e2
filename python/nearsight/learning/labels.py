"""Chunks around atoms, labelled by the parent."""

from __future__ import annotations

from collections.abc import Sequence

from nearsight.config import NFTSettings
from nearsight.learning.targets import Targets
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Failure, Parent
from nearsight.progress import Progress
from nearsight.structures.images import Image

__all__ = ["label_chunks"]


def label_chunks(
    targets: Targets,
    numbers: Sequence[int],
    settings: NFTSettings,
    functions: SymmetryFunctions,
    parent: Parent,
    progress: Progress,
) -> dict[int, Image | Failure]:
    """Ask the parent for the forces on atoms of the targets.

    The parent sees the atoms within the chunk radius. With ``environment = "target"`` the
    network is asked for the same force in as much of the target as it depends on, two
    cutoffs, instead of in the chunk, whose cut surroundings it would never meet in the target;
    this costs no parent calculation.

    Parameters
    ----------
    targets : Targets
    numbers : sequence of int
        Atoms, numbered through all structures of the targets.
    settings : NFTSettings
        Chunk radius, vacuum and environment.
    functions : SymmetryFunctions
    parent : Parent
    progress : Progress

    Returns
    -------
    dict of int to Image or Failure
        By atom, in the order of ``numbers``.
    """
    cut = surroundings = targets.extract(numbers, settings.chunk_radius, settings.vacuum)
    if settings.environment == "target":
        reach = max(settings.chunk_radius, 2.0 * functions.cutoff.radius)
        surroundings = targets.extract(numbers, reach, settings.vacuum)
    if not numbers:
        return {}
    results = parent.calculate_many(
        cut, report=lambda tally: progress.calculations(tally, "chunks"), note=progress.note
    )
    return {
        number: result if isinstance(result, Failure) else Image(around, result.forces[:1])
        for number, result, around in zip(numbers, results, surroundings, strict=True)
    }
