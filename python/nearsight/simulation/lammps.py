"""Input of LAMMPS for molecular dynamics with ``pair_style nearsight``."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.lammps import Prism
from ase.constraints import FixAtoms
from ase.geometry import complete_cell
from ase.io.lammpsdata import write_lammps_data

from nearsight.config import DynamicsSettings
from nearsight.errors import InputError
from nearsight.files.atomic import write_text
from nearsight.simulation.integrators import check_conditions, give_momenta
from nearsight.simulation.known import MAX_UNCERTAIN_IN_A_ROW, Limits

__all__ = ["DUMP", "Placement", "Segment", "data_file", "write_lammps_input"]

Array = npt.NDArray[np.float64]

DUMP = "frames.dump"
"""What a script writes its frames to."""
MARGIN = 5.0
"""Å around the atoms in directions that are not periodic; LAMMPS shrinks it to them."""
_HEAT = 8  # keeps the seeds of heat baths apart from the other random streams


@dataclass(frozen=True)
class Placement:
    """A structure as LAMMPS has it: in a box from the origin, with a triangular cell.

    Attributes
    ----------
    atoms : ase.Atoms
        The structure.
    """

    atoms: Atoms

    @cached_property
    def boxed(self) -> Atoms:
        """The structure in a box with room in the directions that are not periodic."""
        atoms = self.atoms
        boxed = Atoms(atoms.symbols, atoms.positions, momenta=atoms.get_momenta())
        boxed.set_cell(complete_cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)))
        boxed.pbc = atoms.pbc
        if not atoms.pbc.all():
            boxed.center(MARGIN, axis=tuple(np.flatnonzero(~atoms.pbc)))
        return boxed

    @cached_property
    def prism(self) -> Prism:
        """Its rotation."""
        return Prism(self.boxed.cell.array)

    @cached_property
    def shift(self) -> Array:
        """(3,) by which it was moved into the box, Å."""
        moved: Array = self.boxed.positions[0] - self.atoms.positions[0]
        return moved

    def back(self, frame: Atoms) -> Atoms:
        """A frame of LAMMPS where the structure is, with all that LAMMPS does not know of it.

        Raises
        ------
        InputError
            If it holds other atoms.
        """
        if not np.array_equal(frame.numbers, self.atoms.numbers):
            raise InputError(
                f"LAMMPS has dumped {frame.symbols}, where the structure is {self.atoms.symbols}"
            )
        atoms = self.atoms.copy()
        if atoms.pbc.all():
            atoms.cell = frame.cell.array @ self.prism.rot_mat.T
        rotated = self.prism.vector_to_ase(frame.positions)
        atoms.set_positions(rotated - self.shift, apply_constraint=False)
        momenta = self.prism.vector_to_ase(frame.get_momenta())
        atoms.set_momenta(momenta, apply_constraint=False)
        return atoms


@dataclass(frozen=True)
class Segment:
    """Part of dynamics that are carried out by several scripts.

    Attributes
    ----------
    step : int
        Steps made before it.
    number : int
        From 1; its heat bath has random numbers of its own.
    """

    step: int = 0
    number: int = 1

    def heat_seed(self, seed: int) -> int:
        """Of its heat bath, as LAMMPS takes it."""
        if self.number > 1:
            stream = np.random.SeedSequence([seed, _HEAT, self.number])
            seed = int(stream.generate_state(1)[0])
        return seed % 900_000_000 + 1


def write_lammps_input(
    script: Path,
    potential: Path,
    elements: tuple[str, ...],
    atoms: Atoms,
    settings: DynamicsSettings,
    limits: Limits,
    has_domain: bool = True,
    seed: int = 0,
    segment: Segment | None = None,
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
    limits : Limits
        The dynamics end where an atom is beyond them, or uncertain for too long.
    has_domain : bool
        Whether the potential has extrapolation grades.
    seed : int
        Of momenta and heat bath.
    segment : Segment, optional
        The part of the dynamics that is left; all of them when left out.

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
    segment = segment or Segment()
    check_conditions(atoms, settings)
    fixed = _fixed(atoms)
    moving = atoms.copy()
    if not moving.has("momenta"):
        give_momenta(moving, settings.temperature, seed)
    data = data_file(script)
    write_text(data, _data(Placement(moving), elements))
    place = os.path.relpath(potential, script.parent)
    # what is written is of its step, the last step too
    every = math.gcd(settings.watch_every, settings.write_every, settings.steps)
    write_text(
        script,
        "\n".join(
            (
                f"# by nearsight lammps; in this folder: lmp -in {script.name}",
                *_system(atoms, elements, place, data.name, fixed, segment.step),
                *_watch(every, limits, has_domain),
                *_motion(settings, fixed, segment.heat_seed(seed)),
                *_output(every, settings, elements, limits, has_domain),
                *_run(settings, segment.step),
                "",
            )
        ),
    )
    return data


def data_file(script: Path) -> Path:
    """The file of the structure of a script."""
    return script.with_name(f"{script.name}.data")


def _fixed(atoms: Atoms) -> list[int]:
    """Fixed atoms, by LAMMPS's numbers."""
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms):
            raise InputError(
                f"a script for LAMMPS can keep FixAtoms, got {type(constraint).__name__}"
            )
    found = [int(i) + 1 for constraint in atoms.constraints for i in constraint.index]
    return sorted(set(found))


