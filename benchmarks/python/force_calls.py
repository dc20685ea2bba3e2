"""Force calls as a user sees them: through the ASE calculator, time per atom and memory.

    OMP_NUM_THREADS=1 python benchmarks/python/force_calls.py [--large | --sets | --threads N]

Where dscribe (PyPI) is installed, its ACSF of the same 20 functions are timed beside ours: values
only, which is what both can do in one call. Every figure is a median of CPU time (of wall time with
--threads) and, in brackets, the smallest; calls that are compared are taken in turn, so that ratios
mean something on a busy machine.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.cluster.octahedron import Octahedron
from rich.console import Console
from rich.table import Table

from nearsight import G2, G4, G5, Ensemble, NearsightCalculator, SymmetryFunctions, build_info
from nearsight.model.network import Layer, Network, stack
from nearsight.model.scaling import Scaling

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


PAPER = SymmetryFunctions(
    {"Pt": [G2("Pt", *f) for f in RADIAL] + [G4(("Pt", "Pt"), *f) for f in ANGULAR]}, CUTOFF
)


def ensemble(members: int, functions: SymmetryFunctions = PAPER) -> Ensemble:
    """Random networks of the paper's DFT shape, 20-5-5-1."""
    rng = np.random.default_rng(0)
    sizes = [len(functions), 5, 5, 1]
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
    return Ensemble(functions, scaling, stack(networks))


def block(nx: int, ny: int, nz: int) -> Atoms:
    """A rattled block of fcc cells, as large as one likes."""
    atoms = bulk("Pt", a=3.99, cubic=True).repeat((nx, ny, nz))
    atoms.pbc = False
    atoms.rattle(0.05, seed=0)
    return atoms


def dscribe_values() -> Callable[[Atoms], np.ndarray] | None:
    """dscribe's ACSF of the same functions, if it is installed."""
    try:
        from dscribe.descriptors import ACSF
    except ImportError:
        return None
    square = CUTOFF**2  # its eta is in 1/Å²
    descriptor = ACSF(
        r_cut=CUTOFF,
        g2_params=[(eta / square, r_s) for eta, r_s in RADIAL],
        g4_params=[(eta / square, zeta, gamma) for eta, zeta, gamma in ANGULAR],
        species=["Pt"],
    )
    # It adds the cutoff function itself, a G1, in front.
    return lambda atoms: descriptor.create(atoms)[:, 1:]


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


@dataclass(frozen=True)
class Times:
    """Seconds of a call."""

    median: float
    least: float

    @classmethod
    def of(cls, values: list[float]) -> Times:
        return cls(statistics.median(values), min(values))

    def text(self, factor: float, digits: int = 1) -> str:
        return f"{factor * self.median:.{digits}f} ({factor * self.least:.{digits}f})"

    def __truediv__(self, other: Times) -> Times:
        return Times(self.median / other.median, self.least / other.least)

    def __sub__(self, other: Times) -> Times:
        return Times(self.median - other.median, self.least - other.least)


def cpu_times(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, Times]:
    """Times of each call, taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            taken[name].append(time.process_time() - begin)
    return {name: Times.of(values) for name, values in taken.items()}


def compare_values(console: Console, functions: SymmetryFunctions, rounds: int) -> None:
    """Features alone, beside dscribe's."""
    peer = dscribe_values()
    if peer is None:
        console.print("dscribe is not installed: no comparison")
        return
    table = Table("atoms", "nearsight\nµs/atom", "dscribe\nµs/atom", "ratio", "largest difference")
    for length, cut in ((3, 1), (8, 3), (15, 7)):
        atoms = particle(length, cut)
        ours = functions.compute(atoms, threads=1)["Pt"]
        theirs = peer(atoms)
        found = cpu_times(
            {
                "ours": lambda atoms=atoms: functions.compute(atoms, threads=1),
                "theirs": lambda atoms=atoms: peer(atoms),
            },
            rounds if len(atoms) < 1000 else 3,
        )
        table.add_row(
            str(len(atoms)),
            *(found[name].text(1e6 / len(atoms)) for name in ("ours", "theirs")),
            (found["theirs"] / found["ours"]).text(1.0, 0),
            f"{np.abs(ours - theirs).max():.1e}",
        )
    console.print(table)


