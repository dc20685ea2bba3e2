"""ASE's integrators of molecular dynamics, whose complete state can be saved and restored."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation
from ase.md.verlet import VelocityVerlet

from nearsight.config import DynamicsSettings
from nearsight.errors import InputError

__all__ = ["Integrator", "check_conditions", "give_momenta"]

_MOMENTA, _NOISE = 5, 6  # keep the random streams apart; 1 to 4 are those of the training


def give_momenta(atoms: Atoms, temperature: float, seed: int) -> None:
    """Draw momenta from a Maxwell–Boltzmann distribution.

    Without constraints the total momentum is zero, and for a particle the total rotation too; the
    kinetic energy is then rescaled to its former value. (A single atom keeps its momentum: nothing
    would be left to rescale.) Fixed atoms stay at rest.

    Parameters
    ----------
    atoms : ase.Atoms
    temperature : float, K
    seed : int
    """
    rng = np.random.default_rng([seed, _MOMENTA])
    spread = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * spread[:, None])
    if not atoms.constraints and len(atoms) > 1:
        Stationary(atoms)
        if not atoms.pbc.any():
            with np.errstate(divide="ignore", invalid="ignore"):  # along the axis of linear ones
                ZeroRotation(atoms)


def check_conditions(atoms: Atoms, settings: DynamicsSettings) -> None:
    """Refuse conditions that are impossible for a structure.

    Raises
    ------
    InputError
        Constant pressure without a cell that is periodic in all directions, or with constraints.
    """
    if settings.conditions != "NPT":
        return
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise InputError(
            'conditions = "NPT" needs a structure that is periodic in all three directions, this '
            f"one is in {int(atoms.pbc.sum())}"
        )
    if atoms.constraints:
        kinds = ", ".join(sorted({type(constraint).__name__ for constraint in atoms.constraints}))
        raise InputError(
            f'conditions = "NPT" cannot be combined with constraints ({kinds}): the cell would '
            "move fixed atoms"
        )


class Integrator:
    """One of ASE's integrators with its structure.

    Parameters
    ----------
    atoms : ase.Atoms
        With momenta and a calculator.
    settings : DynamicsSettings
    seed : int
    step : int
        Steps made so far.
    state : mapping, optional
        What `state` gave after that step; needed unless it is 0.

    Attributes
    ----------
    ase : ase.md.md.MolecularDynamics
    """

    def __init__(
        self,
        atoms: Atoms,
        settings: DynamicsSettings,
        seed: int,
        step: int = 0,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._settings = settings
        self._rng = np.random.default_rng([seed, _NOISE])
        self.ase = self._make(atoms)
        self.ase.nsteps = step
        if state is not None:
            self._rng.bit_generator.state = state["random"]
            for name in _BAROSTAT:
                if name in state:
                    setattr(self.ase, name, state[name])

    @property
    def state(self) -> dict[str, Any]:
        """State beyond the structure: random numbers and the motion of the cell."""
        state = {"random": self._rng.bit_generator.state}
        return state | {n: float(getattr(self.ase, n)) for n in _BAROSTAT if hasattr(self.ase, n)}

    @property
    def step(self) -> int:
        """Steps made so far."""
        return int(self.ase.nsteps)

    def advance(self) -> None:
        """Make one step, with the temperature the heat bath has at its end."""
        settings = self._settings
        if settings.final_temperature is not None:
            part = (self.step + 1) / settings.steps
            change = settings.final_temperature - settings.temperature
            self.ase.set_temperature(temperature_K=settings.temperature + part * change)
        self.ase.step()
        self.ase.nsteps += 1

    def _make(self, atoms: Atoms) -> Any:
        settings = self._settings
        timestep = settings.timestep * units.fs
        friction = settings.friction / (1000.0 * units.fs)
        if settings.conditions == "NVE":
            return VelocityVerlet(atoms, timestep)
        if settings.conditions == "NVT":
            return Langevin(
                atoms,
                timestep,
                temperature_K=settings.temperature,
                friction=friction,
                fixcm=False,  # what ASE recommends; True does not sample the right distribution
                rng=self._rng,
            )
        try:
            from ase.md.langevinbaoab import LangevinBAOAB
        except ImportError as error:
            raise InputError('conditions = "NPT" needs ASE 3.27 or newer') from error
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using heuristic P_mass")  # ASE's choice is meant
            return LangevinBAOAB(
                atoms,
                timestep,
                temperature_K=settings.temperature,
                externalstress=-settings.pressure * units.GPa,
                hydrostatic=True,
                T_tau=1.0 / friction,
                P_tau=settings.pressure_time * units.fs,
                rng=self._rng,
            )


_BAROSTAT = ("p_eps", "force_eps")
"""Momentum of the cell in LangevinBAOAB, and the force on it, which its last half step needs."""
