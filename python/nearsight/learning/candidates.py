"""What the parent can be asked about: the atoms of the targets, by their chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nearsight.files.records import Exploration, Iteration, Shell
from nearsight.learning.alike import Alike
from nearsight.learning.earlier import earlier_chunks
from nearsight.learning.labels import label_chunks, validation_atoms, validation_chunks
from nearsight.learning.policy import choose_atoms, rank_uncertain
from nearsight.learning.state import Start, Training
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Failure, Parent
from nearsight.progress import Progress
from nearsight.structures.images import Image
from nearsight.training.dataset import TrainingData
from nearsight.training.shells import misfit_by_shell
from nearsight.training.unseen import Unseen

__all__ = ["Candidates", "ChunkCandidates"]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidates(ABC):
    """What a training can ask its parent about, by numbers.

    Attributes
    ----------
    nft : Training
    targets : Targets
    functions : SymmetryFunctions
    parent : Parent
    folder : Path
        Of the training.
    progress : Progress
    start : Start or None
        What the training goes on from.
    file : str
        Holds those that an iteration has had labelled.
    """

    nft: Training
    targets: Targets
    functions: SymmetryFunctions
    parent: Parent
    folder: Path
    progress: Progress
    start: Start | None
    file: ClassVar[str]

    @property
    @abstractmethod
    def most(self) -> int:
        """Allowed in all."""

    @abstractmethod
    def name(self, number: int) -> str:
        """What messages call one."""

    @abstractmethod
    def label(self, numbers: Sequence[int]) -> dict[int, Image | Failure]:
        """The parent's labels, in the order of the numbers."""

    @abstractmethod
    def explore(
        self, ensemble: Ensemble, iteration: int, images: Sequence[Image], seen: Sequence[int]
    ) -> Exploration | None:
        """Look for more candidates with the ensemble of an iteration; None: there are no others.

        Parameters
        ----------
        ensemble : Ensemble
        iteration : int
        images : sequence of Image
            All that it was trained on.
        seen : sequence of int
            Candidates among them.
        """

    @abstractmethod
    def validation(self, iteration: int) -> tuple[Image, ...]:
        """Images never trained on, as far as they are known after an iteration."""

    @abstractmethod
    def choose(
        self,
        raw: Array,
        explored: Exploration | None,
        seen: Sequence[int],
        failed: Sequence[int],
    ) -> tuple[list[int], list[int]]:
        """Choose for the next iteration: new ones, and those in the training to draw once more.

        Parameters
        ----------
        raw : (N,) float64, eV/Å
            Raw uncertainties on the targets.
        explored : Exploration or None
        seen, failed : sequence of int
            Candidates in the training, and those that the parent failed on.
        """

    @abstractmethod
    def spare(self, last: Iteration) -> list[int]:
        """Those that can take the place of failed ones of an iteration, most wanted first."""

    def known_to(self, multiplicities: Counts) -> Counts:
        """Multiplicities (members, images) of new images, from those of a bootstrap."""
        return multiplicities

    def shells(self, data: TrainingData, forces: Array, counts: Counts) -> list[Shell]:
        """Misfit by distance from the centre, where there are centres."""
        return []

    def unseen(
        self, ensemble: Ensemble, images: Sequence[Image], counts: Counts, iteration: int
    ) -> Unseen:
        """What labels tell of the ensemble of an iteration that its members do not know."""
        return Unseen.of(ensemble, images, counts, self.validation(iteration))

    @abstractmethod
    def check(self, iteration: Iteration) -> None:
        """Raise a `DamagedFileError` unless the files of an iteration are whole."""


@dataclass(frozen=True)
class ChunkCandidates(Candidates):
    """The atoms of the targets, whose chunks the parent calculates."""

    file = "chunks.extxyz"

    @property
    def most(self) -> int:
        """Chunks allowed in all."""
        return self.nft.settings.max_chunks

    def name(self, number: int) -> str:
        """What messages call the chunk of an atom."""
        return f"the chunk of atom {number}"

    def label(self, numbers: Sequence[int]) -> dict[int, Image | Failure]:
        """The chunks around atoms of the targets, labelled by the parent."""
        return label_chunks(
            self.targets, numbers, self.nft.settings, self.functions, self.parent, self.progress
        )

    def explore(
        self, ensemble: Ensemble, iteration: int, images: Sequence[Image], seen: Sequence[int]
    ) -> Exploration | None:
        """All atoms are known from the beginning."""
        return None

    def validation(self, iteration: int) -> tuple[Image, ...]:
        """Larger chunks."""
        return self._validation

    def choose(
        self,
        raw: Array,
        explored: Exploration | None,
        seen: Sequence[int],
        failed: Sequence[int],
    ) -> tuple[list[int], list[int]]:
        """The most uncertain atoms; at first those of an earlier training, if there was one."""
        ranked = self._ranked(raw)
        new, again = choose_atoms(
            self.nft.settings, ranked, seen, failed, not seen, self._alike.stand_ins
        )
        if not seen and self.start is None:
            new = earlier_chunks(self.folder) or new
        return new, again

    def spare(self, last: Iteration) -> list[int]:
        """As many of the next most uncertain atoms as were asked for."""
        passed = [*last.chunk_indices, *last.failed_indices, *last.new_indices]
        ranked = self._ranked(last.uncertainty_raw)
        return self._alike.different(ranked, passed, len(last.new_indices))

    def shells(self, data: TrainingData, forces: Array, counts: Counts) -> list[Shell]:
        """Misfit of the chunks' own forces."""
        return misfit_by_shell(data, forces, counts)

    def check(self, iteration: Iteration) -> None:
        """Chunks are cut anew, and their labels are in the database."""

    def _ranked(self, raw: Array) -> list[int]:
        """The uncertain atoms but for those that validate; one whose chunk is alike may be learned.

        Of a target of few different chunks each should be: with those of the three that validate
        left out, the mean error on Cu147 (EMT, unrattled) is 32 meV/Å instead of 0.12. The chunks
        that validate are larger, so that their inside has surroundings that no other has.
        """
        barred = set(self._barred)
        return [i for i in rank_uncertain(self.nft.settings, raw) if i not in barred]

    @cached_property
    def _alike(self) -> Alike:
        return Alike(self.targets, self.nft.settings.chunk_radius)

    @cached_property
    def _barred(self) -> list[int]:
        """Atoms in the centres of validation chunks."""
        if self.start is not None or not self._validation:
            return []
        return validation_atoms(self.targets, self.nft.settings, self.nft.seed)

    @cached_property
    def _validation(self) -> tuple[Image, ...]:
        if self.start is not None:
            return self.start.validation
        if earlier_chunks(self.folder):  # trained anew without one parent call
            return ()
        nft = self.nft
        return validation_chunks(self.targets, nft.settings, nft.seed, self.parent, self.progress)
