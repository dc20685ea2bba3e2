"""Geometries of whole targets as what the parent is asked about (``labels = "target"``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.errors import DamagedFileError
from nearsight.files.names import iteration_folder
from nearsight.files.records import Exploration, Iteration
from nearsight.files.trajectory import read_frames, write_frames
from nearsight.learning.candidates import Candidates
from nearsight.learning.exploration import (
    BELIEVED,
    displaced,
    exploration_seed,
    explore,
    first_copies,
    held_out,
    rank_geometries,
)
from nearsight.learning.labels import label_geometries
from nearsight.model.ensemble import Ensemble
from nearsight.parents import Failure, Origin
from nearsight.structures.images import Image
from nearsight.training.unseen import Unseen

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
        known = dict(enumerate(self.targets.structures))
        iterations = count()
        while not set(numbers) <= set(known):
            known |= self._frames(next(iterations))
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

        An ensemble that knows no geometry of the targets is not asked for any: the first ones are
        the targets as given, and copies with displaced atoms.
        """
        settings, targets = self.nft.geometries, self.targets.structures
        if not seen:
            copies = first_copies(targets, settings, self.nft.seed)
            numbers = self._keep(iteration, len(targets), copies)
            numbers = [*range(len(targets)), *numbers]
            return Exploration(frames=0, broken=0, largest_uncertainty=None, numbers=numbers)
        paths = []
        for number, target in enumerate(targets):
            self.progress.advance(number, len(targets), "targets explored")
            seed = self._seed(iteration, number)
            paths += explore(ensemble, target, number, settings, seed)
        found = [frame for path in paths for frame in path.frames]
        first = iteration == 1 and self.start is None
        known = [image.atoms for image in (*images, *self.validation(iteration - 1))]
        ranked = rank_geometries(found, known, 2 * settings.per_iteration, first)
        frames = [found[i].atoms for i in ranked]
        relaxed = [path.believed[-1] for path in paths[::2] if path.believed]
        copies = self._displaced(relaxed, iteration) if frames else []
        place = settings.per_iteration - len(copies)
        wanted = [*frames[:place], *copies, *frames[place:]]
        used = [number for before in range(iteration) for number in self._frames(before)]
        begin = max([len(targets) - 1, *seen, *used]) + 1
        numbers = self._keep(iteration, begin, wanted)
        broken = sum(path.broken for path in paths)
        if self._is_due(iteration):
            self._hold_out(ensemble, iteration)
        raw = [frame.raw for frame in found] + [BELIEVED] * bool(broken)
        return Exploration(
            frames=len(found), broken=broken, largest_uncertainty=max(raw), numbers=numbers
        )

    def validation(self, iteration: int) -> tuple[Image, ...]:
        """Geometries never trained on, known from the first dynamics that last long enough."""
        if self.start is not None:
            return self.start.validation
        return () if self._held_out(iteration) is None else self._validation

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

    def unseen(
        self, ensemble: Ensemble, images: Sequence[Image], counts: Counts, iteration: int
    ) -> Unseen:
        """By other geometries alone: each of the training is known to every member."""
        return Unseen.of(ensemble, validation=self.validation(iteration))

    def check(self, iteration: Iteration) -> None:
        """Raise a `DamagedFileError` unless the frames of an iteration are there."""
        explored = iteration.exploration
        numbers = [] if explored is None else explored.numbers
        expected = [number for number in numbers if number >= len(self.targets.structures)]
        path = iteration_folder(self.folder, iteration.iteration) / FRAMES
        if [atoms.info.get(NUMBER) for atoms in read_frames(path)] != expected:
            raise DamagedFileError(f"{path}: does not fit its {Iteration.FILE}")
        validated = iteration.validation_error is not None and self.start is None
        held_out = self._held_out(iteration.iteration)
        if validated and held_out is None:
            raise DamagedFileError(f"{path.with_name(HELD_OUT)}: is missing")
        if held_out is not None:
            list(read_frames(held_out))

    def _displaced(self, relaxed: Sequence[Atoms], iteration: int) -> list[Atoms]:
        """Displaced copies of relaxed targets, half of what an iteration asks for.

        Short dynamics seldom bring atoms as close as they come in longer ones, and members may
        agree on what none of them has seen.
        """
        most = self.nft.geometries.per_iteration // 2 if relaxed else 0
        copies = []
        for copy in range(most * iteration, most * (iteration + 1)):
            turn, number = divmod(copy, len(relaxed))
            copies.append(displaced(relaxed[number], self._seed(iteration, number, copy), turn))
        return copies

    def _seed(self, iteration: int, target: int, *more: int) -> int:
        return exploration_seed(self.nft.seed, iteration, target, *more)

    def _keep(self, iteration: int, begin: int, frames: Sequence[Atoms]) -> list[int]:
        """Keep frames in the folder of an iteration; their numbers, from ``begin`` on."""
        folder = iteration_folder(self.folder, iteration)
        folder.mkdir(parents=True, exist_ok=True)
        for number, atoms in enumerate(frames, begin):
            atoms.info[NUMBER] = number
        write_frames(folder / FRAMES, frames)
        return list(range(begin, begin + len(frames)))

    def _is_due(self, iteration: int) -> bool:
        """Whether there are to be validation geometries and are none yet."""
        if self.start is not None or not self.nft.geometries.validation:
            return False
        return self._held_out(iteration - 1) is None

    def _held_out(self, iteration: int) -> Path | None:
        """File of the validation geometries, as far as they are known after an iteration."""
        folders = (iteration_folder(self.folder, number) for number in range(iteration + 1))
        found = (folder / HELD_OUT for folder in folders)
        return next((path for path in found if path.exists()), None)

    def _hold_out(self, ensemble: Ensemble, iteration: int) -> None:
        """Keep geometries to validate with, if the dynamics of every target give some."""
        settings, targets = self.nft.geometries, self.targets.structures
        shares = [len(part) for part in np.array_split(range(settings.validation), len(targets))]
        frames: list[Atoms] = []
        for number, (target, share) in enumerate(zip(targets, shares, strict=True)):
            if share == 0:
                continue
            seed = self._seed(_OF_VALIDATION, number)
            found = held_out(ensemble, target, number, settings, seed, share)
            if not found:
                self.progress.note(
                    "the dynamics of the ensemble break off too early to give geometries to "
                    "validate with yet"
                )
                return
            frames += found
        write_frames(iteration_folder(self.folder, iteration) / HELD_OUT, frames)

    @cached_property
    def _validation(self) -> tuple[Image, ...]:
        place = min(self.folder.glob(f"iteration-*/{HELD_OUT}"))
        labelled = label_geometries(
            list(read_frames(place)),
            "validation geometries",
            Origin("whole", "validation"),
            self.parent,
            self.progress,
        )
        for each in labelled:
            if isinstance(each, Failure):
                self.progress.note(f"skipping a validation geometry {each.explained}")
        return tuple(each for each in labelled if isinstance(each, Image))

    def _frames(self, iteration: int) -> dict[int, Atoms]:
        """Frames that an iteration has kept, by their numbers."""
        frames = read_frames(iteration_folder(self.folder, iteration) / FRAMES)
        return {int(atoms.info.pop(NUMBER)): atoms for atoms in frames}


_OF_VALIDATION = 2**31  # in place of the number of an iteration
