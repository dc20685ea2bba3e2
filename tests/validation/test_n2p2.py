"""Features, energies and forces against n2p2's; ``README.md`` tells where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.units import Bohr, Hartree

from nearsight.foreign.n2p2_functions import read_functions
from nearsight.foreign.n2p2_settings import Settings
from nearsight.foreign.potentials import import_potential
from nearsight.model.ensemble import Ensemble

DATA = Path(__file__).parent / "data" / "n2p2"
SHIPPED = Path(__file__).parents[2] / ".." / "shared" / "reference" / "n2p2_shipped"
STRUCTURES = ("pt4_bulk_pbc", "pt6_triclinic_pbc", "pt260_truncoct")
"""The first two are smaller than the cutoff, the second is triclinic."""


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return import_potential([DATA])


@pytest.fixture(params=STRUCTURES)
def reference(request: pytest.FixtureRequest) -> tuple[Atoms, Any]:
    """A structure and what n2p2 makes of it."""
    values = np.load(DATA / f"{request.param}.npz", allow_pickle=False)
    atoms = ase.io.read(DATA / f"{request.param}.extxyz")
    np.testing.assert_array_equal(atoms.positions, values["positions"])
    np.testing.assert_array_equal(atoms.cell, values["cell"])
    np.testing.assert_array_equal(atoms.pbc, values["pbc"])
    return atoms, values


def test_order_of_the_functions(reference: tuple[Atoms, Any]) -> None:
    (of,) = read_functions(Settings.read(DATA / "input.nn")).values()
    order = sorted(range(len(of)), key=lambda i: of[i].rank)
    assert order == reference[1]["sf_order_in_input_nn"].tolist()


def test_features(ensemble: Ensemble, reference: tuple[Atoms, Any]) -> None:
    atoms, values = reference
    found = ensemble.functions.compute(atoms)["Pt"]
    order = values["sf_order_in_input_nn"]
    np.testing.assert_allclose(found[:, order], values["G"], rtol=1e-12)
    scale, offset = ensemble.scaling.linear("Pt")
    scaled = (found * scale + offset)[:, order]
    np.testing.assert_allclose(scaled, values["G_scaled"], rtol=0, atol=1e-12)


def test_energies_and_forces(ensemble: Ensemble, reference: tuple[Atoms, Any]) -> None:
    atoms, values = reference
    r = ensemble.evaluate(atoms)
    np.testing.assert_allclose(r.energies, values["atomic_energies"], rtol=1e-12)
    assert r.energy == pytest.approx(float(values["energy"]), rel=1e-12)
    scale = np.abs(values["forces"]).max()
    assert scale > 0.01
    np.testing.assert_allclose(r.forces, values["forces"], rtol=0, atol=1e-12 * scale)


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="potentials shipped with n2p2 are not there")
@pytest.mark.parametrize("name", ["DMABN_SCAN", "Ethylbenzene_SCAN", "H2O_BLYP"])
def test_potentials_that_n2p2_ships(name: str) -> None:
    """Nine digits of the energy and of every component of the forces, as nnp-predict prints."""
    folder = SHIPPED / name
    made = import_potential([folder], length_unit="bohr", energy_unit="hartree")
    atoms, printed = first_structure(folder / "input.data"), np.load(folder / "reference.npz")
    r = made.evaluate(atoms)
    assert f"{r.energy / Hartree:.9g}" == f"{float(printed['energy']):.9g}"
    forces, expected = r.forces * Bohr / Hartree, printed["forces"]
    # half of the last of nine digits, and a bit for their own rounding
    last = 10.0 ** (np.floor(np.log10(np.abs(expected))) - 8)
    assert (np.abs(forces - expected) <= 0.501 * last).all()


def first_structure(path: Path) -> Atoms:
    """Without the reader that is under test elsewhere."""
    lines = [line.split() for line in path.read_text().splitlines()]
    sites = [words for words in lines if words[0] == "atom"]
    atoms = Atoms([words[4] for words in sites], np.array([w[1:4] for w in sites], float) * Bohr)
    cell = np.array([words[1:4] for words in lines if words[0] == "lattice"], float)
    if len(cell):
        atoms.set_cell(cell * Bohr)
        atoms.set_pbc(True)
    return atoms
