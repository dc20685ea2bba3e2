"""A configuration for somebody's own structure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii, reference_states

from nearsight.config import (
    Config,
    ExecutorSettings,
    FeatureSettings,
    GeometrySettings,
    ImageSettings,
    InitialSettings,
    LocalitySettings,
    NetworkSettings,
    NFTSettings,
    ParentSettings,
    RelaxationSettings,
    ReportSettings,
    TargetSettings,
    TrainingSettings,
)
from nearsight.parents.code import Preset
from nearsight.parents.codes import CODES

__all__ = [
    "CHEAP_PARENTS",
    "distilled",
    "expected_distance",
    "is_metal",
    "nearest_neighbour_distance",
    "preset_of",
    "suggest_config",
]

# The paper's figures for platinum, whose nearest neighbours are 3.92/√2 Å apart
START_FACTOR = 4.0 / 3.92
MINSEP_PER_A0 = 2.65 / 4.0
# Cells of several elements have to show how these mix: rattled as far as a target may be (the
# paper's by 0.1 Å), with room for it. docs/how-to/several-elements.md has what that brings.
ALLOY_POSAMP = 0.1
ALLOY_MINSEP_PER_DISTANCE = 0.78
# Of every composition: two elements have more of them than are rattled of three or more
ALLOY_RATTLED = {2: 5}
RATTLED = 10
# Cells and symmetry functions of each element for one element (the paper), two, and more
IMAGES = {1: 20, 2: 30}
MOST_IMAGES = 60
FUNCTIONS = {1: 40, 2: 40}
MOST_FUNCTIONS = 60
# The chunks allowed; 8 to 16 sufficed for one element by EMT, 20 for two. Never more than a third
# of the atoms unless that leaves too few to learn from
CHUNKS_PER_ELEMENT = 25
FEWEST_CHUNKS = 8
# eV/Å by the ensemble, whose error comes on top: that leaves room below the usual 0.05
RELAXED = 0.03
CHEAP_PARENTS = ("emt",)
# Atoms up to which a cheap parent is asked about the whole target to compare with: by EMT a
# calculation of 10,000 takes two seconds; and up to which it relaxes it, some 30 calculations.
# What larger ones would tell of errors and locality, chunks tell at the price of chunks.
MOST_COMPARED = 10_000
MOST_RELAXED = 500
# Of larger ones a frame takes as long to write as a step to make: every tenth is written
THINNED = 10
# For metals, in distances of nearest neighbours: cutoffs behind the third shell (1.7 of them in
# fcc) and, for the angular functions, whose pairs cost most, behind the second (1.4). The angular
# functions are then chosen apart: ranked with the others too few radial ones are left
# (docs/how-to/symmetry-functions.md)
RADIAL_REACH, ANGULAR_REACH = 2.0, 1.6
ANGULAR = {1: 14, 2: 16}
MOST_ANGULAR = 24
# The λ to begin with for a parent that may not be nearsighted; the validation chunks choose
STARTING_L2 = 1e-3


def suggest_config(
    target: Atoms, structure: str | Path, parent: str, seed: int = 0, accuracy: float = 0.0
) -> Config:
    """Settings that suit a target.

    Parameters
    ----------
    target : ase.Atoms
        The structure, checked.
    structure : path
        What the file calls the target's file.
    parent : str
        Name of the parent calculator; comparisons with the whole target are on where they are
        cheap.
    seed : int
    accuracy : float, eV/Å
        Largest calibrated uncertainty of an atom at which training may end; 0: it goes on to the
        number of chunks allowed, or until the error in the validation chunks stands still.
    """
    elements = tuple(sorted(set(target.symbols), key=lambda symbol: atomic_numbers[symbol]))
    count = len(elements)
    cheap = parent in CHEAP_PARENTS
    compared = cheap and len(target) <= MOST_COMPARED
    fewest = min(FEWEST_CHUNKS, len(target))
    max_chunks = max(fewest, min(CHUNKS_PER_ELEMENT * count, len(target) // 3))
    return Config(
        seed=seed,
        target=TargetSettings(structure=Path(structure)),
        parent=_parent(parent, elements),
        executor=ExecutorSettings(engine="inline" if cheap else "local"),
        initial=_initial(target, elements),
        images=ImageSettings(count=IMAGES.get(count, MOST_IMAGES)),
        features=FeatureSettings(
            count=FUNCTIONS.get(count, MOST_FUNCTIONS),
            with_target=True,
            **_reach(elements),
        ),
        # The paper's networks for DFT; they grow where the validation chunks show that it helps
        network=NetworkSettings(hidden_layers=(5, 5)),
        training=TrainingSettings() if cheap else TrainingSettings(l2=STARTING_L2),
        nft=NFTSettings(
            max_chunks=max_chunks,
            max_iterations=max(20, math.ceil(max_chunks / 2)),
            accuracy=accuracy,
        ),
        locality=LocalitySettings(atoms=_inner_and_outer(target)) if compared else None,
        relaxation=RelaxationSettings(
            fmax=RELAXED,
            with_parent=cheap and len(target) <= MOST_RELAXED,
            write_every=1 if len(target) <= MOST_COMPARED else THINNED,
        ),
        report=ReportSettings(true_forces=compared),
    )


def distilled(config: Config, geometries: GeometrySettings) -> Config:
    """A suggested configuration with labels from the whole target, for a parent that affords it.

    Parameters
    ----------
    config : Config
        From `suggest_config`.
    geometries : GeometrySettings
    """
    nft = NFTSettings(labels="target", accuracy=config.nft.accuracy)
    changes = {
        "parent": config.parent.model_copy(update={"cost_exponent": 1.0}),
        # hundreds of forces of each geometry, exact for it: no need for small networks, large λ
        "network": NetworkSettings(),
        "training": TrainingSettings(),
        "nft": nft,
        "geometries": geometries,
        "locality": None,
        "report": ReportSettings(true_forces=True),  # the target as given has its labels
    }
    return config.model_copy(update=changes)


def _reach(elements: tuple[str, ...]) -> dict[str, Any]:
    """Cutoffs, Å, and number of angular functions, for metals; the defaults for all else."""
    if not all(is_metal(element) for element in elements):
        return {}
    distance = max(nearest_neighbour_distance(element) for element in elements)
    most = FeatureSettings().cutoff
    radial, angular = (round(min(f * distance, most), 1) for f in (RADIAL_REACH, ANGULAR_REACH))
    return {
        "angular_count": ANGULAR.get(len(elements), MOST_ANGULAR),
        "cutoff": radial,
        "angular_cutoff": angular if angular < radial else None,
    }


def _parent(name: str, elements: tuple[str, ...]) -> ParentSettings:
    """The parent, with arguments to begin with where its code needs some."""
    found = CODES[name].example(elements) if name in CODES else Preset()
    parts = {"arguments": found.common, "chunks": found.chunks, "bulk": found.bulk}
    given = {key: dict(part) for key, part in parts.items() if part}
    return ParentSettings.model_validate({"calculator": name, "preset": preset_of(name), **given})


def preset_of(parent: str) -> str | None:
    """The preset a known parent code begins with, if it needs one."""
    return CODES[parent].proposed if parent in CODES else None


def _initial(target: Atoms, elements: tuple[str, ...]) -> InitialSettings:
    """The initial cells: crystals with the neighbour distances of the elements."""
    distances = {symbol: nearest_neighbour_distance(symbol) for symbol in elements}
    if not all(is_metal(symbol) for symbol in elements):
        shortest = min(distances.values())
        return InitialSettings(
            recipe="clusters",
            elements=elements,
            minsep=round(ALLOY_MINSEP_PER_DISTANCE * shortest, 2),
            posamp=ALLOY_POSAMP,
        )
    # fcc lattice constants with these distances, slightly expanded as in the paper; the cells are
    # relaxed from there
    start = {symbol: START_FACTOR * math.sqrt(2) * d for symbol, d in distances.items()}
    a0 = round(sum(start[symbol] for symbol in target.symbols) / len(target), 1)
    if len(elements) == 1:
        minsep = round(MINSEP_PER_A0 * min(start.values()), 2)
        return InitialSettings(elements=elements, a0=a0, minsep=minsep)
    return InitialSettings(
        elements=elements,
        a0=a0,
        minsep=round(ALLOY_MINSEP_PER_DISTANCE * min(distances.values()), 2),
        posamp=ALLOY_POSAMP,
        n_rattled=ALLOY_RATTLED.get(len(elements), RATTLED),
    )


def is_metal(symbol: str) -> bool:
    """Whether ASE knows an element as fcc, bcc or hcp: the paper's recipe suits it."""
    state: dict[str, Any] = reference_states[atomic_numbers[symbol]] or {}
    return state.get("symmetry") in ("fcc", "bcc", "hcp")


