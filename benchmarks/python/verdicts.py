"""Verdicts on good runs, starved runs and runs with wrong labels, beside a specialist's.

    python benchmarks/python/verdicts.py --workdir results

carries out every run (finished ones in ``--workdir`` are read, not repeated), and prints the table
of docs/how-to/read-the-report.md: what the verdict says, the error it expects and the true one, and
what a specialist who knows how the run was spoiled would say. Only the examples, which are run as
they are, know a true force; the others calculate nothing of the whole target. It ends with 1 where
the verdict is another than the specialist's. ``--cases`` chooses some.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.units import Bohr, Ry
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from nearsight import Ensemble
from nearsight.config import Config
from nearsight.config.config import parse_toml
from nearsight.files.records import RunRecord
from nearsight.model.baseline import Baseline
from nearsight.progress import LogProgress
from nearsight.report.data import RunData
from nearsight.report.verdict import judge
from nearsight.run.run import Run
from nearsight.structures.images import core_structure, read_structure, write_structures

EXAMPLES = Path(__file__).parents[2] / "examples"
RYDBERG_PER_BOHR = Ry / Bohr  # eV/Å
IONS = {"Mg": 2.0, "O": -2.0}  # e
BORN_MAYER = {("Mg", "O"): (821.6, 0.3242), ("O", "O"): (22764.0, 0.149)}  # eV, Å


class SpoiledEMT(EMT):  # type: ignore[misc, unused-ignore]
    """EMT with a fault.

    Parameters
    ----------
    fault : str
        "noise": 2 eV/Å on the forces of every fourth chunk. "units": forces in Ry/Bohr that are
        taken for eV/Å. "charges": charges of the elements, which the periodic cells lack. "polar":
        charges, everywhere.
    """

    def __init__(self, fault: str = "", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.fault = fault

    def calculate(self, *arguments: Any, **named: Any) -> None:
        super().calculate(*arguments, **named)
        cell, forces = self.atoms.pbc.any(), self.results["forces"].copy()
        if self.fault == "units":
            forces /= RYDBERG_PER_BOHR
        if self.fault == "noise" and not cell:
            seed = int.from_bytes(
                hashlib.sha256(self.atoms.positions.tobytes()).digest()[:4], "big"
            )
            if seed % 4 == 0:
                forces += np.random.default_rng(seed).normal(0.0, 2.0, forces.shape)
        if self.fault == "polar" or (self.fault == "charges" and not cell):
            elements = ("Au", "Cu")
            terms = Baseline({}, dict(zip(elements, (-0.6, 0.6), strict=True)), 0.1, 12.0)
            found = terms.core(elements).evaluate(core_structure(self.atoms, elements))
            self.results["energy"] += float(found["energies"].sum())
            forces += found["forces"]
        self.results["forces"] = forces


class RigidIons(Calculator):  # type: ignore[misc, unused-ignore]
    """Free clusters of MgO: charges of ±2 e and the repulsion of Lewis and Catlow (1985)."""

    implemented_properties = ("energy", "forces")

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        charges = np.array([IONS[each] for each in atoms.symbols])
        between = atoms.positions[:, None] - atoms.positions[None]
        r = np.linalg.norm(between, axis=2) + 1e9 * np.eye(len(atoms))
        energy = 14.399645 * np.outer(charges, charges) / r
        slope = energy / r
        for (one, other), (strength, length) in BORN_MAYER.items():
            pairs = np.outer(atoms.symbols == one, atoms.symbols == other)
            term = np.where(pairs | pairs.T, strength * np.exp(-r / length), 0.0)
            energy, slope = energy + term, slope + term / length
        forces = ((slope / r)[:, :, None] * between).sum(axis=1)
        self.results = {"energy": 0.5 * float(energy.sum()), "forces": forces}


def magnesia(size: tuple[int, int, int], spacing: float, seed: int) -> Atoms:
    """A rattled block of rock salt."""
    grid = np.array(list(np.ndindex(size)))
    atoms = Atoms(["Mg" if k % 2 == 0 else "O" for k in grid.sum(axis=1)], spacing * grid)
    atoms.rattle(0.1, seed=seed)
    return atoms


@dataclass(frozen=True)
class Case:
    """A run, and what a specialist says of it.

    Attributes
    ----------
    title : str
        As in the table.
    example : str
        Whose configuration it begins with.
    uses : tuple of str
        Verdicts that are right.
    command : str
        How the next command begins, or what its advice names.
    changes : dict
        Of its sections; None leaves one out.
    target : callable, optional
    first : callable, optional
        Its first structures.
    """

    title: str
    example: str
    uses: tuple[str, ...]
    command: str
    changes: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    target: Callable[[], Atoms] | None = None
    first: Callable[[], list[Atoms]] | None = None


THREE = {"validation_chunks": 3}
ONE_MODEL = {"hidden_layers": [], "l2": [], "force_decay": []}


def spoiled(fault: str) -> dict[str, Any]:
    """A parent with a fault."""
    return {"calculator": f"{Path(__file__).stem}:SpoiledEMT", "arguments": {"fault": fault}}


PT, CUAU = "pt260_emt", "alloy_cuau"
BLOCKS = [(2, 2, 2), (2, 2, 3), (2, 2, 4), (2, 3, 3), (3, 3, 4)]

CASES = {
    "good": Case("`examples/pt260_emt.toml`", PT, ("dynamics",), "nearsight md"),
    "validated": Case(
        "the same with three validation chunks", PT, ("dynamics",), "nearsight", {"nft": THREE}
    ),
    "alloy": Case("`examples/alloy_cuau.toml`", CUAU, ("dynamics",), "nearsight md"),
    "retrained": Case(
        "`examples/pt260_retraining.toml`", "pt260_retraining", ("dynamics",), "nearsight md"
    ),
    "two-chunks": Case(
        "Pt260, `max_chunks = 2`",
        PT,
        ("none", "forces"),
        "max_chunks",
        {"nft": {**THREE, "max_chunks": 2}, "capacity": ONE_MODEL},
    ),
    "one-node": Case(
        "Pt260, one node, λ 0.01",
        PT,
        ("none", "forces"),
        "hidden_layers",
        {
            "nft": THREE,
            "capacity": ONE_MODEL,
            "network": {"hidden_layers": [1]},
            "training": {"l2": 0.01},
        },
    ),
    "three-functions": Case(
        "Pt260, three symmetry functions",
        PT,
        ("none", "forces"),
        "count",
        {"nft": THREE, "features": {"count": 3, "angular_count": None}},
    ),
    "alloy-functions": Case(
        "CuAu, six symmetry functions",
        CUAU,
        ("none", "forces"),
        "count",
        {
            "features": {"count": 6, "angular_count": None},
            "capacity": ONE_MODEL,
            "nft": {"max_chunks": 12},
        },
    ),
    "small-chunks": Case(
        "Pt260, `chunk_radius = 3.5` (13 atoms)",
        PT,
        ("forces",),
        "validation_chunks",
        {"nft": {**THREE, "chunk_radius": 3.5}, "capacity": ONE_MODEL},
    ),
    "noise": Case(
        "Pt260, noise of 2 eV/Å on every fourth chunk's labels",
        PT,
        ("none",),
        "labels verify",
        {"nft": THREE, "capacity": ONE_MODEL, "parent": spoiled("noise")},
    ),
    "units": Case(
        "Pt260, forces in Ry/Bohr taken for eV/Å",
        PT,
        ("none",),
        "labels verify",
        {"nft": THREE, "capacity": ONE_MODEL, "parent": spoiled("units")},
    ),
    "charged-chunks": Case(
        "CuAu, charges of ±0.6 e added to EMT, but not in the bulk cells",
        CUAU,
        ("none", "forces"),
        "",
        {"capacity": ONE_MODEL, "parent": spoiled("charges")},
    ),
    "polar": Case(
        "CuAu, charges of ±0.6 e everywhere, chunks of 6 Å",
        CUAU,
        ("none", "forces"),
        "chunk_radius",
        {
            "parent": spoiled("polar"),
            "capacity": ONE_MODEL,
            "nft": {"chunk_radius": 6.0},
            "locality": {"radii": [4.0, 6.0, 8.0], "atoms": [0, 40, 80, 120]},
        },
    ),
    "magnesia": Case(
        "MgO216, rigid ions of ±2 e, chunks of 5.5 Å",
        CUAU,
        ("none", "forces"),
        "",
        {
            "parent": {"calculator": f"{Path(__file__).stem}:RigidIons"},
            "nft": {"chunk_radius": 5.5},
            "features": {"cutoff": 5.5},
            "capacity": ONE_MODEL,
        },
        target=lambda: magnesia((6, 6, 6), 2.105, 42),
        first=lambda: [
            magnesia(size, 2.105 * scale, seed)
            for seed, (size, scale) in enumerate(
                (size, scale) for size in BLOCKS for scale in (0.96, 0.98, 1.0, 1.03)
            )
        ],
    ),
}


def run(name: str, workdir: Path) -> Path:
    """The folder of a finished run."""
    case, folder = CASES[name], workdir / name
    config = EXAMPLES / f"{case.example}.toml"
    content = parse_toml(config.read_text(encoding="utf-8"), str(config))
    content["target"]["structure"] = str(EXAMPLES / content["target"]["structure"])
    if case.changes:
        for section in ("relaxation", "locality", "report"):
            content.pop(section, None)
    for section, values in case.changes.items():
        replaced = {} if section == "parent" else content.get(section, {})
        content[section] = {**replaced, **(values or {})}
    if case.target is not None and case.first is not None:
        for file, structures in (("target", [case.target()]), ("first", case.first())):
            write_structures(workdir / f"{name}-{file}.extxyz", structures)
        content["target"]["structure"] = str(workdir / f"{name}-target.extxyz")
        content["initial"] = {"structures": str(workdir / f"{name}-first.extxyz")}
    if not (folder / RunRecord.FILE).exists():
        folder.mkdir(exist_ok=True)
        settings = Config.model_validate(content, context={"folder": workdir})
        Run(settings, folder, LogProgress(workdir / f"{name}.log")).execute()
    return folder


def true_error(name: str, folder: Path) -> float:
    """Mean error of the potential on the target against the parent as it should be, meV/Å."""
    parent: Calculator = EMT()
    if name == "magnesia":
        parent = RigidIons()
    elif name in ("charged-chunks", "polar"):
        parent = SpoiledEMT("polar")
    atoms = read_structure(folder / "target.extxyz")
    found = Ensemble.load(folder / "best.json").evaluate(atoms, members=False).forces
    atoms.calc = parent
    return 1000.0 * float(np.linalg.norm(found - atoms.get_forces(), axis=1).mean())


def cells(name: str, folder: Path) -> list[str]:
    """A row of the table; the last cell is empty where the verdict is the specialist's."""
    case, verdict = CASES[name], judge(RunData.load(folder))
    expected = "–"
    if verdict.expected is not None:
        mean, low, high = (
            f"{1000 * each:.2g}" if each < 0.1 else f"{1000 * each:.0f}"
            for each in (verdict.expected.mean, verdict.expected.low, verdict.expected.high)
        )
        expected = f"{mean} ({low} to {high})"
    because = "; ".join(f"{each.key} {each.value:.3g}" for each in verdict.limiting)
    said = f"{verdict.next_step(name)}: {verdict.next_command(name)}"
    right = verdict.use in case.uses and case.command in said
    true = true_error(name, folder)
    return [
        case.title,
        f"{expected}, {true:.0f}" if true >= 10 else f"{expected}, {true:.2g}",
        verdict.use,
        because,
        said,
        "" if right else f"{' or '.join(case.uses)}; {case.command}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("verdicts"))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    workdir = options.workdir.absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    columns = ("run", "expected (range), true error", "verdict", "because", "next", "specialist")
    table = Table(*(Column(name, overflow="fold") for name in columns), show_lines=True)
    wrong = 0
    for name in options.cases:
        found = cells(name, run(name, workdir))
        print(*found, sep=" | ", flush=True)
        table.add_row(*map(escape, found))
        wrong += bool(found[-1])
    Console(width=170).print(table)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
