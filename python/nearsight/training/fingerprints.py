"""Features of an image, with the derivatives that its labelled forces need.

Computed once per image; every member, every epoch and every selection uses them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearsight.model.baseline import Baseline
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.structures.images import Image

__all__ = ["Fingerprints"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of one image.

    An image with an energy keeps all its atoms. A chunk without one keeps only the atoms that see
    its centre, and the derivatives with respect to the position of the centre.

    Attributes
    ----------
    image : Image
        With its labels as they are learned, without the baseline.
    species : (C,) int32
        Element index of the atoms kept ("centres" of symmetry functions).
    features : (C, S) float64
        Unscaled; columns beyond the functions of an element are zero.
    nearest : (C,) float64, Å
        Distance to the nearest neighbour within the cutoff; 0 without any.
    block_offsets : (F + 1,) int64
        Blocks of every atom whose force is labelled, in compressed rows.
    block_center : (B,) int32
        Which of the centres a block belongs to; of an atom, by element, then ascending.
    derivatives : (B, 3, S') float64
        dG_centre/dr of the atom whose force is labelled, unscaled, 1/Å; S' is S, rounded up to a
        multiple of four, with zeros. Nearly all of the memory of training, shared by all
        training sets.
    """

    image: Image
    species: npt.NDArray[np.int32]
    features: Array
    nearest: Array
    block_offsets: npt.NDArray[np.int64]
    block_center: npt.NDArray[np.int32]
    derivatives: Array

    @classmethod
    def of(
        cls, image: Image, functions: SymmetryFunctions, baseline: Baseline | None = None
    ) -> Fingerprints:
        """Compute the fingerprints of an image; of its labels, the part beyond a baseline.

        Raises
        ------
        InputError
            If the structure is invalid.
        """
        name = f"image {image.atoms.get_chemical_formula()}"
        structure = functions.structure(image.atoms, name)
        result = functions.core.fingerprints(
            structure, force_atoms=image.force_atoms.tolist(), all_centers=image.energy is not None
        )
        return cls(
            image if baseline is None else baseline.residual(image, functions),
            structure.species[result["centers"]],
            result["features"],
            result["nearest"],
            result["block_offsets"],
            result["block_center"],
            result["derivatives"],
        )
