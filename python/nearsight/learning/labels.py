"""Chunks around atoms, labelled by the parent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from nearsight.config import NFTSettings
from nearsight.learning.targets import Targets
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Failure, Parent, ParentResult
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

    Returns
    -------
    dict of int to Image or Failure
        By atom, in the order of ``numbers``.
    """
    cut = surroundings = targets.extract(numbers, settings.chunk_radius, settings.vacuum)
    if settings.labels == "center" and settings.environment == "target":
        reach = max(settings.chunk_radius, 2.0 * functions.cutoff.radius)
        surroundings = targets.extract(numbers, reach, settings.vacuum)
    if not numbers:
        return {}
    results = parent.calculate_many(
        cut, report=lambda tally: progress.calculations(tally, "chunks"), note=progress.note
    )
    return {
        number: result if isinstance(result, Failure) else _image(settings, around, result)
        for number, result, around in zip(numbers, results, surroundings, strict=True)
    }


def _image(settings: NFTSettings, atoms: Atoms, result: ParentResult) -> Image:
    if settings.labels == "center":
        return Image(atoms, result.forces[:1])
    distance = np.linalg.norm(atoms.positions - atoms.positions[0], axis=1)
    weights = np.ones(len(atoms))
    if settings.force_decay is not None:
        weights = np.exp(-distance / settings.force_decay)
    if settings.core_radius is not None:
        weights[distance > settings.core_radius] = 0.0
    return Image(atoms, result.forces, result.energy, weights, chunk=True)
