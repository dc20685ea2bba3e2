"""Frames that somebody gives to learn from, checked."""

from __future__ import annotations

from collections.abc import Sequence

from ase import Atoms

from nearsight.errors import InputError
from nearsight.progress import Progress, count_noun
from nearsight.run.suggest import nearest_neighbour_distance
from nearsight.structures.images import check_structure, near_atoms

__all__ = ["believable"]

TOO_NEAR = 0.5
"""Share of the usual distance between neighbours, nearer than which parents fail or mislead."""


def believable(
    frames: Sequence[Atoms], elements: Sequence[str], progress: Progress
) -> tuple[Atoms, ...]:
    """The frames that a parent can be asked about; the others are told.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    elements : sequence of str
        Those that the ensemble knows.
    progress : Progress

    Raises
    ------
    InputError
        For a frame with another element, or positions that are not finite; if no frame is left.
    """
    shortest = TOO_NEAR * min(nearest_neighbour_distance(element) for element in elements)
    kept = []
    for number, atoms in enumerate(frames):
        name = f"frame {number}"
        check_structure(atoms, elements, name)
        near = near_atoms(atoms, shortest, name)
        if near.any():
            progress.note(
                f"{name} is left out: {count_noun(int(near.sum()), 'atom')} with a neighbour "
                f"within {shortest:.2f} Å"
            )
        else:
            kept.append(atoms)
    if not kept:
        raise InputError("there is no frame to learn from, or none without atoms on each other")
    return tuple(kept)
