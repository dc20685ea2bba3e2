"""Nearsighted force training (SI 8.4): train, find the uncertain atoms, label chunks, repeat."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.bootstrap import draw_again, draw_initial, draw_later
from nearsight.chunks import extract_chunks
from nearsight.ensemble import Ensemble
from nearsight.errors import InputError
from nearsight.fingerprints import Fingerprints
from nearsight.images import Image, check_neighbours, check_structure, write_images
from nearsight.iteration import Iteration
from nearsight.loss import TrainingData
from nearsight.parents import Parent
from nearsight.parents.database import fingerprint
from nearsight.potential import weights_from_networks
from nearsight.progress import Progress
from nearsight.settings import EnsembleSettings, NetworkSettings, NFTSettings, TrainingSettings
from nearsight.symmetry_functions import SymmetryFunctions
from nearsight.training import initial_weights, make_ensemble, prepare, train_members

__all__ = ["NFT", "Iteration", "State"]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class State:
    """Where the training stands after an iteration.

    Attributes
    ----------
    data : TrainingData
        All images so far: the first ones, then the chunks.
    multiplicities : (M, images) int64
    weights : list of (P,) float64
        Of every member.
    ensemble : Ensemble
    history : tuple of Iteration
    """

    data: TrainingData
    multiplicities: Counts
    weights: list[Array]
    ensemble: Ensemble
    history: tuple[Iteration, ...]

    @property
    def best(self) -> Iteration:
        """The iteration of the lowest structure uncertainty; the earlier of two equal ones.

        The first iteration counts only while it is alone (see `NFT.stop`).
        """
        return min(self.history[1:] or self.history, key=lambda i: i.structure_uncertainty)

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


@dataclass(frozen=True)
class NFT:
    """Nearsighted force training of one target.

    All randomness comes from ``seed``, the member and the iteration, so that a run that was
    stopped ends like one that was not.

    Attributes
    ----------
    settings : NFTSettings
    network, training, ensemble : settings of the networks, the loss and the members
    seed : int
    """

    settings: NFTSettings = field(default_factory=NFTSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    ensemble: EnsembleSettings = field(default_factory=EnsembleSettings)
    seed: int = 0

    def run(
        self,
        images: Sequence[Image],
        functions: SymmetryFunctions,
        target: Atoms,
        parent: Parent,
        folder: str | Path,
        progress: Progress | None = None,
    ) -> State:
        """Train until a bound of the settings is met, or go on from where ``folder`` stands.

        Parameters
        ----------
        images : sequence of Image
            The labelled images to start from.
        functions : SymmetryFunctions
        target : ase.Atoms
        parent : Parent
            Labels the chunks; with a database nothing is ever calculated twice.
        folder : path
            Gets ``iteration-NNN`` folders and ``best.json``, the best iteration's ensemble.
        progress : Progress, optional

        Returns
        -------
        State
            After the last iteration.

        Raises
        ------
        InputError
            For images or a target that cannot be worked with, or a folder of other settings or
            inputs.
        ParentError
            If the parent fails on a chunk; what was calculated before is kept.
        """
        progress = progress or Progress()
        folder = Path(folder)
        check_structure(target, functions.elements, "target")
        nearest = min(functions.cutoff.radius, self.settings.chunk_radius)
        check_neighbours(target, nearest, "target")
        session = _Session(self, images, functions, target, parent, folder, progress)
        state = session.restore()
        while state is None or not state.stop_reason:
            state = session.first() if state is None else session.step(state)
            progress.iteration(state.history[-1].summary(state.best is state.history[-1]))
        best = _folder(folder, state.best.iteration) / "ensemble.json"
        Ensemble.load(best).save(folder / "best.json")
        return state

    def choose(self, raw: Array, seen: Sequence[int]) -> tuple[list[int], list[int]]:
        """What the next iteration trains on, most uncertain first.

        Parameters
        ----------
        raw : (N,) float64, eV/Å
            Raw uncertainties.
        seen : sequence of int
            Atoms already in the training.

        Returns
        -------
        new : list of int
            The most uncertain atoms not yet in the training.
        again : list of int
            Atoms in the training among the most uncertain ones of all (see `bootstrap`).
        """
        settings = self.settings
        bound = (
            float(np.quantile(raw, -settings.threshold))
            if settings.threshold < 0
            else settings.threshold
        )
        known = set(seen)
        order = [int(i) for i in np.argsort(-raw, kind="stable") if raw[i] >= bound]
        new = [i for i in order if i not in known]
        most = settings.chunks_per_iteration
        return (
            new[: min(most, settings.max_chunks - len(seen))],
            [i for i in order[:most] if i in known],
        )

    def stop(self, history: Sequence[Iteration], raw: Array, chunks: int, new: int) -> str:
        """Why training ends after an iteration with these uncertainties; empty if it goes on.

        Improvement counts from the first chunks on: the members trained on bulk cells alone agree
        on a surface that none of them has seen.
        """
        settings = self.settings
        values = [i.structure_uncertainty for i in history] + [float(raw.max())]
        since_best = len(values) - 1 - int(np.argmin(values[1:] or values) + (len(values) > 1))
        if settings.stop_uncertainty > 0.0 and values[-1] <= settings.stop_uncertainty:
            return f"the uncertainty is at most {settings.stop_uncertainty:g} eV/Å"
        if chunks >= settings.max_chunks:
            return f"there are {chunks} chunks"
        if len(values) > settings.max_iterations:
            return f"there were {settings.max_iterations} iterations"
        if since_best >= settings.steps_not_improved:
            return f"the uncertainty did not improve in {since_best} iterations"
        if new == 0:
            return "no uncertain atom is left that is not in the training"
        return ""


@dataclass(frozen=True)
class _Session:
    """One training in its folder."""

    nft: NFT
    images: Sequence[Image]
    functions: SymmetryFunctions
    target: Atoms
    parent: Parent
    folder: Path
    progress: Progress

    def first(self) -> State:
        """Train on the first images alone."""
        began = time.perf_counter()
        nft = self.nft
        data = self._prepare()
        counts = draw_initial(nft.ensemble.members, len(self.images), nft.seed)
        starts = [initial_weights(data, nft.seed, m) for m in range(nft.ensemble.members)]
        return self._finish(
            data, counts, starts, (), [], began, iterations=nft.training.initial_iterations
        )

    def step(self, state: State) -> State:
        """Label the chunks that the last iteration asked for, train on them too, look again."""
        began = time.perf_counter()
        nft, last = self.nft, state.history[-1]
        number = len(state.history)
        chunks = self._label(last.new_indices)
        folder = _folder(self.folder, number)
        folder.mkdir(parents=True, exist_ok=True)
        write_images(folder / "chunks.extxyz", chunks)
        data = self._extend(state.data, chunks)
        later = draw_later(nft.ensemble.members, len(chunks), nft.seed, number)
        indices = last.chunk_indices + last.new_indices
        counts = np.concatenate([state.multiplicities, later], axis=1)
        first = len(data.fingerprints) - len(indices)
        again = [first + indices.index(i) for i in last.again_indices]
        counts[:, again] += draw_again(nft.ensemble.members, len(again), nft.seed, number)
        return self._finish(data, counts, state.weights, state.history, indices, began)

    def restore(self) -> State | None:
        """The state after the last whole iteration in the folder, or None.

        Raises
        ------
        InputError
            If the folder belongs to other settings or inputs, or its files are damaged.
        """
        history: list[Iteration] = []
        ensemble = None
        while (path := _folder(self.folder, len(history)) / "evaluation.json").exists():
            iteration = Iteration.load(path)
            ensemble = Ensemble.load(path.with_name("ensemble.json"))
            if (
                ensemble.provenance != self._provenance(len(history), iteration.chunk_indices)
                or ensemble.functions.to_dict() != self.functions.to_dict()
            ):
                raise InputError(
                    f"{path.parent}: belongs to other settings or inputs (target, images, symmetry "
                    "functions, parent); use another folder for these"
                )
            history.append(iteration)
        if ensemble is None or ensemble.multiplicities is None:
            return None
        data = self._extend(self._prepare(), self._label(history[-1].chunk_indices))
        weights = [weights_from_networks(member) for member in ensemble.members]
        for count in range(len(history)):
            state = State(
                data, ensemble.multiplicities, weights, ensemble, tuple(history[: count + 1])
            )
            self.progress.iteration(history[count].summary(state.best is history[count]))
        return state

    def _prepare(self) -> TrainingData:
        return prepare(self.images, self.functions, self.nft.network, [self.target])

    @cached_property
    def _inputs(self) -> str:
        """SHA-256 over the target and the first images with their labels, to the last bit."""
        digest = hashlib.sha256(fingerprint(self.target, "target").encode())
        for image in self.images:
            digest.update(fingerprint(image.atoms, str(image.energy)).encode())
            digest.update(image.forces.tobytes())
        return digest.hexdigest()

    def _label(self, indices: Sequence[int]) -> list[Image]:
        """The chunks around atoms of the target, labelled by the parent.

        The parent sees the atoms within the chunk radius. The network is asked for the same force
        in as much of the target as it depends on, two cutoffs, instead of in the chunk, whose cut
        surroundings it would never meet in the target; this costs no parent calculation.
        """
        settings = self.nft.settings
        if not indices:
            return []
        cut = surroundings = extract_chunks(
            self.target, indices, settings.chunk_radius, settings.vacuum
        )
        if settings.environment == "target":
            reach = max(settings.chunk_radius, 2.0 * self.functions.cutoff.radius)
            surroundings = extract_chunks(self.target, indices, reach, settings.vacuum)
        images = []
        for number, (chunk, around) in enumerate(zip(cut, surroundings, strict=True)):
            self.progress.advance(number, len(indices), f"chunks, {len(chunk)} atoms")
            images.append(Image(around, self.parent.calculate(chunk).forces[:1]))
        self.progress.advance(len(indices), len(indices), "chunks")
        return images

    def _extend(self, data: TrainingData, chunks: Sequence[Image]) -> TrainingData:
        prints = [Fingerprints.of(chunk, self.functions) for chunk in chunks]
        return replace(data, fingerprints=[*data.fingerprints, *prints])

    def _provenance(self, iteration: int, chunk_indices: Sequence[int]) -> Mapping[str, Any]:
        nft = self.nft
        return {
            "seed": nft.seed,
            "iteration": iteration,
            "parent": self.parent.settings,
            "inputs": self._inputs,
            "target": {
                "formula": str(self.target.symbols),
                "chunk_indices": [int(i) for i in chunk_indices],
            },
            "settings": {
                name: getattr(nft, field).model_dump(mode="json")
                for name, field in (
                    ("nft", "settings"),
                    ("network", "network"),
                    ("training", "training"),
                    ("ensemble", "ensemble"),
                )
            },
        }

    def _finish(
        self,
        data: TrainingData,
        counts: Counts,
        starts: Sequence[Array],
        history: tuple[Iteration, ...],
        indices: list[int],
        began: float,
        iterations: int | None = None,
    ) -> State:
        """Train, evaluate the target, decide what comes next, and put all of it on disk."""
        nft = self.nft
        fits = train_members(data, counts, starts, nft.training, iterations, self.progress)
        weights = [fit.weights for fit in fits]
        ensemble = make_ensemble(data, weights, counts, **self._provenance(len(history), indices))
        found = ensemble.evaluate(self.target, stress=False)
        raw, calibrated = found.uncertainty_raw, found.uncertainty
        assert raw is not None  # members were asked for
        assert calibrated is not None
        quality = [data.quality(w) for w in weights]
        new, again = nft.choose(raw, indices)
        reason = nft.stop(history, raw, len(indices), len(new))
        iteration = Iteration(
            iteration=len(history),
            chunk_indices=indices,
            new_indices=[] if reason else new,
            again_indices=[] if reason else again,
            stop_reason=reason,
            uncertainty_raw=raw.tolist(),
            uncertainty=calibrated.tolist(),
            forces=found.forces.tolist(),
            calibration=ensemble.calibration,
            energy_rmse=float(np.mean([q.energy_rmse for q in quality])),
            force_rmse=float(np.mean([q.force_rmse for q in quality])),
            max_force_residual=max(q.max_force_residual for q in quality),
            seconds=time.perf_counter() - began,
        )
        folder = _folder(self.folder, iteration.iteration)
        folder.mkdir(parents=True, exist_ok=True)
        ensemble.save(folder / "ensemble.json")
        # The evaluation comes last: it says that the iteration is whole.
        iteration.save(folder / "evaluation.json")
        return State(data, counts, weights, ensemble, (*history, iteration))


def _folder(folder: Path, iteration: int) -> Path:
    return folder / f"iteration-{iteration:03d}"
