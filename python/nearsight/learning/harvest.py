"""Which atoms of which frames of a trajectory to ask the parent about (SI 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.errors import DamagedFileError
from nearsight.files.atomic import file_digest
from nearsight.files.records import Harvest
from nearsight.files.trajectory import read_frames, write_frames
from nearsight.model.ensemble import Ensemble
from nearsight.selection import cur, relative_norm_deviation
from nearsight.simulation.known import doubt

__all__ = ["Harvest", "doubt_of", "harvest", "load_harvest", "save_harvest"]

Array = npt.NDArray[np.float64]


def doubt_of(
    ensemble: Ensemble,
    atoms: Atoms,
    threshold: float,
    most: float = 1.0,
    calibrated: bool = False,
) -> Array:
    """(N,) `doubt` of the atoms of a frame by their raw or calibrated uncertainty, eV/Å."""
    found = ensemble.evaluate(atoms, stress=False)
    uncertainty = found.uncertainty if calibrated else found.uncertainty_raw
    assert uncertainty is not None  # members were asked for
    return doubt(uncertainty, found.extrapolation, threshold, most)


def harvest(
    ensemble: Ensemble,
    frames: Sequence[Atoms],
    raw: Sequence[Array],
    low: float,
    high: float | None,
    count: int,
) -> Harvest:
    """Choose the atoms of a trajectory that the parent shall be asked about.

    Frames whose structure uncertainty, the largest of their atoms, lies between ``low`` and
    ``high`` are kept; their atoms between the same bounds are the candidates, except those without
    neighbours, of which there is nothing to be learned. Of these CUR takes those whose feature
    vectors represent all of them best. Features of different elements are different quantities:
    every element is a matrix of its own, and the ``count`` is shared among the elements in
    proportion to their candidates, at least one for each as far as it goes.

    Parameters
    ----------
    ensemble : Ensemble
        For the features, scaled as its networks see them.
    frames : sequence of ase.Atoms
    raw : sequence of (N,) float64, eV/Å
        Raw uncertainty of every atom of every frame, or its `doubt`.
    low, high : float, eV/Å
        The window, both ends in it; high None: no upper end.
    count : int
        Atoms to choose at most: never more than can be told apart by their features.
    """
    top = np.inf if high is None else high
    largest = np.array([each.max() for each in raw])
    kept = np.flatnonzero((largest >= low) & (largest <= top))
    places: dict[str, list[tuple[int, int]]] = {element: [] for element in ensemble.elements}
    rows: dict[str, list[Array]] = {element: [] for element in ensemble.elements}
    for frame in kept.tolist():
        atoms, uncertain = frames[frame], raw[frame] >= low
        for element, features in ensemble.functions.compute(atoms).items():
            of_element = np.flatnonzero(atoms.symbols == element)
            wanted = uncertain[of_element] & features.any(axis=1)
            places[element] += [(frame, int(atom)) for atom in of_element[wanted]]
            rows[element] += list(features[wanted])
    chosen: list[tuple[int, int]] = []
    deviations = []
    for element, share in _shares({e: len(found) for e, found in places.items()}, count).items():
        features = np.array(rows[element])
        scale, offset = ensemble.scaling.linear(element)
        scaled = features * scale + offset
        values = np.linalg.svd(scaled, compute_uv=False)
        share = min(share, int((values > _TOLD_APART * values[0]).sum()))
        vectors = min(_VECTORS, len(scaled))
        best = cur(scaled.T, share, vectors, min_variance=0.0, scale=False)
        chosen += [places[element][i] for i in best]
        deviations.append(relative_norm_deviation(features.T, best))
    return Harvest(
        low=float(low),
        high=None if high is None else float(high),
        frames=len(frames),
        kept=len(kept),
        beyond=int((largest > top).sum()),
        candidates=sum(len(found) for found in places.values()),
        chosen=chosen,
        deviation=max(deviations, default=None),
    )


def save_harvest(folder: Path, found: Harvest, frames: Sequence[Atoms]) -> None:
    """Keep a harvest: ``frames.traj``, the frames chosen from, and ``harvest.json``, last.

    In the file, ``chosen`` counts the frames of ``frames.traj``, whose checksum is ``sha256``;
    ``numbers`` are those they had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = sorted({frame for frame, _ in found.chosen})
    trajectory = folder / "frames.traj"
    write_frames(trajectory, [frames[number] for number in numbers])
    chosen = [(numbers.index(frame), atom) for frame, atom in found.chosen]
    saved = {"chosen": chosen, "numbers": numbers, "sha256": file_digest(trajectory)}
    found.model_copy(update=saved).save(folder / Harvest.FILE)


def load_harvest(folder: Path) -> tuple[Harvest, list[Atoms]] | None:
    """The harvest of `save_harvest`, its atoms by frame of ``frames.traj``, and these frames.

    Returns
    -------
    None
        If there is none in the folder.

    Raises
    ------
    DamagedFileError
        If its files are damaged.
    """
    path = folder / Harvest.FILE
    if not path.exists():
        return None
    found = Harvest.load(path)
    frames = list(read_frames(folder / "frames.traj"))
    if any(frame >= len(frames) or atom >= len(frames[frame]) for frame, atom in found.chosen):
        raise DamagedFileError(f"{path}: does not fit its frames.traj")
    if found.sha256 not in (None, file_digest(folder / "frames.traj")):
        raise DamagedFileError(f"{path}: belongs to another frames.traj")
    return found, frames


_VECTORS = 3
"""Leading singular vectors that count in CUR (Amp), where there are as many candidates."""
_TOLD_APART = 1e-8
"""Relative singular value below which feature vectors are the same but for rounding."""


def _shares(candidates: Mapping[str, int], count: int) -> dict[str, int]:
    """How many of ``count`` each element gets; elements without any are left out."""
    present = {element: n for element, n in candidates.items() if n > 0}
    shares = dict.fromkeys(present, 0)
    for _ in range(min(count, sum(present.values()))):
        # the element that is furthest behind its proportion; one without any is always behind
        behind = max(present, key=lambda e: (shares[e] == 0, present[e] / (shares[e] + 1)))
        shares[behind] += 1
    return {element: share for element, share in shares.items() if share > 0}