def _data(placement: Placement, elements: tuple[str, ...]) -> str:
    """The structure as LAMMPS reads it."""
    buffer = io.StringIO()
    write_lammps_data(
        buffer,
        placement.boxed,
        specorder=list(elements),
        prismobj=placement.prism,
        masses=True,
        units="metal",
        velocities=True,
    )
    return buffer.getvalue()


def _system(
    atoms: Atoms, elements: tuple[str, ...], potential: str, data: str, fixed: list[int], step: int
) -> Iterator[str]:
    yield "units metal"
    yield "atom_style atomic"
    yield f"boundary {' '.join('p' if each else 's' for each in atoms.pbc)}"
    yield f'read_data "{data}"'
    if step:
        yield f"reset_timestep {step}"
    yield "pair_style nearsight"
    yield f'pair_coeff * * "{potential}" {" ".join(elements)}'
    if fixed:
        yield f"group fixed id {' '.join(map(str, fixed))}"
        yield "group moving subtract all fixed"
    else:
        yield "group moving union all"


def _watch(every: int, limits: Limits, has_domain: bool) -> Iterator[str]:
    asked = " extrapolation 1" if has_domain else ""
    yield ""
    yield "# uncertainty (raw, eV/Angstrom) of every atom, and grade: above 1 outside the labels"
    yield f"fix watch all pair {every} nearsight uncertainty_raw 1{asked}"
    yield f"compute largest all reduce max {_columns('f_watch', has_domain)}"
    yield f"variable uncertainty equal c_largest{'[1]' if has_domain else ''}"
    unsure = f"v_uncertainty >= {limits.threshold:.10g}"
    if has_domain:
        yield "variable extrapolation equal c_largest[2]"
        unsure += f" || v_extrapolation > {limits.most:.10g}"
    ends = "error soft message yes"
    yield f"fix uncertain all halt {every} v_uncertainty > {limits.high:.10g} {ends}"
    if has_domain:
        grade = limits.window * limits.most
        yield f"fix outside all halt {every} v_extrapolation > {grade:.10g} {ends}"
    most = MAX_UNCERTAIN_IN_A_ROW
    yield f'variable unsure equal "{unsure}"'
    yield f"fix part all ave/time {every} {most} {most * every} v_unsure"
    yield "variable part equal f_part"
    yield f"fix long all halt {most * every} v_part >= 1 {ends}"


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
        yield f"fix bath moving langevin {heat} {seed}"
    if fixed:
        yield "velocity fixed set 0.0 0.0 0.0"


def _output(
    every: int,
    settings: DynamicsSettings,
    elements: tuple[str, ...],
    limits: Limits,
    has_domain: bool,
) -> Iterator[str]:
    watched = "v_uncertainty v_extrapolation" if has_domain else "v_uncertainty"
    yield ""
    yield f"thermo {settings.write_every}"
    yield f"thermo_style custom step temp pe ke etotal press {watched}"
    yield "thermo_modify flush yes"
    columns = f"id element xu yu zu vx vy vz {_columns('f_watch', has_domain)}"
    if every < settings.write_every:
        calm = f"v_uncertainty < {limits.low:.10g}"
        if has_domain:
            calm += f" && v_extrapolation <= {limits.most:.10g}"
        yield "# between the frames, those from which there is something to learn"
        between = f"step % {settings.write_every} != 0 && step != {settings.steps}"
        yield f'variable calm equal "{between} && {calm}"'
    yield f"dump frames all custom {every} {DUMP} {columns}"
    yield f"dump_modify frames sort id format float %.12g element {' '.join(elements)}"
    if every < settings.write_every:
        yield "dump_modify frames skip v_calm"


def _run(settings: DynamicsSettings, step: int) -> Iterator[str]:
    yield ""
    if step:  # the temperature of the heat bath goes on where it was
        yield f"run {settings.steps - step} start 0 stop {settings.steps}"
    else:
        yield f"run {settings.steps}"
