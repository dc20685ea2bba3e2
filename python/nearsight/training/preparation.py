"""Training data of a first set of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.config import NetworkSettings
from nearsight.errors import InputError
from nearsight.model.baseline import Baseline
from nearsight.model.scaling import Scaling
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.progress import Progress
from nearsight.structures.images import Image, check_structure
from nearsight.training.dataset import TrainingData
from nearsight.training.fingerprints import Fingerprints

__all__ = ["fit_intercepts", "prepare"]

Array = npt.NDArray[np.float64]


def fit_intercepts(images: Sequence[Image], elements: Sequence[str]) -> dict[str, float]:
    """Energy per atom of every element that fits the labelled energies best, eV."""
    bulk = [image for image in images if image.energy is not None]
    if not bulk:
        return dict.fromkeys(elements, 0.0)
    counts = np.array([[image.atoms.symbols.count(e) for e in elements] for image in bulk], float)
    atoms = counts.sum(axis=1)
    energies = np.array([image.energy for image in bulk]) / atoms
    solution = np.linalg.lstsq(counts / atoms[:, None], energies, rcond=1e-8)[0]
    return dict(zip(elements, solution.tolist(), strict=True))


def without_isolated(features: Mapping[str, Array]) -> dict[str, Array]:
    """The features of all atoms but isolated ones, whose zeros are far from all others.

    A free atom among the images gives its energy to the fit; the range over which the networks
    resolve features is that of atoms with neighbours.
    """
    kept = {element: values[values.any(axis=1)] for element, values in features.items()}
    return {element: values for element, values in kept.items() if len(values)}


def prepare(
    images: Sequence[Image],
    functions: SymmetryFunctions,
    network: NetworkSettings,
    scale_over: Sequence[Atoms] = (),
    progress: Progress | None = None,
    baseline: Baseline | None = None,
) -> TrainingData:
    """Fingerprints, scaling and intercepts of a first set of images.

    Parameters
    ----------
    scale_over : sequence of ase.Atoms
        Structures without labels that the feature scaling shall cover as well.
    baseline : Baseline, optional
        The rest of the labels is learned.
    """
    if not images:
        raise InputError("there is no image to train on")
    progress = progress or Progress()
    for number, image in enumerate(images):
        check_structure(image.atoms, functions.elements, f"image {number}")
    for atoms in scale_over:
        check_structure(atoms, functions.elements, "target", functions.cutoff.radius)
    features = [without_isolated(functions.compute(image.atoms)) for image in images]
    features += [functions.compute(atoms) for atoms in scale_over]
    prints = []
    for image in images:
        prints.append(Fingerprints.of(image, functions, baseline))
        progress.advance(len(prints), len(images), "fingerprints")
    return TrainingData(
        functions,
        Scaling.fit(functions, features),
        prints,
        network.hidden_layers,
        network.activation,
        fit_intercepts([each.image for each in prints], functions.elements),
        baseline=baseline,
    )
