"""Levenberg–Marquardt training of one member, and of all members side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight import _core
from nearsight.config import BaselineSettings, EnsembleSettings, NetworkSettings, TrainingSettings
from nearsight.errors import ParentError
from nearsight.files.records import Bounds
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import networks_from_weights
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.progress import Progress
from nearsight.structures.images import Image
from nearsight.training.bootstrap import draw_initial
from nearsight.training.charges import make_baseline
from nearsight.training.dataset import TrainingData
from nearsight.training.environments import labelled_domain
from nearsight.training.preparation import prepare
from nearsight.training.unseen import Unseen

__all__ = [
    "Fit",
    "initial_weights",
    "levenberg_marquardt",
    "make_ensemble",
    "train_ensemble",
    "train_from_new_starts",
    "train_member",
    "train_members",
    "with_bounds",
]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fit:
    """Where a minimisation ended.

    Attributes
    ----------
    weights : (P,) float64
    loss : float
    """

    weights: Array
    loss: float


def levenberg_marquardt(
    data: TrainingData,
    start: Array,
    multiplicities: Counts,
    settings: TrainingSettings,
    iterations: int | None = None,
) -> Fit:
    """Minimise the loss of one member.

    Every iteration solves (JᵀJ + λ + μ) v = −(Jᵀr + λ w), identity damping having done better here
    than Marquardt's diagonal, and adds the geodesic acceleration of the step (Transtrum and Sethna,
    arXiv:1201.5885), which takes a third of the iterations for the same loss. A step that lowers
    the loss divides μ by five; one that does not, or that bends too much, multiplies it by three.

    Parameters
    ----------
    data : TrainingData
    start : (P,) float64
    multiplicities : (images,) int64
        The member's sample.
    settings : TrainingSettings
        α, λ and the number of iterations.
    iterations : int, optional
        Instead of that of the settings.
    """
    weights = data.weights(multiplicities, settings.force_coefficient)
    return Fit(
        *_train_here(
            data.core,
            start,
            [(*weights, settings.l2, iterations or settings.iterations, settings.tolerance)],
        )
    )


def initial_weights(data: TrainingData, seed: int, member: int) -> Array:
    """Amp's start: uniform within ±√(6/(n_in + n_out)) by layer, biases included."""
    rng = np.random.default_rng([seed, _WEIGHTS, member])
    parts = []
    for nodes in data.sizes.values():
        for inputs, outputs in pairwise(nodes):
            limit = np.sqrt(6.0 / (inputs + outputs))
            parts.append(rng.uniform(-limit, limit, (inputs + 1) * outputs))
    return np.concatenate(parts)


_WEIGHTS = 3  # keeps this random stream apart from those of bootstrap.py


def train_members(
    data: TrainingData,
    multiplicities: Counts,
    starts: Sequence[Array],
    settings: TrainingSettings,
    iterations: int | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
    patience: float = 72.0,
    refine: int | None = None,
) -> list[Fit]:
    """Train every member on its sample, members side by side.

    The members do not know of each other: the result does not depend on how many at once.

    Parameters
    ----------
    executor : concurrent.futures.Executor, optional
        What trains them, one call each; threads on all cores when left out.
    patience : float, h
        How long to wait for a member to come back.
    refine : int, optional
        Where all atoms of chunks are labelled, members are first trained on one in `THINNING`
        forces of each image, then on all with so many iterations at most.

    Raises
    ------
    ParentError
        If none comes back for so long.
    Exception
        Whatever goes wrong in a member; with an engine only what does so again and again.
    """
    progress = progress or Progress()
    progress.advance(0, len(starts), "members trained")
    rounds = iterations or settings.iterations
    members = []
    for number, (start, sample) in enumerate(zip(starts, multiplicities, strict=True)):
        energy_weights, force_weights = data.weights(sample, settings.force_coefficient)
        if settings.thinning > 1:
            force_weights = data.thinned(force_weights, settings.thinning, number, MANY_FORCES)
        weights = (energy_weights, force_weights)
        passes = [(*weights, settings.l2, rounds, settings.tolerance)]
        if refine is not None and data.has_whole_chunks:
            thin = data.thinned(weights[1], THINNING)
            passes = [(weights[0], thin, *passes[0][2:])]
            if refine:
                passes.append((*weights, settings.l2, refine, settings.tolerance))
        members.append((start, passes))
    if executor is not None:
        content = data.content()
        calls: list[tuple[Any, ...]] = [(content, *each) for each in members]
        return _collect(executor, train_member, calls, progress, _MAX_TRIES, patience)
    with ThreadPoolExecutor(_cores()) as threads:
        try:
            calls = [(data.core, *each) for each in members]
            return _collect(threads, _train_here, calls, progress, 1, patience)
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)
            raise


THINNING = 4
"""From random starts, most iterations need only so small a part of the forces."""

MANY_FORCES = 60
"""Those of structures that have fewer are all learned, whatever ``training.thinning``."""

