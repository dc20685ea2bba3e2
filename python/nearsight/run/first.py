"""What a run asks its parent first."""

from __future__ import annotations

from ase import Atoms

from nearsight.config import Config
from nearsight.learning.initial_cells import Initialization
from nearsight.learning.targets import Targets
from nearsight.parents import Origin

__all__ = ["first_structures", "initial_structures"]


def initial_structures(config: Config, targets: Targets) -> Initialization:
    """The initial structures of a run."""
    return Initialization.of(config.initial, targets.elements, targets=targets.structures)


def first_structures(config: Config, targets: Targets) -> tuple[list[Atoms], bool, Origin]:
    """Structures that a run begins with, whether the stress is wanted too, and what they are for.

    The initial cells; if all of them have labels, a chunk of the locality scan, or else a small one
    of the targets, which need not be one that is asked for later; the first target itself where
    whole targets are labelled.
    """
    structures, stress, origin = initial_structures(config, targets).first()
    if structures:
        return structures, stress, origin
    vacuum, scan = config.nft.vacuum, config.locality
    if scan is not None:
        centre = 0 if scan.atoms == "all" else scan.atoms[0]
        chunks = targets.extract([centre], min(scan.radii), vacuum)
        return chunks, False, Origin(stage="locality")
    if config.nft.labels == "target":
        return [targets.structures[0]], False, Origin("whole", "nft")
    chunk = targets.small_chunk(config.nft.chunk_radius, vacuum, config.nft.trim is not None)
    return [chunk], False, Origin(stage="nft")
