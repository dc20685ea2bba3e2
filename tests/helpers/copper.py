"""A small case of the whole method: a rattled particle of 55 copper atoms, EMT as the parent."""

from __future__ import annotations

from functools import cache

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron

from helpers import Array
from nearsight.config import (
    CapacitySettings,
    EnsembleSettings,
    GeometrySettings,
    NetworkSettings,
    NFTSettings,
    TrainingSettings,
)
from nearsight.learning.nft import NFT
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import G2, G4, SymmetryFunctions
from nearsight.structures.images import Image
from nearsight.training.fit import train_ensemble

GRID = {
    "cutoff": 5.0,
    "g2_eta": (0.5, 5.0, 50.0),
    "g2_r_s": (0.0, 2.0),
    "g4_eta": (0.005, 0.5),
    "g4_zeta": (1.0, 4.0),
    "g4_gamma": (1.0, -1.0),
}
"""A grid of 6 radial and 8 angular candidates for one element."""


def emt(atoms: Atoms) -> tuple[float, Array]:
    """Energy and forces straight from ASE's EMT, without `nearsight.parents`."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    return float(atoms.get_potential_energy()), np.array(atoms.get_forces())


def labelled(atoms: Atoms) -> Image:
    energy, forces = emt(atoms)
    return Image(atoms, forces, energy)


def cells() -> list[Image]:
    """Eleven bulk cells of 4 and 8 atoms, stretched and rattled."""
    structures = [bulk("Cu", a=3.61 * (0.95 + 0.02 * k), cubic=True) for k in range(8)]
    structures += [bulk("Cu", cubic=True).repeat((2, 1, 1)) for _ in range(3)]
    for seed, atoms in enumerate(structures):
        if seed % 2 or seed > 7:
            atoms.rattle(0.08, seed=seed)
    return [labelled(atoms) for atoms in structures]


def particle(seed: int = 1) -> Atoms:
    """An icosahedron of 55 atoms, rattled."""
    cluster = Icosahedron("Cu", 3, latticeconstant=3.61)
    atoms = Atoms(cluster.symbols, cluster.positions)
    atoms.rattle(0.1, seed=seed)
    return atoms


def functions(cutoff: float = 4.5) -> SymmetryFunctions:
    """Ten functions, so few that training takes a tenth of a second."""
    radial = [G2("Cu", eta, r_s) for eta in (1.0, 16.0, 40.0) for r_s in (0.0, 2.5)]
    angular = [G4(("Cu", "Cu"), 0.005, zeta, gamma) for zeta in (1.0, 4.0) for gamma in (-1.0, 1.0)]
    return SymmetryFunctions({"Cu": [*radial, *angular]}, cutoff)


@cache
def trained() -> Ensemble:
    """Four members, good enough for a rattled bulk cell."""
    return train_ensemble(
        cells(),
        functions(),
        NetworkSettings(hidden_layers=(6,)),
        TrainingSettings(initial_iterations=40, tolerance=0.0),
        EnsembleSettings(members=4),
        seed=1,
    )


TRAINING = TrainingSettings(initial_iterations=20, iterations=10, tolerance=0.0)


def nft(seed: int = 0, **settings: object) -> NFT:
    """A training as in the paper, by centres, in three iterations of eight chunks."""
    chosen = {
        "labels": "center",
        "chunk_radius": 6.5,
        "first_chunks": 8,
        "chunks_per_iteration": 8,
        "max_chunks": 24,
        **settings,
    }
    return NFT(
        NFTSettings.model_validate(chosen),
        NetworkSettings(hidden_layers=(6,)),
        TRAINING,
        EnsembleSettings(members=5),
        seed,
    )


CAPACITY = CapacitySettings(
    hidden_layers=((4,), (8,)), l2=(1e-6,), force_decay=(2.0,), members=2, iterations=8
)
"""Six models or so, in a second."""


def whole(seed: int = 0, **settings: object) -> NFT:
    """A training by whole chunks, the default, with larger ones that choose among few models."""
    chosen = {
        "chunk_radius": 5.0,
        "first_chunks": 3,
        "chunks_per_iteration": 2,
        "max_chunks": 7,
        "validation_chunks": 2,
        **settings,
    }
    return NFT(
        NFTSettings.model_validate(chosen),
        NetworkSettings(hidden_layers=(6,)),
        TrainingSettings(initial_iterations=15, iterations=6, l2=1e-2),
        EnsembleSettings(members=4),
        seed,
        CAPACITY,
    )


def by_target(seed: int = 0, **geometries: object) -> NFT:
    """A training on four geometries of the whole target, one of which validates."""
    chosen = {
        "first": 2,
        "per_iteration": 1,
        "max_geometries": 4,
        "validation": 2,
        "temperature": 300.0,
        "steps": 20,
        **geometries,
    }
    return NFT(
        NFTSettings(labels="target"),
        NetworkSettings(hidden_layers=(6,)),
        TrainingSettings(initial_iterations=20, iterations=10),
        EnsembleSettings(members=4),
        seed,
        CAPACITY,
        GeometrySettings.model_validate(chosen),
    )
