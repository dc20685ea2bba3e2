"""A run folder read, checked and summed up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from nearsight.errors import InputError
from nearsight.report.records import Iteration, Locality, Reference, Relaxation, RunRecord
from nearsight.storage import check_header, read_json

__all__ = ["RunData", "report_json"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class RunData:
    """Everything a report is made of.

    Attributes
    ----------
    run : RunRecord
    iterations : tuple of Iteration
        In order from 0 on; never empty.
    locality : Locality or None
    relaxation : Relaxation or None
    config : str or None
        The configuration file as given.
    """

    run: RunRecord
    iterations: tuple[Iteration, ...]
    locality: Locality | None = None
    relaxation: Relaxation | None = None
    config: str | None = None

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
        """Name of the parent calculator."""
        return str(self.run.parent["calculator"])

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
        run = _read(folder / "run.json", "nearsight-run", RunRecord)
        if not isinstance(run.parent.get("calculator"), str):
            raise InputError(f"{folder / 'run.json'}: parent names no calculator")
        n_atoms = run.target.n_atoms
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
        reference = folder / "reference.json"
        if reference.exists():
            forces = _read(reference, "nearsight-reference", Reference).forces
            _check_length(reference, "forces", forces, n_atoms)
            iterations = [replace(iteration, true_forces=forces) for iteration in iterations]
        config = folder / "config.toml"
        return cls(
            run=run,
            iterations=tuple(iterations),
            locality=_optional(folder / "locality.json", _read_locality),
            relaxation=_optional(folder / "relaxation.json", _read_relaxation),
            config=config.read_bytes().decode(errors="replace") if config.exists() else None,
        )


def report_json(data: RunData) -> dict[str, Any]:
    """The numbers of a run as ``report.json`` keeps them; forces in eV/Å, energies in eV.

    What needs the parent's true forces is null where they were not asked for. ``max_uncertainty``
    of the relaxation is the largest raw uncertainty of an atom on the whole way.
    """
    relaxation = None
    if data.relaxation is not None:
        ensemble, parent = data.relaxation.ensemble, data.relaxation.parent
        relaxation = {
            "steps": ensemble.steps,
            "energy_change": ensemble.energy_change,
            "parent_steps": None if parent is None else parent.steps,
            "parent_energy_change": None if parent is None else parent.energy_change,
            "parent_fmax_at_minimum": data.relaxation.parent_fmax_at_minimum,
            "max_uncertainty": float(ensemble.max_uncertainty.max()),
        }
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
        "parent": data.parent_name,
        "target": {"n_atoms": data.run.target.n_atoms},
        "iterations": [{key: getattr(it, key) for key in keys} for it in data.iterations],
        "best_iteration": data.run.best_iteration,
        "relaxation": relaxation,
        "seconds_total": data.run.seconds_total,
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
    chunks = iteration.chunk_indices
    if len(np.unique(chunks)) != len(chunks) or ((chunks < 0) | (chunks >= n_atoms)).any():
        raise InputError(
            f"{path}: chunk_indices must be different atoms from 0 to {n_atoms - 1} of the target"
        )


def _check_length(path: Path, name: str, array: npt.NDArray[Any], expected: int) -> None:
    if len(array) != expected:
        raise InputError(f"{path}: {name} has {len(array)} entries, expected {expected}")
