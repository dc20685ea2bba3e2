"""A nearsighted force training in its folder: its iterations, and going on from them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearsight.errors import DamagedFileError, InputError, ParentError
from nearsight.executors import discard_finished
from nearsight.files.names import iteration_folder
from nearsight.files.records import Candidate, Iteration, Model, best_iteration
from nearsight.learning.candidates import Candidates, ChunkCandidates
from nearsight.learning.capacity import (
    Capacity,
    apply_model,
    choice_is_due,
    describe_choice,
    first_model,
)
from nearsight.learning.earlier import has_other_labels, is_continued, set_aside
from nearsight.learning.geometries import GeometryCandidates
from nearsight.learning.labels import mend_image_files
from nearsight.learning.model_data import ModelData
from nearsight.learning.policy import decide_again, stop_reason
from nearsight.learning.state import Start, State, Training, digest_of_inputs, trained_weights
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Failure, Parent
from nearsight.progress import Progress
from nearsight.structures.images import Image, write_images
from nearsight.training.bootstrap import draw_again, draw_initial, draw_later
from nearsight.training.dataset import TrainingData
from nearsight.training.environments import labelled_domain
from nearsight.training.fit import (
    make_ensemble,
    train_from_new_starts,
    train_members,
    with_bounds,
)

__all__ = ["Session"]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Session:
    """One training in its folder."""

    nft: Training
    images: tuple[Image, ...]
    functions: SymmetryFunctions
    targets: Targets
    parent: Parent
    folder: Path
    progress: Progress
    start: Start | None
    executor: Executor | None

    def first(self) -> State:
        """Train on the first images alone."""
        began = time.perf_counter()
        nft, members = self.nft, self.nft.ensemble.members
        model = self._first_model
        data = self._data.of(self.images, model, self._data.baseline(self.images, self.progress))
        starts: Sequence[Array] | None = None
        if self.start is None:
            counts = draw_initial(members, len(self.images), nft.seed)
        else:
            earlier, starts = trained_weights(self.start.ensemble)
            later = draw_later(members, len(self.images) - earlier.shape[1], nft.seed, 0)
            later = self._candidates.known_to(later)
            counts = np.concatenate([earlier, later], axis=1)
        known = dict(self.start.chunk_images) if self.start else {}
        return self._finish(self.images, data, model, [], known, counts, starts, (), [], began)

    def step(self, state: State) -> State:
        """Label what the last iteration asked for, train on that too, look again."""
        began = time.perf_counter()
        nft, last = self.nft, state.history[-1]
        members, number = nft.ensemble.members, len(state.history)
        chunks, failed = self._label_next(last)
        folder = iteration_folder(self.folder, number)
        folder.mkdir(parents=True, exist_ok=True)
        if chunks:
            write_images(folder / self._candidates.file, list(chunks.values()))
        images = (*state.images, *chunks.values())
        data = state.data
        if not last.chunk_indices:  # charges are fitted anew, to chunks too, before they stay
            baseline = self._data.baseline(images, self.progress)
            if baseline != data.baseline:
                data = self._data.of(self.images, state.model, baseline)
        data = self._data.extended(data, images)
        later = self._candidates.known_to(draw_later(members, len(chunks), nft.seed, number))
        counts = np.concatenate([state.multiplicities, later], axis=1)
        known = state.chunk_images
        again = [known[i] for i in last.again_indices]
        counts[:, again] += draw_again(members, len(again), nft.seed, number)
        known = {**known, **{i: len(state.images) + n for n, i in enumerate(chunks)}}
        model, data, candidates = self._choose_model(state, data, images, len(known))
        # for members that know no chunk yet a new start is nearer to where they will end
        whole = nft.settings.labels != "center"
        fresh = model != state.model or data.baseline != state.data.baseline
        fresh = fresh or (whole and not last.chunk_indices)
        return self._finish(
            images,
            data,
            model,
            candidates,
            known,
            counts,
            None if fresh else state.weights,
            state.history,
            [*last.failed_indices, *failed],
            began,
        )

    def restore(self) -> State | None:
        """The state after the last whole iteration in the folder, or None.

        Raises
        ------
        InputError
            If the folder belongs to other settings or inputs, or comes from a newer version.
        """
        history: list[Iteration] = []
        ensemble = None
        while (path := iteration_folder(self.folder, len(history)) / Iteration.FILE).exists():
            try:
                iteration = Iteration.load(path)
                if not path.with_name("ensemble.json").exists():
                    raise DamagedFileError(f"{path}: its ensemble.json is missing")
                found = Ensemble.load(path.with_name("ensemble.json"))
                iteration.check_chain(path, found.digest, history)
                self._candidates.check(iteration)
            except DamagedFileError as error:
                self.progress.note(f"{error}; repeating iteration {len(history)}")
                break
            expected = self._provenance(len(history), iteration.chunk_indices)
            functions = self._data.functions_of(iteration.model or self._first_model)
            same = found.functions.to_dict() == functions.to_dict()
            if not (same and is_continued(found.provenance, expected)):
                if same and has_other_labels(found.provenance, expected):
                    self.progress.note(set_aside(self.folder))
                    return None
                raise InputError(
                    f"{path.parent}: belongs to other settings or inputs (target, images, symmetry "
                    "functions, parent); use another folder for these"
                )
            history.append(iteration)
            ensemble = found
        if ensemble is None:
            return None
        history[-1] = self._decide_again(history)
        known = dict(self.start.chunk_images) if self.start else {}
        later = history[-1].chunk_indices[len(known) :]
        chunks = self._candidates.label(later)
        for index, chunk in chunks.items():
            if isinstance(chunk, Failure):
                name = self._candidates.name(index)
                raise ParentError(f"{name} was calculated and is lost: {chunk}")
        mend_image_files(self.folder, self._candidates.file, history, chunks, self.progress)
        images = (*self.images, *(c for c in chunks.values() if isinstance(c, Image)))
        known |= {i: len(self.images) + n for n, i in enumerate(later)}
        model = history[-1].model or self._first_model
        data = self._data.of(images, model, ensemble.baseline)
        counts, weights = trained_weights(ensemble)
        started = self.start is not None
        for number, iteration in enumerate(history):
            best = best_iteration(history[: number + 1], started)
            summary = iteration.summary(best == number)
            self.progress.iteration({**summary, "read_back": True})
        return State(
            images,
            data,
            known,
            counts,
            weights,
            ensemble,
            model,
            self._candidates.validation(len(history) - 1),
            tuple(history),
            started,
        )

    def _decide_again(self, history: Sequence[Iteration]) -> Iteration:
        """The last iteration, which may have been the end under other stop rules than today's."""
        decided = decide_again(
            self.nft.settings,
            history,
            lambda last: self._candidates.choose(
                last.uncertainty_raw, last.exploration, last.chunk_indices, last.failed_indices
            ),
            self._candidates.most,
            self.start is not None,
        )
        if decided is not history[-1]:
            self.progress.note(f"going on: training had ended because {history[-1].stop_reason}")
            decided.save(iteration_folder(self.folder, decided.iteration) / Iteration.FILE)
        return decided

    @cached_property
    def _first_model(self) -> Model:
        if self.start is not None and self.start.model is not None:
            return self.start.model
        return first_model(self.nft.network, self.nft.training, self.nft.settings)

    @cached_property
    def _data(self) -> ModelData:
        return ModelData(self.nft, self.images, self.functions, self.targets, self.start)

    @cached_property
    def _candidates(self) -> Candidates:
        kind = GeometryCandidates if self.nft.settings.labels == "target" else ChunkCandidates
        return kind(
            self.nft,
            self.targets,
            self.functions,
            self.parent,
            self.folder,
            self.progress,
            self.start,
        )

    def _choose_model(
        self, state: State, data: TrainingData, images: Sequence[Image], chunks: int
    ) -> tuple[Model, TrainingData, list[Candidate]]:
        """The model to go on with, its data, and the candidates if there was a choice."""
        nft = self.nft
        if self.start or not state.validation or not choice_is_due(state.history, chunks):
            return state.model, data, []
        known = {state.model.cutoff: data}

        def data_of(model: Model) -> TrainingData:
            if model.cutoff not in known:
                known[model.cutoff] = self._data.of(images, model, data.baseline)
            return apply_model(known[model.cutoff], model)

        settings = nft.capacity
        if nft.settings.labels == "target":  # there are no distances from a centre
            settings = settings.model_copy(update={"force_decay": ()})
        cutoff = self.functions.cutoff.radius
        capacity = Capacity(settings, cutoff, nft.training, nft.seed, self.progress, self.executor)
        model, candidates = capacity.choose(data_of, state.validation, state.model)
        said = describe_choice(state.model, model, candidates, nft.settings.noun)
        self.progress.note(said)
        return model, data_of(model), candidates

    @cached_property
    def _inputs(self) -> str:
        return digest_of_inputs(self.targets.structures, self.images, self.start)

    def _label_next(self, last: Iteration) -> tuple[dict[int, Image], list[int]]:
        """What the last iteration asked for, and the numbers of what was given up.

        The next ones take the place of those, in all as many as were asked for.
        """
        spare = self._candidates.spare(last)
        labelled: dict[int, Image] = {}
        failed: list[int] = []
        asked = last.new_indices
        while asked:
            missing = 0
            for index, chunk in self._candidates.label(asked).items():
                if isinstance(chunk, Image):
                    labelled[index] = chunk
                    continue
                failed.append(index)
                missing += 1
                self.progress.note(f"skipping {self._candidates.name(index)} {chunk.explained}")
                reason = chunk
            asked, spare = spare[:missing], spare[missing:]
        if last.new_indices and not labelled:
            record = self.parent.failures.path
            raise ParentError(
                f"parent {self.parent.settings['calculator']} failed on all {len(failed)} "
                f"{self.nft.settings.noun} asked for, the last one {reason}"
                + (f"; when the cause is gone, delete {record} to try again" if record else "")
            )
        return labelled, failed

    def _provenance(self, iteration: int, chunk_indices: Sequence[int]) -> Mapping[str, Any]:
        nft = self.nft
        return {
            "seed": nft.seed,
            "iteration": iteration,
            "parent": self.parent.settings,
            "inputs": self._inputs,
            "target": {
                "formula": self.targets.formula,
                "chunk_indices": [int(i) for i in chunk_indices],
            },
            "settings": nft.described,
        }

    def _finish(
        self,
        images: tuple[Image, ...],
        data: TrainingData,
        model: Model,
        candidates: list[Candidate],
        known: Mapping[int, int],
        counts: Counts,
        starts: Sequence[Array] | None,
        history: tuple[Iteration, ...],
        failed: list[int],
        began: float,
    ) -> State:
        """Train, evaluate the targets, decide what comes next, and put all of it on disk.

        Members go on from ``starts``, or begin anew.
        """
        nft, indices, started = self.nft, list(known), self.start is not None
        training = nft.training.model_copy(update={"l2": model.l2})
        if starts is None:
            iterations = training.initial_iterations
            fits = train_from_new_starts(
                data, counts, training, nft.seed, iterations, self.progress, self.executor
            )
            if any(iteration.chunks for iteration in history):  # as those they replace had more
                starts = [fit.weights for fit in fits]
        if starts is not None:
            fits = train_members(data, counts, starts, training, None, self.progress, self.executor)
        weights = [fit.weights for fit in fits]
        ensemble = make_ensemble(data, weights, counts, **self._provenance(len(history), indices))
        explored = self._candidates.explore(ensemble, len(history), images, indices)
        predicted = [data.core.predict(w) for w in weights]
        trained = np.array([forces for _, forces in predicted])
        unseen = self._candidates.unseen(ensemble, images, counts, len(history))
        bounds, expected = unseen.bounds, unseen.expected_error
        ensemble = replace(with_bounds(ensemble, bounds), domain=labelled_domain(data, trained))
        found = self.targets.evaluate(ensemble)
        quality = [data.quality(*each, own) for each, own in zip(predicted, counts, strict=True)]
        new, again = self._candidates.choose(found["uncertainty_raw"], explored, indices, failed)
        iteration = Iteration(
            iteration=len(history),
            chunk_indices=indices,
            failed_indices=failed,
            new_indices=new,
            again_indices=again,
            stop_reason="",
            **found,
            calibration=ensemble.calibration,
            energy_rmse=float(np.mean([q.energy_rmse for q in quality])),
            force_rmse=float(np.mean([q.force_rmse for q in quality])),
            max_force_residual=max(q.max_force_residual for q in quality),
            member_force_rmse=np.array([q.force_rmse for q in quality]),
            validation_error=expected.mean if unseen.validation and expected else None,
            expected=expected,
            bounds=bounds,
            model=model,
            candidates=candidates,
            shells=self._candidates.shells(data, trained, counts),
            exploration=explored,
            seconds=time.perf_counter() - began,
            ensemble=ensemble.digest,
            previous=history[-1].ensemble if history else None,
        )
        most = self._candidates.most
        reason = stop_reason(nft.settings, history, iteration, len(new), most, started, len(again))
        if reason:
            end = {"stop_reason": reason, "new_indices": [], "again_indices": []}
            iteration = iteration.model_copy(update=end)
        folder = iteration_folder(self.folder, iteration.iteration)
        folder.mkdir(parents=True, exist_ok=True)
        ensemble.save(folder / "ensemble.json")
        # last: an iteration without its evaluation is incomplete
        iteration.save(folder / Iteration.FILE)
        discard_finished(self.executor)
        return State(
            images,
            data,
            known,
            counts,
            weights,
            ensemble,
            model,
            self._candidates.validation(len(history)),
            (*history, iteration),
            started,
        )
