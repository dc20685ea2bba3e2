"""Retraining on frames that an ensemble is uncertain of (SI 3), round by round."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.config import RelaxationSettings
from nearsight.errors import DamagedFileError, InputError, ParentError
from nearsight.files.atomic import file_digest
from nearsight.files.names import round_folder
from nearsight.files.records import (
    EnsemblePath,
    HarvestSummary,
    RetrainingRecord,
    RetrainingRound,
    RoundRecord,
)
from nearsight.files.records.simulation import DECISIVE
from nearsight.learning.harvest import Harvest, doubt_of, harvest, load_harvest, save_harvest
from nearsight.learning.learner import Learner
from nearsight.learning.paths import Frames, Relaxations, known_round, read_paths, trajectory
from nearsight.learning.state import weight_bytes
from nearsight.model.ensemble import Ensemble
from nearsight.progress import Progress
from nearsight.simulation.known import doubt

__all__ = ["Retraining", "RetrainingResult"]

CANDIDATE_FRACTION = 0.5
"""Part of the uncertainty with which a frame is known from which on atoms of the frames up to the
first unknown one are candidates, as in dynamics: an unknown frame has mostly one or two such."""


@dataclass(frozen=True)
class RetrainingResult:
    """Result of a retraining.

    Attributes
    ----------
    learner : Learner
        With the ensemble of the best round, and the images of all.
    best : int
        The best round; 0: before any.
    last : list of ase.Atoms
        The last frame of every path of that round, without calculator: of relaxations, the
        structures as the best ensemble relaxes them.
    record : RetrainingRecord
    noun : str
        Where the frames are.
    limit : float or None, eV/Å
        Calibrated uncertainty with which a frame is known, if all were to be.
    """

    learner: Learner
    best: int
    last: list[Atoms]
    record: RetrainingRecord
    noun: str
    limit: float | None

    @property
    def summary(self) -> str:
        """One-sentence summary for the log."""
        rounds = self.record.rounds
        first, best = (_describe(each, self.limit) for each in (rounds[0], rounds[self.best]))
        text = f"{self.noun} {first}"
        if len(rounds) > 1:
            after = f"after round {self.best} of {len(rounds) - 1} {best}"
            text = f"{self.noun}, at first {first}; {after}"
        return f"{text}; ended because {self.record.stop_reason}"


@dataclass(frozen=True)
class Retraining:
    """Learn the uncertain atoms of frames, and see how uncertain they are then.

    Attributes
    ----------
    paths : Relaxations or Frames
        Of the relaxations of a round the next one learns. Frames that are given are believed,
        those of a relaxation only within a window.
    max_uncertainty : float, eV/Å, optional
        Of the calibrated uncertainty: rounds end as soon as every frame is known, and learn what
        the paths meet up to the first frame that is not. When left out, they go on as long as it
        helps.
    """

    paths: Relaxations | Frames
    max_uncertainty: float | None = None

    def run(
        self, learner: Learner, folder: str | Path, progress: Progress | None = None
    ) -> RetrainingResult:
        """Retrain until the frames are no less uncertain, or go on from where ``folder`` stands.

        Parameters
        ----------
        learner : Learner
            Ensemble to retrain; its settings decide.
        folder : path
            Gets ``retraining-00`` with the frames before any round, ``retraining-01`` ... with the
            harvest, the training and the frames of each, and ``retraining.json``, last.
        progress : Progress, optional

        Raises
        ------
        InputError
            For a folder of other settings, frames or another ensemble.
        ParentError
            If the parent fails on every chunk of a round; with ``max_uncertainty`` it ends there.
        """
        progress = progress or Progress()
        folder = Path(folder)
        settings = learner.settings
        threshold = self.max_uncertainty or settings.threshold or _largest_on_targets(learner)
        inputs = self.inputs(learner)
        steps = [learner]
        rounds = [self._follow(learner, threshold, round_folder(folder, 0), inputs, progress)]
        reason = ""
        while not reason:
            number = len(rounds)
            best = min(range(number), key=lambda n: self._rank(rounds[n]))
            if self._is_known(rounds[-1]):
                best, reason = number - 1, "every frame is known"
                continue
            reason = _bound(learner, rounds, best)
            if reason:
                continue
            place = round_folder(folder, number)
            learned = sum(each.harvest.chosen for each in rounds if each.harvest)
            most = min(settings.chunks, settings.max_chunks - learned)
            before = round_folder(folder, number - 1)
            found = self._harvest(steps[-1], threshold, most, before, rounds[-1], place)
            if not found.chosen:
                what = "atom with neighbours" if found.kept else "frame"
                reason = f"no {what} is as uncertain as {threshold:.4f} eV/Å, the threshold"
                continue
            progress.note(f"round {number}: {found.summary}")
            try:
                steps.append(steps[-1].learn(place, progress))
            except ParentError as error:
                if self.max_uncertainty is None:
                    raise
                reason = str(error)  # the training before it is none the worse
                continue
            after = self._follow(steps[-1], threshold, place, inputs, progress)
            summary = HarvestSummary(**found.figures)
            rounds.append(after.model_copy(update={"harvest": summary}))
            progress.note(f"after round {number} {_describe(after, self.max_uncertainty)}")
        record = RetrainingRecord(
            settings=settings.model_dump(mode="json"),
            fmax=self.paths.settings.fmax if isinstance(self.paths, Relaxations) else None,
            rounds=rounds,
            best=best,
            stop_reason=reason,
        )
        record.save(folder / RetrainingRecord.FILE)
        last = [
            path[-1] for path in read_paths(round_folder(folder, best), len(rounds[best].paths))
        ]
        for atoms in last:
            atoms.calc = None
        chosen = replace(steps[-1], ensemble=steps[best].ensemble)
        return RetrainingResult(chosen, best, last, record, self.paths.noun, self.max_uncertainty)

    def inputs(self, learner: Learner) -> str:
        """SHA-256 over all that decides a retraining beside the inputs of its trainings."""
        text = f"{self.max_uncertainty} {self.paths.inputs} {learner.settings!r}".encode()
        return hashlib.sha256(text + weight_bytes(learner.ensemble)).hexdigest()

    def _rank(self, found: RetrainingRound) -> tuple[float, ...]:
        """Smaller is better; where learning ends as soon as all is known, first what is known.

        What follows the first frame that is not known leads nowhere, and its uncertainty tells
        nothing.
        """
        limit = self.max_uncertainty
        if limit is None:
            return found.rank
        wholly = sum(path.is_known(limit) for path in found.paths)
        return -wholly, -sum(path.known(limit) for path in found.paths), *found.rank

    def _is_known(self, found: RetrainingRound) -> bool:
        limit = self.max_uncertainty
        return limit is not None and all(each.is_known(limit) for each in found.paths)

    def _follow(
        self, learner: Learner, threshold: float, folder: Path, inputs: str, progress: Progress
    ) -> RetrainingRound:
        """The paths of a round, and ``path.json``, last; or what is known of them."""
        try:
            known = known_round(folder)
        except DamagedFileError as error:
            progress.note(f"{error}; making the paths again")
            known = None
        if known is not None:
            if known.inputs != inputs:
                raise InputError(
                    f"{folder}: belongs to a retraining of another ensemble, of other frames or "
                    "with other settings; use another folder for this one"
                )
            return known.round
        folder.mkdir(parents=True, exist_ok=True)
        paths = self.paths.follow(learner.ensemble, folder, progress)
        largest = max(float(each.max_uncertainty.max()) for each in paths)
        content = RetrainingRound(
            paths=paths,
            largest_uncertainty=None if any(each.broken for each in paths) else largest,
            uncertainty=_decisive(paths, threshold),
        )
        digests = [file_digest(trajectory(folder, number)) for number in range(len(paths))]
        record = RoundRecord(inputs=inputs, round=content, trajectories=digests)
        record.save(folder / RoundRecord.FILE)
        return content

    def _harvest(
        self,
        learner: Learner,
        threshold: float,
        count: int,
        before: Path,
        explored: RetrainingRound,
        folder: Path,
    ) -> Harvest:
        """Choose from the frames of the last round, and keep the choice.

        The first frame of a relaxation is a target, which nearsighted force training takes care of.
        It can know a target so well that every frame lies beyond the window; then the window begins
        at the least uncertain of these. Where what tells rounds apart lies beyond, and the target
        has set the threshold, frames are believed as far as the relaxation knows them: no round
        could improve by what it learns from the others.
        """
        try:
            known = load_harvest(folder)
        except DamagedFileError:  # the same is chosen again
            known = None
        if known is not None:
            return known[0]
        settings, ensemble, low = learner.settings, learner.ensemble, threshold
        high: float | None = None
        frames: list[Atoms] = []
        for path in read_paths(before, len(explored.paths)):
            if self.max_uncertainty is not None:
                low = CANDIDATE_FRACTION * threshold
                frames += _up_to_unknown(ensemble, path, threshold)
            else:
                frames += path[1:] if isinstance(self.paths, Relaxations) else path
        calibrated = self.max_uncertainty is not None
        values = [doubt_of(ensemble, atoms, threshold, calibrated=calibrated) for atoms in frames]
        if isinstance(self.paths, Relaxations) and self.max_uncertainty is None:
            uncertain = [largest for each in values if (largest := float(each.max())) >= low]
            if min(uncertain, default=0.0) > settings.window * low:
                low = min(uncertain)
            high = settings.window * low
            if settings.threshold is None and (explored.uncertainty or 0.0) > high:
                high = max(high, _largest_known(explored.paths, self.paths.settings))
                low = high / settings.window
        found = harvest(ensemble, frames, values, low, high, count)
        if found.chosen:
            save_harvest(folder, found, frames)
        return found


def _up_to_unknown(ensemble: Ensemble, path: list[Atoms], threshold: float) -> list[Atoms]:
    """The frames of a path up to the first that is not known; its forces lead nowhere."""
    for number, atoms in enumerate(path):
        if doubt_of(ensemble, atoms, threshold, calibrated=True).max() > threshold:
            return path[: number + 1]
    return path


def _largest_known(paths: list[EnsemblePath], settings: RelaxationSettings) -> float:
    """Raw uncertainty of the frames of relaxations up to the first that is not known, eV/Å."""
    known = [path.max_uncertainty[1 : path.known(settings.max_uncertainty)] for path in paths]
    return float(np.concatenate(known).max(initial=0.0))


def _bound(learner: Learner, rounds: list[RetrainingRound], best: int) -> str:
    """Reason why there is no further round; empty if there is one."""
    settings, last = learner.settings, len(rounds) - 1
    if last - best >= settings.steps_not_improved:
        return f"the uncertainty did not improve in {last - best} rounds"
    if last >= settings.max_rounds:
        return f"max_rounds = {settings.max_rounds} is reached"
    if sum(each.harvest.chosen for each in rounds if each.harvest) >= settings.max_chunks:
        return f"max_chunks = {settings.max_chunks} is reached"
    return ""


def _decisive(paths: list[EnsemblePath], threshold: float) -> float:
    """Raw uncertainty that `DECISIVE` of the frames do not exceed, eV/Å."""
    frames = [doubt(each.max_uncertainty, each.extrapolation, threshold) for each in paths]
    return float(np.quantile(np.concatenate(frames), DECISIVE))


def _largest_on_targets(learner: Learner) -> float:
    """Raw structure uncertainty of the targets, eV/Å."""
    return float(learner.targets.evaluate(learner.ensemble)["uncertainty_raw"].max())


def _describe(found: RetrainingRound, limit: float | None) -> str:
    if found.largest_uncertainty is None:
        return "it breaks off"
    stated = [each.max_calibrated for each in found.paths if each.max_calibrated is not None]
    if limit is not None and stated:
        known, frames = sum(each.known(limit) for each in found.paths), sum(map(len, stated))
        if known < frames:
            return f"{known} of {frames} frames come before the first that is not known"
        largest = max(float(each.max()) for each in stated)
        return f"the uncertainty (calibrated) is at most {largest:.4f} eV/Å"
    return f"the uncertainty (raw) is at most {found.largest_uncertainty:.4f} eV/Å"
