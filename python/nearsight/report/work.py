"""Retraining, a relaxation or dynamics in a folder of its own, read and checked for the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.errors import InputError
from nearsight.files.names import numbered, round_folder
from nearsight.files.records import (
    DynamicsRecord,
    DynamicsState,
    EnsemblePath,
    Iteration,
    LammpsState,
    RetrainingRecord,
    RoundRecord,
    Source,
)
from nearsight.files.records.simulation import DECISIVE
from nearsight.files.trajectory import read_frames
from nearsight.model.ensemble import Ensemble
from nearsight.report.data import best_of_round, optional
from nearsight.structures.images import Image, read_images

__all__ = ["BEFORE", "Learned", "Series", "WorkData", "is_work"]

Array = npt.NDArray[np.float64]

BEFORE = "before.json"
"""The ensemble that work in a folder of its own begins with."""
LABELLED = ("chunks.extxyz", "geometries.extxyz")


def is_work(folder: Path) -> bool:
    """Whether it is such a folder, finished or not; not that of a run."""
    if (folder / "config.toml").exists():
        return False
    files = (DynamicsRecord.FILE, DynamicsState.FILE, LammpsState.FILE, RetrainingRecord.FILE)
    begun = round_folder(folder, 0) / RoundRecord.FILE
    return begun.exists() or any((folder / file).exists() for file in files)


@dataclass(frozen=True, eq=False)
class Series:
    """Frames one after the other: of each, the largest of its atoms.

    Attributes
    ----------
    uncertainty : (n,) float64, eV/Å
        Stated (99 %), or raw where ``stated`` is false: in files of earlier versions, and of
        potentials that were never compared with labels their members do not know.
    stated : bool
    extrapolation : (n,) float64 or None
    """

    uncertainty: Array
    stated: bool
    extrapolation: Array | None

    @classmethod
    def of(cls, raw: Array, calibrated: Array | None, extrapolation: Array | None) -> Series:
        """With the stated uncertainties, where they are known."""
        stated = calibrated is not None
        return cls(raw if calibrated is None else calibrated, stated, extrapolation)

    @classmethod
    def along(cls, paths: list[EnsemblePath]) -> Series:
        """Of some paths, one after the other."""
        found = [[p.max_uncertainty, p.max_calibrated, p.extrapolation] for p in paths]
        raw, calibrated, grade = (
            None if any(each is None for each in column) else np.concatenate(column)
            for column in zip(*found, strict=True)
        )
        assert raw is not None  # in every file
        return cls.of(raw, calibrated, grade)

    @property
    def decisive(self) -> float:
        """Uncertainty that `DECISIVE` of the frames do not exceed, eV/Å."""
        return float(np.quantile(self.uncertainty, DECISIVE))

    @property
    def outside(self) -> int | None:
        """Frames with an atom outside; None if that is not known."""
        return None if self.extrapolation is None else int((self.extrapolation > 1.0).sum())


@dataclass(frozen=True, eq=False)
class Learned:
    """What the parent labelled in a round, before it was learned and now.

    Attributes
    ----------
    round : int
    images : int
    chunks : bool
        Whether they are chunks, not whole geometries.
    elements : str
        Of the centres, of whole geometries their formulas.
    lengths : (F,) float64, eV/Å
        Of the labelled forces.
    before, bound : (F,) float64, eV/Å, or None
        Error, and stated uncertainty, of the ensemble that did not know them; None where it was not
        kept.
    after : (F,) float64, eV/Å
        Error of the ensemble that is kept.
    """

    round: int
    images: int
    chunks: bool
    elements: str
    lengths: Array
    before: Array | None
    bound: Array | None
    after: Array


@dataclass(frozen=True, eq=False)
class WorkData:
    """Data of a report.

    Attributes
    ----------
    folder : Path
    source : Source or None
        None in folders of earlier versions.
    retraining : RetrainingRecord or None
    dynamics : DynamicsRecord or None
        One of the two.
    ensemble : Ensemble or None
        The one that is kept; None where neither it nor the first one is in the folder.
    iteration : Iteration or None
        Its evaluation on the targets of the run; None where nothing was learned.
    learned : tuple of Learned
    structure : ase.Atoms
        The first frame.
    typical : float, eV/Å
        Mean length of the forces in the frames.
    seed : int
        Of the dynamics.
    """

    folder: Path
    source: Source | None
    retraining: RetrainingRecord | None
    dynamics: DynamicsRecord | None
    ensemble: Ensemble | None
    iteration: Iteration | None
    learned: tuple[Learned, ...]
    structure: Atoms
    typical: float
    seed: int = 0

    @property
    def kind(self) -> str:
        """What it is: "dynamics", "frames" that were given, or a "relaxation"."""
        if self.retraining is None:
            return "dynamics"
        return "frames" if self.retraining.fmax is None else "relaxation"

    @property
    def formula(self) -> str:
        """Of the first frame."""
        return f"{self.structure.symbols.formula:metal}"

    @property
    def has_spread(self) -> bool:
        """Whether there are uncertainties at all: one member alone has none."""
        return self.ensemble is None or self.ensemble.has_spread

    @property
    def best(self) -> int:
        """The round whose ensemble is kept; of dynamics, the last."""
        if self.retraining is not None:
            return self.retraining.best
        assert self.dynamics is not None  # one of the two
        return len(self.dynamics.rounds)

    @property
    def paths(self) -> list[EnsemblePath]:
        """Of the round that is kept; none of dynamics."""
        return [] if self.retraining is None else self.retraining.rounds[self.best].paths

    @cached_property
    def first(self) -> Series:
        """The frames before any round; of dynamics, all."""
        if self.dynamics is None:
            assert self.retraining is not None  # one of the two
            return Series.along(self.retraining.rounds[0].paths)
        found = self.dynamics.frames
        is_stated = self.ensemble is None or self.ensemble.is_calibrated
        bounds = found.max_calibrated if is_stated else None
        return Series.of(found.max_uncertainty, bounds, found.extrapolation)

    @cached_property
    def series(self) -> Series:
        """The frames with the ensemble that is kept; of dynamics, with that of their time."""
        return Series.along(self.paths) if self.paths else self.first

    @property
    def chunks(self) -> int:
        """Chunks, or geometries, labelled in all rounds."""
        return sum(each.images for each in self.learned)

    @classmethod
    def load(cls, folder: str | Path) -> WorkData:
        """Read and check a folder.

        Raises
        ------
        InputError
            If the work is not finished, or a file is damaged or at odds with the others.
        """
        folder = Path(folder)
        retraining = optional(folder / RetrainingRecord.FILE, RetrainingRecord)
        dynamics = optional(folder / DynamicsRecord.FILE, DynamicsRecord)
        if retraining is None and dynamics is None:
            raise InputError(
                f"{folder}: not finished yet; the command that began it goes on with it"
            )
        best = 0 if retraining is None else retraining.best
        rounds = 0 if retraining is None else len(retraining.rounds) - 1
        trajectory = round_folder(folder, best) / numbered("path.traj", 0)
        if dynamics is not None:
            rounds = best = len(dynamics.rounds)
            trajectory = folder / "md.traj"
        before = _ensemble(folder / BEFORE)
        kept = _ensemble(folder / "best.json") or before
        frames = read_frames(trajectory)
        structure = next(frames)
        forces = [_mean_force(structure), *map(_mean_force, frames)]
        return cls(
            folder=folder,
            source=optional(folder / Source.FILE, Source),
            retraining=retraining,
            dynamics=dynamics,
            ensemble=kept,
            iteration=best_of_round(folder, best) if best else None,
            learned=tuple(_learned(folder, rounds, before, kept)),
            structure=structure,
            typical=float(np.mean(forces)),
            seed=_seed(folder),
        )


def _seed(folder: Path) -> int:
    """The seed of the dynamics in a folder; the default of none and of earlier versions."""
    for kind in (DynamicsState, LammpsState):
        state = optional(folder / kind.FILE, kind)
        if state is not None and state.settings is not None:
            return int(state.settings["seed"])
    return 0


def _mean_force(atoms: Atoms) -> float:
    """Mean length of the forces in a frame, those of constraints too, eV/Å."""
    forces = atoms.get_forces(apply_constraint=False)
    return float(np.linalg.norm(forces, axis=1).mean())


def _ensemble(path: Path) -> Ensemble | None:
    return Ensemble.load(path) if path.exists() else None


def _learned(
    folder: Path, rounds: int, before: Ensemble | None, kept: Ensemble | None
) -> Iterator[Learned]:
    """Every round with the errors of the ensemble before it, and of the one that is kept."""
    for number in range(1, rounds + 1):
        place = round_folder(folder, number)
        images = [
            image
            for name in LABELLED
            if (place / name).exists()
            for image in read_images(place / name)
        ]
        if images and kept is not None:
            first, bound = (None, None) if before is None else _errors(before, images)
            lengths = [np.linalg.norm(i.forces[i.force_atoms], axis=1) for i in images]
            after, _ = _errors(kept, images)
            names = sorted({_name(image) for image in images})
            yield Learned(
                number,
                len(images),
                images[0].is_chunk,
                ", ".join(names),
                np.concatenate(lengths),
                first,
                bound,
                after,
            )
        before = _ensemble(place / "best.json")


def _name(image: Image) -> str:
    return str(image.atoms.symbols[0] if image.is_chunk else image.atoms.symbols)


def _errors(ensemble: Ensemble, images: list[Image]) -> tuple[Array, Array]:
    """Errors of the labelled forces of images, and their stated uncertainties, eV/Å."""
    errors, bounds = [], []
    for image in images:
        found, counted = ensemble.evaluate(image.atoms, stress=False), image.force_atoms
        assert found.uncertainty is not None  # members were asked for
        errors.append(np.linalg.norm(found.forces[counted] - image.forces[counted], axis=1))
        bounds.append(found.uncertainty[counted])
    return np.concatenate(errors), np.concatenate(bounds)


def summary(learned: Learned) -> dict[str, Any]:
    """A round in figures, eV/Å."""
    before, bound = learned.before, learned.bound
    return {
        "round": learned.round,
        "labelled": learned.images,
        "elements": learned.elements,
        "forces": len(learned.lengths),
        "typical": float(learned.lengths.mean()),
        "error_before": float(before.mean()) if before is not None else None,
        "largest_before": float(before.max()) if before is not None else None,
        "within_before": (
            None if before is None or bound is None else float((before <= bound).mean())
        ),
        "error_after": float(learned.after.mean()),
        "largest_after": float(learned.after.max()),
    }
