"""Programs in place of codes that cannot be had: EMT behind files of VASP, CP2K, ORCA, FHI-aims.

They read the input that ASE writes and write the output that ASE reads, in the formats of the
codes; they are no substitute for a test with the real ones.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from ase.units import Bohr, GPa, Hartree

PAUSE = 0.2  # s, in which others may write into the same folder


def write_program(folder: Path, name: str) -> str:
    """Write a program, and return the command that starts it.

    It refuses to work in a folder where it has been for another structure.
    """
    path = folder / f"{name}_stub"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:0] = [{str(Path(__file__).parents[1])!r}]\n"
        f"from helpers.stub_codes import {name}\n{name}()\n"
    )
    path.chmod(0o755)
    return str(path)


def _emt(atoms: Atoms) -> Atoms:
    here, mine = Path("been_here"), str(atoms.positions)
    assert not here.exists() or here.read_text() == mine
    here.write_text(mine)
    time.sleep(PAUSE)
    atoms.calc = EMT()
    return atoms


def _rows(array: np.ndarray) -> str:
    return "".join(f"<v>{' '.join(f'{x:.17e}' for x in row)}</v>" for row in array)


def vasp() -> None:
    """VASP 6: POSCAR to vasprun.xml and OUTCAR; not converged if NELM is 1."""
    given = ase.io.read("POSCAR")
    assert "".join(Path("POTCAR").read_text().split()).startswith("PAW_PBECu")
    assert Path("KPOINTS").exists() or "KSPACING" in Path("INCAR").read_text()
    atoms = _emt(given)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    stress = atoms.get_stress(voigt=False) / (-0.1 * GPa)
    both = "".join(
        f'<i name="{name}">{value:.17e}</i>'
        for name, value in (("e_fr_energy", energy), ("e_0_energy", energy + 0.5))
    )
    where = (
        f'<crystal><varray name="basis">{_rows(np.asarray(atoms.cell))}</varray></crystal>'
        f'<varray name="positions">{_rows(atoms.get_scaled_positions(wrap=False))}</varray>'
    )
    species = "".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in atoms.symbols)
    Path("vasprun.xml").write_text(
        '<modeling><kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights">'
        "<v>1</v></varray></kpoints>"
        f'<atominfo><array name="atoms"><set>{species}</set></array></atominfo>'
        f'<structure name="initialpos">{where}</structure>'
        f"<calculation><scstep><energy>{both}</energy></scstep><structure>{where}</structure>"
        f'<varray name="forces">{_rows(forces)}</varray>'
        f'<varray name="stress">{_rows(stress)}</varray><energy>{both}</energy></calculation>'
        "</modeling>"
    )
    reached = "NELM = 1\n" not in Path("INCAR").read_text()
    Path("OUTCAR").write_text(
        " vasp.6.4.2 stub\n   NBANDS=     10\n"
        f"--- aborting loop {'because EDIFF is reached' if reached else 'unconverged'} ---\n"
    )
    Path("CONTCAR").write_text(Path("POSCAR").read_text())


def orca() -> None:
    """ORCA: orca.inp to standard output and orca.engrad, the latter only with ENGRAD."""
    lines = Path(sys.argv[1]).read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("*xyz")) + 1
    rows = [line.split() for line in lines[first : lines.index("*")]]
    atoms = _emt(Atoms([row[0] for row in rows], [[float(x) for x in row[1:]] for row in rows]))
    energy = atoms.get_potential_energy() / Hartree
    gradient = -atoms.get_forces() / (Hartree / Bohr)
    print(f"Number of atoms                         ....      {len(atoms)}")
    print("CARTESIAN COORDINATES (ANGSTROEM)\n---------------------------------")
    for row in rows:
        print(f"  {' '.join(row)}")
    print(f"\nFINAL SINGLE POINT ENERGY  {energy:.17e}")
    print("Sum of atomic charges: 0.0")
    print("                             ****ORCA TERMINATED NORMALLY****")
    if "ENGRAD" in lines[0]:
        text = "\n".join(f"{x:.17e}" for x in gradient.ravel())
        Path("orca.engrad").write_text(
            f"#\n# The current gradient in Eh/bohr\n#\n{text}\n#\n# The atomic numbers\n#\n"
        )


def aims() -> None:
    """FHI-aims: control.in and geometry.in to standard output; forces only with compute_forces.

    The free energy is EMT's; the others that it prints are not.
    """
    control = Path("control.in").read_text()
    assert "species        Cu" in control
    atoms = _emt(ase.io.read("geometry.in"))
    energy = atoms.get_potential_energy()
    print("          Invoking FHI-aims ...")
    print("  The structure contains        1 atoms,  and a total of     29.000 electrons.")
    print(f"  | Number of atoms                   : {len(atoms):8d}")
    print("  | Number of spin channels           :        1")
    print("  | Maximum number of basis functions :       10")
    print("  | Number of Kohn-Sham states (occupied + empty):       10")
    print("  Occupation type: Gaussian broadening, width =  0.100000E-01 eV.")
    if atoms.pbc.any():
        print("  | Unit cell:")
        for row in np.asarray(atoms.cell):
            print(f"  | {' '.join(f'{x:.17e}' for x in row)}")
    print("  Atomic structure:\n  |       Atom        x [A]        y [A]        z [A]")
    for number, (symbol, row) in enumerate(zip(atoms.symbols, atoms.positions, strict=True), 1):
        print(f"  | {number:4d}: Species {symbol} {' '.join(f'{x:.17e}' for x in row)}")
    print("  Begin self-consistency iteration #    1\n")
    print("  Self-consistency cycle converged.\n")
    print(f"  | Total energy uncorrected      : {energy + 0.5:.17e} eV")
    print(f"  | Total energy corrected        : {energy + 0.2:.17e} eV  <-- do not rely on this")
    print(f"  | Electronic free energy        : {energy:.17e} eV")
    if "compute_forces" in control:
        print("  Total atomic forces (unitary forces cleaned) [eV/Ang]:")
        for number, row in enumerate(atoms.get_forces(), 1):
            print(f"  | {number:4d} {' '.join(f'{x:.17e}' for x in row)}")
    print("\n          Have a nice day.")


def cp2k() -> None:
    """CP2K's shell, in units of eV and Å."""
    atoms, cell = Atoms(), np.zeros((3, 3))

    def say(*words: object) -> None:
        print(*words, flush=True)

    def numbers() -> list[float]:
        return [float(word) for word in sys.stdin.readline().split()]

    def forces() -> None:
        say(3 * len(atoms))
        for row in atoms.get_forces():
            say(*(f"{x:.17e}" for x in row))
        say("* END")

    say("* READY")
    for line in sys.stdin:
        command, *words = line.split()
        if command == "VERSION":
            say("CP2K Shell Version: 7.0")
        elif command == "WRITE_FILE":
            name = sys.stdin.readline().strip()
            content = [sys.stdin.readline() for _ in range(int(sys.stdin.readline()))]
            assert sys.stdin.readline().strip() == "*END"
            Path(name).write_text("".join(content))
        elif command == "LOAD":
            text = [line.split() for line in Path(words[0]).read_text().splitlines()]
            first = text.index(["&COORD"]) + 1
            symbols = [row[0] for row in text[first : text.index(["&END", "COORD"])]]
            atoms = _emt(Atoms(symbols, pbc=["PERIODIC", "NONE"] not in text))
            say(1)
        elif command == "SET_CELL":
            cell = np.array([numbers() for _ in range(3)])
            atoms.cell = cell
        elif command == "SET_POS":
            count = int(sys.stdin.readline()) // 3
            atoms.positions = [numbers() for _ in range(count)]
            assert sys.stdin.readline().strip() == "*END"
            say(0.0)
        elif command == "GET_E":
            say(f"{atoms.get_potential_energy():.17e}")
        elif command == "GET_F":
            forces()
        elif command == "GET_STRESS":
            stress = -atoms.get_stress(voigt=False) if atoms.pbc.all() else np.zeros((3, 3))
            stress = (stress + stress.T) / 2
            say(*(f"{x:.17e}" for x in stress.ravel()))
        elif command == "EXIT":
            break
        say("* READY")
    os._exit(0)
