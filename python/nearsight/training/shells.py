"""Misfit of the chunks' own forces by distance from the centre."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearsight.files.records import Shell
from nearsight.training.dataset import TrainingData

__all__ = ["misfit_by_shell"]

WIDTH = 1.5
"""Å."""


def misfit_by_shell(
    data: TrainingData, forces: npt.NDArray[np.float64], multiplicities: npt.NDArray[np.int64]
) -> list[Shell]:
    """Error of the mean force on the atoms of the training chunks, by members that have drawn them.

    Where the parent is nearsighted and the model has what it needs, it is small at all distances.
    Where it stays far above the spread of the members, the chunks contradict each other: the parent
    sees farther than the symmetry functions, or the model is too small.

    Parameters
    ----------
    data : TrainingData
    forces : (M, F, 3) float64, eV/Å
        Predictions of every member.
    multiplicities : (M, images) int64
        Their samples; what no member has drawn is left out.

    Returns
    -------
    list of Shell
        From the centre outwards; empty without chunks learned whole.
    """
    whole = np.flatnonzero(data.is_chunk & data.has_energy & multiplicities.any(axis=0))
    if len(whole) == 0:
        return []
    distances, errors = [], []
    for number in whole.tolist():
        image, rows = data.fingerprints[number].image, data.rows(number)
        distances.append(image.distances)
        mean = forces[multiplicities[:, number] > 0, rows].mean(axis=0)
        errors.append(np.linalg.norm(mean - data.forces[rows], axis=1))
    distance, error = np.concatenate(distances), np.concatenate(errors)
    # the centre alone, then shells around it
    shell = np.where(distance < 1e-6, 0, 1 + (distance / WIDTH).astype(int))
    return [
        Shell(
            distance=float(s * WIDTH),
            forces=int((shell == s).sum()),
            error=float(error[shell == s].mean()),
        )
        for s in np.unique(shell)
    ]
