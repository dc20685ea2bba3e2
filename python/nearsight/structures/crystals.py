"""Crystals of any space group and any number of elements, and rattled cells of them (SI 8.1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.cell import Cell
from ase.neighborlist import neighbor_list
from ase.spacegroup import Spacegroup, crystal

from nearsight.errors import InputError

__all__ = [
    "compositions",
    "rattled_cells",
    "shortest_distance",
    "starting_crystal",
    "worth_rattling",
]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int_]

LOOSEST_PACKING = 0.3
"""Fraction of space filled by touching spheres below which a crystal is too open to start from;
diamond has 0.34, simple cubic 0.52, fcc 0.74."""

MIXED_SITES = 4
"""Maximum number of classes of sites when elements are mixed."""

GRID = 12
"""Candidate sites have fractional coordinates of whole twelfths: in those units every space group
moves whole numbers to whole numbers, so that orbits are exact."""

SHUFFLE = 1
"""Separates the random stream of the arrangements from that of the displacements."""


def starting_crystal(
    space_group: int, symbol: str, a0: float, closest: float, cell_seed: int
) -> Atoms:
    """A crystal of one element on one orbit of sites, in the conventional cell.

    The cell has a = ``a0``; a length that symmetry leaves free is a0(0.8 + 0.4u) and an angle
    90°(0.8 + 0.4u), u uniform in [0, 1). The orbit is the smallest one that is not too open
    (`LOOSEST_PACKING`), of several the densest, of several the first on the grid, which begins
    with the origin. A cell whose atoms would be closer than ``closest`` is enlarged until they
    are not.

    Parameters
    ----------
    space_group : int
        Number, 1 to 230, in its first setting.
    symbol : str
    a0, closest : float, Å
    cell_seed : int
        Seed of u, drawn from NumPy's `RandomState`, whose numbers never change.

    Raises
    ------
    InputError
        If ASE cannot build the space group.
    """
    parameters = _cell_parameters(space_group, a0, cell_seed)
    try:
        group = Spacegroup(space_group)
        site = _best_site(group, np.asarray(Cell.fromcellpar(parameters)))
        built = crystal(symbol, [site], spacegroup=group, cellpar=parameters)
    except Exception as error:  # ASE raises its own errors on tables it cannot read
        raise InputError(
            f"space group {space_group} cannot be built ({type(error).__name__}: {error})"
        ) from error
    atoms = Atoms(built.symbols, built.positions, cell=built.cell, pbc=True)
    shortest = shortest_distance(atoms)
    if shortest < closest:
        atoms.set_cell(atoms.cell * (closest / shortest), scale_atoms=True)
    return atoms


def compositions(atoms: Atoms, elements: Sequence[str]) -> Iterator[Atoms]:
    """A crystal in every composition of the elements: pure ones first, then mixtures.

    The sites, in their order, fall into n equal classes, n at most `MIXED_SITES`. Every unordered
    choice of n elements goes onto them once, in the order of the elements: five of two elements
    on four sites (A4, B4, A3B, A2B2, AB3). Other arrangements of the same composition are left
    out. A crystal of one atom is doubled along its third axis if there is anything to mix.
    """
    if len(elements) > 1 and len(atoms) == 1:
        atoms = atoms.repeat((1, 1, 2))
    classes = min(len(atoms), MIXED_SITES)
    site_class = np.arange(len(atoms)) * classes // len(atoms)
    choices = itertools.combinations_with_replacement(elements, classes)
    for chosen in sorted(choices, key=lambda choice: len(set(choice)) > 1):  # a stable sort
        mixed = atoms.copy()
        mixed.symbols = [chosen[k] for k in site_class]
        yield mixed


def worth_rattling(crystals: Sequence[Atoms]) -> list[Atoms]:
    """All crystals of up to two elements; of more, those of each space group that mix the most.

    Three elements have 21 compositions in the two default space groups, four have 45. For an alloy
    of all elements most of them are not worth the labels of their rattled cells. (On a random
    particle of palladium, silver and gold the errors were nearly half as large.) ``info`` of each
    crystal holds its ``space_group``.
    """
    if len({symbol for atoms in crystals for symbol in atoms.symbols}) <= 2:
        return list(crystals)
    max_elements: dict[int, int] = {}
    for atoms in crystals:
        group = atoms.info["space_group"]
        max_elements[group] = max(max_elements.get(group, 0), len(set(atoms.symbols)))
    return [a for a in crystals if len(set(a.symbols)) == max_elements[a.info["space_group"]]]


def rattled_cells(
    relaxed: Atoms, minsep: float, posamp: float, seeds: Iterable[int]
) -> Iterator[Atoms]:
    """The 2 × 2 × 2 supercell rattled with each seed, unless atoms come too close.

    The elements of a mixture are shuffled over its sites, differently for every seed: an alloy
    has local environments that no ordered crystal has. Three elements or more come in equal parts,
    whatever the crystal's, and in other arrangements in every crystal: their few mixtures on four
    classes of sites are too far apart.

    Parameters
    ----------
    relaxed : ase.Atoms
        A periodic cell.
    minsep : float, Å
        Shortest distance allowed, images included.
    posamp : float, Å
        Standard deviation of the displacements (`ase.Atoms.rattle`).
    seeds : iterable of int

    Yields
    ------
    ase.Atoms
        ``info`` holds ``rattle_seed``.
    """
    supercell = relaxed.repeat((2, 2, 2))
    supercell.info.pop("relaxation_step", None)
    # Only pairs this close can come closer than minsep while no atom moves farther than reach;
    # that spares the neighbour search for nearly every seed (5 ms each, and often thousands).
    reach = 5 * posamp
    i, j, vectors = neighbor_list("ijD", supercell, minsep + 2 * reach)
    for seed in seeds:
        atoms = supercell.copy()
        atoms.rattle(stdev=posamp, seed=seed)
        moves = atoms.positions - supercell.positions
        if np.linalg.norm(moves, axis=1).max() > reach:
            apart = len(neighbor_list("d", atoms, minsep)) == 0
        else:
            distances = np.linalg.norm(vectors + moves[j] - moves[i], axis=1)
            apart = bool(np.all(distances >= minsep))
        if apart:
            atoms.numbers = _shuffled(supercell.numbers, seed)
            atoms.info["rattle_seed"] = seed
            yield atoms


def shortest_distance(atoms: Atoms) -> float:
    """Shortest distance between two atoms of a periodic cell, images included, in Å."""
    reach = atoms.cell.lengths().min() * (1 + 1e-9)  # an atom's own image is never farther
    return float(neighbor_list("d", atoms, reach).min())


def _shuffled(numbers: Integers, seed: int) -> Integers:
    kinds, counts = np.unique(numbers, return_counts=True)
    if len(kinds) <= 2:
        return np.random.default_rng([seed, SHUFFLE]).permutation(numbers)
    random = np.random.default_rng([seed, SHUFFLE, *counts])
    return random.permutation(np.resize(random.permutation(kinds), len(numbers)))


def _cell_parameters(space_group: int, a0: float, cell_seed: int) -> list[float]:
    """Lengths (Å) and angles (°) of the conventional cell, by crystal system."""
    free = 0.8 + 0.4 * np.random.RandomState(cell_seed).random_sample(5)
    b, c = a0 * free[:2]
    if space_group <= 2:
        return [a0, b, c, *(90 * free[2:])]
    if space_group <= 15:
        return [a0, b, c, 90, 90 * free[2], 90]
    if space_group <= 74:
        return [a0, b, c, 90, 90, 90]
    if space_group <= 142:
        return [a0, a0, b, 90, 90, 90]
    if space_group <= 194:
        return [a0, a0, b, 90, 90, 120]
    return [a0, a0, a0, 90, 90, 90]


def _best_site(group: Spacegroup, cell: Array) -> Array:
    """Fractional coordinates of the site whose orbit makes the crystal."""
    rotations, translations = group.get_op()
    moves = np.rint(np.asarray(translations) * GRID).astype(int)
    grid = np.stack(np.meshgrid(*[np.arange(GRID)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    turned = np.einsum("oab,gb->goa", np.rint(rotations).astype(int), grid)
    orbits = (turned + moves) % GRID
    codes = np.sort(orbits @ np.array([GRID**2, GRID, 1]), axis=1)
    sizes = 1 + np.count_nonzero(np.diff(codes, axis=1), axis=1)
    is_first = codes[:, 0] == np.arange(len(grid))  # of its orbit: the others would be repetitions
    best, best_packing = 0, 0.0
    for size in np.unique(sizes):
        candidates = np.flatnonzero(is_first & (sizes == size))
        packings = np.array([_packing(grid[k], orbits[k], cell) for k in candidates])
        packings = packings.round(9)  # equal ones shall stay equal
        if packings.max() > best_packing:
            best, best_packing = candidates[packings.argmax()], packings.max()
        if best_packing >= LOOSEST_PACKING:
            break
    return np.asarray(grid[best] / GRID)


def _packing(site: Integers, orbit: Integers, cell: Array) -> float:
    """Fraction of the cell filled by touching spheres on all sites of an orbit."""
    members = np.unique(orbit, axis=0)
    images = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    steps = ((members - site)[:, None] / GRID + images).reshape(-1, 3)
    distances = np.linalg.norm(steps @ cell, axis=1)
    shortest = distances[distances > 1e-9].min()
    volume = abs(float(np.linalg.det(cell)))
    return float(np.pi / 6 * shortest**3 * len(members) / volume)
