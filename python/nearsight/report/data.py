"""A finished run, read and checked, with the figures that follow from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.errors import InputError
from nearsight.files.names import evaluation_files, numbered, round_folder
from nearsight.files.records import (
    Comparison,
    DynamicsRecord,
    EnsemblePath,
    ForceLocality,
    Iteration,
    Record,
    Reference,
    Relaxation,
    RetrainingRecord,
    RunRecord,
    Target,
    best_iteration,
)
from nearsight.files.records.comparison import ROLES
from nearsight.report.atoms import coordination
from nearsight.report.chunks import Chunk, read_chunks
from nearsight.report.configuration import RunConfiguration
from nearsight.report.iteration import IterationData
from nearsight.structures.images import check_structure, read_structures

__all__ = ["RunData", "TargetData", "best_of_round", "optional", "report_json"]

Array = npt.NDArray[np.float64]
R = TypeVar("R", bound=Record)

ERRORS = ("mae", "max_residual", "coverage", "coverage_raw")
UNCERTAINTIES = ("structure_uncertainty", "structure_uncertainty_calibrated")


@dataclass(frozen=True, eq=False)
class TargetData:
    """One target: the kept iteration on its atoms, and its relaxation."""

    number: int
    target: Target
    best: IterationData
    relaxation: Relaxation | None


@dataclass(frozen=True, eq=False)
class RunData:
    """Data of a report.

    Attributes
    ----------
    run : RunRecord
    iterations : tuple of IterationData
        In order from 0 on; never empty.
    locality : ForceLocality or None
    relaxations : tuple of Relaxation or None
        One for every target.
    configuration : RunConfiguration
        As given.
    reference_failed : bool
        The parent was asked for its true forces and failed.
    retraining : RetrainingRecord or None
    retrained : IterationData or None
        Iteration of the best round; None where that is the training itself.
    dynamics : DynamicsRecord or None
    comparison : Comparison or None
        Of the same potential with the labels of chunks; None of runs of earlier versions.
    structures : tuple of ase.Atoms
        The targets; empty if the folder does not hold them.
    coordination : (N,) int64
        Neighbours of each of their atoms; see `coordination`.
    chunks : tuple of Chunk
    paths : tuple of Path
        Trajectories of the relaxations, which may not be there.
    """

    run: RunRecord
    iterations: tuple[IterationData, ...]
    configuration: RunConfiguration
    locality: ForceLocality | None = None
    relaxations: tuple[Relaxation | None, ...] = (None,)
    reference_failed: bool = False
    retraining: RetrainingRecord | None = None
    retrained: IterationData | None = None
    dynamics: DynamicsRecord | None = None
    comparison: Comparison | None = None
    structures: tuple[Atoms, ...] = ()
    coordination: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=int))
    chunks: tuple[Chunk, ...] = ()
    paths: tuple[Path, ...] = ()

    @property
    def trained(self) -> IterationData:
        """Iteration of the training whose ensemble was kept at its end."""
        return self.iterations[self.run.best_iteration]

    @property
    def best(self) -> IterationData:
        """Iteration whose ensemble is ``best.json``: that of the training, or of a retraining."""
        return self.retrained or self.trained

    @property
    def label_error(self) -> float | None:
        """Mean error of the force on a chunk's centre at the radius used, eV/Å, if known."""
        index = None if self.locality is None else self.locality.at(self.run.chunk_radius)
        if self.locality is None or index is None:
            return None
        error = float(self.locality.mean_errors[index])
        return error if isfinite(error) else None

    @property
    def noun(self) -> str:
        """What the parent has labelled: chunks, or geometries of the whole target; one of them."""
        return "chunk" if self.best.record.exploration is None else "geometry"

    @property
    def choices(self) -> list[IterationData]:
        """Iterations before which models were compared."""
        return [iteration for iteration in self.iterations if iteration.record.candidates]

    @property
    def has_reference(self) -> bool:
        """True if the parent's true forces on the whole targets are known."""
        return self.best.true_forces is not None

    @property
    def parent_name(self) -> str:
        """Name of the parent calculator, as people write it."""
        name = str(self.run.parent["calculator"])
        return {"emt": "EMT", "gpaw": "GPAW"}.get(name, name)

    @property
    def parent_core_seconds(self) -> float:
        """Time of the parent's calculations, on all cores together."""
        return self.run.seconds_parent * self.run.parent_cores

    @property
    def relaxation(self) -> Relaxation | None:
        """Relaxation of the first target."""
        return self.relaxations[0]

    @property
    def relaxed(self) -> list[TargetData]:
        """Targets that were relaxed."""
        return [target for target in self.targets if target.relaxation is not None]

    @property
    def is_stated(self) -> bool:
        """Whether there are bounds of the errors along all relaxations."""
        paths = [each.ensemble for each in self.relaxations if each is not None]
        known = all(path.max_calibrated is not None for path in paths)
        return bool(paths) and known and self.best.record.is_calibrated

    def along(self, path: EnsemblePath) -> Array:
        """Largest uncertainty of an atom in each frame, calibrated where `is_stated`, else raw."""
        stated = path.max_calibrated if self.is_stated else None
        return path.max_uncertainty if stated is None else stated

    @property
    def relaxed_bound(self) -> float | None:
        """Stated uncertainty of the most uncertain atom where the relaxations ended, eV/Å."""
        if not self.is_stated:
            return None
        return max(float(self.along(r.ensemble)[-1]) for r in self.relaxations if r is not None)

    @cached_property
    def targets(self) -> list[TargetData]:
        """Every target with the kept iteration on its atoms."""
        ends = np.cumsum([target.n_atoms for target in self.run.targets]).tolist()
        return [
            TargetData(
                number, target, replace(self.best, atoms=slice(end - target.n_atoms, end)), relaxed
            )
            for number, (target, end, relaxed) in enumerate(
                zip(self.run.targets, ends, self.relaxations, strict=True)
            )
        ]

    @property
    def title(self) -> str:
        """The targets in a few words."""
        counts = Counter(target.formula for target in self.run.targets)
        if len(counts) > 4:
            return f"{len(self.run.targets)} targets"
        return ", ".join(f"{n} × {name}" if n > 1 else name for name, n in counts.items())

    @classmethod
    def load(cls, folder: str | Path) -> RunData:
        """Read and check a run folder.

        Parameters
        ----------
        folder : path
            The folder of a run; an iteration without its evaluation is unfinished and is skipped.

        Raises
        ------
        InputError
            If there is no finished iteration, or a file is missing, damaged or at odds with the
            others.
        """
        folder = Path(folder)
        paths = evaluation_files(folder)
        if not paths:
            raise InputError(
                f"{folder}: holds no finished iteration (iteration-NNN/{Iteration.FILE})"
            )
        place = folder / RunRecord.FILE
        if not place.exists():
            raise InputError(
                f"{folder}: the run is not finished (there is no {RunRecord.FILE}); see "
                f"nearsight status {folder}"
            )
        run = RunRecord.load(place)
        if not isinstance(run.parent.get("calculator"), str):
            raise InputError(f"{place}: parent names no calculator")
        n_atoms = run.target.n_atoms
        if n_atoms != sum(target.n_atoms for target in run.targets):
            raise InputError(f"{place}: target and targets differ in their atoms")
        reference = optional(folder / Reference.FILE, Reference)
        forces = None if reference is None else reference.forces
        if forces is not None:
            _check_length(folder / Reference.FILE, "forces", forces, n_atoms)
        sizes = tuple(target.n_atoms for target in run.targets)
        iterations = []
        for number, path in enumerate(paths):
            record = Iteration.load(path)
            if record.iteration != number:
                raise InputError(
                    f"{path}: holds iteration {record.iteration}, but iteration {number} comes next"
                )
            _check_length(path, "uncertainty_raw", record.uncertainty_raw, n_atoms)
            iterations.append(IterationData(record, forces, slice(n_atoms), sizes))
        if run.best_iteration >= len(iterations):
            raise InputError(
                f"{place}: best_iteration is {run.best_iteration}, "
                f"but the folder holds iterations 0 to {len(iterations) - 1}"
            )
        retraining = optional(folder / RetrainingRecord.FILE, RetrainingRecord)
        retrained = None
        if retraining is not None and retraining.best:
            record = best_of_round(folder, retraining.best)
            _check_length(folder, "uncertainty_raw", record.uncertainty_raw, n_atoms)
            retrained = IterationData(record, forces, slice(n_atoms), sizes)
        structures = _structures(folder / "target.extxyz", run)
        neighbours = [coordination(atoms) for atoms in structures]
        data = cls(
            run=run,
            iterations=tuple(iterations),
            configuration=RunConfiguration.of(folder),
            locality=optional(folder / ForceLocality.FILE, ForceLocality),
            relaxations=tuple(
                optional(folder / numbered(Relaxation.FILE, n), Relaxation)
                for n in range(len(run.targets))
            ),
            reference_failed=reference is not None and forces is None,
            retraining=retraining,
            retrained=retrained,
            dynamics=optional(folder / "dynamics" / DynamicsRecord.FILE, DynamicsRecord),
            comparison=optional(folder / Comparison.FILE, Comparison),
            structures=structures,
            coordination=np.concatenate(neighbours) if neighbours else np.zeros(0, dtype=int),
            paths=tuple(folder / numbered("relaxation.traj", n) for n in range(len(run.targets))),
        )
        if not structures:
            return data
        rounds = 0 if retraining is None else len(retraining.rounds)
        chunks = read_chunks(
            folder, run, data.iterations, data.best, rounds, structures, data.coordination
        )
        return replace(data, chunks=tuple(chunks))


