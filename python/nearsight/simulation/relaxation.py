"""Relaxations, with the energies, forces and uncertainties of every step (SI 7.3)."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.optimize
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io.trajectory import Trajectory
from threadpoolctl import threadpool_limits

from nearsight.config import RelaxationSettings
from nearsight.errors import InputError
from nearsight.model.calculator import NearsightCalculator
from nearsight.model.ensemble import Ensemble
from nearsight.parents import Parent, ParentCalculator
from nearsight.progress import Progress

__all__ = ["Relaxation", "relax", "relax_with_parent"]


@dataclass
class Relaxation:
    """A relaxation; the lists have one entry for every step, the first one for the start.

    Attributes
    ----------
    atoms : ase.Atoms
        The last structure, without calculator.
    optimizer : str
        Name in ASE.
    energies : list of float, eV
    fmax : list of float, eV/Å
        Largest force on an atom that is free to move.
    max_uncertainty, mean_uncertainty : list of float, eV/Å
        Raw uncertainty, maximum and mean over the atoms; empty for a parent.
    converged : bool
    """

    atoms: Atoms
    optimizer: str
    energies: list[float] = field(default_factory=list)
    fmax: list[float] = field(default_factory=list)
    max_uncertainty: list[float] = field(default_factory=list)
    mean_uncertainty: list[float] = field(default_factory=list)
    converged: bool = False

    @property
    def steps(self) -> int:
        """Steps of the optimiser."""
        return len(self.energies) - 1

    @property
    def summary(self) -> str:
        """One-sentence summary for the log."""
        text = (
            f"{'relaxed' if self.converged else 'NOT relaxed'} in {self.steps} steps of "
            f"{self.optimizer}, "
            f"ΔE {self.energies[-1] - self.energies[0]:.3f} eV, "
            f"largest force {self.fmax[-1]:.4f} eV/Å"
        )
        if self.max_uncertainty:
            text += (
                f", uncertainty (raw) {self.max_uncertainty[-1]:.4f} eV/Å at the end, "
                f"at most {max(self.max_uncertainty):.4f}"
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON, without the structure."""
        content: dict[str, Any] = {
            "energies": self.energies,
            "fmax": self.fmax,
            "converged": self.converged,
        }
        if self.max_uncertainty:
            content["max_uncertainty"] = self.max_uncertainty
            content["mean_uncertainty"] = self.mean_uncertainty
        return content


def relax(
    ensemble: Ensemble,
    atoms: Atoms,
    settings: RelaxationSettings | None = None,
    progress: Progress | None = None,
    trajectory: str | Path | None = None,
) -> Relaxation:
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
    return _relax(NearsightCalculator(ensemble), atoms, settings, progress, trajectory)


def relax_with_parent(
    parent: Parent,
    atoms: Atoms,
    settings: RelaxationSettings | None = None,
    progress: Progress | None = None,
    trajectory: str | Path | None = None,
) -> Relaxation:
    """Relax a copy of ``atoms`` with the parent, for comparison; see `relax`."""
    return _relax(ParentCalculator(parent), atoms, settings, progress, trajectory)


_MAX_ATOMS_BFGS = 300
"""Atoms up to which the dense Hessian of BFGS is cheap: its diagonalisation grows as N³."""


def _relax(
    calculator: Calculator,
    atoms: Atoms,
    settings: RelaxationSettings | None,
    progress: Progress | None,
    trajectory: str | Path | None,
) -> Relaxation:
    settings = settings or RelaxationSettings()
    progress = progress or Progress()
    moving = atoms.copy()
    moving.calc = calculator
    name = settings.optimizer
    if name == "auto":
        name = "BFGS" if len(atoms) <= _MAX_ATOMS_BFGS else "LBFGS"
    relaxation = Relaxation(moving, name)
    optimizer = getattr(ase.optimize, name)(moving, logfile=None)

    def record() -> None:
        forces = moving.get_forces()
        relaxation.energies.append(float(moving.get_potential_energy(force_consistent=True)))
        relaxation.fmax.append(float(np.linalg.norm(forces, axis=1).max()))
        raw = calculator.results.get("uncertainty_raw")
        if raw is not None:
            relaxation.max_uncertainty.append(float(raw.max()))
            relaxation.mean_uncertainty.append(float(raw.mean()))
        fmax = relaxation.fmax[-1]
        progress.advance(relaxation.steps, None, f"steps, largest force {fmax:.3f} eV/Å")

    optimizer.attach(record)
    try:
        # BLAS threads and those of the force calls would get in each other's way.
        with ExitStack() as files, threadpool_limits(1, user_api="blas"):
            if trajectory is not None:
                writer = files.enter_context(Trajectory(str(trajectory), "w", moving))
                optimizer.attach(writer)
            relaxation.converged = bool(optimizer.run(fmax=settings.fmax, steps=settings.max_steps))
    except np.linalg.LinAlgError as error:
        raise InputError(f"the relaxation failed ({error})") from error
    except OSError as error:
        raise InputError(f"{trajectory}: cannot be written ({error.strerror or error})") from error
    moving.calc = None
    return relaxation
