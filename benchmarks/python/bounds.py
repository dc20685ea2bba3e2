"""Do the bounds hold where a potential was not trained, and for what is made of energies?

    python benchmarks/python/bounds.py RUN...

of finished runs with EMT as the parent. The first table goes out of range: crystals from half to
one and a half lattice constants in five phases, a pair of atoms, an atom before a surface, a lone
one. A point is silent where the largest error of a force is above the largest uncertainty and no
atom is graded outside. The second is of energies and stresses: an equation of state, elastic
constants, a vacancy and surfaces of every element, each with the bound that follows from those of
its parts. Ends with 1 where a point is silent, or EMT's value beyond a bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc100, fcc110, fcc111
from ase.calculators.emt import EMT
from ase.units import GPa
from rich.console import Console
from rich.table import Column, Table
from scipy.optimize import minimize_scalar

from nearsight import Ensemble
from nearsight.model.ensemble import Evaluation
from nearsight.structures.images import read_structure

PHASES = {"fcc": 1.0, "bcc": 0.794, "hcp": 0.707, "sc": 0.63, "diamond": 1.36}
"""Lattice constant of about the same distance of neighbours, or volume, in that of fcc."""
SCALES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5)
DISTANCES = (0.8, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.4)
BEFORE = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
STRAIN = 0.01
EOS = (0.94, 0.96, 0.98, 1.0, 1.02, 1.04)


def lattice_constant(element: str) -> float:
    """Of EMT's fcc crystal, Å."""

    def energy(a: float) -> float:
        atoms = bulk(element, "fcc", a=a)
        atoms.calc = EMT()
        return float(atoms.get_potential_energy())

    return float(minimize_scalar(energy, bounds=(3.0, 4.6), method="bounded").x)


def crystal(elements: tuple[str, ...], phase: str, a: float) -> Atoms:
    """Some cells of a phase, its atoms a little displaced, of one element or two in turn."""
    cubic = {"cubic": True} if phase != "hcp" else {}
    atoms = bulk(elements[0], phase, a=a, **cubic).repeat(2 if phase != "hcp" else 3)
    atoms.symbols = [elements[n % len(elements)] for n in range(len(atoms))]
    atoms.rattle(0.03, seed=3)
    return atoms


def series(target: Atoms) -> Iterator[tuple[str, str, Atoms]]:
    """Name of a series, of its point, and the structure."""
    elements = sorted(set(target.symbols))
    for mixed in [(each,) for each in elements] + ([tuple(elements)] if len(elements) > 1 else []):
        name, a = "".join(mixed), float(np.mean([lattice_constant(each) for each in mixed]))
        for phase, part in PHASES.items():
            for scale in SCALES:
                yield f"{name} {phase}", f"{scale:g} a0", crystal(mixed, phase, part * scale * a)
    for pair in combinations_with_replacement(elements, 2):
        for distance in DISTANCES:
            atoms = Atoms(pair, [[0, 0, 0], [0, 0, distance]])
            yield f"{''.join(pair)} pair", f"{distance:g} Å", atoms
    away = target.positions - target.positions.mean(axis=0)
    far = int(np.linalg.norm(away, axis=1).argmax())
    for element in elements:
        for distance in BEFORE:
            place = target.positions[far] + distance * away[far] / np.linalg.norm(away[far])
            extra = Atoms(target.symbols, target.positions) + Atoms(element, [place])
            yield f"{element} before a surface", f"{distance:g} Å", extra
        yield f"{element} alone", "", Atoms(element)


@dataclass(frozen=True)
class Point:
    """A structure of a series: the largest error, uncertainty (eV/Å) and grade of its atoms."""

    name: str
    where: str
    error: float
    uncertainty: float
    grade: float

    @classmethod
    def of(cls, ensemble: Ensemble, name: str, where: str, atoms: Atoms) -> Point:
        found = ensemble.evaluate(atoms, stress=False)
        assert found.uncertainty is not None
        assert found.extrapolation is not None
        atoms.calc = EMT()
        error = np.linalg.norm(found.forces - atoms.get_forces(), axis=1)
        largest = (error.max(), found.uncertainty.max(), found.extrapolation.max())
        return cls(name, where, *map(float, largest))

    @property
    def is_silent(self) -> bool:
        """Whether nothing tells that it is wrong."""
        return self.error > self.uncertainty and self.grade <= 1.0


@dataclass(frozen=True)
class Value:
    """A quantity made of energies or stresses: the potential's, EMT's, and the bound."""

    name: str
    unit: str
    found: float
    true: float
    bound: float
    grade: float

    @property
    def is_within(self) -> bool:
        """Whether EMT's value is within the bound."""
        return abs(self.found - self.true) <= self.bound


@dataclass(frozen=True)
class Both:
    """A structure by the potential and by EMT."""

    found: Evaluation
    energy: float
    stress: np.ndarray

    @classmethod
    def of(cls, ensemble: Ensemble, atoms: Atoms) -> Both:
        found = ensemble.evaluate(atoms)
        atoms.calc = EMT()
        return cls(found, float(atoms.get_potential_energy()), atoms.get_stress())

    @property
    def grade(self) -> float:
        """The largest of an atom."""
        assert self.found.extrapolation is not None
        return float(self.found.extrapolation.max())


