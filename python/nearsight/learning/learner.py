"""One more training of an ensemble, on atoms of frames that it was uncertain of."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nearsight.config import RetrainingSettings
from nearsight.errors import DamagedFileError, ParentError
from nearsight.files.names import iteration_folder
from nearsight.files.records import Harvest, Model
from nearsight.learning.harvest import load_harvest
from nearsight.learning.labels import label_chunks, label_geometries
from nearsight.learning.nft import NFT
from nearsight.learning.state import Start, State
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Failure, Origin, Parent
from nearsight.progress import Progress
from nearsight.structures.images import Image, write_images

__all__ = ["FAILED", "Learner"]

FAILED = "failed on all"
"""In the reason of a retraining that ended because its parent labelled nothing."""


@dataclass(frozen=True)
class Learner:
    """An ensemble with all it was trained on, which can be trained on more.

    Attributes
    ----------
    nft : NFT
        The training it comes from.
    functions : SymmetryFunctions
    targets : Targets
    parent : Parent
    settings : RetrainingSettings
    ensemble : Ensemble
    images : tuple of Image
        All labelled so far; the ensemble was trained on the first ones of them at least.
    chunk_images : dict of int to int
        Atom of the targets → number of its chunk among the images.
    model : Model, optional
        Of the members.
    validation : tuple of Image
        Larger chunks that they were not trained on.
    rounds : int
        Trainings so far.
    executor : concurrent.futures.Executor, optional
        For the training of the members.
    """

    nft: NFT
    functions: SymmetryFunctions
    targets: Targets
    parent: Parent
    settings: RetrainingSettings
    ensemble: Ensemble
    images: tuple[Image, ...]
    chunk_images: Mapping[int, int]
    model: Model | None = None
    validation: tuple[Image, ...] = ()
    rounds: int = 0
    executor: Executor | None = None

    @classmethod
    def from_training(
        cls,
        nft: NFT,
        state: State,
        folder: Path,
        targets: Targets,
        parent: Parent,
        settings: RetrainingSettings | None = None,
        executor: Executor | None = None,
    ) -> Learner:
        """Learner that goes on from the end of a training.

        Parameters
        ----------
        nft : NFT
        state : State
            End of the training. Chunks that came after the best iteration are used as well.
        folder : Path
            Of the training.
        targets, parent, settings, executor
            See the attributes.
        """
        # not best.json, which may be that of an earlier retraining
        ensemble = Ensemble.load(iteration_folder(folder, state.best.iteration) / "ensemble.json")
        return cls(
            nft,
            ensemble.functions,
            targets,
            parent,
            settings or RetrainingSettings(),
            ensemble,
            state.images,
            state.chunk_images,
            state.best.model,
            state.validation,
            executor=executor,
        )

    def learn(self, folder: Path, progress: Progress) -> Learner:
        """Train on the harvest in ``folder``, or take up or read back that training.

        The parent labels the chunks around the chosen atoms, and nearsighted force training of
        the targets goes on from the members as they are, with all images so far. With ``labels =
        "target"`` it labels the frames in which these atoms are, the first ones of them.

        Parameters
        ----------
        folder : Path
            Holds a harvest (see `save_harvest`); gets ``chunks.extxyz`` (or ``geometries.extxyz``)
            and the files of `NFT.run`.
        progress : Progress

        Returns
        -------
        Learner
            With the ensemble of the training's best iteration.

        Raises
        ------
        DamagedFileError
            If the folder holds no harvest, or a damaged one.
        InputError
            If it belongs to other settings or inputs.
        ParentError
            If the parent fails on every chunk; one that it fails on is skipped.
        """
        harvested = load_harvest(folder)
        if harvested is None:
            raise DamagedFileError(f"{folder}: holds no harvest ({Harvest.FILE})")
        harvest, frames = harvested
        images = self._label(Targets.of(frames, self.parent.pass_info), harvest.chosen, progress)
        write_images(folder / f"{self.nft.settings.noun}.extxyz", images)
        rounds = self.rounds + 1
        nft = self.nft.limited(len(self.chunk_images), self.settings.target_chunks)
        # the iterations of every round draw from streams of their own
        seed = int(np.random.SeedSequence([self.nft.seed, _ROUND, rounds]).generate_state(1)[0])
        state = replace(nft, seed=seed).run(
            (*self.images, *images),
            self.functions,
            self.targets.structures,
            self.parent,
            folder,
            progress,
            Start(self.ensemble, self.chunk_images, self.model, self.validation),
            self.executor,
        )
        return replace(
            self,
            ensemble=Ensemble.load(folder / "best.json"),
            images=state.images,
            chunk_images=state.chunk_images,
            rounds=rounds,
        )

    def _label(
        self, frames: Targets, chosen: list[tuple[int, int]], progress: Progress
    ) -> list[Image]:
        labelled = (
            self._label_frames(frames, chosen, progress)
            if self.nft.settings.labels == "target"
            else self._label_chunks(frames, chosen, progress)
        )
        images = []
        for name, result in labelled.items():
            if isinstance(result, Image):
                images.append(result)
            else:
                reason = result
                progress.note(f"skipping {name} {result.explained}")
        if not images:
            raise ParentError(
                f"parent {self.parent.settings['calculator']} {FAILED} {len(labelled)} "
                f"{self.nft.settings.noun} of the frames, the last one {reason}"
            )
        return images

    def _label_chunks(
        self, frames: Targets, chosen: list[tuple[int, int]], progress: Progress
    ) -> dict[str, Image | Failure]:
        numbers = [int(frames.offsets[frame]) + atom for frame, atom in chosen]
        labelled = label_chunks(
            frames,
            numbers,
            self.nft.settings,
            self.functions,
            self.parent,
            progress,
            Origin("chunk", "retraining", self.rounds + 1),
        )
        names = [f"the chunk of atom {atom} of frame {frame}" for frame, atom in chosen]
        return dict(zip(names, labelled.values(), strict=True))

    def _label_frames(
        self, frames: Targets, chosen: list[tuple[int, int]], progress: Progress
    ) -> dict[str, Image | Failure]:
        numbers = list(dict.fromkeys(frame for frame, _ in chosen))
        numbers = numbers[: self.nft.geometries.per_iteration]
        labelled = label_geometries(
            [frames.structures[number] for number in numbers],
            "geometries",
            Origin("whole", "retraining", self.rounds + 1),
            self.parent,
            progress,
        )
        return dict(zip([f"frame {number}" for number in numbers], labelled, strict=True))


_ROUND = 7  # keeps the seeds of rounds apart from the other random streams
