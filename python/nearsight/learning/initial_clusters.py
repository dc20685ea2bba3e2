"""Initial structures cut from the target: small free clusters, squeezed, stretched and rattled.

They need no crystal that suits the chemistry, no periodic cell and no stress, and have the
target's own composition and neighbours; chunks are such clusters too, only larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.spatial.distance import pdist

from nearsight.config import InitialSettings
from nearsight.errors import InputError, ParentError
from nearsight.learning.labels import label_all
from nearsight.parents import Origin, Parent
from nearsight.progress import Progress
from nearsight.structures.chunks import extract_chunk
from nearsight.structures.images import Image

__all__ = ["CLUSTERS", "START", "cut_clusters", "label_clusters"]

CLUSTERS = Origin("cluster", "initial")
START = 6.5
"""Å; a target has no atom without a neighbour so near."""
RATTLES = 50
"""Rattles tried for a cluster."""
REACH = 1.3
"""Factor by which the search for enough atoms of every element reaches farther in each step."""


def cut_clusters(targets: Sequence[Atoms], settings: InitialSettings, seed: int = 0) -> list[Atoms]:
    """Clusters around random atoms of the targets.

    Sizes, strains and rattles take turns. A cluster of several elements has the stoichiometry of
    the target as nearly as its size allows, so that polar ones are as neutral as can be.

    Parameters
    ----------
    targets : sequence of ase.Atoms
    settings : InitialSettings
        Number, sizes and strains of the clusters, ``posamp`` and ``minsep``.
    seed : int

    Raises
    ------
    InputError
        If a cluster cannot be rattled without two atoms closer than ``minsep``.
    """
    rng = np.random.default_rng([seed, _CLUSTERS])
    found = []
    for number in range(settings.clusters):
        target = targets[number % len(targets)]
        size = settings.cluster_sizes[number % len(settings.cluster_sizes)]
        strains = settings.cluster_strains
        # sizes and strains do not go round together
        strain = strains[(number + number // len(strains)) % len(strains)]
        most = size if target.pbc.any() else min(size, len(target))
        cluster = _cut(target, int(rng.integers(len(target))), most)
        cluster.positions *= 1.0 + strain
        found.append(_rattled(cluster, settings, rng))
    return found


def label_clusters(
    clusters: Sequence[Atoms], parent: Parent, progress: Progress | None = None
) -> list[Image]:
    """The clusters with the parent's labels; those that it fails on are left out.

    Raises
    ------
    ParentError
        If it failed on all.
    """
    progress = progress or Progress()
    images = label_all(clusters, "clusters", CLUSTERS, parent, progress, "skipping a cluster")
    if not images:
        raise ParentError(f"the parent failed on all {len(clusters)} clusters cut from the target")
    return images


_CLUSTERS = 8  # keeps this random stream apart from the others


def _cut(target: Atoms, centre: int, size: int) -> Atoms:
    """The atoms nearest to a centre that make the stoichiometry, at most their share of each."""
    symbols = sorted(set(target.symbols))
    shares = {s: np.ceil(size * target.symbols.count(s) / len(target)) for s in symbols}
    reach, around = START, extract_chunk(target, centre, START, vacuum=0.0)
    while not all(around.symbols.count(s) >= shares[s] for s in symbols):
        if len(around) >= len(target) and not target.pbc.any():
            break
        reach *= REACH
        around = extract_chunk(target, centre, reach, vacuum=0.0)
    distance = np.linalg.norm(around.positions - around.positions[0], axis=1)
    kept: list[int] = []
    taken = dict.fromkeys(symbols, 0)
    for i in np.argsort(distance, kind="stable"):
        symbol = around.symbols[i]
        if len(kept) < size and taken[symbol] < shares[symbol]:
            taken[symbol] += 1
            kept.append(int(i))
    cluster = around[kept]
    return Atoms(cluster.symbols, cluster.positions - cluster.positions[0])


def _rattled(cluster: Atoms, settings: InitialSettings, rng: np.random.Generator) -> Atoms:
    # as everywhere, a strained or crowded target may have less than minsep itself
    least = min(settings.minsep, 0.8 * pdist(cluster.positions).min())
    for _ in range(RATTLES):
        atoms = cluster.copy()
        atoms.positions += rng.normal(0.0, settings.posamp, atoms.positions.shape)
        if pdist(atoms.positions).min() >= least:
            return atoms
    raise InputError(
        f"a cluster of {len(cluster)} atoms cut from the target could not be rattled by "
        f"{settings.posamp:g} Å without two atoms closer than {least:.3f} Å; lower posamp"
    )
