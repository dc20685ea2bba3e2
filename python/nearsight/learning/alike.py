"""Atoms of the targets whose chunks are the same but for rotation, reflection and order of atoms.

The parent's forces and the networks turn with a chunk: one label stands for all that are alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.spatial.distance import pdist

from nearsight.learning.targets import Targets
from nearsight.structures.chunks import extract_chunks

__all__ = ["Alike"]

TOLERANCE = 1e-3
"""Å by which distances may differ: more than files round, less than any motion of atoms."""
AT_FIRST, AT_ONCE = 16, 1024
"""Chunks cut with one neighbour search: at first, for mostly a few are enough, and at most."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Shape:
    """A chunk without its place in space: kinds of its atoms, and distances between them.

    Atoms are sorted by kind and distance from the centre.
    """

    kinds: npt.NDArray[np.int64]
    away: Array
    positions: Array

    @classmethod
    def of(cls, chunk: Atoms) -> _Shape:
        kinds, positions = chunk.get_tags(), chunk.positions
        away = np.linalg.norm(positions - positions[0], axis=1)
        # the centre stays the first, whatever its kind
        order = np.concatenate([[0], 1 + np.lexsort((away[1:], kinds[1:]))])
        return cls(kinds[order], away[order], positions[order])

    def is_like(self, other: _Shape) -> bool:
        """Whether all distances are the same, between each two kinds of atoms."""
        if not np.array_equal(self.kinds, other.kinds):
            return False
        if np.abs(self.away - other.away).max() > TOLERANCE:  # most end here, at little cost
            return False
        return bool(np.abs(self.distances - other.distances).max() <= TOLERANCE)

    @cached_property
    def distances(self) -> Array:
        """Between all atoms, sorted, pairs of the same kinds together."""
        distances: Array = pdist(self.positions)
        if (self.kinds == self.kinds[0]).all():
            return np.sort(distances)
        first, second = np.triu_indices(len(self.kinds), 1)
        low, high = np.sort([self.kinds[first], self.kinds[second]], axis=0)
        return distances[np.lexsort((distances, high, low))]


@dataclass(frozen=True, eq=False)
class Alike:
    """Comparison of the chunks around atoms of targets, as far as it is asked for.

    Attributes
    ----------
    targets : Targets
    radius : float, Å
        Of the chunks, which are compared as they are before they are trimmed.
    """

    targets: Targets
    radius: float
    _shapes: dict[int, _Shape] = field(default_factory=dict, init=False, repr=False)
    _found: dict[int, int] = field(default_factory=dict, init=False, repr=False)

    def stand_ins(self, ranked: Iterable[int], known: Sequence[int]) -> Iterator[int]:
        """For each atom of a ranking the first one whose chunk is like its own.

        That is a known one, else one that the ranking had before, else the atom itself. Chunks are
        cut and compared as the iterator goes on.

        Parameters
        ----------
        ranked : iterable of int
            Atoms, numbered through all structures.
        known : sequence of int
            Atoms that stand for themselves, and for others.
        """
        first = list(dict.fromkeys(known))
        standing, rest, batch = set(first), iter(ranked), AT_FIRST
        while numbers := list(islice(rest, batch)):
            unknown = [i for i in numbers if i not in standing]
            unknown = [i for i in unknown if self._found.get(i) not in standing]
            self._cut([*first, *unknown] if unknown else [])
            for number in numbers:
                stands = number if number in standing else self._found.get(number)
                if stands not in standing:
                    shape = self._shapes[number]
                    like = (other for other in first if shape.is_like(self._shapes[other]))
                    stands = next(like, number)
                    if stands == number:
                        first.append(number)
                        standing.add(number)
                    else:
                        del self._shapes[number]
                        self._found[number] = stands
                yield stands
            batch = min(2 * batch, AT_ONCE)

    def different(self, ranked: Iterable[int], known: Sequence[int], count: int) -> list[int]:
        """The first atoms of a ranking whose chunks are unlike the known and one another."""
        found: dict[int, None] = {}
        already = set(known)
        for number in self.stand_ins(ranked, known) if count else ():
            if number not in already:
                found.setdefault(number)
            if len(found) == count:
                break
        return list(found)

    def _cut(self, numbers: Iterable[int]) -> None:
        """Shapes of the chunks around atoms, where they are not there yet."""
        places: dict[int, list[int]] = {}
        for number in dict.fromkeys(i for i in numbers if i not in self._shapes):
            structure, index = self.targets.locate(number)
            places.setdefault(structure, []).append(index)
        for structure, indices in places.items():
            chunks = extract_chunks(self._marked[structure], indices, self.radius)
            for index, chunk in zip(indices, chunks, strict=True):
                number = int(self.targets.offsets[structure]) + index
                self._shapes[number] = _Shape.of(chunk)

    @cached_property
    def _marked(self) -> list[Atoms]:
        """The structures with kinds as tags: all that a parent can tell atoms apart by."""
        names = list(dict.fromkeys(self._passed(atoms) for atoms in self.targets.structures))
        rows = []
        for atoms in self.targets.structures:
            moments = atoms.get_initial_magnetic_moments().reshape(len(atoms), -1)
            row = np.zeros((len(atoms), 7))
            row[:, 0] = names.index(self._passed(atoms))
            row[:, 1], row[:, 2] = atoms.numbers, atoms.get_tags()
            row[:, 3] = atoms.get_initial_charges()
            row[:, 4 : 4 + moments.shape[1]] = moments
            rows.append(row)
        _, kinds = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
        return [
            Atoms(
                atoms.numbers,
                atoms.positions,
                cell=atoms.cell,
                pbc=atoms.pbc,
                tags=kinds.ravel()[begin : begin + len(atoms)],
            )
            for atoms, begin in zip(self.targets.structures, self.targets.offsets, strict=False)
        ]

    def _passed(self, atoms: Atoms) -> str:
        """What the parent is told of a structure as a whole."""
        return repr({key: atoms.info.get(key) for key in self.targets.keep_info})