def report_json(data: RunData) -> dict[str, Any]:
    """Content of ``report.json``; forces in eV/Å, energies in eV.

    Errors are null where the parent's true forces are not known. ``max_uncertainty`` of the
    relaxation is the largest raw uncertainty of an atom along the path.
    """
    return {
        "seed": data.run.seed,
        "parent": data.run.parent["calculator"],
        "target": {"n_atoms": data.run.target.n_atoms},
        "labels": data.best.record.noun,
        "iterations": [_iteration_json(iteration) for iteration in data.iterations],
        "best_iteration": data.run.best_iteration,
        "relaxation": _relaxation_json(data.relaxation),
        "retraining": _retraining_json(data.retraining),
        "dynamics": _dynamics_json(data.dynamics),
        "targets": [_target_json(target) for target in data.targets],
        "comparison": {
            role: None if data.comparison is None else data.comparison.summary(role)
            for role in ROLES
        },
        "failures": [vars(failure) for failure in data.run.failures],
        "parent_calculations": data.run.parent_calculations,
        "cost": None if data.run.cost is None else data.run.cost.model_dump(),
        "seconds_parent": data.run.seconds_parent,
        "seconds_total": data.run.seconds_total,
    }


def _iteration_json(iteration: IterationData) -> dict[str, Any]:
    keys = ("iteration", "chunks", *UNCERTAINTIES, "mae", "mae_train", "mae_test", *ERRORS[1:])
    return {
        **{key: getattr(iteration, key) for key in keys},
        "outside": iteration.outside,
        "validation_error": iteration.record.validation_error,
        "seconds": iteration.record.seconds,
    }


