"""Where nearsighted force training stands, and where it can start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearsight.learning.iteration import Iteration
from nearsight.model.ensemble import Ensemble
from nearsight.structures.images import Image
from nearsight.training.dataset import TrainingData

__all__ = ["Start", "State", "iteration_folder"]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Start:
    """Members that are trained already, to go on from.

    Attributes
    ----------
    ensemble : Ensemble
        With the multiplicities of the images it was trained on, which are the first ones of those
        the training gets.
    chunk_images : dict of int to int
        Atom of the targets → number of its chunk among these images.
    """

    ensemble: Ensemble
    chunk_images: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """Where the training stands after an iteration.

    Attributes
    ----------
    images : tuple of Image
        All so far: the first ones, then the chunks.
    data : TrainingData
        Their fingerprints.
    chunk_images : dict of int to int
        Atom of the targets → number of its chunk among the images.
    multiplicities : (M, images) int64
    weights : list of (P,) float64
        Of every member.
    ensemble : Ensemble
    history : tuple of Iteration
    started : bool
        Whether the members were trained before the first iteration (see `Start`).
    """

    images: tuple[Image, ...]
    data: TrainingData
    chunk_images: Mapping[int, int]
    multiplicities: Counts
    weights: list[Array]
    ensemble: Ensemble
    history: tuple[Iteration, ...]
    started: bool = False

    @property
    def best(self) -> Iteration:
        """The iteration of the lowest structure uncertainty; the earlier of two equal ones.

        The first iteration counts only while it is alone, or if its members knew chunks: those
        trained on bulk cells alone agree on a surface that none of them has seen.
        """
        counting = self.history if self.started else self.history[1:] or self.history
        return min(counting, key=lambda i: i.structure_uncertainty)

    @property
    def summary(self) -> str:
        """One sentence."""
        best = self.best
        return (
            f"iteration {best.iteration} is the best: {len(best.chunk_indices)} chunks, "
            f"uncertainty {best.structure_uncertainty:.4f} eV/Å (raw); "
            f"stopped because {self.stop_reason}"
        )

    @property
    def stop_reason(self) -> str:
        """Why there is no next step; empty if there is one."""
        return self.history[-1].stop_reason


def iteration_folder(folder: Path, iteration: int) -> Path:
    """Folder of an iteration of the training in ``folder``."""
    return folder / f"iteration-{iteration:03d}"
