"""Locality of the parent: the force on the centre of a chunk by chunk radius (SI 7.1, Fig. S7a).

It says which chunk radius is converged, and bounds what a nearsighted model can reach.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from nearsight.errors import InputError, ParentError
from nearsight.files.records import ForceLocality
from nearsight.learning.labels import ask_parent
from nearsight.parents import Failure, Origin, Parent, as_parent
from nearsight.progress import Progress
from nearsight.structures.chunks import extract_chunks
from nearsight.structures.digest import structure_digest

__all__ = ["ForceLocality", "force_locality"]


def force_locality(
    atoms: Atoms,
    parent: Parent | str | Callable[..., Any] | Calculator,
    radii: Sequence[float],
    indices: Sequence[int] | None = None,
    vacuum: float = 5.0,
    progress: Progress | None = None,
) -> ForceLocality:
    """Compare the forces on the centres of chunks with those in the whole structure.

    Parameters
    ----------
    atoms : ase.Atoms
        The whole structure; the parent must be able to calculate it once.
    parent : Parent, or what `as_parent` takes
    radii : sequence of R float, Å
        Chunk radii.
    indices : sequence of K int, optional
        The atoms to look at; all of them when left out.
    vacuum : float, Å
        Empty space around a chunk.
    progress : Progress, optional

    Raises
    ------
    InputError
        No radius, or an unusable one, or an atom that does not exist (see `extract_chunks`).
    ParentError
        All calculations failed; what one of them fails on is left out.
    """
    parent = as_parent(parent)
    progress = progress or Progress()
    indices = list(range(len(atoms))) if indices is None else list(indices)
    if len(radii) == 0 or len(indices) == 0:
        raise InputError("a locality scan needs at least one chunk radius and one atom")
    # cut first: a radius or an index that cannot be is found before anything is calculated
    chunks = [extract_chunks(atoms, indices, radius, vacuum, parent.pass_info) for radius in radii]
    structures = [atoms, *itertools.chain.from_iterable(chunks)]
    for chunk in structures[1:]:
        chunk.info["source_digest"] = structure_digest(atoms)
    origin = Origin("whole", "locality")
    found = ask_parent(parent, structures, "whole structure and chunks", origin, progress)
    failures = [result for result in found if isinstance(result, Failure)]
    if len(failures) == len(found):
        raise ParentError(
            f"parent {parent.settings['calculator']} failed on all {len(found)} structures of the "
            f"locality scan, the first one {failures[0]}"
        )
    for failure in failures:
        progress.note(f"left out of the locality scan: {failure}")
    whole, *others = [
        np.full((len(structure), 3), np.nan) if isinstance(result, Failure) else result.forces
        for structure, result in zip(structures, found, strict=True)
    ]
    return ForceLocality(
        radii=np.array(radii, dtype=float),
        indices=np.array(indices),
        n_atoms=np.array([[len(chunk) for chunk in row] for row in chunks]),
        forces=np.array([forces[0] for forces in others]).reshape(len(radii), len(indices), 3),
        true_forces=whole[indices],
    )
