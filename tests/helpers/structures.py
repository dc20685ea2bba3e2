"""Named structures and random models that several tests use."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111
from ase.cluster.octahedron import Octahedron

from helpers import Array
from nearsight.model.domain import Domain, Environments
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import Layer, Network, stack
from nearsight.model.scaling import Scaling
from nearsight.model.symmetry_functions import (
    G2,
    G4,
    G5,
    Cutoff,
    SymmetryFunction,
    SymmetryFunctions,
)
from nearsight.structures.images import Image
from nearsight.training.dataset import TrainingData
from nearsight.training.fingerprints import Fingerprints

CUTOFFS = {
    "cosine": Cutoff(6.5),
    "polynomial 2": Cutoff(6.2, "polynomial", 2.0),
    "polynomial 4": Cutoff(5.0, "polynomial", 4.0),
    "polynomial 6.5": Cutoff(5.5, "polynomial", 6.5),
}

ELEMENTS = ("Pt", "Au", "Cu")


def scattered(n: int, box: Sequence[float], seed: int, apart: float = 2.1) -> Array:
    """Random positions in a box that keep a distance of ``apart`` Å."""
    rng = np.random.default_rng(seed)
    found: list[Array] = []
    for _ in range(100_000):
        place = rng.uniform(0.0, box)
        if all(np.linalg.norm(place - other) >= apart for other in found):
            found.append(place)
        if len(found) == n:
            return np.array(found)
    raise ValueError(f"{n} atoms do not fit into {box}")


def _rattled(atoms: Atoms, seed: int, stdev: float = 0.1) -> Atoms:
    plain = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    plain.rattle(stdev, rng=np.random.default_rng(seed))
    return plain


def _chain() -> Atoms:
    positions = [[0.0, 0.1, 0.0], [2.3, -0.4, 0.6], [4.5, 0.3, -0.2]]
    return Atoms("Pt3", positions, cell=[6.9, 0.0, 0.0], pbc=[True, False, False])


def _sheet() -> Atoms:
    """Periodic in x and z, its third cell vector zero."""
    cell = [[4.9, 0.0, 0.3], [0.0, 0.0, 0.0], [1.1, 0.0, 5.2]]
    positions = [[0.2, 0.1, 0.0], [2.6, -0.3, 0.2], [0.9, 0.2, 2.7], [3.3, 0.5, 2.9]]
    return Atoms("Pt4", positions, cell=cell, pbc=[True, False, True])


def _skewed() -> Atoms:
    """Three atoms in a flat cell, 25° between two of its vectors."""
    cell = [[5.1, 0.0, 0.0], [4.6, 2.2, 0.0], [-3.1, 1.3, 4.4]]
    return Atoms(
        "Pt3", scaled_positions=[[0, 0, 0], [0.4, 0.1, 0.5], [0.1, 0.6, 0.6]], cell=cell, pbc=True
    )


def _outside() -> Atoms:
    """Atoms many cells away from where the cell begins."""
    atoms = _rattled(bulk("Pt", a=3.95, cubic=True), 3)
    atoms.positions += np.array([[3, -2, 0], [0, 7, -1], [-40, 0, 0], [1, 1, -9]]) @ atoms.cell
    return atoms


def _far_apart() -> Atoms:
    positions = scattered(6, [5, 5, 5], 4)
    return Atoms("Pt12", np.concatenate([positions, positions[::-1] + np.array([9e3, -5e3, 2e4])]))


def _left_handed() -> Atoms:
    cell = [[0.3, 4.4, 0.0], [5.1, 0.2, 0.4], [0.5, -0.6, 6.2]]
    return Atoms("Pt5", scattered(5, [4.4, 3.7, 5.4], 8, 1.9), cell=cell, pbc=True)


_MAKERS: dict[str, Callable[[], Atoms]] = {
    "dimer": lambda: Atoms("Pt2", [[0, 0, 0], [1.1, -1.7, 1.3]]),
    "linear": lambda: Atoms("Pt3", [[0, 0, 0], [0, 2.2, 0], [0, 4.8, 0]]),
    "planar": lambda: Atoms("Pt4", [[0, 0, 1], [2.4, 0.3, 1], [0.2, 2.5, 1], [-2, 1.1, 1]]),
    "cluster": lambda: Atoms("Pt12", scattered(12, [6, 6, 7], 0)),
    "particle": lambda: _rattled(Octahedron("Pt", 4, 1, latticeconstant=3.99), 1),
    "far apart": _far_apart,
    "chain": _chain,
    "sheet": _sheet,
    "slab": lambda: _rattled(fcc111("Pt", (2, 2, 3), a=3.95, vacuum=6.0), 2),
    "primitive": lambda: bulk("Pt", a=3.95),
    "tiny": lambda: Atoms("Pt2", [[0.1, 0, 0], [1.7, 1.2, 2.0]], cell=[2.9, 2.9, 3.7], pbc=True),
    "bulk": lambda: _rattled(bulk("Pt", a=3.95, cubic=True), 5),
    "supercell": lambda: _rattled(bulk("Pt", a=3.95, cubic=True) * (2, 2, 2), 6),
    "skewed": _skewed,
    "left-handed": _left_handed,
    "needle": lambda: Atoms("Pt9", scattered(9, [2, 2, 38], 7), cell=[2.8, 2.9, 40.0], pbc=True),
    "outside": _outside,
}

NAMES = tuple(_MAKERS)


def structure(name: str, n_elements: int = 1) -> Atoms:
    """A fresh copy of a named structure, its atoms dealt to the first elements in turn."""
    atoms = _MAKERS[name]()
    atoms.symbols = [ELEMENTS[i % n_elements] for i in range(len(atoms))]
    return atoms


ANGULAR = {
    "R_s": [(12.0, 2, 1.0, 2.8), (5.0, 2.5, -0.6, 3.2)],
    "none": [(0.005, 1, 1.0), (0.3, 4, -1.0), (1.0, 2.7, 0.8)],
}
"""η, ζ, γ, with and without a shift."""


def functions_of(
    elements: Sequence[str], cutoff: float | Cutoff = 6.5, kinds: str = "G2 G4 G5 R_s"
) -> SymmetryFunctions:
    """A few functions of the kinds asked for, for every element and pair of elements.

    Odd ζ and ζ that are no whole numbers, R_s of radial ones and, if asked for, of angular ones,
    and both signs of γ are among them. Every central element lists them in another order and has
    another number of them.
    """
    grid: list[SymmetryFunction] = []
    if "G2" in kinds:
        grid += [G2(e, eta, r_s) for e in elements for eta, r_s in [(0.4, 0.0), (12.0, 2.5)]]
    for kind in (G4, G5):
        if kind.__name__ in kinds:
            grid += [
                kind((a, b), *numbers)
                for i, a in enumerate(elements)
                for b in elements[i:]
                for numbers in ANGULAR["none"] + ANGULAR["R_s"] * ("R_s" in kinds)
            ]
    return SymmetryFunctions(
        {e: (grid[i:] + grid[:i])[: len(grid) - i % 2] for i, e in enumerate(elements)}, cutoff
    )


def random_ensemble(
    functions: SymmetryFunctions,
    atoms: Atoms,
    *,
    members: int = 3,
    hidden: Sequence[int] = (6, 5),
    activation: str = "tanh",
    seed: int = 0,
) -> Ensemble:
    """Networks with random weights, scaled so that the features of ``atoms`` lie in [−1, 1]."""
    rng = np.random.default_rng(seed)
    computed = functions.compute(atoms)
    minimum, maximum = {}, {}
    for element in functions.elements:
        size = functions.size(element)
        mean = computed[element].mean(axis=0) if element in computed else np.ones(size)
        spread = np.abs(computed[element] - mean).max(axis=0) if element in computed else 0.0
        minimum[element] = mean - spread - 0.2 * mean - 1e-3
        maximum[element] = mean + spread + 0.2 * mean + 1e-3
    made = []
    for _ in range(members):
        networks = {}
        for element in functions.elements:
            nodes = [functions.size(element), *hidden, 1]
            layers = [
                Layer(
                    rng.normal(0.0, 1.0, (outputs, inputs)) / np.sqrt(inputs),
                    rng.normal(0.0, 0.5, outputs),
                    activation if i < len(hidden) else "linear",
                )
                for i, (inputs, outputs) in enumerate(itertools.pairwise(nodes))
            ]
            networks[element] = Network(tuple(layers), rng.uniform(0.5, 2.0), rng.normal())
        made.append(networks)
    return Ensemble(functions, Scaling(minimum, maximum), stack(made), calibration=1.7)


def with_domain(ensemble: Ensemble, atoms: Atoms, every: int = 2) -> Ensemble:
    """The ensemble, as if it had labels of every second environment in ``atoms``."""
    features, environments = ensemble.functions.compute(atoms), {}
    for element in ensemble.elements:
        scale, offset = ensemble.scaling.linear(element)
        known = features[element][::every] * scale
        sums = known.sum(axis=1) if len(ensemble.elements) > 1 else None
        environments[element] = Environments.of(known + offset, sums)
    return replace(ensemble, domain=Domain(environments, 0.3))


def labelled_images(n_elements: int = 1, seed: int = 0) -> list[Image]:
    """Bulk images of several sizes and chunks, with random labels."""
    rng = np.random.default_rng(seed)
    images = []
    for name in ("tiny", "bulk", "slab", "cluster"):
        atoms = structure(name, min(n_elements, len(structure(name))))
        forces = rng.normal(0.0, 0.5, (len(atoms), 3))
        images.append(Image(atoms, forces, float(rng.normal(-3.0, 0.2) * len(atoms))))
    for i in range(3):
        atoms = structure("particle", n_elements)
        atoms = atoms[[7 * i, *(j for j in range(len(atoms)) if j != 7 * i)]]  # the centre first
        images.append(Image(atoms, rng.normal(0.0, 0.5, (1, 3))))
    return [images[i] for i in (4, 0, 1, 5, 2, 3, 6)]


@cache
def _prepared(
    n_elements: int, cutoff: float, seed: int
) -> tuple[SymmetryFunctions, Scaling, list[Fingerprints]]:
    images = labelled_images(n_elements, seed)
    functions = functions_of(ELEMENTS[:n_elements], cutoff)
    scaling = Scaling.fit(functions, [functions.compute(image.atoms) for image in images])
    return functions, scaling, [Fingerprints.of(image, functions) for image in images]


def training_data(
    n_elements: int = 1, hidden: Sequence[int] = (5, 4), cutoff: float = 4.6, seed: int = 0
) -> TrainingData:
    """The loss over `labelled_images`."""
    intercepts = {e: -3.0 + 0.1 * i for i, e in enumerate(ELEMENTS[:n_elements])}
    return TrainingData(*_prepared(n_elements, cutoff, seed), hidden, "tanh", intercepts)
