"""Retraining on what relaxations run into (SI 3), round by round."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.config import RelaxationSettings
from nearsight.errors import InputError
from nearsight.files.atomic import check_header, read_json, write_json
from nearsight.files.trajectory import read_frames
from nearsight.learning.harvest import Harvest, harvest, load_harvest, raw_uncertainty, save_harvest
from nearsight.learning.learner import Learner
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import weights_from_networks
from nearsight.progress import Progress
from nearsight.simulation.relaxation import relax

__all__ = ["Retraining", "RetrainingResult"]

Array = npt.NDArray[np.float64]

FORMAT = "nearsight-retraining"
PATH_FORMAT = "nearsight-path"
VERSION = 1


@dataclass(frozen=True)
class RetrainingResult:
    """What came of a retraining.

    Attributes
    ----------
    learner : Learner
        With the ensemble of the best round, and the images of all.
    best : int
        The round of the lowest uncertainty along the relaxation; 0: before any.
    relaxed : list of ase.Atoms
        The targets as the best ensemble relaxes them.
    record : dict
        The content of ``retraining.json``.
    """

    learner: Learner
    best: int
    relaxed: list[Atoms]
    record: dict[str, Any]

    @property
    def summary(self) -> str:
        """One sentence."""
        rounds = self.record["rounds"]
        largest = [each["largest_uncertainty"] for each in rounds]
        text = f"along the relaxation {_largest(largest[0])}"
        if len(rounds) > 1:
            text += f", after round {self.best} of {len(rounds) - 1} {_largest(largest[self.best])}"
        return f"{text}; ended because {self.record['stop_reason']}"


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
            What is to be retrained; its settings decide.
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
        rounds = [self._relax_targets(learner, folder / "retraining-00", inputs, progress)]
        while True:
            number = len(rounds)
            place = folder / f"retraining-{number:02d}"
            largest = [_or_infinite(each["largest_uncertainty"]) for each in rounds]
            since_best = len(largest) - 1 - int(np.argmin(largest))
            if since_best >= settings.steps_not_improved:
                reason = f"the uncertainty did not improve in {since_best} rounds"
                break
            if number > settings.max_rounds:
                reason = f"max_rounds = {settings.max_rounds} is reached"
                break
            came_from = folder / f"retraining-{number - 1:02d}"
            found = self._harvest(steps[-1], threshold, came_from, place)
            if not found.chosen:
                reason = f"no frame is as uncertain as {threshold:.4f} eV/Å, the threshold"
                break
            progress.note(f"round {number}: {found.summary}")
            steps.append(steps[-1].learn(place, progress))
            followed = self._relax_targets(steps[-1], place, inputs, progress)
            rounds.append({"harvest": {**asdict(found), "chosen": len(found.chosen)}, **followed})
            progress.note(f"after round {number} {_largest(followed['largest_uncertainty'])}")
        best = int(np.argmin(largest))
        record = {
            "format": FORMAT,
            "version": VERSION,
            "settings": settings.model_dump(mode="json"),
            "fmax": self.relaxation.fmax,
            "rounds": rounds,
            "best": best,
            "stop_reason": reason,
        }
        write_json(folder / "retraining.json", record)
        relaxed = [frames[-1] for frames in _paths(steps[0], folder / f"retraining-{best:02d}")]
        for atoms in relaxed:
            atoms.calc = None
        return RetrainingResult(
            replace(steps[-1], ensemble=steps[best].ensemble), best, relaxed, record
        )

    def _relax_targets(
        self, learner: Learner, folder: Path, inputs: str, progress: Progress
    ) -> dict[str, Any]:
        """Relax every target, and sum up what happened on the way; in ``path.json``, last."""
        path = folder / "path.json"
        if path.exists():
            known = check_header(read_json(path), path, PATH_FORMAT, VERSION)
            if known.get("inputs") != inputs:
                raise InputError(
                    f"{folder}: belongs to a retraining of another ensemble or with other "
                    "settings; use another folder for this one"
                )
            return dict(known["round"])
        folder.mkdir(parents=True, exist_ok=True)
        paths: list[dict[str, Any]] = []
        for number, atoms in enumerate(learner.targets.structures):
            trajectory = _trajectory(folder, number)
            try:
                found = relax(learner.ensemble, atoms, self.relaxation, progress, trajectory)
                paths.append({**found.to_dict(), "broken": ""})
            except InputError as error:
                progress.note(f"the relaxation breaks off: {error}")
                met = _summarize(learner.ensemble, list(read_frames(trajectory)))
                paths.append({**met, "converged": False, "broken": str(error)})
        worst = max(max(each["max_uncertainty"]) for each in paths)
        broken_off = any(each["broken"] for each in paths)
        content = {"paths": paths, "largest_uncertainty": None if broken_off else worst}
        write_json(
            path, {"format": PATH_FORMAT, "version": VERSION, "inputs": inputs, "round": content}
        )
        return content

    def _harvest(
        self, learner: Learner, threshold: float, came_from: Path, folder: Path
    ) -> Harvest:
        """Choose from the frames of the last relaxation, and keep the choice.

        The first frame of each is a target, which nearsighted force training takes care of. It can
        know a target so well that every frame lies beyond the window; then the window begins at
        the least uncertain of these.
        """
        known = load_harvest(folder)
        if known is not None:
            return known[0]
        settings, ensemble, low = learner.settings, learner.ensemble, threshold
        frames = [atoms for path in _paths(learner, came_from) for atoms in path[1:]]
        raw = [raw_uncertainty(ensemble, atoms) for atoms in frames]
        uncertain = [largest for each in raw if (largest := float(each.max())) >= low]
        if min(uncertain, default=0.0) > settings.window * low:
            low = min(uncertain)
        found = harvest(ensemble, frames, raw, low, settings.window * low, settings.chunks)
        if found.chosen:
            save_harvest(folder, found, frames)
        return found

    def _inputs(self, learner: Learner) -> str:
        """SHA-256 over what decides a retraining and no training of it looks at."""
        digest = hashlib.sha256(f"{self!r} {learner.settings!r}".encode())
        digest.update(weights_from_networks(learner.ensemble.networks).tobytes())
        return digest.hexdigest()


def _largest_on_targets(learner: Learner) -> float:
    """Raw structure uncertainty of the targets, eV/Å."""
    return float(learner.targets.evaluate(learner.ensemble)[1].max())


def _trajectory(folder: Path, number: int) -> Path:
    return folder / ("path.traj" if number == 0 else f"path-{number}.traj")


def _paths(learner: Learner, folder: Path) -> Iterator[list[Atoms]]:
    """The frames of the relaxation of every target."""
    for number in range(len(learner.targets.structures)):
        yield list(read_frames(_trajectory(folder, number)))


def _summarize(ensemble: Ensemble, frames: list[Atoms]) -> dict[str, list[float]]:
    """Energies (eV), largest forces and raw uncertainties (eV/Å) of the frames."""
    raw = [raw_uncertainty(ensemble, atoms) for atoms in frames]
    return {
        "energies": [float(atoms.get_potential_energy()) for atoms in frames],
        "fmax": [float(np.linalg.norm(atoms.get_forces(), axis=1).max()) for atoms in frames],
        "max_uncertainty": [float(each.max()) for each in raw],
        "mean_uncertainty": [float(each.mean()) for each in raw],
    }


def _or_infinite(largest: float | None) -> float:
    """A relaxation that broke off is worse than any other."""
    return np.inf if largest is None else largest


def _largest(largest: float | None) -> str:
    if largest is None:
        return "it breaks off"
    return f"the uncertainty (raw) is at most {largest:.4f} eV/Å"
