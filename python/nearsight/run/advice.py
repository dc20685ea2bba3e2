"""What is worth saying of a configuration and its targets before hours of work."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.geometry import minkowski_reduce
from ase.neighborlist import neighbor_list

from nearsight.config import Config
from nearsight.errors import InputError
from nearsight.learning.targets import Targets
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents.spec import TOTALS
from nearsight.run.cost import chunk_sizes
from nearsight.run.suggest import expected_distance, is_metal, nearest_neighbour_distance
from nearsight.selection.choose import check_counts
from nearsight.structures.images import near_atoms

__all__ = [
    "advice",
    "check_candidates",
    "check_distances",
    "check_lengths",
    "empty_space",
    "is_in_a_box",
]

TOO_NEAR = 0.3
"""Share of the usual distance between neighbours; no structure is compressed so far."""
TOO_FAR = 1.6
"""The same for the distance from which on it is too long; with lengths in Bohr it is 1.89."""
EMPTY = 3.5
"""Å between layers of atoms from which on it is empty space, not that of a crystal."""
VACUUM = 8.0
"""Å of empty space in every direction, as around a particle, never in a crystal."""
NEUTRAL = 0.01
"""Charge in e up to which a target is neutral: that of rounding."""
MOST_ATOMS = 2000
"""More than any chunk has."""


def advice(config: Config, targets: Targets) -> list[str]:
    """Sentences on settings that are allowed and rarely meant."""
    found = []
    radius = config.nft.chunk_radius
    cutoffs = [("features.cutoff", config.features.cutoff)]
    cutoffs += [("capacity.cutoff", cutoff) for cutoff in config.capacity.cutoff]
    by_chunks = config.nft.labels != "target"
    if by_chunks and config.features.symmetry_functions is None:
        found += [
            f"{key} = {cutoff:g} Å is more than nft.chunk_radius = {radius:g} Å: the "
            "networks look farther than the calculations of chunks, which they learn from"
            for key, cutoff in cutoffs
            if cutoff > radius
        ]
    validation = ("nft.validation_chunks", config.nft.validation_chunks)
    if not by_chunks:
        validation = ("geometries.validation", config.geometries.validation)
    if config.capacity.cutoff and validation[1] == 0:
        found.append(f"{validation[0]} = 0: nothing tells the cutoffs of capacity.cutoff apart")
    for number, atoms in enumerate(targets.structures):
        name = "the target" if len(targets.structures) == 1 else f"target {number}"
        size = _size_of_chunks(atoms, radius) if by_chunks else 0.0
        if size >= len(atoms):
            found.append(
                f"{name} ({len(atoms)} atoms) is no larger than a chunk ({size:.0f} on average, "
                f"nft.chunk_radius = {radius:g} Å): a calculation of the whole costs no more, and "
                'has all forces and the energy (nft.labels = "target", as nearsight distil writes)'
            )
        found += _of_the_cell(atoms, name)
        found += _of_the_charges(config.baseline.charges, atoms, name)
        if by_chunks:
            found += _of_the_electrons(atoms, name)
            others = [e for e in dict.fromkeys(atoms.symbols) if not is_metal(e)]
            if others:
                found.append(
                    f"{name} is no metal ({', '.join(others)}): forces may reach farther than a "
                    "chunk, which nearsight locality shows"
                )
    return found


def check_candidates(config: Config, elements: tuple[str, ...]) -> None:
    """Raise an `InputError` if more symmetry functions are to be chosen than there are, or none."""
    given, cutoffs = config.features, config.capacity.cutoff
    if given.symmetry_functions is not None:
        if cutoffs:
            raise InputError(
                "capacity.cutoff needs candidates to choose from: leave it out, or "
                "features.symmetry_functions"
            )
        return
    for name in ("g2_r_s", "g4_r_s", "g5_r_s"):
        largest = max(getattr(given, name), default=0.0)
        short = [cutoff for cutoff in cutoffs if cutoff <= largest]
        if short:
            raise InputError(
                f"capacity.cutoff must be above all of features.{name}, got {short[0]:g} Å and "
                f"{largest:g} Å"
            )
    candidates = SymmetryFunctions.candidates(
        elements,
        given.cutoff,
        angular_cutoff=given.angular_cutoff,
        **given.grid,
    )
    for element in elements:
        check_counts(candidates, given, element)


def check_lengths(atoms: Atoms, name: str) -> None:
    """Raise an `InputError` for a structure whose lengths are likely to be in nm or Bohr."""
    shortest = min(nearest_neighbour_distance(symbol) for symbol in set(atoms.symbols))
    near = near_atoms(atoms, TOO_NEAR * shortest, name)
    if near.mean() > 0.5:
        raise InputError(
            f"{name}: most atoms have a neighbour within {TOO_NEAR * shortest:.2f} Å, where "
            f"{shortest:.2f} Å are usual; lengths must be in Å (10 for each nm)"
        )
    longest = TOO_FAR * max(
        expected_distance(a, b) for a, b in combinations_with_replacement(set(atoms.symbols), 2)
    )
    if len(atoms) > 1 and near_atoms(atoms, longest, name).mean() < 0.5:
        raise InputError(
            f"{name}: most atoms have no neighbour within {longest:.2f} Å, {TOO_FAR:g} times the "
            "usual distance; lengths must be in Å (0.529 for each Bohr)"
        )


def check_distances(atoms: Atoms, name: str) -> None:
    """Raise an `InputError` that names two atoms on each other, before a parent is asked."""
    pairs = list(combinations_with_replacement(sorted(set(atoms.symbols)), 2))
    shortest = {pair: TOO_NEAR * expected_distance(*pair) for pair in pairs}
    # the few atoms that come into question; of these the pairs, which takes longer
    numbers = np.flatnonzero(near_atoms(atoms, max(shortest.values()), name))
    first, second, distances = neighbor_list("ijd", atoms[numbers], shortest)
    if len(distances):
        nearest = int(distances.argmin())
        one, other = sorted(int(numbers[each[nearest]]) for each in (first, second))
        symbols = atoms.symbols[one], atoms.symbols[other]
        raise InputError(
            f"{name}: atoms {one} ({symbols[0]}) and {other} ({symbols[1]}) overlap: "
            f"{distances[nearest]:.2f} Å apart, where {expected_distance(*symbols):.2f} Å are usual"
        )


def is_in_a_box(atoms: Atoms) -> bool:
    """Whether a periodic structure has empty space around it in all directions."""
    if not atoms.pbc.all():
        return False
    cell, _ = minkowski_reduce(atoms.cell, atoms.pbc)
    return bool((empty_space(atoms, cell) > VACUUM).all())


def empty_space(atoms: Atoms, cell: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(3,) widest gap between atoms across each vector of a cell, periodic images counted, in Å."""
    inverse = np.linalg.inv(np.asarray(cell))
    scaled = np.sort((atoms.positions @ inverse) % 1.0, axis=0)
    gaps = np.diff(scaled, axis=0, append=scaled[:1] + 1.0).max(axis=0)
    return np.asarray(gaps / np.linalg.norm(inverse, axis=0))