def compare_sets(console: Console, rounds: int) -> None:
    """Ten members with 11 G2 and several sets of angular functions, on 1415 atoms."""
    radial = [G2("Pt", *f) for f in RADIAL]

    def angular(kind: type[G4] | type[G5], *eta: float, zeta: tuple[int, ...]) -> list[G4 | G5]:
        return [kind(("Pt", "Pt"), *f) for f in product(eta, zeta, (1, -1))]

    sets: dict[str, list[G4 | G5]] = {
        "none": [],
        "Table S2": [G4(("Pt", "Pt"), *f) for f in ANGULAR],
        "G4, ζ 1 4": angular(G4, 0.005, zeta=(1, 4)),
        "G5, ζ 1": angular(G5, 0.005, zeta=(1,)),
        "G5, ζ 1 4": angular(G5, 0.005, zeta=(1, 4)),
        "G5, ζ 1 2 4, two η": angular(G5, 0.005, 1.0, zeta=(1, 2, 4)),
        "G5, ζ 16": angular(G5, 0.005, zeta=(16,)),
    }
    cutoffs = ((CUTOFF, CUTOFF), (CUTOFF, 5.5), (5.5, 5.5))
    names = (f"{outer:g} Å" if outer == inner else f"{outer:g} / {inner:g} Å"
             for outer, inner in cutoffs)  # fmt: skip
    table = Table("angular", "number", *names, title="Ten members, µs/atom")
    atoms = particle(15, 7)
    for name, given in sets.items():
        found = [SymmetryFunctions({"Pt": radial + given}, *c) for c in cutoffs]
        models = [NearsightCalculator(ensemble(10, f), threads=1) for f in found]
        times = cpu_times({str(n): mover(atoms, m) for n, m in enumerate(models)}, rounds)
        figures = (t.text(1e6 / len(atoms)) for t in times.values())
        table.add_row(name, str(len(given)), *figures)
    console.print(table)


def compare_threads(console: Console, threads: int, rounds: int) -> None:
    """Wall time with one and with several threads, five calls after another as in a relaxation."""
    ten = ensemble(10)
    table = Table(
        "atoms",
        "one thread\nms",
        f"{threads} threads\nms",
        "ratio",
        title="Force calls of ten members, wall time",
    )
    for length, cut in ((8, 3), (15, 7), (29, 14)):
        atoms = particle(length, cut)
        steps = {n: mover(atoms, NearsightCalculator(ten, threads=n)) for n in (1, threads)}
        taken: dict[int, list[float]] = {n: [] for n in steps}
        for _ in range(max(3, rounds * 260 // len(atoms))):
            for n, step in steps.items():
                step()  # wakes the threads
                for _ in range(5):
                    begin = time.perf_counter()
                    step()
                    taken[n].append(time.perf_counter() - begin)
        one, several = map(Times.of, taken.values())
        table.add_row(
            str(len(atoms)), one.text(1e3), several.text(1e3), (one / several).text(1.0, 2)
        )
    console.print(table)


def large(console: Console) -> None:
    """One call on 100,000 and one on 1,000,000 atoms."""
    ten = ensemble(10)
    table = Table("atoms", "list\nµs/atom", "call\nµs/atom", "seconds", "peak memory\nkB/atom")
    for cells in ((25, 25, 40), (50, 50, 100)):
        atoms = block(*cells)
        given = ten.functions.structure(atoms)
        begin = time.process_time()
        neighbors = ten.neighbors(atoms, 0.3)
        listed = time.process_time()
        ten.core.evaluate(given, threads=1, neighbors=neighbors)
        done = time.process_time()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        table.add_row(
            str(len(atoms)),
            f"{1e6 * (listed - begin) / len(atoms):.2f}",
            f"{1e6 * (done - listed) / len(atoms):.1f}",
            f"{done - begin:.1f}",
            f"{memory / len(atoms):.2f}",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--large", action="store_true", help="100,000 and 1,000,000 atoms only")
    parser.add_argument("--sets", action="store_true", help="several sets of functions only")
    parser.add_argument("--threads", type=int, help="wall time with so many threads only")
    options = parser.parse_args()
    console = Console()
    if options.threads:
        compare_threads(console, options.threads, options.rounds)
        return
    if options.sets:
        compare_sets(console, options.rounds)
        return
    if options.large:
        large(console)
        return
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
        given = ten.functions.structure(atoms)
        neighbors = ten.neighbors(atoms, 0.3)

        def bare(given=given, neighbors=neighbors) -> None:
            ten.core.evaluate(given, threads=1, neighbors=neighbors)

        calls = {
            "ten": mover(atoms, NearsightCalculator(ten, threads=1)),
            "one": mover(atoms, NearsightCalculator(one, threads=1)),
            "mean": mover(atoms, NearsightCalculator(ten, uncertainty=False, threads=1)),
            "bare": bare,
        }
        found = cpu_times(calls, max(3, options.rounds * 1000 // max(1000, len(atoms))))
        table.add_row(
            str(len(atoms)),
            *(found[name].text(1e6 / len(atoms)) for name in ("ten", "one", "mean")),
            (found["ten"] / found["one"]).text(1.0, 2),
            (found["mean"] / found["one"]).text(1.0, 2),
            # a small difference of large times tells nothing
            (found["ten"] - found["bare"]).text(1e6, 0) if len(atoms) < 100 else "",
        )
    console.print(table)
    compare_values(console, ten.functions, options.rounds)


if __name__ == "__main__":
    main()
