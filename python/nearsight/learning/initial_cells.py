"""The initial training set: relaxed and rattled bulk cells (SI 8.1; "Initialization")."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import StrainFilter
from ase.optimize import BFGS
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from nearsight.config import InitialSettings
from nearsight.config.errors import list_mistakes
from nearsight.config.fields import Count, Positive
from nearsight.errors import InputError, ParentError
from nearsight.learning.initial_clusters import CLUSTERS, cut_clusters, label_clusters
from nearsight.learning.initial_prototypes import label_prototypes, prototype_cells
from nearsight.learning.labels import ask_parent, label_all
from nearsight.parents import Failure, Origin, Parent, ParentCalculator, as_parent
from nearsight.progress import Progress
from nearsight.structures.crystals import (
    compositions,
    rattled_cells,
    shortest_distance,
    starting_crystal,
    worth_rattling,
)
from nearsight.structures.images import Image, check_structure, labelled_image, read_structures
from nearsight.structures.labels import labels_of

__all__ = ["Initialization", "count_by_size", "describe_sizes", "label_structures"]

CELLS = Origin("cell", "initial")
GIVEN = Origin("given", "initial")


class Initialization(InitialSettings):
    """Initial bulk cells, by their settings and some more.

    Step I: for every space group and every composition a crystal (`starting_crystal`,
    `compositions`) whose cell is relaxed; every step close in energy to the last one is kept. If
    the shortest distance in all cells kept is below ``minsep``, ``minsep`` becomes 0.8 times it.

    Step II: the relaxed cell, repeated 2 × 2 × 2, is rattled, and the elements of a mixture are
    shuffled (`rattled_cells`); a rattled cell is accepted if no two atoms are closer than
    ``minsep``, until there are ``n_rattled`` of each crystal; of three elements or more, of each
    that mixes the most of them.
    Where too few are found (many atoms, relaxed distances barely above ``minsep``), the crystal is
    tried again with 0.8 times its shortest distance.

    With ``structures``, the structures of that file in place of all this; with ``recipe =
    "clusters"``, clusters cut from the targets that `of` is given (`cut_clusters`), and cells of
    their `prototype_cells`.

    Defaults are the paper's (SI 8.1), except where the paper gives none.

    Raises
    ------
    InputError
        If a setting is out of its range.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the first rattle; the following ones are tried in turn."""
    cell_seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the cell parameters that symmetry leaves free. 42 gives the tetragonal cell that
    Amp starts from, and so its 33 cells."""
    fmax: Positive = 0.05
    """Largest force on the strain (stress times volume) of a relaxed cell, in eV."""
    energy_window: Positive = 0.3
    """A step of a relaxation is kept if its total energy is at most this above the last one's, in
    eV."""
    rattled_window: Positive = 0.4
    """A rattled cell is kept if its energy is at most this above the highest one kept in step I
    for the crystal's composition, in eV/atom; both above that of their atoms
    (`_energies_of_atoms`), since a shuffled cell may have another composition."""
    max_steps: Count = 200
    """Steps after which a relaxation ends in any case."""
    max_seeds: Count = 5000
    """Rattles tried per crystal and shortest distance."""

    def __init__(self, elements: Sequence[str] | None = None, **settings: Any) -> None:
        if elements is not None:
            settings["elements"] = elements
        try:
            super().__init__(**settings)
        except ValidationError as error:
            mistakes = list_mistakes(error, type(self), settings)
            raise InputError("\n".join(sentence for _, sentence in mistakes)) from None

    _targets: tuple[Atoms, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _has_elements(self) -> Initialization:
        if self.elements is None and self.structures is None:
            raise ValueError("elements is missing (the chemical elements of the cells)")
        return self

    @classmethod
    def of(
        cls,
        settings: InitialSettings,
        elements: Sequence[str] | None = None,
        seed: int = 0,
        targets: Sequence[Atoms] = (),
    ) -> Initialization:
        """The cells that settings describe, of these elements unless the settings name some.

        Raises
        ------
        InputError
            If a setting is missing, or there is no target that clusters could be cut from.
        """
        given = settings.model_dump(exclude_unset=True)
        if settings.structures is None:
            given = {"seed": seed} | given | {"elements": settings.elements or elements}
        made = cls(**given)
        made._targets = tuple(targets)
        if made._cuts_clusters and not targets:
            raise InputError(
                'recipe = "clusters" cuts the first structures from a target, and there is none '
                "here; nearsight run has one"
            )
        return made

    @property
    def _cuts_clusters(self) -> bool:
        return self.recipe == "clusters" and self.structures is None

    def run(
        self,
        parent: Parent | str | Callable[..., Any] | Calculator,
        progress: Progress | None = None,
    ) -> list[Image]:
        """Make the cells: those of step I of every crystal, then those of step II.

        Or label the ``structures`` (`label_structures`).

        ``info`` of each says where it comes from: ``space_group``, and ``relaxation_step`` or
        ``rattle_seed``.

        Parameters
        ----------
        parent : Parent, or what `as_parent` takes
            It must give the stress as well.
        progress : Progress, optional

        Raises
        ------
        InputError
            If no cells far enough apart can be found.
        ParentError
            If not one crystal could be calculated. What fails otherwise is left out.
        """
        parent = as_parent(parent)
        progress = progress or Progress()
        if self.structures is not None:
            return label_structures(self.structures, parent, progress)
        if self._cuts_clusters:
            prototypes = prototype_cells(self._targets, self, self.seed)
            clusters = label_clusters(self._clusters, parent, progress)
            return [*clusters, *label_prototypes(prototypes, parent, progress)]
        assert self.elements is not None  # as checked when made
        counter = itertools.count()

        def report(what: str) -> None:
            progress.advance(next(counter), None, what)

        relaxations: list[list[Image]] = []
        failure = None
        for space_group in self.space_groups:
            start = starting_crystal(
                space_group, self.elements[0], self.a0, self.minsep, self.cell_seed
            )
            for atoms in compositions(start, self.elements):
                atoms.info = {"space_group": space_group}
                try:
                    relaxations.append(self._relax(atoms, parent, report, progress))
                except ParentError as error:
                    progress.note(f"skipping {_name(atoms)}: {error}")
                    failure = error
        if failure is not None and not relaxations:
            raise failure
        kept = [image for path in relaxations for image in path]
        minsep = self._lowered_minsep(kept, progress)

        atomic = _energies_of_atoms(kept)
        highest: dict[str, float] = {}
        for image in kept:
            name = _composition(image.atoms)
            highest[name] = max(highest.get(name, -np.inf), _excess(image, atomic))
        for relaxed in worth_rattling([path[-1].atoms for path in relaxations]):
            ceiling = highest[_composition(relaxed)] + self.rattled_window
            images = self._rattle(relaxed, minsep, parent, progress)
            low = [image for image in images if _excess(image, atomic) <= ceiling]
            if len(low) < len(images):
                progress.note(
                    f"{_name(relaxed)}: {len(images) - len(low)} of {len(images)} rattled cells "
                    f"left out, more than {self.rattled_window:g} eV/atom above the relaxation"
                )
            kept += low
        return kept

    def first(self) -> tuple[list[Atoms], bool, Origin]:
        """Structures the parent is asked about at first, whether for the stress too, and why."""
        if self.structures is not None:
            found = read_structures(self.structures)
            return [atoms for atoms in found if atoms.calc is None], False, GIVEN
        if self._cuts_clusters:
            return self._clusters, False, CLUSTERS
        assert self.elements is not None  # as checked when made
        return (
            [
                starting_crystal(group, self.elements[0], self.a0, self.minsep, self.cell_seed)
                for group in self.space_groups
            ],
            True,
            CELLS,
        )

    @property
    def _clusters(self) -> list[Atoms]:
        return cut_clusters(self._targets, self, self.seed)

    def _relax(
        self, atoms: Atoms, parent: Parent, report: Callable[[str], None], progress: Progress
    ) -> list[Image]:
        """Step I for one crystal: the kept steps of the relaxation of its cell."""
        name = _name(atoms)
        atoms.calc = ParentCalculator(parent, stress=True, origin=CELLS)
        path: list[Image] = []
        converged = False
        try:
            with BFGS(StrainFilter(atoms), logfile=None) as optimizer:
                for done in optimizer.irun(fmax=self.fmax, steps=self.max_steps):
                    report(f"relaxing {name}")
                    step = atoms.copy()
                    step.info["relaxation_step"] = len(path)
                    path.append(Image(step, atoms.get_forces(), atoms.get_potential_energy()))
                    converged = done
        except ParentError as error:
            if not path:
                raise
            progress.note(f"{name}: the relaxation of its cell ends here: {error}")
        else:
            if not converged:
                progress.note(f"{name}: the cell was not relaxed after {self.max_steps} steps")
        ceiling = _energy(path[-1]) + self.energy_window
        return [image for image in path if _energy(image) <= ceiling]

    def _lowered_minsep(self, kept: list[Image], progress: Progress) -> float:
        shortest = min(shortest_distance(image.atoms) for image in kept)
        if shortest >= self.minsep:
            return self.minsep
        progress.note(
            f"the relaxed cells have distances down to {shortest:.3f} Å, below minsep = "
            f"{self.minsep:g} Å: rattled cells may go down to {0.8 * shortest:.3f} Å"
        )
        return 0.8 * shortest

    def _rattle(
        self,
        relaxed: Atoms,
        minsep: float,
        parent: Parent,
        progress: Progress,
    ) -> list[Image]:
        """Step II for one crystal."""
        name = _name(relaxed)
        found = self._accepted(relaxed, minsep)
        if len(found) < self.n_rattled:
            lowered = min(minsep, 0.8 * shortest_distance(relaxed))
            progress.note(
                f"{name}: rattled cells may have distances down to {lowered:.3f} Å, since only "
                f"{len(found)} of {self.max_seeds} had none below {minsep:.3f} Å"
            )
            minsep = lowered
            found = self._accepted(relaxed, minsep)
        if len(found) < self.n_rattled:
            raise InputError(
                f"{name}: only {len(found)} of {self.n_rattled} rattled cells had no distance "
                f"below {minsep:.3f} Å in {self.max_seeds} tries; lower minsep or posamp"
            )
        what, skipping = f"rattled cells of {name}", f"{name}: skipping a rattled cell"
        return label_all(found, what, CELLS, parent, progress, skipping)

    def _accepted(self, relaxed: Atoms, minsep: float) -> list[Atoms]:
        seeds = range(self.seed, self.seed + self.max_seeds)
        cells = rattled_cells(relaxed, minsep, self.posamp, seeds)
        return list(itertools.islice(cells, self.n_rattled))


def label_structures(
    path: str | Path, parent: Parent, progress: Progress | None = None
) -> list[Image]:
    """The images of a structure file; the parent labels those that carry no labels.

    Parameters
    ----------
    path : path
        Any file ASE reads.
    parent : Parent
        Is not asked about a structure with labels (see `read_labels`). What it fails on is left
        out.
    progress : Progress, optional

    Raises
    ------
    InputError
        If the file cannot be used, or carries forces under a name that is not known.
    ParentError
        If it failed on all structures.
    """
    progress = progress or Progress()
    structures = read_structures(path)
    names = [f"{path}, structure {number}" for number in range(len(structures))]
    bare = []
    for atoms, name in zip(structures, names, strict=True):
        check_structure(atoms, name=name)
        bare.append(_is_bare(atoms, name))
    asked = [atoms for atoms, alone in zip(structures, bare, strict=True) if alone]
    results = ask_parent(parent, asked, "structures", GIVEN, progress)
    images = []
    for number, atoms in enumerate(structures):
        result = results.pop(0) if bare[number] else None
        if isinstance(result, Failure):
            progress.note(f"skipping structure {number} of {path} {result.explained}")
        elif result is not None:
            images.append(Image(atoms, result.forces, result.energy))
        else:
            images.append(labelled_image(atoms, names[number]))
    if not images:
        raise ParentError(f"the parent failed on all {len(structures)} structures of {path}")
    return images


def _is_bare(atoms: Atoms, name: str) -> bool:
    """Whether a structure carries no labels; forces under a name not known are a mistake."""
    labels = labels_of(atoms, name)
    if labels.energy is not None or labels.forces is not None:
        return False
    if any("force" in found.lower() for found in labels.unused):
        raise InputError(f"{name}: {labels.explain_missing('forces')}")
    return True


def _composition(atoms: Atoms) -> str:
    """The reduced formula: energies per atom can be compared where it is the same."""
    return str(atoms.symbols.formula.reduce()[0].format("hill"))


def _name(atoms: Atoms) -> str:
    return f"{_composition(atoms)}, space group {atoms.info['space_group']}"


def _energy(image: Image) -> float:
    assert image.energy is not None  # bulk images have one
    return image.energy


def _energies_of_atoms(images: Sequence[Image]) -> dict[str, float]:
    """One energy per element, eV, that together come nearest to those of the images.

    Above them energies of different compositions can be compared.
    """
    elements = sorted({symbol for image in images for symbol in image.atoms.symbols})
    counts = [[image.atoms.symbols.count(symbol) for symbol in elements] for image in images]
    energies, *_ = np.linalg.lstsq(counts, [_energy(image) for image in images], rcond=None)
    return dict(zip(elements, energies.tolist(), strict=True))


def _excess(image: Image, atomic: Mapping[str, float]) -> float:
    """Energy above that of the atoms, eV/atom."""
    reference = sum(atomic[symbol] for symbol in image.atoms.symbols)
    return (_energy(image) - reference) / len(image.atoms)


def count_by_size(images: Sequence[Image]) -> dict[int, int]:
    """Number of images of each number of atoms, the smallest first."""
    return dict(sorted(Counter(len(image.atoms) for image in images).items()))


def describe_sizes(images: Sequence[Image]) -> str:
    """Numbers of images by size: ``6 of 2 atoms, 14 of 32 atoms``."""
    return ", ".join(f"{count} of {size} atoms" for size, count in count_by_size(images).items())
