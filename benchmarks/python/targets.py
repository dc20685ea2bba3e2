"""Targets of one to three elements, any boundary: what NFT reaches with what `new` proposes.

    python benchmarks/python/targets.py --workdir results

runs every target with seeds 0 to 2 (finished runs in ``--workdir`` are read, not repeated; one
that was stopped is continued) and prints one table. The parent is EMT, so that the forces on the
whole targets are known. ``--targets`` and ``--seeds`` choose some of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accuracy import COLUMNS, Accuracy
from ase import Atoms
from ase.build import add_adsorbate, fcc111, fcc211
from ase.calculators.emt import EMT
from ase.cluster.icosahedron import Icosahedron
from ase.cluster.octahedron import Octahedron
from ase.lattice.cubic import FaceCenteredCubic
from ase.neighborlist import neighbor_list
from ase.optimize import LBFGS
from rich.console import Console
from rich.table import Column, Table

from nearsight.config import Config
from nearsight.files.atomic import read_json, write_text
from nearsight.files.records import Verdict
from nearsight.model.ensemble import Ensemble
from nearsight.progress import LogProgress
from nearsight.report.data import RunData
from nearsight.run.run import Run
from nearsight.run.suggest import suggest_config
from nearsight.structures.images import read_images, read_structure, write_structures

LATTICE = {"Pt": 3.92, "Cu": 3.61, "Au": 4.08, "Pd": 3.89, "Ag": 4.09}
"""Lattice constants of the elements, Å; the targets start from those of the paper's: 2 % more."""
EXPANSION = 3.99 / 3.92

MAE_BARS = {1: 3.74, 2: 6.0, 3: 7.0}
"""Force MAE to stay below, meV/Å, by the number of elements; the paper's for one."""
CHUNKS_BARS = {1: 16, 2: 25, 3: 40}
"""Chunks at which the MAE shall be below its bar."""
COVERAGE_BARS = (0.97, 0.93)
"""Least parts of the errors, of 150 to 300 atoms, within the 99 % and the 95 % bound: one that is
right holds in all rows but one of hundreds."""
FMAX_BARS = {1: 0.06, 2: 0.06, 3: 0.05}
"""EMT's largest force at the ensemble's minimum, eV/Å."""


def rattled(atoms: Atoms) -> Atoms:
    """As the paper's targets are."""
    atoms.rattle(stdev=0.1, seed=42)
    return atoms


def platinum_particle(length: int, cutoff: int) -> Atoms:
    """A truncated octahedron or, for (9, 4), a cuboctahedron of 309 atoms."""
    cluster = Octahedron("Pt", length, cutoff, latticeconstant=3.99)
    return Atoms(cluster.symbols, cluster.positions)


def alloy_particle(symbols: Callable[[Atoms], Sequence[str]]) -> Atoms:
    """The cuboctahedron of 309 atoms with the mean lattice constant of its atoms."""
    atoms = platinum_particle(9, 4)
    atoms.symbols = symbols(atoms)
    mean = np.mean([LATTICE[symbol] for symbol in atoms.symbols])
    atoms.positions *= EXPANSION * mean / 3.99
    return atoms


