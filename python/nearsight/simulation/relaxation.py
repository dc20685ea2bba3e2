"""Relaxations, with the energies, forces and uncertainties of every step (SI 7.3)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.optimize
import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io.trajectory import Trajectory
from threadpoolctl import threadpool_limits

from nearsight.config import RelaxationSettings
from nearsight.errors import InputError
from nearsight.files.records import EnsemblePath, RelaxationPath
from nearsight.model.calculator import NearsightCalculator
from nearsight.model.ensemble import Ensemble
from nearsight.model.snapshot import snapshot, without_results
from nearsight.parents import Origin, Parent, ParentCalculator
from nearsight.progress import Progress, count_noun
from nearsight.simulation.known import why_unknown

__all__ = [
    "EnsembleRelaxationResult",
    "RelaxationResult",
    "largest_force",
    "optimizer_name",
    "path_figures",
    "relax",
    "relax_with_parent",
]

WHOLE = Origin("whole", "relaxation")


class RelaxationResult(RelaxationPath):
    """A relaxation, step by step; the first entry of each array is the start.

    Attributes
    ----------
    atoms : ase.Atoms
        The last structure, without calculator.
    optimizer : str
        Name in ASE.
    energies, fmax, converged
        See `RelaxationPath`.
    """

    atoms: Atoms
    optimizer: str

    @property
    def summary(self) -> str:
        """One-sentence summary for the log."""
        return (
            f"{'relaxed' if self.converged else 'NOT relaxed'} in "
            f"{count_noun(self.steps, 'step')} of {self.optimizer}, "
            f"ΔE {self.energy_change:.3f} eV, largest force {self.fmax[-1]:.4f} eV/Å"
        )


class EnsembleRelaxationResult(RelaxationResult, EnsemblePath):
    """A relaxation with an ensemble.

    Attributes
    ----------
    max_uncertainty, mean_uncertainty, max_calibrated, extrapolation, stopped
        See `EnsemblePath`.
    is_stated : bool
        Whether the calibrated uncertainty is a bound that rests on enough.
    """

    is_stated: bool = False

    @property
    def summary(self) -> str:
        """One-sentence summary for the log."""
        told, kind, values = super().summary, "raw", self.max_uncertainty
        if self.is_stated and self.max_calibrated is not None:
            kind, values = "99 %", self.max_calibrated
        if self.max_uncertainty.any():  # else there is one member, which has no spread
            told += (
                f", uncertainty ({kind}) {values[-1]:.4f} eV/Å at the end, at most "
                f"{values.max():.4f}"
            )
        return told + (f"; ended at the last known frame: {self.stopped}" if self.stopped else "")


def largest_force(forces: npt.NDArray[np.float64]) -> float:
    """Largest norm of (N, 3) forces, eV/Å."""
    return float(np.linalg.norm(forces, axis=1).max())


def relax(
    ensemble: Ensemble,
    atoms: Atoms,
    settings: RelaxationSettings | None = None,
    progress: Progress | None = None,
    trajectory: str | Path | None = None,
) -> EnsembleRelaxationResult:
    """Relax a copy of ``atoms`` with the mean force of an ensemble.

    Parameters
    ----------
    ensemble : Ensemble
    atoms : ase.Atoms
        Its constraints hold.
    settings : RelaxationSettings, optional
    progress : Progress, optional
    trajectory : path, optional
        ASE trajectory to write, of every ``settings.write_every``-th step and the last.

    Returns
    -------
    EnsembleRelaxationResult
        Unless ``settings.on_uncertain`` is "warn", up to the last frame that is known; with the
        first one in any case. Nothing is retrained here.

    Raises
    ------
    InputError
        If the ensemble cannot evaluate a structure on the way.
    """
    result = _relax(NearsightCalculator(ensemble), atoms, settings, progress, trajectory)
    assert isinstance(result, EnsembleRelaxationResult)  # the calculator gives uncertainties
    return result


def relax_with_parent(
    parent: Parent,
    atoms: Atoms,
    settings: RelaxationSettings | None = None,
    progress: Progress | None = None,
    trajectory: str | Path | None = None,
) -> RelaxationResult:
    """Relax a copy of ``atoms`` with the parent, for comparison; see `relax`."""
    return _relax(ParentCalculator(parent, origin=WHOLE), atoms, settings, progress, trajectory)


def _frame(moving: Atoms) -> Atoms:
    """What goes into a trajectory, with uncertainties where there are any."""
    own = isinstance(moving.calc, NearsightCalculator)
    return snapshot(moving, in_info=True) if own else moving


@dataclass
class _Path:
    """Figures of the steps so far, and the positions at the last of them."""

    energies: list[float] = field(default_factory=list)
    fmax: list[float] = field(default_factory=list)
    uncertainties: dict[str, list[float]] = field(default_factory=dict)
    positions: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))

    @property
    def steps(self) -> int:
        return len(self.energies) - 1

    def add(self, moving: Atoms) -> None:
        results = moving.calc.results
        self.energies.append(float(moving.get_potential_energy(force_consistent=True)))
        self.fmax.append(largest_force(moving.get_forces()))
        self.positions = moving.positions.copy()
        for name, value in path_figures(results).items():
            self.uncertainties.setdefault(name, []).append(value)


def path_figures(results: Mapping[str, Any]) -> dict[str, float]:
    """The figures of one frame in an `EnsemblePath`, from results under ASE's names."""
    if "uncertainty_raw" not in results:
        return {}
    raw, grade = results["uncertainty_raw"], results.get("extrapolation")
    figures = {
        "max_uncertainty": float(raw.max()),
        "mean_uncertainty": float(raw.mean()),
        "max_calibrated": float(results["uncertainty"].max()),
    }
    return figures if grade is None else {**figures, "extrapolation": float(grade.max())}