_MAX_TRIES = 4


def _collect(
    executor: Executor,
    function: Callable[..., tuple[Array, float]],
    calls: Sequence[tuple[Any, ...]],
    progress: Progress,
    tries: int,
    patience: float,
) -> list[Fit]:
    """What calls return, each made so often at most until it comes back."""
    found: dict[int, Fit] = {}
    waiting = {executor.submit(function, *call): (n, 0) for n, call in enumerate(calls)}
    while waiting:
        done = wait(waiting, patience * 3600.0, FIRST_COMPLETED).done
        if not done:
            raise ParentError(
                f"waited {patience:g} h for the training of {len(waiting)} members and none came "
                "back; start again to go on waiting"
            )
        for future in done:
            number, lost = waiting.pop(future)
            try:
                weights, loss = future.result()
            except Exception as error:  # engines say in ways of their own that a worker vanished
                if lost + 1 == tries:
                    raise
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                progress.note(f"training member {number} again, its process or job ended: {reason}")
                waiting[executor.submit(function, *calls[number])] = (number, lost + 1)
            else:
                found[number] = Fit(weights, loss)
                progress.advance(len(found), len(calls), "members trained")
    return [found[number] for number in range(len(calls))]


def _train_here(
    core: _core.TrainingSet, start: Array, passes: Sequence[Sequence[Any]]
) -> tuple[Array, float]:
    """Train a member in several passes: its weights and their loss."""
    weights, loss = start, np.inf
    for energy_weights, force_weights, *settings in passes:
        weights, loss = core.levenberg_marquardt(weights, energy_weights, force_weights, *settings)[
            :2
        ]
    return weights, loss


def train_member(
    content: Mapping[str, Any], start: Array, passes: Sequence[Sequence[Any]]
) -> tuple[Array, float]:
    """Train a member in another process: plain content in, plain content out."""
    return _train_here(_core.TrainingSet(**content), start, passes)


def _cores() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return available or 1


def make_ensemble(
    data: TrainingData, weights: Sequence[Array], multiplicities: Counts, **provenance: object
) -> Ensemble:
    """The ensemble of trained members, without bounds yet; see `with_bounds`."""
    return Ensemble(
        data.functions,
        data.scaling,
        networks_from_weights(np.stack(weights), data.sizes, data.activations, data.intercepts),
        multiplicities=multiplicities,
        provenance=provenance,
        baseline=data.baseline,
    )


def with_bounds(ensemble: Ensemble, bounds: Bounds | None) -> Ensemble:
    """The ensemble with bounds of its errors; without any, its uncertainty stays as it is."""
    if bounds is None:
        return ensemble
    return replace(ensemble, calibration=bounds.forces.factor, bounds=bounds)


def train_from_new_starts(
    data: TrainingData,
    multiplicities: Counts,
    training: TrainingSettings,
    seed: int,
    iterations: int,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> list[Fit]:
    """Train every member from a random start; see `train_members`.

    Parameters
    ----------
    iterations : int
        At first; where all atoms of chunks are labelled, those of ``training`` follow.
    """
    starts = [initial_weights(data, seed, m) for m in range(len(multiplicities))]
    return train_members(
        data,
        multiplicities,
        starts,
        training,
        iterations,
        progress,
        executor,
        refine=training.iterations,
    )


def train_ensemble(
    images: Sequence[Image],
    functions: SymmetryFunctions,
    network: NetworkSettings,
    training: TrainingSettings,
    ensemble: EnsembleSettings,
    seed: int = 0,
    progress: Progress | None = None,
    scale_over: Sequence[Atoms] = (),
    baseline: BaselineSettings | None = None,
) -> Ensemble:
    """Train a bootstrap ensemble from random starts.

    Parameters
    ----------
    images : sequence of Image
        Bulk images and chunks.
    functions : SymmetryFunctions
    network, training, ensemble : settings
    seed : int
    progress : Progress, optional
    scale_over : sequence of ase.Atoms
        Structures without labels, e.g. the target, that the feature scaling shall cover as well.
    baseline : BaselineSettings, optional
        Pair terms; charges are neutral in ``scale_over``, or else in the images.

    Raises
    ------
    InputError
        If there is no image, or an element of ``functions`` occurs in none with neighbours.
    """
    progress = progress or Progress()
    added = None
    if baseline is not None:
        neutral = scale_over or [image.atoms for image in images]
        added = make_baseline(baseline, images, functions, neutral)
    data = prepare(images, functions, network, scale_over, progress, added)
    counts = draw_initial(ensemble.members, len(images), seed)
    fits = train_from_new_starts(
        data, counts, training, seed, training.initial_iterations, progress
    )
    weights = [fit.weights for fit in fits]
    made = make_ensemble(data, weights, counts, seed=seed)
    forces = np.array([data.core.predict(w)[1] for w in weights])
    made = with_bounds(made, Unseen.of(made, images, counts).bounds)
    return replace(made, domain=labelled_domain(data, forces))
