"""What the labels of a training cover."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearsight.model.domain import Domain, Environments
from nearsight.model.ensemble import mean_and_raw_uncertainty
from nearsight.training.dataset import TrainingData

__all__ = ["labelled_domain"]

Array = npt.NDArray[np.float64]


def labelled_domain(data: TrainingData, forces: Array) -> Domain:
    """The environments of all atoms in the training, isolated ones apart.

    Parameters
    ----------
    data : TrainingData
    forces : (M, F, 3) float64, eV/Å
        Predictions of every member.
    """
    environments = {}
    for number, element in enumerate(data.functions.elements):
        size = data.functions.size(element)
        features = np.concatenate(
            [p.features[p.species == number, :size] for p in data.fingerprints]
        )
        nearest = np.concatenate([p.nearest[p.species == number] for p in data.fingerprints])
        scale, offset = data.scaling.linear(element)
        known = features[features.any(axis=1)] * scale
        several = len(data.functions.elements) > 1
        environments[element] = Environments.of(
            known + offset,
            known.sum(axis=1) if several else None,
            float(nearest.max(initial=0.0)) or None,
        )
    raw = mean_and_raw_uncertainty(forces)[1]
    return Domain(environments, float(raw.max()) if len(raw) else 0.0)