def _target_json(target: TargetData) -> dict[str, Any]:
    return {
        **target.target.model_dump(),
        **{key: getattr(target.best, key) for key in ("chunks", *UNCERTAINTIES, *ERRORS)},
        "relaxation": _relaxation_json(target.relaxation),
    }


def _retraining_json(retraining: RetrainingRecord | None) -> dict[str, Any] | None:
    if retraining is None:
        return None
    return {
        "largest_uncertainty": [each.largest_uncertainty for each in retraining.rounds],
        "chunks": [each.harvest.chosen for each in retraining.rounds if each.harvest],
        "best": retraining.best,
        "stop_reason": retraining.stop_reason,
    }


def _dynamics_json(dynamics: DynamicsRecord | None) -> dict[str, Any] | None:
    if dynamics is None:
        return None
    return {
        "picoseconds": float(dynamics.frames.time[-1]),
        "retrainings": len(dynamics.rounds),
        "chunks": dynamics.chunks,
        "max_uncertainty": float(dynamics.frames.max_uncertainty.max()),
        "ended": dynamics.ended,
        "seconds": dynamics.seconds,
    }


def _relaxation_json(relaxation: Relaxation | None) -> dict[str, Any] | None:
    if relaxation is None:
        return None
    ensemble, parent = relaxation.ensemble, relaxation.parent
    return {
        "steps": ensemble.steps,
        "energy_change": ensemble.energy_change,
        "parent_steps": None if parent is None else parent.steps,
        "parent_energy_change": None if parent is None else parent.energy_change,
        "parent_fmax_at_minimum": relaxation.parent_fmax_at_minimum,
        "max_uncertainty": float(ensemble.max_uncertainty.max()),
    }


def best_of_round(folder: Path, number: int) -> Iteration:
    """The iteration of a round of retraining whose ensemble was kept."""
    place = round_folder(folder, number)
    history = [Iteration.load(path) for path in evaluation_files(place)]
    if not history:
        raise InputError(f"{place}: holds no finished iteration")
    return history[best_iteration(history, started=True)]


def optional(path: Path, record: type[R]) -> R | None:
    """The record in a file; None if there is no file."""
    return record.load(path) if path.exists() else None


def _structures(path: Path, run: RunRecord) -> tuple[Atoms, ...]:
    if not path.exists():
        return ()
    found = tuple(read_structures(path))
    for number, atoms in enumerate(found):
        check_structure(atoms, name=f"{path}, structure {number}")
    if [len(atoms) for atoms in found] != [target.n_atoms for target in run.targets]:
        raise InputError(f"{path}: holds other structures than the targets in {RunRecord.FILE}")
    return found


def _check_length(path: Path, name: str, array: Array, expected: int) -> None:
    if len(array) != expected:
        raise InputError(f"{path}: {name} has {len(array)} entries, expected {expected}")
