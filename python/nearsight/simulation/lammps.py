"""Input of LAMMPS for molecular dynamics with ``pair_style nearsight``."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.geometry import complete_cell
from ase.io.lammpsdata import write_lammps_data

from nearsight.config import DynamicsSettings
from nearsight.errors import InputError
from nearsight.files.atomic import write_text
from nearsight.simulation.integrators import check_conditions, give_momenta

__all__ = ["write_lammps_input"]

MARGIN = 5.0
"""Å around the atoms in directions that are not periodic; LAMMPS shrinks it to them."""


def write_lammps_input(
    script: Path,
    potential: Path,
    elements: tuple[str, ...],
    atoms: Atoms,
    settings: DynamicsSettings,
    bound: float,
    grade: float | None = None,
    seed: int = 0,
) -> Path:
    """Write a script that runs dynamics and ends where they become uncertain, and its structure.

    Parameters
    ----------
    script : Path
        The script to write; its structure goes beside it, its name followed by ``.data``.
    potential : Path
        The potential of the script.
    elements : tuple of str
        Those of the potential; their order is that of the types.
    atoms : ase.Atoms
        Checked; momenta are drawn if it has none.
    settings : DynamicsSettings
        Conditions, steps, and how often is written and watched.
    bound : float, eV/Å
        Raw uncertainty of an atom at which the dynamics end.
    grade : float, optional
        Extrapolation grade of an atom at which they end; None for a potential without grades.
    seed : int
        Of momenta and heat bath.

    Returns
    -------
    Path
        The file of the structure.

    Raises
    ------
    InputError
        If the conditions do not suit the structure, or atoms are constrained in a way other than
        FixAtoms.
    """
    check_conditions(atoms, settings)
    fixed = _fixed(atoms)
    moving = atoms.copy()
    if not moving.has("momenta"):
        give_momenta(moving, settings.temperature, seed)
    data = script.with_name(f"{script.name}.data")
    write_text(data, _data(moving, elements))
    place = os.path.relpath(potential, script.parent)
    write_text(
        script,
        "\n".join(
            (
                f"# by nearsight lammps input; in this folder: lmp -in {script.name}",
                *_system(atoms, elements, place, data.name, fixed),
                *_watch(settings, bound, grade),
                *_motion(settings, fixed, seed),
                *_output(settings, elements, grade is not None),
                "",
            )
        ),
    )
    return data


def _fixed(atoms: Atoms) -> list[int]:
    """Fixed atoms, by LAMMPS's numbers."""
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms):
            raise InputError(
                f"a script for LAMMPS can keep FixAtoms, got {type(constraint).__name__}"
            )
    found = [int(i) + 1 for constraint in atoms.constraints for i in constraint.index]
    return sorted(set(found))


def _data(atoms: Atoms, elements: tuple[str, ...]) -> str:
    """The structure in a box with room in the directions that are not periodic."""
    boxed = Atoms(atoms.symbols, atoms.positions, momenta=atoms.get_momenta())
    boxed.set_cell(complete_cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)))
    boxed.pbc = atoms.pbc
    if not atoms.pbc.all():
        boxed.center(MARGIN, axis=tuple(np.flatnonzero(~atoms.pbc)))
    buffer = io.StringIO()
    write_lammps_data(
        buffer, boxed, specorder=list(elements), masses=True, units="metal", velocities=True
    )
    return buffer.getvalue()


def _system(
    atoms: Atoms, elements: tuple[str, ...], potential: str, data: str, fixed: list[int]
) -> Iterator[str]:
    yield "units metal"
    yield "atom_style atomic"
    yield f"boundary {' '.join('p' if each else 's' for each in atoms.pbc)}"
    yield f"read_data {data}"
    yield "pair_style nearsight"
    yield f'pair_coeff * * "{potential}" {" ".join(elements)}'
    if fixed:
        yield f"group fixed id {' '.join(map(str, fixed))}"
        yield "group moving subtract all fixed"
    else:
        yield "group moving union all"


def _watch(settings: DynamicsSettings, bound: float, grade: float | None) -> Iterator[str]:
    has_domain = grade is not None
    every = math.gcd(settings.watch_every, settings.write_every)  # what is written is of its step
    asked = " extrapolation 1" if has_domain else ""
    yield ""
    yield "# uncertainty (raw, eV/Angstrom) of every atom, and grade: above 1 outside the labels"
    yield f"fix watch all pair {every} nearsight uncertainty_raw 1{asked}"
    yield f"compute largest all reduce max {_columns('f_watch', has_domain)}"
    yield f"variable uncertainty equal c_largest{'[1]' if has_domain else ''}"
    if has_domain:
        yield "variable extrapolation equal c_largest[2]"
    yield f"fix uncertain all halt {every} v_uncertainty > {bound:.6g} error soft message yes"
    if has_domain:
        yield f"fix outside all halt {every} v_extrapolation > {grade:.6g} error soft message yes"


def _columns(name: str, has_domain: bool) -> str:
    return f"{name}[1] {name}[2]" if has_domain else name


def _motion(settings: DynamicsSettings, fixed: list[int], seed: int) -> Iterator[str]:
    first, last = settings.temperature, settings.final_temperature or settings.temperature
    yield ""
    yield f"timestep {settings.timestep / 1000:.6g}"
    if settings.conditions == "NPT":
        pressure = f"{settings.pressure * 1e4:.6g}"  # bar
        relaxation = f"{settings.pressure_time / 1000:.6g}"
        yield f"fix move moving nph iso {pressure} {pressure} {relaxation}"
    else:
        yield "fix move moving nve"
    if settings.conditions != "NVE":
        heat = f"{first:.6g} {last:.6g} {1 / settings.friction:.6g}"
        yield f"fix bath moving langevin {heat} {seed % 900_000_000 + 1}"
    if fixed:
        yield "velocity fixed set 0.0 0.0 0.0"


def _output(
    settings: DynamicsSettings, elements: tuple[str, ...], has_domain: bool
) -> Iterator[str]:
    watched = "v_uncertainty v_extrapolation" if has_domain else "v_uncertainty"
    yield ""
    yield f"thermo {settings.write_every}"
    yield f"thermo_style custom step temp pe ke etotal press {watched}"
    columns = f"id element x y z vx vy vz {_columns('f_watch', has_domain)}"
    yield f"dump frames all custom {settings.write_every} frames.dump {columns}"
    yield f"dump_modify frames sort id format float %.12g element {' '.join(elements)}"
    yield ""
    yield f"run {settings.steps}"