_MAX_ATOMS_BFGS = 50
"""Atoms up to which the dense Hessian of BFGS is cheap: its diagonalisation grows as N³, a force
call as N. LBFGS takes the same steps: 25 to 52 for Pt260, in 0.1 s instead of 1.6 to 3.3."""


def optimizer_name(settings: RelaxationSettings, n_atoms: int) -> str:
    """Name in ASE of the optimiser of so many atoms."""
    if settings.optimizer != "auto":
        return settings.optimizer
    return "BFGS" if n_atoms <= _MAX_ATOMS_BFGS else "LBFGS"


def _relax(
    calculator: Calculator,
    atoms: Atoms,
    settings: RelaxationSettings | None,
    progress: Progress | None,
    trajectory: str | Path | None,
) -> RelaxationResult:
    settings = settings or RelaxationSettings()
    progress = progress or Progress()
    moving = without_results(atoms)
    moving.calc = calculator
    name = optimizer_name(settings, len(atoms))
    optimizer = getattr(ase.optimize, name)(moving, logfile=None)
    watched = isinstance(calculator, NearsightCalculator) and settings.on_uncertain != "warn"
    kept, stopped, converged = _Path(), "", False
    try:
        # BLAS threads and those of the force calls would get in each other's way.
        with ExitStack() as files, threadpool_limits(1, user_api="blas"):
            writer = None
            if trajectory is not None:
                writer = files.enter_context(Trajectory(str(trajectory), "w"))
            for done in optimizer.irun(fmax=settings.fmax, steps=settings.max_steps):
                moving.get_forces()  # of this frame, also after a line search
                if watched:
                    found = calculator.results
                    stopped = why_unknown(
                        moving,
                        found["uncertainty"],
                        found.get("extrapolation"),
                        settings.max_uncertainty,
                    )
                if stopped and kept.energies:
                    stopped = f"at step {len(kept.energies)} {stopped}"
                    break
                kept.add(moving)
                progress.advance(kept.steps, None, f"steps, largest force {kept.fmax[-1]:.3f} eV/Å")
                if writer is not None and kept.steps % settings.write_every == 0:
                    writer.write(_frame(moving))
                if stopped:
                    stopped = f"in the structure to begin with {stopped}"
                    break
                converged = bool(done)
            if writer is not None and kept.steps % settings.write_every != 0:
                moving.positions = kept.positions  # calculated again only if it went beyond them
                moving.get_forces()
                writer.write(_frame(moving))
    except np.linalg.LinAlgError as error:
        raise InputError(f"the relaxation failed ({error})") from error
    except OSError as error:
        raise InputError(f"{trajectory}: cannot be written ({error.strerror or error})") from error
    moving.calc = None
    moving.positions = kept.positions
    path = RelaxationResult(
        atoms=moving,
        optimizer=name,
        energies=np.array(kept.energies),
        fmax=np.array(kept.fmax),
        converged=converged,
    )
    if not kept.uncertainties:
        return path
    figures: dict[str, Any] = {k: np.array(values) for k, values in kept.uncertainties.items()}
    assert isinstance(calculator, NearsightCalculator)  # which gives uncertainties
    return EnsembleRelaxationResult(
        **vars(path),
        **figures,
        stopped=stopped or None,
        is_stated=calculator.ensemble.has_bounds,
    )
