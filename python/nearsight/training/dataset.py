"""The loss (SI eq. 3) as a sum of weighted squared residuals.

L = ½ Σ_bulk { (ΔE/N)² + α/(3N) Σ |ΔF|² } + ½ Σ_chunks { (ΔE/N)² + α/3 Σ v |ΔF|² } + ½ λ |w|²

v is the weight of a force (`Image.force_weights`). For chunks with the force on their centre alone
(v = 1) and no energy, the second sum is that of the paper, α/6 Σ |ΔF_centre|². Every bracket is
multiplied by the multiplicity of its image in the member's sample. Unlike in Amp, λ meets all
weights of all layers, biases included, and once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nearsight import _core
from nearsight.errors import InputError
from nearsight.model.baseline import Baseline
from nearsight.model.scaling import Scaling
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.structures.images import Image
from nearsight.training.fingerprints import Fingerprints

__all__ = ["Quality", "TrainingData"]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Quality:
    """How well one member fits a set of images.

    Attributes
    ----------
    energy_rmse : float, eV/atom
    force_rmse : float, eV/Å
        Root mean square over the components.
    max_force_residual : float, eV/Å
        Largest component.
    """

    energy_rmse: float
    force_rmse: float
    max_force_residual: float


@dataclass(frozen=True)
class TrainingData:
    """Scaled fingerprints of many images, one after the other, and their labels.

    Attributes
    ----------
    functions : SymmetryFunctions
    scaling : Scaling
    fingerprints : sequence of Fingerprints
    hidden_layers : sequence of int
    activation : str
        Of the hidden layers; the output is linear.
    intercepts : dict of str to float, eV
        Energy of an atom for an output of zero, by element.
    force_decay : float, Å, optional
        Forces of whole chunks count by exp(-d / force_decay), d the distance from the centre.
    baseline : Baseline, optional
        What the labels of the fingerprints are without.
    """

    functions: SymmetryFunctions
    scaling: Scaling
    fingerprints: Sequence[Fingerprints]
    hidden_layers: Sequence[int]
    activation: str
    intercepts: Mapping[str, float]
    force_decay: float | None = None
    baseline: Baseline | None = None

    @cached_property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Layer sizes by element, inputs first, 1 last."""
        return {
            e: (self.functions.size(e), *self.hidden_layers, 1) for e in self.functions.elements
        }

    @property
    def activations(self) -> list[str]:
        """Activation of every layer."""
        return [self.activation] * len(self.hidden_layers) + ["linear"]

    @cached_property
    def core(self) -> _core.TrainingSet:
        """The images as the compiled core takes them."""
        return _core.TrainingSet(**self.content())

    def content(self) -> dict[str, Any]:
        """Arguments of the compiled training set: plain content, as another process may get it."""
        if not self.fingerprints:
            raise InputError("there is no image to train on")
        scale = np.zeros((len(self.functions.elements), self.fingerprints[0].features.shape[1]))
        offset = np.zeros_like(scale)
        for i, element in enumerate(self.functions.elements):
            n = self.functions.size(element)
            scale[i, :n], offset[i, :n] = self.scaling.linear(element)
        return {
            "sizes": list(self.sizes.values()),
            "activations": self.activations,
            "scale": scale,
            "offset": offset,
            "images": [
                (
                    p.species,
                    p.features,
                    p.block_offsets,
                    p.block_center,
                    p.derivatives,
                    float(energy),
                    p.image.forces[p.image.force_atoms],
                )
                for p, energy in zip(self.fingerprints, self.energies, strict=True)
            ],
        }

    @cached_property
    def energies(self) -> Array:
        """(images,) labelled energies per atom less the mean intercept, eV; 0 if there is none."""
        intercept = np.array([self.intercepts[e] for e in self.functions.elements])
        return np.array(
            [
                0.0
                if p.image.energy is None
                else p.image.energy / len(p.species) - intercept[p.species].mean()
                for p in self.fingerprints
            ]
        )

    @cached_property
    def forces(self) -> Array:
        """(F, 3) labelled forces, eV/Å."""
        return np.concatenate([p.image.forces[p.image.force_atoms] for p in self.fingerprints])

    @cached_property
    def row_image(self) -> npt.NDArray[np.int64]:
        """(F,) image of every labelled force."""
        return np.repeat(
            np.arange(len(self.fingerprints)),
            [len(p.image.force_atoms) for p in self.fingerprints],
        )

    def rows(self, image: int) -> slice:
        """Labelled forces of an image."""
        first, last = np.searchsorted(self.row_image, [image, image + 1])
        return slice(int(first), int(last))

    @cached_property
    def has_energy(self) -> npt.NDArray[np.bool_]:
        """(images,) whether their energy is a label."""
        return np.array([p.image.energy is not None for p in self.fingerprints])

    @property
    def has_whole_chunks(self) -> bool:
        """Whether there are chunks with labels on all atoms."""
        return bool((self.is_chunk & self.has_energy).any())

    def thinned(
        self, force_weights: Array, every: int, shift: int | None = None, fewest: int = 0
    ) -> Array:
        """Weights of the forces when only one in ``every`` of each image counts, in their place.

        Those of images with fewer than ``fewest`` forces stay. Without ``shift`` the first force of
        each image counts; with another ``shift`` others do, and others in the next image.
        """
        images = len(self.fingerprints)
        begin = np.searchsorted(self.row_image, np.arange(images))
        counts = np.bincount(self.row_image, minlength=images)
        first = 0 if shift is None else shift + self.row_image
        kept = (np.arange(len(self.row_image)) - begin[self.row_image] - first) % every == 0
        kept |= (counts < fewest)[self.row_image]
        whole = np.bincount(self.row_image, force_weights, images)
        part = np.bincount(self.row_image, force_weights * kept, images)
        scale = np.divide(whole, part, out=np.zeros(images), where=part > 0)
        return np.asarray(force_weights * kept * scale[self.row_image])

    @cached_property
    def force_weights(self) -> Array:
        """(F,) v, weight of every labelled force among those of its image."""
        return np.concatenate([self._force_weights(p.image) for p in self.fingerprints])

    def _force_weights(self, image: Image) -> Array:
        counted = image.force_atoms
        given = image.force_weights
        weights = np.ones(len(counted)) if given is None else given[counted]
        if not image.chunk or self.force_decay is None:
            return weights
        return np.asarray(weights * np.exp(-image.distances / self.force_decay))

    @cached_property
    def is_chunk(self) -> npt.NDArray[np.bool_]:
        """(images,) which of them are chunks."""
        return np.array([p.image.is_chunk for p in self.fingerprints])

    def weights(
        self, multiplicities: npt.NDArray[np.int64], force_coefficient: float
    ) -> tuple[Array, Array]:
        """Weights of the energy (images,) and force (F,) residuals in the loss."""
        counts = multiplicities.astype(float)
        # the forces of a chunk count one by one, those of a bulk image by their mean
        atoms = np.array([1 if p.image.is_chunk else len(p.species) for p in self.fingerprints])
        return (
            np.where(self.has_energy, counts, 0.0),
            (counts * force_coefficient / (3.0 * atoms))[self.row_image] * self.force_weights,
        )

    def quality(self, energies: Array, forces: Array, sample: Counts | None = None) -> Quality:
        """How well a member fits all images, by its predictions for them (see ``core.predict``).

        Parameters
        ----------
        energies : (images,) float64
        forces : (F, 3) float64
        sample : (images,) int64, optional
            Of the images, those that are not zero in it alone.
        """
        drawn = np.ones(len(self.fingerprints), bool) if sample is None else sample > 0
        error = (energies - self.energies)[self.has_energy & drawn]
        residual = (forces - self.forces)[drawn[self.row_image]]
        return Quality(
            float(np.sqrt(np.mean(error**2))) if len(error) else 0.0,
            float(np.sqrt(np.mean(residual**2))) if len(residual) else 0.0,
            float(np.abs(residual).max(initial=0.0)),
        )
