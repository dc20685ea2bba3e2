"""Relaxations, with the energies, forces and uncertainties of every step (SI 7.3)."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

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
from nearsight.progress import Progress

__all__ = [
    "EnsembleRelaxationResult",
    "RelaxationResult",
    "largest_force",
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
            f"{'relaxed' if self.converged else 'NOT relaxed'} in {self.steps} steps of "
            f"{self.optimizer}, ΔE {self.energy_change:.3f} eV, "
            f"largest force {self.fmax[-1]:.4f} eV/Å"
        )


class EnsembleRelaxationResult(RelaxationResult, EnsemblePath):
    """A relaxation with an ensemble.

    Attributes
    ----------
    max_uncertainty, mean_uncertainty : (S + 1,) float64, eV/Å
        Raw uncertainty, maximum and mean over the atoms.
    """

    @property
    def summary(self) -> str:
        """One-sentence summary for the log."""
        return (
            f"{super().summary}, uncertainty (raw) {self.max_uncertainty[-1]:.4f} eV/Å at the "
            f"end, at most {self.max_uncertainty.max():.4f}"
        )


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
        ASE trajectory to write.

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


_MAX_ATOMS_BFGS = 300
"""Atoms up to which the dense Hessian of BFGS is cheap: its diagonalisation grows as N³."""


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
    name = settings.optimizer
    if name == "auto":
        name = "BFGS" if len(atoms) <= _MAX_ATOMS_BFGS else "LBFGS"
    energies: list[float] = []
    fmax: list[float] = []
    uncertainties: list[tuple[float, float]] = []
    optimizer = getattr(ase.optimize, name)(moving, logfile=None)

    def record() -> None:
        forces = moving.get_forces()
        energies.append(float(moving.get_potential_energy(force_consistent=True)))
        fmax.append(largest_force(forces))
        raw = calculator.results.get("uncertainty_raw")
        if raw is not None:
            uncertainties.append((float(raw.max()), float(raw.mean())))
        progress.advance(len(energies) - 1, None, f"steps, largest force {fmax[-1]:.3f} eV/Å")

    optimizer.attach(record)
    try:
        # BLAS threads and those of the force calls would get in each other's way.
        with ExitStack() as files, threadpool_limits(1, user_api="blas"):
            if trajectory is not None:
                writer = files.enter_context(Trajectory(str(trajectory), "w"))
                optimizer.attach(lambda: writer.write(_frame(moving)))
            converged = bool(optimizer.run(fmax=settings.fmax, steps=settings.max_steps))
    except np.linalg.LinAlgError as error:
        raise InputError(f"the relaxation failed ({error})") from error
    except OSError as error:
        raise InputError(f"{trajectory}: cannot be written ({error.strerror or error})") from error
    moving.calc = None
    path = RelaxationResult(
        atoms=moving,
        optimizer=name,
        energies=np.array(energies),
        fmax=np.array(fmax),
        converged=converged,
    )
    if not uncertainties:
        return path
    largest, mean = np.array(uncertainties).T
    return EnsembleRelaxationResult(**vars(path), max_uncertainty=largest, mean_uncertainty=mean)
