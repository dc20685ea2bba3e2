"""Geometries of whole targets as what the parent is asked about (``labels = "target"``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.errors import DamagedFileError
from nearsight.files.names import iteration_folder
from nearsight.files.records import Exploration, Iteration
from nearsight.files.trajectory import read_frames, write_frames
from nearsight.learning.candidates import Candidates
from nearsight.learning.exploration import BELIEVED, explore, held_out, rank_geometries
from nearsight.learning.labels import label_geometries
from nearsight.model.ensemble import Ensemble
from nearsight.parents import Failure, Origin
from nearsight.structures.images import Image

__all__ = ["GeometryCandidates"]

Counts = npt.NDArray[np.int64]

FRAMES, HELD_OUT = "frames.traj", "validation.traj"
NUMBER = "geometry"
"""Key of a frame's ``info`` that holds its number."""


@dataclass(frozen=True)
class GeometryCandidates(Candidates):
    """The targets as given, numbered from 0, and frames of the ensemble, numbered on from there.

    The frames that an iteration asks for, and others to take their place, are kept in its folder.
    """

    file = "geometries.extxyz"

    @property
    def most(self) -> int:
        """Geometries allowed in all."""
        return self.nft.geometries.max_geometries

    def name(self, number: int) -> str:
        """What messages call a geometry."""
        if number >= len(self.targets.structures):
            return f"geometry {number}"
        return "the target as given" if number == 0 else f"target {number} as given"

    def label(self, numbers: Sequence[int]) -> dict[int, Image | Failure]:
        """Energies and all forces of geometries."""
        given = dict(enumerate(self.targets.structures))
        known = given if set(numbers) <= set(given) else given | self._frames()
        labelled = label_geometries(
            [known[number] for number in numbers],
            "geometries",
            Origin("whole", "nft"),
            self.parent,
            self.progress,
        )
        return dict(zip(numbers, labelled, strict=True))

    def explore(
        self, ensemble: Ensemble, iteration: int, images: Sequence[Image], seen: Sequence[int]
    ) -> Exploration:
        """Follow the targets on paths of the ensemble, and keep the frames to ask about.

        An ensemble that knows no geometry of the targets is asked for none: the first ones are the
        targets as given.
        """
        if not seen:
            numbers = list(range(len(self.targets.structures)))
            return Exploration(frames=0, broken=0, largest_uncertainty=None, numbers=numbers)
        settings, targets = self.nft.geometries, self.targets.structures
        folder = iteration_folder(self.folder, iteration)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, target in enumerate(targets):
            self.progress.advance(number, len(targets), "targets explored")
            seed = self._seed(iteration, number)
            paths += explore(ensemble, target, number, settings, seed)
        found = [frame for path in paths for frame in path.frames]
        first = iteration == 1 and self.start is None
        known = [image.atoms for image in (*images, *self.validation(iteration - 1))]
        ranked = rank_geometries(found, known, 2 * settings.per_iteration, first)
        used = self._frames(iteration)
        begin = max([len(targets) - 1, *seen, *used]) + 1
        numbers = list(range(begin, begin + len(ranked)))
        frames = []
        for number, index in zip(numbers, ranked, strict=True):
            frames.append(found[index].atoms)
            frames[-1].info[NUMBER] = number
        write_frames(folder / FRAMES, frames)
        if first and settings.validation:
            write_frames(folder / HELD_OUT, self._hold_out(ensemble))
        broken = sum(path.broken for path in paths)
        raw = [frame.raw for frame in found] + [BELIEVED] * bool(broken)
        return Exploration(
            frames=len(found), broken=broken, largest_uncertainty=max(raw), numbers=numbers
        )

    def validation(self, iteration: int) -> tuple[Image, ...]:
        """Geometries never trained on, known from the first exploration on."""
        if self.start is not None:
            return self.start.validation
        if iteration < 1 or not self.nft.geometries.validation:
            return ()
        return self._validation

    def choose(
        self,
        raw: npt.NDArray[np.float64],
        explored: Exploration | None,
        seen: Sequence[int],
        failed: Sequence[int],
    ) -> tuple[list[int], list[int]]:
        """The targets as given first, then the most wanted of the explored frames."""
        assert explored is not None  # there always is an exploration
        new = [number for number in explored.numbers if number not in {*seen, *failed}]
        most = self.nft.geometries.per_iteration if seen else self.most
        return new[: max(0, min(most, self.most - len(seen)))], []

    def spare(self, last: Iteration) -> list[int]:
        """Frames that can take the place of those that the parent fails on."""
        explored = [] if last.exploration is None else last.exploration.numbers
        passed = {*last.chunk_indices, *last.failed_indices, *last.new_indices}
        return [number for number in explored if number not in passed]

    def known_to(self, multiplicities: Counts) -> Counts:
        """Multiplicities of geometries: every member knows each.

        There are few, and a member without the target as given would know nothing of its surface.
        """
        return np.maximum(multiplicities, 1)

    def check(self, iteration: Iteration) -> None:
        """Raise a `DamagedFileError` unless the frames of an iteration are there."""
        explored = iteration.exploration
        if explored is None or explored.largest_uncertainty is None:
            return
        path = iteration_folder(self.folder, iteration.iteration) / FRAMES
        if [atoms.info.get(NUMBER) for atoms in read_frames(path)] != explored.numbers:
            raise DamagedFileError(f"{path}: does not fit its {Iteration.FILE}")
        if iteration.iteration == 1 and self.start is None and self.nft.geometries.validation:
            list(read_frames(path.with_name(HELD_OUT)))

    def _seed(self, iteration: int, target: int) -> int:
        stream = [self.nft.seed, _EXPLORED, iteration, target]
        return int(np.random.SeedSequence(stream).generate_state(1)[0])

    def _hold_out(self, ensemble: Ensemble) -> list[Atoms]:
        settings, targets = self.nft.geometries, self.targets.structures
        shares = [len(part) for part in np.array_split(range(settings.validation), len(targets))]
        frames = []
        for number, (target, share) in enumerate(zip(targets, shares, strict=True)):
            seed = self._seed(0, number)  # of no exploration
            frames += held_out(ensemble, target, number, settings, seed, share)
        return frames

    @cached_property
    def _validation(self) -> tuple[Image, ...]:
        labelled = label_geometries(
            list(read_frames(iteration_folder(self.folder, 1) / HELD_OUT)),
            "validation geometries",
            Origin("whole", "validation"),
            self.parent,
            self.progress,
        )
        for each in labelled:
            if isinstance(each, Failure):
                self.progress.note(f"skipping a validation geometry {each.explained}")
        return tuple(each for each in labelled if isinstance(each, Image))

    def _frames(self, before: int | None = None) -> dict[int, Atoms]:
        """Frames kept in iterations, by their numbers; of those before one, or of all."""
        found = {}
        iterations = count() if before is None else range(before)
        for iteration in iterations:
            folder = iteration_folder(self.folder, iteration)
            if not folder.exists():
                break
            if (folder / FRAMES).exists():
                for atoms in read_frames(folder / FRAMES):
                    found[int(atoms.info.pop(NUMBER))] = atoms
        return found


_EXPLORED = 8  # keeps this random stream apart from the others
