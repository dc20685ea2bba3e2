"""What is worth saying of a configuration and its targets before hours of work."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

from nearsight.config import Config
from nearsight.errors import InputError
from nearsight.learning.targets import Targets
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.run.suggest import nearest_neighbour_distance
from nearsight.structures.images import near_atoms

__all__ = ["advice", "check_candidates", "check_lengths", "is_in_a_box"]

TOO_NEAR = 0.3
"""Share of the usual distance between neighbours; no structure is compressed so far."""
VACUUM = 8.0
"""Å of empty space in every direction, as around a particle, never in a crystal."""
MOST_ATOMS = 2000
"""Up to which all distances are looked at."""


def advice(config: Config, targets: Targets) -> list[str]:
    """Sentences on settings that are allowed and rarely meant."""
    found = []
    cutoff, radius = config.features.cutoff, config.nft.chunk_radius
    by_chunks = config.nft.labels != "target"
    if by_chunks and config.features.symmetry_functions is None and cutoff > radius:
        found.append(
            f"features.cutoff = {cutoff:g} Å is more than nft.chunk_radius = {radius:g} Å: the "
            "networks look farther than the calculations of chunks, which they learn from"
        )
    for number, atoms in enumerate(targets.structures):
        name = "the target" if len(targets.structures) == 1 else f"target {number}"
        if by_chunks and _fits_into(atoms, radius):
            found.append(
                f"{name} ({len(atoms)} atoms) is no larger than a chunk (nft.chunk_radius = "
                f"{radius:g} Å): a calculation of the whole costs the same, and has all forces and "
                'the energy (nft.labels = "target")'
            )
        if is_in_a_box(atoms):
            found.append(
                f"{name} is periodic, with more than {VACUUM:g} Å of empty space in all "
                "directions: if it is a particle in a box, write it without the cell (extended "
                'XYZ, pbc="F F F")'
            )
    return found


def check_candidates(config: Config, elements: tuple[str, ...]) -> None:
    """Raise an `InputError` if more symmetry functions are to be chosen than there are."""
    given = config.features
    if given.symmetry_functions is not None:
        return
    candidates = SymmetryFunctions.candidates(
        elements,
        given.cutoff,
        g2_eta=given.g2_eta,
        g2_r_s=given.g2_r_s,
        g4_eta=given.g4_eta,
        g4_zeta=given.g4_zeta,
        g4_gamma=given.g4_gamma,
    )
    for element in elements:
        count = given.count if isinstance(given.count, int) else given.count.get(element, 0)
        if count > candidates.size(element):
            raise InputError(
                f"features.count = {count} is more than the {candidates.size(element)} candidates "
                f"of {element}; the lists g2_eta, g2_r_s, g4_eta, g4_zeta and g4_gamma make these"
            )


def check_lengths(atoms: Atoms, name: str) -> None:
    """Raise an `InputError` for a structure whose lengths are likely to be in nm."""
    shortest = min(nearest_neighbour_distance(symbol) for symbol in set(atoms.symbols))
    near = near_atoms(atoms, TOO_NEAR * shortest, name)
    if near.mean() > 0.5:
        raise InputError(
            f"{name}: most atoms have a neighbour within {TOO_NEAR * shortest:.2f} Å, where "
            f"{shortest:.2f} Å are usual; lengths must be in Å (10 for each nm)"
        )


def is_in_a_box(atoms: Atoms) -> bool:
    """Whether a periodic structure has empty space around it in all directions."""
    if not atoms.pbc.all():
        return False
    cell, _ = minkowski_reduce(atoms.cell, atoms.pbc)
    inverse = np.linalg.inv(cell)
    scaled = np.sort((atoms.positions @ inverse) % 1.0, axis=0)
    gaps = np.diff(scaled, axis=0, append=scaled[:1] + 1.0).max(axis=0)
    return bool((gaps / np.linalg.norm(inverse, axis=0) > VACUUM).all())


def _fits_into(atoms: Atoms, radius: float) -> bool:
    """Whether every chunk of a structure is the whole of it."""
    if atoms.pbc.any() or len(atoms) > MOST_ATOMS:
        return False
    differences = atoms.positions[:, None] - atoms.positions
    return bool((np.linalg.norm(differences, axis=2) <= radius).all())
