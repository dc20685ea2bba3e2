"""A run folder read, checked and summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from nearsight.errors import InputError
from nearsight.files.atomic import check_header, read_json
from nearsight.report.records import Iteration, Locality, Reference, Relaxation, RunRecord, Target
from nearsight.report.simulation_records import Dynamics, Retraining

__all__ = ["RunData", "TargetData", "report_json"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TargetData:
    """One target: what the kept iteration says of its atoms, and its relaxation."""

    target: Target
    best: Iteration
    relaxation: Relaxation | None

    @property
    def n_atoms(self) -> int:
        """Atoms of it."""
        return self.target.n_atoms

    @property
    def formula(self) -> str:
        """Its formula."""
        return self.target.formula


@dataclass(frozen=True, eq=False)
class RunData:
    """Everything a report is made of.

    Attributes
    ----------
    run : RunRecord
    iterations : tuple of Iteration
        In order from 0 on; never empty.
    locality : Locality or None
    relaxations : tuple of Relaxation or None
        One for every target.
    config : str or None
        The configuration file as given.
    reference_failed : bool
        Whether the parent was asked for its true forces and failed.
    retraining : Retraining or None
    dynamics : Dynamics or None
    """

    run: RunRecord
    iterations: tuple[Iteration, ...]
    locality: Locality | None = None
    relaxations: tuple[Relaxation | None, ...] = (None,)
    config: str | None = None
    reference_failed: bool = False
    retraining: Retraining | None = None
    dynamics: Dynamics | None = None

    @property
    def best(self) -> Iteration:
        """The iteration whose ensemble was kept."""
        return self.iterations[self.run.best_iteration]

    @property
    def has_reference(self) -> bool:
        """Whether the parent's true forces on the whole target are known."""
        return self.best.true_forces is not None

    @property
    def parent_name(self) -> str:
        """Name of the parent calculator, as people write it."""
        name = str(self.run.parent["calculator"])
        return {"emt": "EMT", "gpaw": "GPAW"}.get(name, name)

    @property
    def parent_core_seconds(self) -> float:
        """What the parent's calculations took, on all cores together."""
        return self.run.seconds_parent * self.run.parent_cores

    @property
    def relaxation(self) -> Relaxation | None:
        """That of the first target."""
        return self.relaxations[0]

    @property
    def relaxed(self) -> list[TargetData]:
        """The targets that were relaxed."""
        return [target for target in self.targets if target.relaxation is not None]

    @cached_property
    def targets(self) -> list[TargetData]:
        """Every target with what the kept iteration says of it."""
        ends = np.cumsum([target.n_atoms for target in self.run.targets])
        return [
            TargetData(target, self.best.part(int(end) - target.n_atoms, int(end)), relaxation)
            for target, end, relaxation in zip(
                self.run.targets, ends, self.relaxations, strict=True
            )
        ]

    @property
    def the_target(self) -> str:
        """What sentences call it."""
        return "the target" if len(self.run.targets) == 1 else "the targets"

    @property
    def title(self) -> str:
        """The targets in a few words."""
        counts = Counter(target.formula for target in self.run.targets)
        if len(counts) > 4:
            return f"{len(self.run.targets)} targets"
        return ", ".join(f"{n} × {name}" if n > 1 else name for name, n in counts.items())

    @property
    def why_no_errors(self) -> str:
        """Why the parent's true forces are not known; the end of a sentence."""
        if self.reference_failed:
            which = "the whole target" if len(self.targets) == 1 else "one of the whole targets"
            return f"the parent failed on {which}"
        return f"the parent’s true forces on {self.the_target} were not asked for"

    @classmethod
    def load(cls, folder: str | Path) -> RunData:
        """Read and check a run folder.

        Parameters
        ----------
        folder : path
            The folder of a run; an iteration without its evaluation is one still at work and
            is left out.

        Raises
        ------
        InputError
            If there is no finished iteration, or a file is missing, damaged or at odds with the
            others.
        """
        folder = Path(folder)
        paths = list(folder.glob("iteration-*/evaluation.json"))
        if not paths:
            raise InputError(
                f"{folder}: holds no finished iteration (iteration-NNN/evaluation.json)"
            )
        if not (folder / "run.json").exists():
            raise InputError(
                f"{folder}: the run has not come to its end (there is no run.json); "
                f"nearsight status {folder} tells where it stands"
            )
        run = _read(folder / "run.json", "nearsight-run", RunRecord)
        if not isinstance(run.parent.get("calculator"), str):
            raise InputError(f"{folder / 'run.json'}: parent names no calculator")
        n_atoms = run.target.n_atoms
        if n_atoms != sum(target.n_atoms for target in run.targets):
            raise InputError(f"{folder / 'run.json'}: target and targets differ in their atoms")
        found = [(path, _read(path, "nearsight-evaluation", Iteration)) for path in paths]
        found.sort(key=lambda pair: pair[1].iteration)
        for number, (path, iteration) in enumerate(found):
            _check_iteration(path, iteration, number, n_atoms)
        iterations = [iteration for _, iteration in found]
        if not 0 <= run.best_iteration < len(iterations):
            raise InputError(
                f"{folder / 'run.json'}: best_iteration is {run.best_iteration}, "
                f"but the folder holds iterations 0 to {len(iterations) - 1}"
            )
        reference, failed = folder / "reference.json", False
        if reference.exists():
            forces = _read(reference, "nearsight-reference", Reference).forces
            failed = forces is None
            if forces is not None:
                _check_length(reference, "forces", forces, n_atoms)
            iterations = [replace(iteration, true_forces=forces) for iteration in iterations]
        config = folder / "config.toml"
        return cls(
            run=run,
            iterations=tuple(iterations),
            locality=_optional(folder / "locality.json", _read_locality),
            relaxations=tuple(
                _optional(folder / f"relaxation{f'-{n}' if n else ''}.json", _read_relaxation)
                for n in range(len(run.targets))
            ),
            config=config.read_bytes().decode(errors="replace") if config.exists() else None,
            reference_failed=failed,
            retraining=_optional(folder / "retraining.json", _read_retraining),
            dynamics=_optional(folder / "dynamics" / "dynamics.json", _read_dynamics),
        )


