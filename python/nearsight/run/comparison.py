"""The potential of a run against all labels of chunks, those of a test among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nearsight.config import Config
from nearsight.files.records import Comparison
from nearsight.files.records.comparison import ROLES
from nearsight.learning.labels import test_chunks
from nearsight.learning.learner import Learner
from nearsight.progress import Progress
from nearsight.structures.images import Image

__all__ = ["compare"]


def compare(config: Config, latest: Learner, failed: list[int], progress: Progress) -> Comparison:
    """Evaluate the potential on its training, on what validates it, and on a test.

    Parameters
    ----------
    config : Config
        ``report.test_chunks`` of them are labelled for the test.
    latest : Learner
        With the potential.
    failed : list of int
        Atoms whose chunks the parent failed on.
    progress : Progress
    """
    tests: tuple[Image, ...] = ()
    if config.nft.labels != "target":
        known = [*latest.chunk_images, *failed]
        count = config.report.test_chunks
        tests = test_chunks(
            latest.targets, config.nft, config.seed, known, count, latest.parent, progress
        )
    training = [image for image in latest.images if image.is_chunk]
    ensemble = latest.ensemble
    columns: dict[str, list[npt.NDArray[Any]]] = {
        name: [] for name in ("role", "image", "labels", "forces", "uncertainty", "uncertainty_95")
    }
    number = 0
    for role, images in zip(ROLES, (training, latest.validation, tests), strict=True):
        for image in images:
            found, counted = ensemble.evaluate(image.atoms, stress=False), image.force_atoms
            assert found.uncertainty is not None  # requested
            bound = found.uncertainty if found.uncertainty_95 is None else found.uncertainty_95
            columns["role"].append(np.full(len(counted), ROLES.index(role)))
            columns["image"].append(np.full(len(counted), number))
            columns["labels"].append(image.forces[counted])
            columns["forces"].append(found.forces[counted])
            columns["uncertainty"].append(found.uncertainty[counted])
            columns["uncertainty_95"].append(bound[counted])
            number += 1
    joined: dict[str, Any] = {
        name: np.concatenate(parts) if parts else [] for name, parts in columns.items()
    }
    return Comparison.model_validate({"ensemble": ensemble.digest, **joined})
