"""A program in LAMMPS's place: what `write_lammps_input` asks for, done by ASE with the ensemble.

    python stub_lammps.py -in in.lammps -log log.lammps

``STUB_LAMMPS`` in the environment lets it come to grief: ``killed N`` at a step, ``error N`` with
an error of LAMMPS's, ``hangs N`` with a program it has started, ``plain`` without our pair style,
``mute`` without writing anything.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

import numpy as np
from ase import Atoms, units
from ase.io.lammpsdata import read_lammps_data
from ase.md.langevin import Langevin

from nearsight.model.calculator import NearsightCalculator
from nearsight.model.ensemble import Ensemble


def main() -> None:
    trouble, _, at = os.environ.get("STUB_LAMMPS", "").partition(" ")
    script = Path(sys.argv[sys.argv.index("-in") + 1]).read_text()
    with Path(sys.argv[sys.argv.index("-log") + 1]).open("w", buffering=1) as log:
        if trouble == "mute":
            return
        if trouble == "plain":
            fail(log, "Unrecognized pair style 'nearsight' (src/force.cpp:275)")
        with Path("frames.dump").open("w") as dump:
            run(script, log, dump, trouble, int(at or -1))


def run(script: str, log: TextIO, dump: TextIO, trouble: str, at: int) -> None:
    """Dynamics as the script has them."""

    def words(start: str) -> list[str]:
        return re.findall(rf"^{start}(.*)$", script, re.M)[0].split()

    *_, elements = re.findall(r'^pair_coeff \* \* "(.+)" (.*)$', script, re.M)[0]
    ensemble = Ensemble.load("potential.json")
    types = dict(enumerate(elements.split(), 1))
    data = words("read_data ")[0].strip('"')
    atoms = read_lammps_data(data, units="metal", atom_style="atomic")
    atoms.symbols = [types[each] for each in atoms.arrays["type"]]
    atoms.pbc = [each == "p" for each in words("boundary ")]
    atoms.calc = NearsightCalculator(ensemble, uncertainty=True)
    begin = int(words("reset_timestep ")[0]) if "reset_timestep" in script else 0
    first, last, damp, seed = words("fix bath moving langevin ")
    assert first == last
    every = int(words("fix watch all pair ")[0])
    bound = float(words("fix uncertain all halt .* v_uncertainty > ")[0])
    write_every = int(words("thermo ")[0])
    low = float((re.findall(r"v_uncertainty < (\S+)", script) or ["0"])[0])
    integrator = Langevin(
        atoms,
        float(words("timestep ")[0]) * 1000 * units.fs,
        temperature_K=float(first),
        friction=1 / (float(damp) * 1000 * units.fs),
        fixcm=False,
        rng=np.random.default_rng(int(seed)),
    )
    write_frame(dump, atoms, begin)
    for step in range(begin + 1, begin + int(words("run ")[0]) + 1):
        integrator.step()
        if step == at:
            come_to_grief(trouble, log)
        raw = float(atoms.calc.get_property("uncertainty_raw", atoms).max())
        if step % every == 0 and (step % write_every == 0 or raw >= low):
            write_frame(dump, atoms, step)
            log.write(f" {step} {atoms.get_temperature()} 0 0 0 0 {raw} 0\n")
        if step % every == 0 and raw > bound:
            log.write(f"Fix halt condition for fix-id uncertain met on step {step} with value 1\n")
            return


def come_to_grief(trouble: str, log: TextIO) -> None:
    if trouble == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "hangs":
        # in another session, as what mpiexec starts
        program = subprocess.Popen(["sleep", "100"], start_new_session=True)
        Path("hangs").write_text(f"{os.getpid()} {program.pid}")
        time.sleep(100)
    fail(log, "Non-numeric atom coords - simulation unstable (src/domain.cpp:546)")


def fail(log: TextIO, sentence: str) -> None:
    log.write(f"ERROR: {sentence}\nLast input line: run\n")
    sys.exit(1)


def write_frame(dump: TextIO, atoms: Atoms, step: int) -> None:
    """A frame as LAMMPS writes it; the cell of a particle, or an orthogonal one, alone."""
    kinds = " ".join("pp" if each else "ss" for each in atoms.pbc)
    dump.write(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(atoms)}\n")
    dump.write(f"ITEM: BOX BOUNDS {kinds}\n")
    dump.writelines(f"0 {length!r}\n" for length in atoms.cell.lengths().tolist())
    dump.write("ITEM: ATOMS id element xu yu zu vx vy vz\n")
    velocities = atoms.get_velocities() * (1000 * units.fs)
    for number, (symbol, x, v) in enumerate(
        zip(atoms.symbols, atoms.positions, velocities, strict=True), 1
    ):
        numbers = " ".join(f"{each:.12g}" for each in (*x, *v))
        dump.write(f"{number} {symbol} {numbers}\n")
    dump.flush()


if __name__ == "__main__":
    main()
