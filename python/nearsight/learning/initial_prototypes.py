"""Initial cells in the prototype crystals of the target's stoichiometry: rock salt, fluorite, hcp.

Their lattice constants follow from the target's own distances between neighbours, so that nothing
need be known of the elements.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from nearsight.config import InitialSettings
from nearsight.errors import InputError
from nearsight.learning.initial_clusters import START
from nearsight.learning.labels import label_all
from nearsight.parents import Origin, Parent
from nearsight.progress import Progress
from nearsight.structures.crystals import shortest_distance
from nearsight.structures.images import Image

__all__ = ["label_prototypes", "prototype_cells"]

PROTOTYPE_CELLS = Origin("cell", "initial")

PROTOTYPES = {
    (1,): {"fcc": math.sqrt(2), "bcc": 2 / math.sqrt(3), "hcp": 1.0, "diamond": 4 / math.sqrt(3)},
    (1, 1): {"rocksalt": 2.0, "cesiumchloride": 2 / math.sqrt(3), "zincblende": 4 / math.sqrt(3)},
    (1, 2): {"fluorite": 4 / math.sqrt(3)},
}
"""By how many atoms of each element there are: the structures, under ASE's names, and their lattice
constants in distances between neighbours."""

MIXTURES = ("fcc", "bcc", "hcp")
"""Structures whose sites other stoichiometries, and more elements, are shuffled over."""

FEWEST = 8
"""Atoms that a cell has at least: with fewer, rattles are few and every image is a neighbour."""

NEAREST_RATIO = 0.05
"""Largest difference between the fractions of a prototype and those of the target: a particle of a
compound need not be stoichiometric."""

TRIES = 50
"""Rattles tried for a cell."""

WINDOW = 2.0
"""eV/atom above the lowest cell. Prototypes of one compound lie within some tenths of an eV/atom of
each other (MgO by GFN1-xTB: 0.9 with the strains); what is farther up has come apart."""

_PROTOTYPES = 9  # keeps this random stream apart from the others


def prototype_cells(
    targets: Sequence[Atoms], settings: InitialSettings, seed: int = 0
) -> list[Atoms]:
    """Strained and rattled cells of the prototypes of the targets' stoichiometry.

    Parameters
    ----------
    targets : sequence of ase.Atoms
    settings : InitialSettings
        ``prototype_cells`` of each structure, ``cluster_strains`` in turn, ``posamp``, ``minsep``.
    seed : int

    Returns
    -------
    list of ase.Atoms
        Periodic; ``info["prototype"]`` names the structure.

    Raises
    ------
    InputError
        If a cell cannot be rattled without two atoms closer than ``minsep``.
    """
    rng = np.random.default_rng([seed, _PROTOTYPES])
    counts = Counter(symbol for atoms in targets for symbol in atoms.symbols)
    distance = float(np.median(np.concatenate([_distances(atoms) for atoms in targets])))
    found = []
    for name, crystal in _crystals(counts, distance).items():
        for number in range(settings.prototype_cells):
            strain = settings.cluster_strains[number % len(settings.cluster_strains)]
            cell = crystal.copy()
            cell.set_cell(cell.cell * (1.0 + strain), scale_atoms=True)
            cell.numbers = cell.numbers if name not in MIXTURES else rng.permutation(cell.numbers)
            found.append(_rattled(cell, settings, rng))
            found[-1].info["prototype"] = name
    return found


def label_prototypes(
    cells: Sequence[Atoms], parent: Parent, progress: Progress | None = None
) -> list[Image]:
    """The cells with the parent's labels, without those that it fails on and those that come apart.

    What is left out is said.
    """
    progress = progress or Progress()
    what = "prototype cells"
    images = label_all(cells, what, PROTOTYPE_CELLS, parent, progress, "skipping a prototype cell")
    energies = [(image.energy or 0.0) / len(image.atoms) for image in images]
    highest = min(energies, default=0.0) + WINDOW
    stable = [image for image, energy in zip(images, energies, strict=True) if energy <= highest]
    names = Counter(image.atoms.info["prototype"] for image in images)
    for name, count in (names - Counter(i.atoms.info["prototype"] for i in stable)).items():
        progress.note(
            f"{name}: {count} of {names[name]} cells left out, more than {WINDOW:g} eV/atom above "
            "the lowest of the prototypes"
        )
    return stable


def _distances(atoms: Atoms) -> npt.NDArray[np.float64]:
    """Distance of every atom that has a neighbour to the nearest one, Å."""
    i, distances = neighbor_list("id", atoms, START)
    nearest: npt.NDArray[np.float64] = np.full(len(atoms), np.inf)
    np.minimum.at(nearest, i, distances)
    return nearest[nearest < np.inf]


def _crystals(counts: Counter[str], distance: float) -> dict[str, Atoms]:
    """Unstrained cells by the name of their structure."""
    symbols = sorted(counts, key=lambda symbol: (counts[symbol], symbol))  # the fewest first
    fractions = np.array([counts[symbol] for symbol in symbols]) / counts.total()
    for ratio, names in PROTOTYPES.items():
        there = np.array(ratio) / sum(ratio)
        if len(there) == len(symbols) and abs(there - fractions).max() <= NEAREST_RATIO:
            formula = "".join(
                f"{s}{n if n > 1 else ''}" for s, n in zip(symbols, ratio, strict=True)
            )
            return {
                name: _enlarged(_crystal(formula, name, factor * distance))
                for name, factor in names.items()
            }
    found = {}
    for name in MIXTURES:
        cell = _enlarged(_crystal("Cu", name, PROTOTYPES[1,][name] * distance))
        shares = np.floor(np.cumsum(fractions) * len(cell) + 0.5).astype(int)
        cell.symbols = np.repeat(symbols, np.diff(shares, prepend=0)).tolist()
        found[name] = cell
    return found


def _crystal(formula: str, name: str, a: float) -> Atoms:
    if name == "hcp":
        return bulk(formula, name, a=a, c=math.sqrt(8 / 3) * a)
    return bulk(formula, name, a=a, cubic=True)


def _enlarged(cell: Atoms) -> Atoms:
    """The cell repeated along its shortest vectors, until it has enough atoms."""
    while len(cell) < FEWEST:
        repeats = np.ones(3, dtype=int)
        repeats[cell.cell.lengths().argmin()] = 2
        cell = cell.repeat(repeats)
    return cell


def _rattled(cell: Atoms, settings: InitialSettings, rng: np.random.Generator) -> Atoms:
    least = min(settings.minsep, 0.8 * shortest_distance(cell))
    for _ in range(TRIES):
        atoms = cell.copy()
        atoms.positions += rng.normal(0.0, settings.posamp, atoms.positions.shape)
        if shortest_distance(atoms) >= least:
            return atoms
    raise InputError(
        f"a cell of {cell.symbols.formula:metal} could not be rattled by {settings.posamp:g} Å "
        f"without two atoms closer than {least:.3f} Å; lower posamp"
    )
