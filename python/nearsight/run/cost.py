"""The cost of labels in calculations of the whole target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from nearsight.config import Config, NFTSettings
from nearsight.learning.alike import Alike
from nearsight.learning.state import State
from nearsight.learning.targets import Targets
from nearsight.structures.chunks import extract_chunks

__all__ = ["chunk_sizes", "estimate_cost", "label_counts", "relative_cost", "training_sizes"]

SAMPLED = 50
"""Atoms around which chunks are looked at for their size."""
COMPARED = 5000
"""Atoms whose chunks are compared at most: if all are alike, for five seconds."""


def relative_cost(sizes: Sequence[int], whole: Sequence[int], exponent: float) -> float:
    """Cost of structures, in calculations of the whole targets.

    Parameters
    ----------
    sizes, whole : sequence of int
        Numbers of atoms.
    exponent : float
        See `ParentSettings.cost_exponent`.
    """
    cost, unit = (float((np.array(n, float) ** exponent).sum()) for n in (sizes, whole))
    return cost / unit


def training_sizes(settings: NFTSettings, targets: Targets, state: State) -> list[int]:
    """Atoms of each structure that a training has asked its parent for, failed ones included."""
    known, failed = state.chunk_images, state.history[-1].failed_indices
    if settings.labels == "target":
        sizes = [len(state.images[image].atoms) for image in known.values()]
        whole = [len(atoms) for atoms in targets.structures]
        # of a frame that failed no more is known than that it was one of a target
        return sizes + [whole[i] if i < len(whole) else max(whole) for i in failed]
    trim = settings.trim is not None
    cut = targets.extract([*known, *failed], settings.chunk_radius, settings.vacuum, trim)
    return [len(atoms) for atoms in cut]


def chunk_sizes(target: Atoms, radius: float) -> list[int]:
    """Atoms of the chunks around some atoms of a target."""
    some = np.linspace(0, len(target) - 1, min(len(target), SAMPLED)).astype(int)
    numbers = sorted(set(some.tolist()))
    return [len(chunk) for chunk in extract_chunks(target, numbers, radius, 0.0)]


def label_counts(target: Atoms, config: Config) -> tuple[int, int]:
    """Chunks, no two alike, or geometries that are asked for at most: to learn, to validate."""
    nft = config.nft
    if nft.labels == "target":
        return config.geometries.max_geometries, config.geometries.validation
    most = max(nft.max_chunks, nft.validation_chunks)
    different = most
    if len(target) <= COMPARED:
        alike = Alike(Targets.of(target), nft.chunk_radius)
        different = len(alike.different(range(len(target)), [], most))
    return min(nft.max_chunks, different), min(nft.validation_chunks, different)


def estimate_cost(target: Atoms, config: Config, counts: tuple[int, int]) -> float:
    """Cost of all chunks (or geometries), from the sizes of some; see `label_counts`."""
    nft = config.nft
    if nft.labels == "target":
        return sum(counts)
    cost = 0.0
    radii = (nft.chunk_radius, nft.larger_radius)
    for count, radius in zip(counts, radii, strict=True):
        sizes = chunk_sizes(target, radius)
        each = relative_cost(sizes, [len(target)], config.parent.cost_exponent) / len(sizes)
        cost += count * each
    return cost