def random_alloy(*elements: str) -> Atoms:
    """Equal parts of the elements, shuffled."""

    def symbols(atoms: Atoms) -> Sequence[str]:
        count = len(atoms)
        found = [elements[k * len(elements) // count] for k in range(count)]
        np.random.default_rng(0).shuffle(found)
        return found

    return alloy_particle(symbols)


def core_and_shell(core: str, shell: str) -> Atoms:
    """One layer of ``shell``, 162 atoms, around 147 atoms of ``core``."""

    def symbols(atoms: Atoms) -> Sequence[str]:
        neighbours = np.bincount(neighbor_list("i", atoms, 3.4), minlength=len(atoms))
        return [core if count == 12 else shell for count in neighbours]

    return alloy_particle(symbols)


def slab_with_adatoms() -> Atoms:
    """Pt(111), four layers, periodic in x and y; two single adatoms and a pair."""
    slab = fcc111("Pt", (6, 6, 4), a=3.99, vacuum=8.0)
    for offset in ((0, 0), (3, 1), (1, 4), (2, 4)):
        add_adsorbate(slab, "Pt", 2.2, position="fcc", offset=offset)
    return Atoms(slab.symbols, slab.positions, cell=slab.cell, pbc=(True, True, False))


def step_with_vacancies() -> Atoms:
    """Pt(211), six layers, periodic in x and y, without three of its 180 atoms."""
    slab = fcc211("Pt", (6, 5, 6), a=3.99, vacuum=8.0)
    del slab[sorted(np.random.default_rng(0).choice(len(slab), 3, replace=False).tolist())]
    return Atoms(slab.symbols, slab.positions, cell=slab.cell, pbc=(True, True, False))


def icosahedron() -> Atoms:
    """309 atoms of gold."""
    cluster = Icosahedron("Au", 5, latticeconstant=EXPANSION * LATTICE["Au"])
    return Atoms(cluster.symbols, cluster.positions)


def grain_boundary() -> Atoms:
    """Σ5 (210)[001] in platinum, two of them in a periodic cell, relaxed with EMT.

    The cell is 9 Å along the boundary: chunks reach over it.
    """
    grain = FaceCenteredCubic(
        directions=[[1, 2, 0], [-2, 1, 0], [0, 0, 1]],
        size=(2, 1, 3),
        symbol="Pt",
        latticeconstant=3.99,
    )
    opening = 0.4  # Å, at each boundary
    mirror = grain.copy()
    mirror.positions[:, 0] = -mirror.positions[:, 0] - opening
    atoms = grain + mirror
    cell = np.array(grain.cell)
    cell[0, 0] = 2 * cell[0, 0] + 2 * opening
    atoms.set_cell(cell)
    atoms.pbc = True
    atoms.wrap()
    near = neighbor_list("ij", atoms, 0.7 * 3.99 / np.sqrt(2))
    del atoms[sorted({int(max(pair)) for pair in zip(*near, strict=True)})]
    atoms = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    atoms.calc = EMT()
    LBFGS(atoms, logfile=None).run(fmax=0.1, steps=300)
    atoms.calc = None
    return atoms


TARGETS: dict[str, Callable[[], Atoms]] = {
    "Pt260": lambda: platinum_particle(8, 3),
    "Pt309": lambda: platinum_particle(9, 4),
    "Au309-icosahedron": icosahedron,
    "CuAu-random": lambda: random_alloy("Cu", "Au"),
    "CuAu-core-shell": lambda: core_and_shell("Cu", "Au"),
    "PtCu-random": lambda: random_alloy("Pt", "Cu"),
    "PtCu-core-shell": lambda: core_and_shell("Cu", "Pt"),
    "CuPd-random": lambda: random_alloy("Cu", "Pd"),
    "PdAgAu-random": lambda: random_alloy("Pd", "Ag", "Au"),
    "Pt-slab-adatoms": slab_with_adatoms,
    "Pt-step-vacancies": step_with_vacancies,
    "Pt-grain-boundary": grain_boundary,
}


def run_target(name: str, seed: int, workdir: Path) -> Path:
    """The finished run of one target and seed, configured as `nearsight new` would."""
    folder = workdir / f"{name}-seed-{seed}"
    structure = workdir / f"{name}.extxyz"
    if not structure.exists():
        write_structures(structure, [rattled(TARGETS[name]())])
    config = workdir / f"{name}-seed-{seed}.toml"
    if not config.exists():
        proposed = suggest_config(read_structure(structure), Path(structure.name), "emt", seed)
        write_text(config, proposed.source)
    if not (folder / "report.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        Run(Config.load(config), folder, LogProgress(folder / "run.log")).execute()
    return folder


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    seed: int
    elements: int
    atoms: int
    chunks: int
    enough: int | None  # chunks at which the MAE was below its bar
    uncertainty: float  # raw, of the structure, eV/Å
    accuracy: Accuracy
    expected: float | None  # mean error that the verdict expects, over the true one
    fmax: float  # eV/Å
    energy_error: float  # meV/atom
    seconds: float

    @classmethod
    def read(cls, name: str, seed: int, folder: Path) -> Row:
        """From the folder of a finished run: the ensemble it ended with, retrained or not."""
        data = RunData.load(folder)
        ensemble = Ensemble.load(folder / "best.json")
        assert ensemble.multiplicities is not None
        atoms = read_structure(folder / "target.extxyz")
        found = ensemble.evaluate(atoms, stress=False)
        forces = np.array(read_json(folder / "reference.json")["forces"])
        accuracy = Accuracy.of(ensemble, [(atoms, forces)])
        expected = Verdict.load(folder / Verdict.FILE).expected
        if data.retraining is None:
            path, minimum = data.relaxation.ensemble, "relaxed.extxyz"
        else:
            path, minimum = (
                data.retraining.rounds[data.retraining.best].paths[0],
                "retrained.extxyz",
            )
        relaxed = read_structure(folder / minimum)
        relaxed.calc = EMT()
        elements = len(set(atoms.symbols))
        below = [
            iteration.chunks
            for iteration in data.iterations
            if iteration.mae is not None and 1000 * iteration.mae < MAE_BARS[elements]
        ]
        ours, theirs = path.energy_change, data.relaxation.parent.energy_change
        return cls(
            name=name,
            seed=seed,
            elements=elements,
            atoms=len(atoms),
            chunks=ensemble.multiplicities.shape[1] - len(read_images(folder / "selected.extxyz")),
            enough=below[0] if below else None,
            uncertainty=float(found.uncertainty_raw.max()),
            accuracy=accuracy,
            expected=None if expected is None else 1000 * expected.mean / accuracy.mae,
            fmax=float(np.linalg.norm(relaxed.get_forces(), axis=1).max()),
            energy_error=1000 * (ours - theirs) / len(atoms),
            seconds=data.run.seconds_total,
        )

    @property
    def missed(self) -> str:
        """The bars that are missed; empty if there is none."""
        bars = {
            "MAE": self.accuracy.mae < MAE_BARS[self.elements],
            "chunks": self.enough is not None and self.enough <= CHUNKS_BARS[self.elements],
            "coverage": self.accuracy.covered >= COVERAGE_BARS[0]
            and self.accuracy.covered_95 >= COVERAGE_BARS[1],
            "fmax": self.fmax <= FMAX_BARS[self.elements],
        }
        return ", ".join(name for name, met in bars.items() if not met)

    @property
    def cells(self) -> list[str]:
        """As text."""
        return [
            self.name,
            f"{self.seed}",
            f"{self.atoms}",
            f"{self.chunks}",
            "never" if self.enough is None else f"{self.enough}",
            f"{self.uncertainty:.4f}",
            *self.accuracy.cells,
            "-" if self.expected is None else f"{self.expected:.2f}",
            f"{self.fmax:.3f}",
            f"{self.energy_error:+.2f}",
            f"{self.seconds:.0f}",
            f"missed: {self.missed}" if self.missed else "pass",
        ]


def _bars(bars: Mapping[int, float]) -> str:
    return ", ".join(f"{bar:g}" for bar in bars.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("targets"))
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    options.workdir.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in options.seeds:
        for name in options.targets:
            rows.append(Row.read(name, seed, run_target(name, seed, options.workdir)))
            print(*rows[-1].cells, flush=True)
    table = Table(
        "target",
        *(
            Column(title, justify="right")
            for title in (
                "seed",
                "atoms",
                "chunks",
                "enough",
                "uncertainty eV/Å",
                *COLUMNS,
                "expected/\ntrue",
                "EMT fmax eV/Å",
                "ΔE error meV/atom",
                "s",
            )
        ),
        "bars",
        title="What the proposed settings reach, with EMT as the parent",
    )
    for row in sorted(rows, key=lambda row: (options.targets.index(row.name), row.seed)):
        table.add_row(*row.cells)
    Console(width=150).print(table)
    print(
        f"bars for one, two, three elements: MAE < {_bars(MAE_BARS)} meV/Å with "
        f"{_bars(CHUNKS_BARS)} chunks; coverage ≥ {100 * COVERAGE_BARS[0]:g} and "
        f"{100 * COVERAGE_BARS[1]:g} %; EMT fmax at the ensemble's minimum ≤ "
        f"{_bars(FMAX_BARS)} eV/Å"
    )


if __name__ == "__main__":
    main()