def difference(name: str, unit: str, scale: float, one: Both, other: Both, times: float) -> Value:
    """Of an energy and ``times`` another one, times a scale; the bound is the sum of both."""
    bounds = [one.found.energy_uncertainty, other.found.energy_uncertainty]
    assert None not in bounds
    return Value(
        name,
        unit,
        scale * (one.found.energy - times * other.found.energy),
        scale * (one.energy - times * other.energy),
        scale * float(bounds[0] + times * bounds[1]),
        max(one.grade, other.grade),
    )


def values(ensemble: Ensemble, element: str) -> Iterator[Value]:
    """Equation of state, elastic constants, vacancy, surfaces."""
    a = lattice_constant(element)
    rest = Both.of(ensemble, bulk(element, "fcc", a=a, cubic=True))
    for scale in EOS:
        if scale != 1.0:
            strained = Both.of(ensemble, bulk(element, "fcc", a=scale * a, cubic=True))
            name = f"E({scale:g} a0) − E(a0)"
            yield difference(name, "meV/atom", 250.0, strained, rest, 1.0)
    for name, voigt, component in (("C11", 0, 0), ("C12", 0, 1), ("C44", 3, 3)):
        yield elastic(ensemble, element, a, name, voigt, component)
    whole = bulk(element, "fcc", a=a, cubic=True).repeat(3)
    vacancy = whole.copy()
    del vacancy[0]
    ratio = len(vacancy) / len(whole)
    of_crystal = Both.of(ensemble, whole)
    yield difference("vacancy", "eV", 1.0, Both.of(ensemble, vacancy), of_crystal, ratio)
    for face, make in (("111", fcc111), ("100", fcc100), ("110", fcc110)):
        slab = make(element, (2, 2, 8), a=a, vacuum=8.0)
        slab.pbc = True
        area = float(np.linalg.norm(np.cross(*slab.cell[:2])))
        ratio = len(slab) / 4.0
        name = f"surface ({face})"
        yield difference(name, "meV/Å²", 500.0 / area, Both.of(ensemble, slab), rest, ratio)


def elastic(
    ensemble: Ensemble, element: str, a: float, name: str, voigt: int, component: int
) -> Value:
    """From the stresses at two strains."""
    both = []
    for sign in (-1.0, 1.0):
        strain = np.zeros((3, 3))
        if voigt < 3:
            strain[voigt, voigt] = sign * STRAIN
        else:
            strain[1, 2] = strain[2, 1] = sign * STRAIN / 2.0
        atoms = bulk(element, "fcc", a=a, cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        both.append(Both.of(ensemble, atoms))
    stresses = [each.found.stress for each in both]
    bounds = [each.found.stress_uncertainty for each in both]
    width = 2.0 * STRAIN * GPa
    return Value(
        name,
        "GPa",
        float(stresses[1][component] - stresses[0][component]) / width,
        float(both[1].stress[component] - both[0].stress[component]) / width,
        float(bounds[0][component] + bounds[1][component]) / width,
        max(each.grade for each in both),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    options = parser.parse_args()
    numbers = ("points", "outside", "beyond the uncertainty", "silent", "largest error inside", "±")
    ranges = Table("run", "series", *(Column(name, justify="right") for name in numbers))
    numbers = ("potential", "EMT", "off", "bound", "grade")
    figures = Table("run", "", "unit", *(Column(name, justify="right") for name in numbers), "")
    wrong = 0
    for run in options.runs:
        ensemble = Ensemble.load(run / "best.json")
        target = read_structure(run / "target.extxyz")
        points = [Point.of(ensemble, *each) for each in series(target)]
        for name in dict.fromkeys(each.name for each in points):
            of_it = [each for each in points if each.name == name]
            silent = [each for each in of_it if each.is_silent]
            inside = [each for each in of_it if each.grade <= 1.0]
            worst = max(inside, key=lambda each: each.error, default=None)
            ranges.add_row(
                run.name,
                name,
                f"{len(of_it)}",
                f"{len(of_it) - len(inside)}",
                f"{sum(each.error > each.uncertainty for each in of_it)}",
                f"{len(silent)} {', '.join(each.where for each in silent)}",
                "–" if worst is None else f"{worst.error:.4f}",
                "–" if worst is None else f"{worst.uncertainty:.4f}",
            )
            wrong += len(silent)
        for element in sorted(set(target.symbols)):
            for each in values(ensemble, element):
                cells = (each.found, each.true, each.found - each.true, each.bound, each.grade)
                ending = "" if each.is_within else "BEYOND"
                texts = (f"{cell:.4g}" for cell in cells)
                figures.add_row(run.name, f"{element} {each.name}", each.unit, *texts, ending)
                wrong += not each.is_within
    console = Console(width=140)
    console.print(ranges)
    console.print(figures)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
