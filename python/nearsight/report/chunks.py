"""The labelled chunks of a run, as the report lists them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.files.names import evaluation_files, iteration_folder, round_folder
from nearsight.files.records import RunRecord
from nearsight.learning.targets import Targets
from nearsight.report.iteration import IterationData
from nearsight.structures.images import Image, read_images

__all__ = ["Chunk", "read_chunks", "size_asked"]

FILE = "chunks.extxyz"


@dataclass(frozen=True)
class Chunk:
    """A labelled chunk.

    Attributes
    ----------
    number, target, coordination : int or None
        Atom in its centre, numbered through all targets, its target, and its neighbours there.
        None for frames of retraining with several targets.
    element : str
    size : int
        Atoms that the parent calculated.
    cost : float or None
        In calculations of the whole targets; None in runs of earlier versions.
    iteration, round : int or None
        The first iteration that knows it, or the round of retraining.
    chosen_uncertainty : float, eV/Å, or None
        Raw uncertainty of the centre in the iteration before; None in a round of retraining.
    force : float, eV/Å
        Length of the parent's force on the centre, in the chunk.
    uncertainty : float, eV/Å, or None
        Calibrated, of the kept potential on that atom of the target; None for chunks of frames,
        which are other geometries.
    error : float, eV/Å, or None
        Of the kept potential likewise: the difference from the parent's true force, or from the
        chunk's where that is not known.
    """

    number: int | None
    target: int | None
    element: str
    coordination: int | None
    size: int
    cost: float | None
    iteration: int | None
    round: int | None
    chosen_uncertainty: float | None
    force: float
    uncertainty: float | None
    error: float | None


def read_chunks(
    folder: Path,
    run: RunRecord,
    iterations: Sequence[IterationData],
    best: IterationData,
    rounds: int,
    structures: Sequence[Atoms],
    coordination: npt.NDArray[np.int64],
) -> list[Chunk]:
    """All chunks of a run, in the order in which they were labelled.

    Parameters
    ----------
    folder : Path
        Of the run.
    run : RunRecord
    iterations : sequence of IterationData
    best : IterationData
        Iteration of ``best.json``.
    rounds : int
        Rounds of retraining.
    structures : sequence of ase.Atoms
        The targets.
    coordination : (N,) int
        Of all their atoms.

    Raises
    ------
    InputError
        If a file is damaged, or holds chunks of other structures.
    """
    targets = Targets(tuple(structures))
    whole = np.array([len(atoms) for atoms in structures], dtype=float)
    exponent = None if run.cost is None else run.cost.exponent
    found: list[Chunk] = []
    seen: set[int] = set()
    for iteration, place, image in _images(folder, len(iterations), rounds):
        of_target = place is None or iteration is not None
        number = _centre(image, targets) if of_target or len(structures) == 1 else None
        if of_target and (number is None or number in seen):
            continue  # of an earlier version; or drawn once more
        if of_target and number is not None:
            seen.add(number)
        force, size = image.forces[0], size_asked(image.atoms, run.chunk_radius)
        chosen = uncertainty = error = None
        if of_target and number is not None:
            if place is None and iteration is not None:
                chosen = float(iterations[iteration - 1].uncertainty_raw[number])
            true = force if best.true_forces is None else best.true_forces[number]
            uncertainty = float(best.uncertainty[number])
            error = float(np.linalg.norm(best.forces[number] - true))
        found.append(
            Chunk(
                number=number,
                target=None if number is None else targets.locate(number)[0],
                element=str(image.atoms.symbols[0]),
                coordination=None if number is None else int(coordination[number]),
                size=size,
                cost=None if exponent is None else float(size**exponent / (whole**exponent).sum()),
                iteration=iteration if place is None else None,
                round=place,
                chosen_uncertainty=chosen,
                force=float(np.linalg.norm(force)),
                uncertainty=uncertainty,
                error=error,
            )
        )
    return found


def _images(
    folder: Path, iterations: int, rounds: int
) -> Iterator[tuple[int | None, int | None, Image]]:
    """Iteration, round of retraining, and a chunk; without iteration those of a round's frames."""
    places: list[tuple[int | None, int | None, Path]] = [
        (number, None, iteration_folder(folder, number)) for number in range(1, iterations)
    ]
    for number in range(1, rounds):
        within = round_folder(folder, number)
        places.append((None, number, within))
        count = len(evaluation_files(within))
        places += [(each, number, iteration_folder(within, each)) for each in range(1, count)]
    for iteration, place, where in places:
        if (where / FILE).exists():
            yield from ((iteration, place, image) for image in read_images(where / FILE))


def _centre(image: Image, targets: Targets) -> int | None:
    """Number of the atom in the centre, if the chunk says one that is there."""
    info = image.atoms.info
    frame = info.get("source_frame", 0) if len(targets.structures) > 1 else 0
    index = info.get("source_index")
    if not isinstance(index, int | np.integer) or not isinstance(frame, int | np.integer):
        return None
    if not (0 <= frame < len(targets.structures) and 0 <= index < len(targets.structures[frame])):
        return None
    return int(targets.offsets[frame] + index)


def size_asked(atoms: Atoms, radius: float) -> int:
    """Atoms of the chunk itself, where more of its surroundings are kept with it."""
    if "surroundings_radius" not in atoms.info:
        return len(atoms)
    distances = np.linalg.norm(atoms.positions - atoms.positions[0], axis=1)
    return int((distances <= radius).sum())