def report_json(data: RunData) -> dict[str, Any]:
    """The numbers of a run as ``report.json`` keeps them; forces in eV/Å, energies in eV.

    What needs the parent's true forces is null where they were not asked for. ``max_uncertainty``
    of the relaxation is the largest raw uncertainty of an atom on the whole way.
    """
    keys = (
        "iteration",
        "chunks",
        "structure_uncertainty",
        "structure_uncertainty_calibrated",
        "mae",
        "mae_train",
        "mae_test",
        "max_residual",
        "coverage",
        "coverage_raw",
        "seconds",
    )
    return {
        "seed": data.run.seed,
        "parent": data.run.parent["calculator"],
        "target": {"n_atoms": data.run.target.n_atoms},
        "iterations": [{key: getattr(it, key) for key in keys} for it in data.iterations],
        "best_iteration": data.run.best_iteration,
        "relaxation": _relaxation_json(data.relaxation),
        "retraining": _retraining_json(data.retraining),
        "dynamics": _dynamics_json(data.dynamics),
        "targets": [_target_json(target) for target in data.targets],
        "failures": [vars(failure) for failure in data.run.failures],
        "parent_calculations": data.run.parent_calculations,
        "seconds_parent": data.run.seconds_parent,
        "seconds_total": data.run.seconds_total,
    }


def _retraining_json(retraining: Retraining | None) -> dict[str, Any] | None:
    if retraining is None:
        return None
    return {
        "largest_uncertainty": [each.largest_uncertainty for each in retraining.rounds],
        "chunks": [each.harvest.chosen for each in retraining.rounds if each.harvest],
        "best": retraining.best,
        "stop_reason": retraining.stop_reason,
    }


def _dynamics_json(dynamics: Dynamics | None) -> dict[str, Any] | None:
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


def _target_json(target: TargetData) -> dict[str, Any]:
    keys = (
        "chunks",
        "structure_uncertainty",
        "structure_uncertainty_calibrated",
        "mae",
        "max_residual",
        "coverage",
        "coverage_raw",
    )
    return {
        "n_atoms": target.n_atoms,
        "formula": target.formula,
        **{key: getattr(target.best, key) for key in keys},
        "relaxation": _relaxation_json(target.relaxation),
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


def _read(path: Path, kind: str, model: type[T]) -> T:
    content = check_header(read_json(path), path, kind, 1)
    try:
        return TypeAdapter(model).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {place}: {reason[:1].lower()}{reason[1:]}") from error


def _optional(path: Path, read: Callable[[Path], T]) -> T | None:
    return read(path) if path.exists() else None


def _read_retraining(path: Path) -> Retraining:
    found = _read(path, "nearsight-retraining", Retraining)
    if not 0 <= found.best < len(found.rounds):
        raise InputError(
            f"{path}: best is {found.best}, but there are rounds 0 to {len(found.rounds) - 1}"
        )
    return found


def _read_dynamics(path: Path) -> Dynamics:
    found = _read(path, "nearsight-dynamics", Dynamics)
    for name, values in vars(found.frames).items():
        _check_length(path, f"frames.{name}", values, len(found.frames.time))
    return found


def _read_locality(path: Path) -> Locality:
    found = _read(path, "nearsight-locality", Locality)
    shape = (len(found.radii), len(found.indices))
    if 0 in shape:
        raise InputError(f"{path}: holds no radius or no atom")
    if found.n_atoms.shape != shape or found.forces.shape != (*shape, 3):
        raise InputError(
            f"{path}: {shape[0]} radii and {shape[1]} atoms, but n_atoms has shape "
            f"{found.n_atoms.shape} and forces {found.forces.shape}"
        )
    _check_length(path, "true_forces", found.true_forces, shape[1])
    return found


def _read_relaxation(path: Path) -> Relaxation:
    found = _read(path, "nearsight-relaxation", Relaxation)
    for name, trajectory in (("ensemble", found.ensemble), ("parent", found.parent)):
        if trajectory is None:
            continue
        length = len(trajectory.energies)
        if length == 0:
            raise InputError(f"{path}: {name}.energies is empty")
        for field in ("fmax", "max_uncertainty", "mean_uncertainty"):
            if hasattr(trajectory, field):
                _check_length(path, f"{name}.{field}", getattr(trajectory, field), length)
    return found


def _check_iteration(path: Path, iteration: Iteration, number: int, n_atoms: int) -> None:
    if iteration.iteration != number:
        raise InputError(
            f"{path}: holds iteration {iteration.iteration}, but iteration {number} comes next"
        )
    for name in ("uncertainty_raw", "uncertainty", "forces"):
        _check_length(path, name, getattr(iteration, name), n_atoms)
    for name in ("chunk_indices", "failed_indices"):
        atoms = getattr(iteration, name)
        if len(np.unique(atoms)) != len(atoms) or ((atoms < 0) | (atoms >= n_atoms)).any():
            raise InputError(
                f"{path}: {name} must be different atoms from 0 to {n_atoms - 1} of the target"
            )


def _check_length(path: Path, name: str, array: npt.NDArray[Any], expected: int) -> None:
    if len(array) != expected:
        raise InputError(f"{path}: {name} has {len(array)} entries, expected {expected}")