def _of_the_cell(atoms: Atoms, name: str) -> list[str]:
    """Sentences on empty space across the cell."""
    if not atoms.pbc.any():
        return []
    if is_in_a_box(atoms):
        sentence = (
            f"{name} is periodic, with more than {VACUUM:g} Å of empty space in all "
            "directions: if it is a particle in a box, write it without the cell (extended "
            'XYZ, pbc="F F F")'
        )
        return [sentence]
    gaps = empty_space(atoms, atoms.cell.complete())
    return [
        f"{name} is periodic along {axis} with {gap:.1f} Å of empty space: too much for a crystal, "
        f"too little for atoms across it not to feel each other (more than {VACUUM:g} Å)"
        for axis, periodic, gap in zip("abc", atoms.pbc, gaps, strict=True)
        if periodic and EMPTY < gap <= VACUUM
    ]


def _of_the_charges(
    charges: str | Mapping[str, float] | None, atoms: Atoms, name: str
) -> list[str]:
    """A sentence on charges that are given and do not cancel."""
    if charges is None or isinstance(charges, str):
        return []
    total = sum(charges.get(symbol, 0.0) for symbol in atoms.symbols)
    if abs(total) < NEUTRAL:
        return []
    return [f"{name} has a charge of {total:+.3g} e by baseline.charges"]


def _of_the_electrons(atoms: Atoms, name: str) -> list[str]:
    """Sentences on what chunks may have otherwise than the whole."""
    found = [
        f"the {key} of {name} is that of the whole: its chunks are calculated without (what all "
        "chunks shall have, [parent] chunks can say)"
        for key in TOTALS
        if atoms.info.get(key)
    ]
    if atoms.has("initial_magmoms") and atoms.get_initial_magnetic_moments().any():
        found.append(
            f"{name} is magnetic: its chunks keep the initial moments, but may end in another "
            "magnetic state than the whole; compare some of their moments"
        )
    return found


def _size_of_chunks(atoms: Atoms, radius: float) -> float:
    """Mean number of atoms of a structure's chunks; with images, they may be more than it has."""
    return 0.0 if len(atoms) > MOST_ATOMS else float(np.mean(chunk_sizes(atoms, radius)))
