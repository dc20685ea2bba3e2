"""Retraining on what relaxations run into (SI 3), round by round."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.config import RelaxationSettings
from nearsight.errors import DamagedFileError, InputError
from nearsight.files.atomic import file_digest
from nearsight.files.names import numbered, round_folder
from nearsight.files.records import (
    EnsemblePath,
    HarvestSummary,
    RetrainingRecord,
    RetrainingRound,
    RoundRecord,
)
from nearsight.files.trajectory import count_frames, read_frames
from nearsight.learning.harvest import Harvest, harvest, load_harvest, raw_uncertainty, save_harvest
from nearsight.learning.learner import Learner
from nearsight.learning.state import weight_bytes
from nearsight.model.ensemble import Ensemble
from nearsight.progress import Progress
from nearsight.simulation.relaxation import largest_force, relax

__all__ = ["Retraining", "RetrainingResult"]


@dataclass(frozen=True)
class RetrainingResult:
    """Result of a retraining.

    Attributes
    ----------
    learner : Learner
        With the ensemble of the best round, and the images of all.
    best : int
        The round of the lowest uncertainty along the relaxation; 0: before any.
    relaxed : list of ase.Atoms
        The targets as the best ensemble relaxes them.
    record : RetrainingRecord
    """

    learner: Learner
    best: int
    relaxed: list[Atoms]
    record: RetrainingRecord

    @property
    def summary(self) -> str:
        """One-sentence summary for the log."""
        largest = [each.largest_uncertainty for each in self.record.rounds]
        text = f"along the relaxation {_describe(largest[0])}"
        if len(largest) > 1:
            text += f", after round {self.best} of {len(largest) - 1} "
            text += _describe(largest[self.best])
        return f"{text}; ended because {self.record.stop_reason}"


@dataclass(frozen=True)
class Retraining:
    """Relax, learn the uncertain atoms met, relax again.

    Attributes
    ----------
    relaxation : RelaxationSettings
    """

    relaxation: RelaxationSettings = field(default_factory=RelaxationSettings)

    def run(
        self, learner: Learner, folder: str | Path, progress: Progress | None = None
    ) -> RetrainingResult:
        """Retrain until the relaxation is no less uncertain, or go on from where ``folder`` stands.

        Parameters
        ----------
        learner : Learner
            Ensemble to retrain; its settings decide.
        folder : path
            Gets ``retraining-00`` with the relaxation before any round, ``retraining-01`` ... with
            the harvest, the training and the relaxation of each, and ``retraining.json``, last.
        progress : Progress, optional

        Raises
        ------
        InputError
            For a folder of other settings or another ensemble.
        ParentError
            If the parent fails on every chunk of a round.
        """
        progress = progress or Progress()
        folder = Path(folder)
        settings = learner.settings
        threshold = settings.threshold or _largest_on_targets(learner)
        inputs = self._inputs(learner)
        steps = [learner]
        rounds = [self._relax_targets(learner, round_folder(folder, 0), inputs, progress)]
        while True:
            number = len(rounds)
            place = round_folder(folder, number)
            largest = [_or_infinite(each.largest_uncertainty) for each in rounds]
            since_best = len(largest) - 1 - int(np.argmin(largest))
            if since_best >= settings.steps_not_improved:
                reason = f"the uncertainty did not improve in {since_best} rounds"
                break
            if number > settings.max_rounds:
                reason = f"max_rounds = {settings.max_rounds} is reached"
                break
            before = round_folder(folder, number - 1)
            found = self._harvest(steps[-1], threshold, before, place)
            if not found.chosen:
                reason = f"no frame is as uncertain as {threshold:.4f} eV/Å, the threshold"
                break
            progress.note(f"round {number}: {found.summary}")
            steps.append(steps[-1].learn(place, progress))
            after = self._relax_targets(steps[-1], place, inputs, progress)
            summary = HarvestSummary(**found.figures)
            rounds.append(after.model_copy(update={"harvest": summary}))
            progress.note(f"after round {number} {_describe(after.largest_uncertainty)}")
        best = int(np.argmin(largest))
        record = RetrainingRecord(
            settings=settings.model_dump(mode="json"),
            fmax=self.relaxation.fmax,
            rounds=rounds,
            best=best,
            stop_reason=reason,
        )
        record.save(folder / RetrainingRecord.FILE)
        relaxed = [frames[-1] for frames in _paths(steps[0], round_folder(folder, best))]
        for atoms in relaxed:
            atoms.calc = None
        return RetrainingResult(
            replace(steps[-1], ensemble=steps[best].ensemble), best, relaxed, record
        )

    def _relax_targets(
        self, learner: Learner, folder: Path, inputs: str, progress: Progress
    ) -> RetrainingRound:
        """Relax every target, and write ``path.json``, last; or read it back."""
        path = folder / RoundRecord.FILE
        try:
            known = _known_round(folder, len(learner.targets.structures))
        except DamagedFileError as error:
            progress.note(f"{error}; relaxing again")
            known = None
        if known is not None:
            if known.inputs != inputs:
                raise InputError(
                    f"{folder}: belongs to a retraining of another ensemble or with other "
                    "settings; use another folder for this one"
                )
            return known.round
        folder.mkdir(parents=True, exist_ok=True)
        paths: list[EnsemblePath] = []
        for number, atoms in enumerate(learner.targets.structures):
            trajectory = _trajectory(folder, number)
            try:
                result = relax(learner.ensemble, atoms, self.relaxation, progress, trajectory)
                paths.append(result.model_copy(update={"broken": ""}))
            except InputError as error:
                progress.note(f"the relaxation breaks off: {error}")
                paths.append(_broken_path(learner.ensemble, trajectory, str(error)))
        broken_off = any(each.broken for each in paths)
        worst = max(float(each.max_uncertainty.max()) for each in paths)
        content = RetrainingRound(paths=paths, largest_uncertainty=None if broken_off else worst)
        digests = [file_digest(_trajectory(folder, number)) for number in range(len(paths))]
        RoundRecord(inputs=inputs, round=content, trajectories=digests).save(path)
        return content

    def _harvest(self, learner: Learner, threshold: float, before: Path, folder: Path) -> Harvest:
        """Choose from the frames of the last relaxation, and keep the choice.

        The first frame of each is a target, which nearsighted force training takes care of. It can
        know a target so well that every frame lies beyond the window; then the window begins at
        the least uncertain of these.
        """
        try:
            known = load_harvest(folder)
        except DamagedFileError:  # the same is chosen again
            known = None
        if known is not None:
            return known[0]
        settings, ensemble, low = learner.settings, learner.ensemble, threshold
        frames = [atoms for path in _paths(learner, before) for atoms in path[1:]]
        raw = [raw_uncertainty(ensemble, atoms) for atoms in frames]
        uncertain = [largest for each in raw if (largest := float(each.max())) >= low]
        if min(uncertain, default=0.0) > settings.window * low:
            low = min(uncertain)
        found = harvest(ensemble, frames, raw, low, settings.window * low, settings.chunks)
        if found.chosen:
            save_harvest(folder, found, frames)
        return found

    def _inputs(self, learner: Learner) -> str:
        """SHA-256 over all that decides a retraining beside the inputs of its trainings."""
        text = f"{self!r} {learner.settings!r}".encode()
        return hashlib.sha256(text + weight_bytes(learner.ensemble)).hexdigest()


def _known_round(folder: Path, count: int) -> RoundRecord | None:
    """What is known of a round whose relaxations of so many targets are there, whole."""
    path = folder / RoundRecord.FILE
    if not path.exists():
        return None
    known = RoundRecord.load(path)
    found = [count_frames(_trajectory(folder, number)) for number in range(count)]
    expected = [len(each.energies) for each in known.round.paths]
    if found != expected:
        raise DamagedFileError(f"{path}: does not fit the trajectories, of {found} frames")
    for number in range(count):
        trajectory = _trajectory(folder, number)
        for _ in read_frames(trajectory):
            pass
        if known.trajectories and known.trajectories[number : number + 1] != [
            file_digest(trajectory)
        ]:
            raise DamagedFileError(f"{path}: belongs to another {trajectory.name}")
    return known


def _largest_on_targets(learner: Learner) -> float:
    """Raw structure uncertainty of the targets, eV/Å."""
    return float(learner.targets.evaluate(learner.ensemble)["uncertainty_raw"].max())


def _trajectory(folder: Path, number: int) -> Path:
    return folder / numbered("path.traj", number)


def _paths(learner: Learner, folder: Path) -> Iterator[list[Atoms]]:
    """The frames of the relaxation of every target."""
    for number in range(len(learner.targets.structures)):
        yield list(read_frames(_trajectory(folder, number)))


def _broken_path(ensemble: Ensemble, trajectory: Path, reason: str) -> EnsemblePath:
    """Steps up to the one that could not be evaluated."""
    frames = list(read_frames(trajectory))
    raw = [raw_uncertainty(ensemble, atoms) for atoms in frames]
    return EnsemblePath(
        energies=np.array([atoms.get_potential_energy() for atoms in frames]),
        fmax=np.array([largest_force(atoms.get_forces()) for atoms in frames]),
        converged=False,
        max_uncertainty=np.array([each.max() for each in raw]),
        mean_uncertainty=np.array([each.mean() for each in raw]),
        broken=reason,
    )


def _or_infinite(largest: float | None) -> float:
    """A relaxation that broke off is worse than any other."""
    return np.inf if largest is None else largest


def _describe(largest: float | None) -> str:
    if largest is None:
        return "it breaks off"
    return f"the uncertainty (raw) is at most {largest:.4f} eV/Å"
