"""The structures a potential is for, with their atoms numbered through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble
from nearsight.structures.chunks import extract_chunks, trim_to_stoichiometry
from nearsight.structures.digest import structure_digest
from nearsight.structures.images import check_structure

__all__ = ["Targets"]

Array = npt.NDArray[np.float64]

LOOKED_AT = 50
"""Chunks among which the smallest is sought."""


@dataclass(frozen=True)
class Targets:
    """One or more structures; atom k of the second has the number (atoms of the first) + k.

    Attributes
    ----------
    structures : tuple of ase.Atoms
    keep_info : tuple of str
        Keys of ``info`` that chunks take over.
    """

    structures: tuple[Atoms, ...]
    keep_info: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, target: Atoms | Sequence[Atoms] | Targets, keep_info: Sequence[str] = ()
    ) -> Targets:
        """The targets of one structure or of several.

        Raises
        ------
        InputError
            If there is none.
        """
        if isinstance(target, Targets):
            return target
        found = (target,) if isinstance(target, Atoms) else tuple(target)
        if not found:
            raise InputError("there is no target")
        return cls(found, tuple(keep_info))

    def __len__(self) -> int:
        """All atoms."""
        return int(self.offsets[-1])

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(structures + 1,): the number of the first atom of each, and of all atoms."""
        sizes = [len(atoms) for atoms in self.structures]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @property
    def formula(self) -> str:
        """Formulas of the structures."""
        return ", ".join(f"{atoms.symbols.formula:metal}" for atoms in self.structures)

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements that occur, in the order in which they do."""
        return tuple(dict.fromkeys(s for atoms in self.structures for s in atoms.symbols))

    def locate(self, number: int) -> tuple[int, int]:
        """The structure an atom belongs to, and its index there."""
        structure = int(np.searchsorted(self.offsets, number, side="right")) - 1
        return structure, int(number - self.offsets[structure])

    def check(self, elements: Sequence[str], radius: float) -> None:
        """Raise an `InputError` for a structure that cannot be worked with.

        Parameters
        ----------
        elements : sequence of str
            Those that are known.
        radius : float, Å
            Within which every atom must have a neighbour.
        """
        for number, atoms in enumerate(self.structures):
            name = "target" if len(self.structures) == 1 else f"target {number}"
            check_structure(atoms, elements, name, radius)

    def extract(
        self, numbers: Sequence[int], radius: float, vacuum: float, trim: bool = False
    ) -> list[Atoms]:
        """The chunks around atoms, in their order; see `extract_chunks`.

        With ``trim``, those of the stoichiometry of their structure; see `trim_to_stoichiometry`.

        ``info`` of each says too which structure it is from: ``source_frame``, its number, and
        ``source_digest`` (see `structure_digest`).
        """
        places = [self.locate(number) for number in numbers]
        found: dict[tuple[int, int], Atoms] = {}
        for structure in sorted({place[0] for place in places}):
            indices = [index for which, index in places if which == structure]
            chunks = extract_chunks(
                self.structures[structure], indices, radius, vacuum, self.keep_info
            )
            if trim:
                counts = Counter(self.structures[structure].symbols)
                chunks = [trim_to_stoichiometry(chunk, counts, vacuum) for chunk in chunks]
            digest = structure_digest(self.structures[structure])
            for chunk in chunks:
                chunk.info |= {"source_frame": structure, "source_digest": digest}
            found |= {(structure, i): chunk for i, chunk in zip(indices, chunks, strict=True)}
        return [found[place] for place in places]

    def small_chunk(self, radius: float, vacuum: float, trim: bool = False) -> Atoms:
        """The smallest of up to `LOOKED_AT` chunks, for a first calculation."""
        numbers = range(0, len(self), max(1, len(self) // LOOKED_AT))
        return min(self.extract(numbers, radius, vacuum, trim), key=len)

    def evaluate(self, ensemble: Ensemble) -> dict[str, Array]:
        """What an ensemble says of all atoms.

        Returns
        -------
        dict of str to float64
            ``forces`` (N, 3), ``uncertainty_raw`` and ``uncertainty`` (N,), eV/Å; ``extrapolation``
            (N,) of an ensemble with a domain.
        """
        found = [ensemble.evaluate(atoms, stress=False).results for atoms in self.structures]
        names = ("forces", "uncertainty_raw", "uncertainty", "extrapolation")
        return {
            name: np.concatenate([results[name] for results in found])
            for name in names
            if name in found[0]
        }
