"""A calculator whose program talks through files of fixed names, as many DFT codes do."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import FileIOCalculator
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.io import read, write

from nearsight.parents import Parent

FILE_BASED = "helpers.file_based:FileBasedEMT"

PROGRAM = """
import sys, time
import numpy as np
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.io import read
atoms = read("in.traj")
time.sleep({pause})
if {fails} and len(atoms) == {fails}:
    open("why.txt", "w").write("no convergence")
    sys.exit(3)
atoms.calc = EMT()
np.savez("out.npz", energy=atoms.get_potential_energy(), forces=atoms.get_forces())
"""


class FileBasedEMT(FileIOCalculator):
    """EMT by another program, through ``in.traj`` and ``out.npz``.

    Parameters
    ----------
    pause : float
        Duration of the program beside its calculation, s.
    fails : int
        Number of atoms of the structures on which the program fails.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, pause: float = 0.0, fails: int = 0, **keywords: Any) -> None:
        self._program = PROGRAM.format(pause=pause, fails=fails)
        super().__init__(command="(unused)", label="in", **keywords)

    def write_input(self, atoms: Atoms, properties: Any = None, system_changes: Any = None) -> None:
        super().write_input(atoms, properties, system_changes)
        write(Path(self.directory) / "in.traj", atoms)

    def execute(self) -> None:
        subprocess.run([sys.executable, "-c", self._program], cwd=self.directory, check=True)

    def read_results(self) -> None:
        # what an earlier program left there is taken for the result, as codes do
        with np.load(Path(self.directory) / "out.npz") as found:
            self.results = {"energy": float(found["energy"]), "forces": found["forces"]}


class Moves(FileBasedEMT):
    """Changes the structure it was given."""

    def calculate(self, atoms: Atoms, *arguments: Any) -> None:
        """Calculate after a shift of one atom."""
        atoms.positions[0] += 0.1
        super().calculate(atoms, *arguments)


class HoldsAnother(FileBasedEMT):
    """Holds another structure than the one of its results."""

    def calculate(self, atoms: Atoms, *arguments: Any) -> None:
        """Calculate, and read something else back."""
        super().calculate(atoms, *arguments)
        self.atoms = read(Path(self.directory) / "in.traj")
        self.atoms.positions[0] += 0.1


class WritesHere(EMT):  # type: ignore[misc]
    """EMT through a file of a fixed name where its process is, whatever its ``directory``."""

    def calculate(self, *arguments: Any) -> None:
        """Calculate; what is there already is taken for the result."""
        super().calculate(*arguments)
        here = Path("energy.txt")
        if not here.exists():
            here.write_text(repr(float(self.results["energy"])))
            time.sleep(0.1)
        energy = float(here.read_text())
        self.results["energy"] = self.results["free_energy"] = energy


class ChangesPeriodicity(EMT):  # type: ignore[misc]
    """Calculates the structure as if it were not periodic."""

    def calculate(self, atoms: Atoms, *arguments: Any) -> None:
        """Change it and calculate."""
        atoms.pbc = False
        super().calculate(atoms, *arguments)


class LosesPositions(EMT):  # type: ignore[misc]
    """Leaves the structure with positions that are no numbers."""

    def calculate(self, atoms: Atoms, *arguments: Any) -> None:
        """Calculate and change it."""
        super().calculate(atoms, *arguments)
        atoms.positions[0] = np.nan


class HoldsNothing(EMT):  # type: ignore[misc]
    """Holds a structure whose positions are no numbers."""

    def calculate(self, *arguments: Any) -> None:
        """Calculate and change what it holds."""
        super().calculate(*arguments)
        self.atoms.positions[:] = np.nan


def rattled_cells(count: int) -> list[Atoms]:
    """Rattled copper cells of one size."""
    cells = [bulk("Cu", cubic=True) for _ in range(count)]
    for seed, cell in enumerate(cells):
        cell.rattle(0.1, seed=seed)
    return cells


def truth(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy and forces by EMT in this process."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    return atoms.get_potential_energy(), atoms.get_forces()


def check_labels(parent: Parent, cells: list[Atoms]) -> None:
    """Compare the labels of structures with EMT in this process, to the bit."""
    for atoms, result in zip(cells, parent.calculate_many(cells), strict=True):
        energy, forces = truth(atoms)
        assert result.energy == energy  # type: ignore[union-attr]
        np.testing.assert_array_equal(result.forces, forces)  # type: ignore[union-attr]


QUICK_PROGRAM = """
import sys, time
sites = [[float(x) for x in line.split()] for line in open("in.txt")]
time.sleep(0.02)
energy, forces = 0.0, [[0.0] * 3 for _ in sites]
for i, a in enumerate(sites):
    for j, b in enumerate(sites[:i]):
        d = [x - y for x, y in zip(a, b)]
        r2 = sum(x * x for x in d)
        c6 = (2.5 ** 2 / r2) ** 3
        energy += 4 * 0.4 * (c6 * c6 - c6)
        f = 24 * 0.4 * (2 * c6 * c6 - c6) / r2
        for k in range(3):
            forces[i][k] += f * d[k]
            forces[j][k] -= f * d[k]
with open("out.txt", "w") as out:
    print(repr(energy), file=out)
    for row in forces:
        print(*map(repr, row), file=out)
"""


class QuickFiles(FileIOCalculator):
    """Lennard-Jones forces (ε = 0.4 eV, σ = 2.5 Å) by a program that starts in an instant."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, **keywords: Any) -> None:
        super().__init__(command="(unused)", label="in", **keywords)

    def write_input(self, atoms: Atoms, properties: Any = None, system_changes: Any = None) -> None:
        super().write_input(atoms, properties, system_changes)
        text = "\n".join(" ".join(map(repr, row)) for row in atoms.positions.tolist())
        (Path(self.directory) / "in.txt").write_text(text)

    def execute(self) -> None:
        program = [sys.executable, "-ISE", "-c", QUICK_PROGRAM]
        subprocess.run(program, cwd=self.directory, check=True)

    def read_results(self) -> None:
        lines = (Path(self.directory) / "out.txt").read_text().split("\n")
        forces = [[float(x) for x in line.split()] for line in lines[1:] if line]
        self.results = {"energy": float(lines[0]), "forces": np.array(forces)}


def clusters(count: int) -> list[Atoms]:
    """Rattled clusters of 13 copper atoms, all of one size."""
    found = []
    for seed in range(count):
        core = Icosahedron("Cu", 2, latticeconstant=3.61)
        atoms = Atoms(core.symbols, core.positions)
        atoms.rattle(0.1, seed=seed)
        found.append(atoms)
    return found
