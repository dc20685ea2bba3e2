"""Path-integral dynamics by i-PI, as docs/how-to/other-programs.md shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.socketio import SocketClient

from helpers.processes import until
from helpers.structures import functions_of, random_ensemble, structure
from nearsight import NearsightCalculator
from nearsight.model.ensemble import Ensemble

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "how-to" / "other-programs.md").read_text()
INPUT, COMMITTEE = re.findall(r"```xml\n(.*?)```", PAGE, re.S)
BEADS, STEPS = 3, 2

# Those of this environment: another one on the path may have an i-PI that is not for this Python.
PROGRAMS = Path(sysconfig.get_path("scripts"))

pytestmark = pytest.mark.skipif(not (PROGRAMS / "i-pi").is_file(), reason="pip install ipi")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a potential and a structure."""
    atoms = structure("cluster", 2)
    atoms.set_cell([30.0, 30.0, 30.0])
    atoms.pbc = False
    ase.io.write(tmp_path / "start.xyz", atoms, format="extxyz")
    random_ensemble(functions_of(("Pt", "Au"), 5.0), atoms).save(tmp_path / "best.json")
    return tmp_path


def start(place: Path, changes: dict[str, str]) -> tuple[subprocess.Popen[bytes], str]:
    """i-PI at work, and the name of its socket."""
    address = f"nearsight-{os.getpid()}-{place.parent.name}-{place.name}"
    changes = {
        **changes,
        "<address> nearsight </address>": f"<address> {address} </address>",
        'stride="10"': 'stride="1"',
        "> 1000 <": f"> {STEPS} <",
        'nbeads="8"': f'nbeads="{BEADS}"',
        "  </output>": (
            '    <trajectory filename="f" stride="1"> forces{ev/ang} </trajectory>\n  </output>'
        ),
    }
    text = INPUT
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (place / "input.xml").write_text(text)
    with (place / "i-pi.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "i-pi"), "input.xml"],
            cwd=place,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    socket = Path(f"/tmp/ipi_{address}")
    until(lambda: socket.exists() or server.poll() is not None)
    assert server.poll() is None, (place / "i-pi.log").read_text()
    return server, address


def end(server: subprocess.Popen[bytes], place: Path) -> None:
    code = server.wait(120)
    assert code == 0, (place / "i-pi.log").read_text()


def numbers(path: Path) -> np.ndarray:
    """(frames, atoms, 3) of a trajectory."""
    lines = [line.split() for line in path.read_text().splitlines()]
    rows = [line[1:] for line in lines if len(line) == 4 and line[0] in ("Pt", "Au")]
    return np.array(rows, dtype=float).reshape(STEPS + 1, -1, 3)


def check(place: Path) -> None:
    """Forces and energy of every frame are those of the ensemble; the beads move apart.

    Positions are printed to six digits, 5e-5 Å; an energy differs by that times the forces.
    """
    ensemble = Ensemble.load(place / "best.json")
    atoms = ase.io.read(place / "start.xyz")
    energies = []
    beads = [numbers(place / f"pimd.positions_{bead}.xyz") for bead in range(BEADS)]
    for bead, positions in enumerate(beads):
        forces = numbers(place / f"pimd.f_{bead}.xyz")
        for frame in range(STEPS + 1):
            atoms.positions = positions[frame]
            found = ensemble.evaluate(atoms)
            energies.append(found.energy)
            scale = np.abs(found.forces).max()
            np.testing.assert_allclose(forces[frame], found.forces, rtol=0, atol=1e-4 * scale)
    mean = np.reshape(energies, (BEADS, STEPS + 1)).mean(axis=0)
    printed = np.loadtxt(place / "pimd.out")[:, 2]
    np.testing.assert_allclose(printed, mean, rtol=0, atol=5e-5 * np.abs(found.forces).sum())
    assert np.abs(beads[0][-1] - beads[1][-1]).max() > 1e-4


def test_by_the_client_of_ase(place: Path) -> None:
    server, address = start(place, {})
    atoms = ase.io.read(place / "start.xyz")
    atoms.calc = NearsightCalculator(place / "best.json")
    SocketClient(unixsocket=address, timeout=60).run(atoms, use_stress=atoms.pbc.all())
    end(server, place)
    check(place)


def test_committee(place: Path) -> None:
    """The deviation that i-PI prints is that of the members' energies."""
    socket = re.search(r"  <ffsocket.*?</ffsocket>\n", INPUT, re.S)
    assert socket is not None
    extras = "".join(
        f'    <trajectory filename="{name}" stride="1" extra_type="{kind}"> extras </trajectory>\n'
        for name, kind in (("d", "committee_uncertainty"), ("b", "committee_bound"))
    )
    server, address = start(
        place,
        {
            socket.group(): COMMITTEE,
            'forcefield="nearsight"': 'forcefield="committee"',
            "</properties>\n": f"</properties>\n{extras}",
        },
    )
    driver = [
        sys.executable, str(PROGRAMS / "i-pi-driver-py"), "-u", "-a", address, "-m", "custom",
        "-P", str(ROOT / "examples" / "ipi_driver.py"), "-o", "best.json,start.xyz",
    ]  # fmt: skip
    client = subprocess.run(driver, cwd=place, capture_output=True, text=True, timeout=120)
    assert client.returncode == 0, client.stderr
    end(server, place)
    check(place)
    ensemble = Ensemble.load(place / "best.json")
    atoms = ase.io.read(place / "start.xyz")
    for bead in range(BEADS):
        for frame, positions in enumerate(numbers(place / f"pimd.positions_{bead}.xyz")):
            atoms.positions = positions
            found = ensemble.evaluate(atoms)
            assert found.uncertainty is not None
            deviation = np.std(found.member_energies, ddof=1) / units.Hartree
            for name, expected in (("d", deviation), ("b", found.uncertainty)):
                rows = np.loadtxt(place / f"pimd.{name}_{bead}").reshape(STEPS + 1, -1)
                np.testing.assert_allclose(rows[frame], np.ravel(expected), rtol=1e-3)
