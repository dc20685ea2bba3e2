"""A particle heated until it melts, unattended, and checked against its parent along the way.

    python benchmarks/python/heating.py --workdir results

runs ``examples/pt260_heating.toml`` (a finished run in ``--workdir`` is read, one that was stopped
is continued), asks EMT about every fourth frame of the heat-up, and prints by temperature: the
error of the ensemble that was in charge, of the last one and of the one before dynamics, how many
atoms have an error within their calibrated uncertainty, and the Lindemann index. Then it runs 20 ps
of NVE dynamics with the retrained ensemble and prints the drift of the total energy.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from rich.console import Console
from rich.table import Column, Table
from scipy.spatial.distance import pdist

from nearsight import Ensemble
from nearsight.config import Config, DynamicsSettings
from nearsight.files.atomic import read_json
from nearsight.files.trajectory import read_frames
from nearsight.learning.on_the_fly import Dynamics
from nearsight.progress import LogProgress
from nearsight.run.run import Run
from nearsight.structures.images import read_structure

EXAMPLE = Path(__file__).parents[2] / "examples" / "pt260_heating.toml"
WINDOWS = (0.0, 600.0, 1000.0, 1400.0, 1800.0, np.inf)
"""Edges of the rows of the table, K."""
EVERY = 4
"""Frames from one that EMT is asked about to the next."""
BLOCK = 40
"""Frames in a row, 2 ps, over which neighbours are followed."""
NEIGHBOURS = 3.5
"""Distance of neighbours, Å: between the first two shells of platinum."""
CONSERVED = DynamicsSettings(
    conditions="NVE", temperature=600.0, timestep=5.0, steps=4000, watch_every=10, max_rounds=0
)


@dataclass(frozen=True)
class Errors:
    """Of one ensemble on one frame."""

    mean: float  # eV/Å
    largest: float  # eV/Å
    covered: float  # share of the atoms within their calibrated uncertainty

    @classmethod
    def of(cls, ensemble: Ensemble, atoms: Atoms, forces: np.ndarray) -> Errors:
        found = ensemble.evaluate(atoms, stress=False)
        errors = np.linalg.norm(found.forces - forces, axis=1)
        return cls(errors.mean(), errors.max(), float((errors <= found.uncertainty).mean()))


@dataclass(frozen=True)
class Frame:
    """One frame of the heat-up beside EMT."""

    temperature: float  # K
    force: float  # mean norm, eV/Å
    ensembles: tuple[Errors, Errors, Errors]  # in charge, last, before dynamics


def check(folder: Path) -> list[Frame]:
    """Every fourth frame of the dynamics in the folder of a run."""
    dynamics = folder / "dynamics"
    rounds = read_json(dynamics / "state.json")["rounds"]
    before = Ensemble.load(folder / "best.json")
    models = [(-1, before)] + [
        (record["step"], Ensemble.load(dynamics / f"retraining-{number:02d}" / "best.json"))
        for number, record in enumerate(rounds, 1)
    ]
    frames = []
    for number, atoms in enumerate(read_frames(dynamics / "md.traj")):
        if number % EVERY:
            continue
        in_charge = [model for step, model in models if step < atoms.info["step"] or step < 0][-1]
        plain = Atoms(atoms.symbols, atoms.positions)
        plain.calc = EMT()
        forces = plain.get_forces()
        errors = [Errors.of(model, plain, forces) for model in (in_charge, models[-1][1], before)]
        force = float(np.linalg.norm(forces, axis=1).mean())
        frames.append(Frame(atoms.get_temperature(), force, (errors[0], errors[1], errors[2])))
    return frames


def neighbours(folder: Path) -> list[tuple[float, float, float]]:
    """Temperature (K), Lindemann index and share of neighbours that stay, of 2 ps after 2 ps.

    The index is √(⟨r²⟩ − ⟨r⟩²) / ⟨r⟩ of the distance r of two atoms that were neighbours at first,
    on average; solids melt at 0.1 or a little above. Those stay that are neighbours at the end.
    """
    frames = list(read_frames(folder / "dynamics" / "md.traj"))
    found = []
    for first in range(0, len(frames) - BLOCK + 1, BLOCK):
        some = frames[first : first + BLOCK]
        distances = np.array([pdist(atoms.positions) for atoms in some])
        distances = distances[:, distances[0] < NEIGHBOURS]
        index = float((distances.std(axis=0) / distances.mean(axis=0)).mean())
        temperature = float(np.mean([atoms.get_temperature() for atoms in some]))
        found.append((temperature, index, float((distances[-1] < NEIGHBOURS).mean())))
    return found


def drift(folder: Path, workdir: Path) -> str:
    """Of the total energy in NVE dynamics of the relaxed particle, in a sentence."""
    ensemble = Ensemble.load(folder / "best.json")
    atoms = read_structure(folder / "retrained.extxyz")
    Dynamics(CONSERVED).run(ensemble, atoms, workdir)
    frames = list(read_frames(workdir / "md.traj"))
    time = np.array([CONSERVED.timestep * atoms.info["step"] for atoms in frames]) / 1e6  # ns
    energy = np.array([a.get_potential_energy() + a.get_kinetic_energy() for a in frames])
    energy *= 1000 / len(atoms)  # meV per atom
    (slope, _), covariance = np.polyfit(time, energy, 1, cov=True)
    return (
        f"NVE, {1000 * time[-1]:.0f} ps in steps of {CONSERVED.timestep:g} fs at "
        f"{np.mean([a.get_temperature() for a in frames[len(frames) // 2 :]]):.0f} K: drift "
        f"{slope:+.2f} ± {np.sqrt(covariance[0, 0]):.2f} meV/atom/ns, scatter "
        f"{energy.std():.4f} meV/atom, largest uncertainty "
        f"{1000 * max(a.info['max_uncertainty'] for a in frames):.0f} meV/Å"
    )


def row(
    name: str, frames: Sequence[Frame], near: Sequence[tuple[float, float, float]]
) -> list[str]:
    """Cells of the table for some frames."""
    cells = [name, f"{len(frames)}", f"{np.mean([frame.force for frame in frames]):.2f}"]
    for which in range(3):
        errors = [frame.ensembles[which] for frame in frames]
        mean, largest = np.mean([e.mean for e in errors]), max(e.largest for e in errors)
        cells.append(f"{1000 * mean:.1f}, {1000 * largest:.0f}")
        cells.append(f"{100 * np.mean([e.covered for e in errors]):.1f}")
    for which in (1, 2):
        cells.append(f"{np.mean([block[which] for block in near]):.2f}" if near else "")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("heating"))
    options = parser.parse_args()
    folder = options.workdir / "run"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "report.json").exists():
        Run(Config.load(EXAMPLE), folder, LogProgress(folder / "run.log")).execute()
    frames, near = check(folder), neighbours(folder)
    table = Table(
        "K",
        *(
            Column(title, justify="right")
            for title in (
                "frames",
                "force\neV/Å",
                "in charge:\nmean, largest\nmeV/Å",
                "within\n%",
                "the last:\nmean, largest\nmeV/Å",
                "within\n%",
                "before:\nmean, largest\nmeV/Å",
                "within\n%",
                "Lindemann\nindex",
                "neighbours\nthat stay",
            )
        ),
        title="Pt260 heated by the ensemble, checked against EMT",
    )
    for low, high in pairwise(WINDOWS):
        some = [frame for frame in frames if low <= frame.temperature < high]
        if some:
            name = f"{low:.0f}–{high:.0f}" if np.isfinite(high) else f"from {low:.0f}"
            table.add_row(*row(name, some, [block for block in near if low <= block[0] < high]))
    table.add_row(*row("all", frames, []))
    Console(width=150).print(table)
    record = read_json(folder / "dynamics" / "state.json")
    chunks = sum(each["chosen"] for each in record["rounds"])
    print(f"{len(record['rounds'])} retrainings with {chunks} chunks; {record['ended']}")
    print(drift(folder, options.workdir / "nve"))


if __name__ == "__main__":
    main()
