"""Chunks: an atom and its surroundings cut out of a structure (SI 8.4, "chunk")."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.cell import Cell
from ase.geometry import minkowski_reduce
from scipy.spatial import cKDTree

from nearsight.errors import InputError
from nearsight.structures.images import check_structure

__all__ = ["extract_chunk", "extract_chunks", "trim_to_stoichiometry"]

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def extract_chunk(atoms: Atoms, index: int, radius: float, vacuum: float = 5.0) -> Atoms:
    """Cut one chunk; see `extract_chunks`.

    Parameters
    ----------
    index : int
        The atom in the centre; the first atom is 0.
    """
    return extract_chunks(atoms, [index], radius, vacuum)[0]


def extract_chunks(
    atoms: Atoms,
    indices: Sequence[int],
    radius: float,
    vacuum: float = 5.0,
    keep_info: Sequence[str] = (),
) -> list[Atoms]:
    """Cut chunks out of a structure, all of them with one neighbour search.

    A chunk is the atom in its centre and every atom at most ``radius`` away from it, each periodic
    image counted (several images of one atom, and those of the centre itself). Its order is fixed:
    the centre, then the others by their index in the structure, images of one atom by their cell
    shift. It keeps chemical elements, initial magnetic moments and charges, and tags; it has no
    constraints and is not periodic.

    Parameters
    ----------
    atoms : ase.Atoms
    indices : sequence of int
        The atoms in the centres; the first atom is 0.
    radius : float, Å
    vacuum : float, Å
        Empty space around the chunk: its box is the extent of the chunk and twice the vacuum.
        (5 Å: the paper, SI 8.4.)
    keep_info : sequence of str
        Keys of ``info`` that the chunks take over. The total charge and spin of the structure are
        not theirs.

    Returns
    -------
    list of ase.Atoms
        In the order of ``indices``. ``info`` holds ``source_index`` and ``chunk_radius``.

    Raises
    ------
    InputError
        An index out of range, a radius that is not positive, a negative vacuum, an atom without a
        neighbour within the radius, or a structure that cannot be (see `check_structure`).
    """
    check_structure(atoms)
    centres = _checked_indices(indices, len(atoms))
    if not 0 < radius < np.inf:
        raise InputError(f"the chunk radius must be a positive number (Å), got {radius!r}")
    if not 0 <= vacuum < np.inf:
        raise InputError(f"the vacuum around a chunk must not be negative (Å), got {vacuum!r}")
    if len(centres) == 0:
        return []
    source, shifts, positions = _images_around(atoms, centres, radius)
    in_reach = cKDTree(positions).query_ball_point(atoms.positions[centres], radius)
    chunks = []
    for index, near in zip(centres, in_reach, strict=True):
        near = np.sort(np.asarray(near, dtype=np.intp))
        centre = (source[near] == index) & ~shifts[near].any(axis=1)
        if len(near) == 1:
            raise InputError(
                f"atom {index} ({atoms.symbols[index]}) has no neighbour within {radius:g} Å: "
                "take a larger chunk radius"
            )
        members = np.concatenate([near[centre], near[~centre]])
        chunk = _chunk(atoms, source[members], positions[members], radius, vacuum)
        chunk.info |= {key: atoms.info[key] for key in keep_info if key in atoms.info}
        chunks.append(chunk)
    return chunks


def trim_to_stoichiometry(chunk: Atoms, counts: Mapping[str, int], vacuum: float) -> Atoms:
    """A chunk without its outermost atoms, so that the elements stand in a given proportion.

    What is neutral as a whole is neutral in its chunks then, if atoms of an element are alike. The
    centre stays; of atoms at the same distance, the first ones.

    Parameters
    ----------
    chunk : ase.Atoms
        See `extract_chunks`.
    counts : mapping of str to int
        Atoms of each element in the structure it was cut from.
    vacuum : float, Å
        As the chunk has.

    Raises
    ------
    InputError
        If the chunk does not hold the atoms of one formula unit.
    """
    divisor = math.gcd(*counts.values())
    unit = {element: count // divisor for element, count in counts.items()}
    there = Counter(chunk.symbols)
    units = min(there[element] // count for element, count in unit.items())
    if units == 0:
        formula = "".join(f"{element}{count}" for element, count in unit.items())
        raise InputError(
            f"a chunk of {len(chunk)} atoms cannot be trimmed to the stoichiometry of the target: "
            f"it does not hold {formula}; take a larger nft.chunk_radius, or leave out nft.trim"
        )
    distances = np.linalg.norm(chunk.positions - chunk.positions[0], axis=1)
    order = np.argsort(distances.round(6), kind="stable")
    kept = [order[chunk.symbols[order] == e][: units * count] for e, count in unit.items()]
    trimmed = chunk[np.sort(np.concatenate(kept))]
    _put_in_box(trimmed, vacuum)
    return trimmed


def _put_in_box(chunk: Atoms, vacuum: float) -> None:
    """Give a chunk the box of its extent and twice the vacuum."""
    low, high = chunk.positions.min(axis=0), chunk.positions.max(axis=0)
    chunk.positions = chunk.positions - low + vacuum
    chunk.cell = high - low + 2 * vacuum


def _checked_indices(indices: Sequence[int], count: int) -> Indices:
    array = np.asarray(indices)
    if array.size == 0:
        return np.zeros(0, dtype=np.intp)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"atom indices must be whole numbers, got {indices!r}")
    for index in array:
        if not 0 <= index < count:
            raise InputError(f"there is no atom {index}: the structure has atoms 0 to {count - 1}")
    return array.astype(np.intp)


def _images_around(
    atoms: Atoms, centres: Indices, radius: float
) -> tuple[Indices, npt.NDArray[np.int_], Array]:
    """Periodic images of atoms that can be within ``radius`` of a centre, and a few more.

    Ordered by atom, then by shift. ASE's neighbour list searches around all atoms (3.6 s for 1415
    atoms and 8 Å, and memory in proportion), where mostly a few are wanted.

    Returns
    -------
    source : (M,) int, index of the atom
    shifts : (M, 3) int, its cell shift
    positions : (M, 3) float64, Å
    """
    # without the vectors of directions that are not periodic, which mean nothing
    periodic = Cell(np.where(atoms.pbc[:, None], atoms.cell, 0.0)).complete()
    # that of the shortest vectors: of a skewed one, thousands of images lie within the radius
    cell, change = minkowski_reduce(periodic, atoms.pbc)
    scaled = np.linalg.solve(cell.T, atoms.positions.T).T
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = radius / heights + 1e-9  # in units of the cell vectors; the margin covers rounding
    low = np.ceil(scaled[centres].min(axis=0) - scaled.max(axis=0) - reach)
    high = np.floor(scaled[centres].max(axis=0) - scaled.min(axis=0) + reach)
    ranges = [
        range(int(low[axis]), int(high[axis]) + 1) if atoms.pbc[axis] else range(1)
        for axis in range(3)
    ]
    reduced = np.array(list(itertools.product(*ranges)))
    every_shift = reduced @ change
    order = np.lexsort(every_shift.T[::-1])
    every_shift, translations = every_shift[order], reduced[order] @ cell
    source = np.repeat(np.arange(len(atoms)), len(every_shift))
    shifts = np.tile(every_shift, (len(atoms), 1))
    positions = atoms.positions[source] + np.tile(translations, (len(atoms), 1))
    margin = radius + 1e-6
    near = np.all(
        (positions >= atoms.positions[centres].min(axis=0) - margin)
        & (positions <= atoms.positions[centres].max(axis=0) + margin),
        axis=1,
    )
    return source[near], shifts[near], positions[near]


def _chunk(atoms: Atoms, source: Indices, positions: Array, radius: float, vacuum: float) -> Atoms:
    chunk = Atoms(
        numbers=atoms.numbers[source],
        positions=positions,
        pbc=False,
        info={"source_index": int(source[0]), "chunk_radius": float(radius)},
    )
    _put_in_box(chunk, vacuum)
    for name in ("initial_magmoms", "initial_charges", "tags"):
        if atoms.has(name):
            chunk.set_array(name, atoms.get_array(name)[source])
    return chunk
