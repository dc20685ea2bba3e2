"""Nearsighted force training: its settings, its state, and trained members to start from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from ase import Atoms
from pydantic import BaseModel

from nearsight.config import (
    BaselineSettings,
    CapacitySettings,
    Config,
    EnsembleSettings,
    FeatureSettings,
    GeometrySettings,
    NetworkSettings,
    NFTSettings,
    TrainingSettings,
)
from nearsight.errors import InputError
from nearsight.files.records import Iteration, Model, best_iteration
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import weights_from_networks
from nearsight.parents.database import fingerprint
from nearsight.structures.images import Image
from nearsight.training.dataset import TrainingData

__all__ = ["Start", "State", "Training", "digest_of_inputs", "trained_weights", "weight_bytes"]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
T = TypeVar("T", bound="Training")


@dataclass(frozen=True)
class Training:
    """Settings of a nearsighted force training.

    All randomness comes from ``seed``, the member and the iteration, so that a run that was
    stopped ends like one that was not.

    Attributes
    ----------
    settings : NFTSettings
    network, training, ensemble, capacity : settings
        Of the networks, the loss, the members, and the choice of the model.
    seed : int
    geometries : GeometrySettings
        With ``labels = "target"``.
    baseline : BaselineSettings
        Pair terms that labels are without when they are learned.
    features : FeatureSettings
        Of the symmetry functions for other cutoffs, see ``capacity``.
    """

    settings: NFTSettings = field(default_factory=NFTSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    ensemble: EnsembleSettings = field(default_factory=EnsembleSettings)
    seed: int = 0
    capacity: CapacitySettings = field(default_factory=CapacitySettings)
    geometries: GeometrySettings = field(default_factory=GeometrySettings)
    baseline: BaselineSettings = field(default_factory=BaselineSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)

    @classmethod
    def of(cls: type[T], config: Config) -> T:
        """The training that a configuration describes."""
        return cls(
            config.nft,
            config.network,
            config.training,
            config.ensemble,
            config.seed,
            config.capacity,
            config.geometries,
            config.baseline,
            config.features,
        )

    @property
    def described(self) -> dict[str, Any]:
        """The settings, by section, as far as they are used.

        Those that are newer than files of earlier versions stand there where they are used alone.
        """
        sections: dict[str, BaseModel] = {
            "nft": self.settings,
            "network": self.network,
            "training": self.training,
            "ensemble": self.ensemble,
            "capacity": self.capacity,
        }
        if self.settings.labels == "target":
            sections["geometries"] = self.geometries
        if self.baseline != BaselineSettings():
            sections["baseline"] = self.baseline
        if self.capacity.cutoff:
            sections["features"] = self.features
        content = {name: section.model_dump(mode="json") for name, section in sections.items()}
        if not self.capacity.cutoff:
            del content["capacity"]["cutoff"]
        if self.settings.trim is None:
            del content["nft"]["trim"]
        return content

    def limited(self: T, known: int, chunks: int) -> T:
        """The training of a round that may add so many chunks of the targets to those known.

        Geometries of whole targets it adds none: there are those that the round begins with.
        """
        if self.settings.labels == "target":
            limit = {"max_geometries": max(known, 1)}
            return replace(self, geometries=self.geometries.model_copy(update=limit))
        limit = {"max_chunks": max(known + chunks, 1)}
        return replace(self, settings=self.settings.model_copy(update=limit))


@dataclass(frozen=True)
class Start:
    """Members that are trained already, to go on from.

    Attributes
    ----------
    ensemble : Ensemble
        With the multiplicities of the images it was trained on, which are the first ones of those
        the training gets.
    chunk_images : dict of int to int
        Atom of the targets (or geometry) → number of its image among these.
    model : Model, optional
        Of the members; that of the settings when left out.
    validation : tuple of Image
        Larger chunks (or geometries) that they were not trained on.
    """

    ensemble: Ensemble
    chunk_images: Mapping[int, int] = field(default_factory=dict)
    model: Model | None = None
    validation: tuple[Image, ...] = ()


@dataclass(frozen=True)
class State:
    """The training after an iteration.

    Attributes
    ----------
    images : tuple of Image
        All so far: the first ones, then the chunks or geometries.
    data : TrainingData
        Their fingerprints.
    chunk_images : dict of int to int
        Atom of the targets (or geometry) → number of its image.
    multiplicities : (M, images) int64
    weights : list of (P,) float64
        Of every member.
    ensemble : Ensemble
    model : Model
        Of the members.
    validation : tuple of Image
        Larger chunks (or geometries) that are not trained on.
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
    model: Model
    validation: tuple[Image, ...]
    history: tuple[Iteration, ...]
    started: bool = False

    @property
    def best(self) -> Iteration:
        """Best iteration so far; see `best_of`."""
        return self.history[best_iteration(self.history, self.started)]

    @property
    def summary(self) -> str:
        """One-sentence summary for the log."""
        best = self.best
        return (
            f"iteration {best.iteration} is the best: {best.chunks} {best.noun}, "
            f"uncertainty {best.structure_uncertainty:.4f} eV/Å (raw); "
            f"stopped because {self.stop_reason}"
        )

    @property
    def stop_reason(self) -> str:
        """Reason why there is no next step; empty if there is one."""
        return self.history[-1].stop_reason


def trained_weights(ensemble: Ensemble) -> tuple[Counts, list[Array]]:
    """Multiplicities and weights of trained members."""
    if ensemble.multiplicities is None:
        raise InputError("the ensemble holds no multiplicities to go on from")
    return ensemble.multiplicities, list(weights_from_networks(ensemble.networks))


def digest_of_inputs(targets: Sequence[Atoms], images: Sequence[Image], start: Start | None) -> str:
    """SHA-256 over all that is given, to the last bit: targets, images, trained members."""
    digest = hashlib.sha256()
    for atoms in targets:
        digest.update(fingerprint(atoms, "target").encode())
    for image in images:
        digest.update(fingerprint(image.atoms, str(image.energy)).encode())
        digest.update(image.forces.tobytes())
        if image.force_weights is not None:
            digest.update(image.force_weights.tobytes())
    if start is not None:
        digest.update(trained_weights(start.ensemble)[0].tobytes())
        digest.update(weight_bytes(start.ensemble))
    return digest.hexdigest()


def weight_bytes(ensemble: Ensemble) -> bytes:
    """Weights of all members, for a digest."""
    return weights_from_networks(ensemble.networks).tobytes()
