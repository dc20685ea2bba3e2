"""Force calls as a user sees them: through the ASE calculator, time per atom and memory.

    OMP_NUM_THREADS=1 python benchmarks/python/force_calls.py

Every figure is a median of CPU time; ratios are taken within one round, so that they mean
something on a busy machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.cluster.octahedron import Octahedron
from rich.console import Console
from rich.table import Table

from nearsight import G2, G4, Ensemble, NearsightCalculator, SymmetryFunctions, build_info
from nearsight.potential import Layer, Network
from nearsight.symmetry_functions import Scaling

RADIAL = [  # eta, R_s
    (0.42813323987193913, 0),
    (2.636650898730358, 0),
    (16.23776739188721, 0),
    (0.42813323987193913, 2),
    (4.832930238571752, 2),
    (54.555947811685144, 2),
    (100.0, 2),
    (0.001, 4),
    (29.763514416313193, 4),
    (54.555947811685144, 4),
    (100.0, 4),
]
ANGULAR = [  # eta, zeta, gamma
    (0.005, 1, -1),
    (0.005, 1, 1),
    (0.005, 4, -1),
    (0.005, 4, 1),
    (0.005, 16, -1),
    (1.0, 1, -1),
    (1.0, 1, 1),
    (1.0, 4, -1),
    (1.0, 4, 1),
]
CUTOFF = 6.5


def particle(length: int, cut: int) -> Atoms:
    cluster = Octahedron("Pt", length, cut, latticeconstant=3.99)
    atoms = Atoms(cluster.symbols, cluster.positions)
    atoms.rattle(0.05, seed=0)
    return atoms


def ensemble(members: int) -> Ensemble:
    """Random networks of the paper's DFT shape, 20-5-5-1."""
    functions = SymmetryFunctions(
        {"Pt": [G2("Pt", *f) for f in RADIAL] + [G4(("Pt", "Pt"), *f) for f in ANGULAR]}, CUTOFF
    )
    rng = np.random.default_rng(0)
    sizes = [20, 5, 5, 1]
    networks = []
    for _ in range(members):
        layers = tuple(
            Layer(
                rng.uniform(-0.4, 0.4, (outputs, inputs)),
                rng.uniform(-0.1, 0.1, outputs),
                "tanh" if outputs > 1 else "linear",
            )
            for inputs, outputs in pairwise(sizes)
        )
        networks.append({"Pt": Network(layers)})
    scaling = Scaling.fit(functions, [functions.compute(particle(5, 2))])
    return Ensemble(functions, scaling, tuple(networks))


def mover(atoms: Atoms, calculator: NearsightCalculator) -> Callable[[], None]:
    """One step of a relaxation or of dynamics: the atoms move a little, forces are asked for."""
    atoms = atoms.copy()
    atoms.calc = calculator
    start = atoms.positions.copy()
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        atoms.positions[:] = start + 1e-3 * np.sin(count)
        atoms.get_forces()

    return step


def cpu_medians(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each call, taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            taken[name].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    ten, one = ensemble(10), ensemble(1)
    core = build_info()
    table = Table(
        "atoms",
        "ten members\nµs/atom",
        "one member\nµs/atom",
        "mean of ten\nµs/atom",
        "ten : one",
        "mean : one",
        "Python and ASE\nµs per call",
        title=f"Force calls, {core['level']}, one thread, CPU time",
    )
    for length, cut in ((3, 1), (8, 3), (15, 7), (29, 14)):
        atoms = particle(length, cut)
        arrays = ten.functions.arrays(atoms)
        neighbors = ten.neighbors(atoms, 0.3)

        def bare(arrays=arrays, neighbors=neighbors) -> None:
            ten.core.evaluate(
                arrays.positions,
                arrays.species,
                arrays.cell,
                arrays.pbc,
                threads=1,
                neighbors=neighbors,
            )

        calls = {
            "ten": mover(atoms, NearsightCalculator(ten, threads=1)),
            "one": mover(atoms, NearsightCalculator(one, threads=1)),
            "mean": mover(atoms, NearsightCalculator(ten, uncertainty=False, threads=1)),
            "bare": bare,
        }
        found = cpu_medians(calls, options.rounds if len(atoms) < 5000 else 3)
        per_atom = {name: 1e6 * value / len(atoms) for name, value in found.items()}
        table.add_row(
            str(len(atoms)),
            *(f"{per_atom[name]:.1f}" for name in ("ten", "one", "mean")),
            f"{found['ten'] / found['one']:.2f}",
            f"{found['mean'] / found['one']:.2f}",
            # a small difference of large times tells nothing
            f"{1e6 * (found['ten'] - found['bare']):.0f}" if len(atoms) < 1000 else "",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