def nearest_neighbour_distance(symbol: str) -> float:
    """Distance between neighbours in the crystal of an element, Å.

    Twice the covalent radius for elements that ASE knows no simple crystal of.
    """
    number = atomic_numbers[symbol]
    state: dict[str, Any] = reference_states[number] or {}
    per_a = {
        "fcc": 1 / math.sqrt(2),
        "bcc": math.sqrt(3) / 2,
        "hcp": 1.0,
        "sc": 1.0,
        "diamond": math.sqrt(3) / 4,
    }.get(state.get("symmetry", ""))
    return float(2 * covalent_radii[number] if per_a is None else per_a * state["a"])


def expected_distance(first: str, second: str) -> float:
    """Usual distance between neighbours of two elements, Å.

    Between metals the mean of those in their crystals, else the sum of the covalent radii.
    """
    if is_metal(first) and is_metal(second):
        return (nearest_neighbour_distance(first) + nearest_neighbour_distance(second)) / 2
    return float(sum(covalent_radii[atomic_numbers[symbol]] for symbol in (first, second)))


def _inner_and_outer(target: Atoms) -> tuple[int, ...]:
    """The atom closest to the centre of the structure and the one farthest from it."""
    distances = np.linalg.norm(target.positions - target.positions.mean(axis=0), axis=1)
    return tuple(sorted({int(distances.argmin()), int(distances.argmax())}))
