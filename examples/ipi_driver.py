"""A driver for i-PI that tells the energies and forces of all members of an ensemble.

    i-pi-driver-py -u -a nearsight -m custom -P ipi_driver.py -o best.json,particle.xyz

docs/how-to/other-programs.md says what i-PI does with them.
"""

from __future__ import annotations

import json

import ase.io
import numpy as np
from ipi.pes.dummy import Dummy_driver
from ipi.utils.units import unit_to_internal, unit_to_user

import nearsight

__DRIVER_NAME__ = "nearsight"
__DRIVER_CLASS__ = "NearsightDriver"


class NearsightDriver(Dummy_driver):
    """Mean of the members, and what each of them says."""

    def __init__(self, potential, structure, *args, **kwargs):
        self.ensemble = nearsight.Ensemble.load(potential)
        self.atoms = ase.io.read(structure)
        super().__init__(*args, **kwargs)

    def compute_structure(self, cell, pos):
        """Energy, forces, virial and extras, in atomic units."""
        atoms = self.atoms.copy()
        atoms.set_cell(unit_to_user("length", "angstrom", cell.T))
        atoms.positions = unit_to_user("length", "angstrom", pos)
        found = self.ensemble.evaluate(atoms)
        energies = unit_to_internal("energy", "electronvolt", found.member_energies)
        forces = unit_to_internal("force", "ev/ang", found.member_forces)
        virial = np.zeros((3, 3))
        if atoms.pbc.all():
            s = found.stress
            stress = np.array([[s[0], s[5], s[4]], [s[5], s[1], s[3]], [s[4], s[3], s[2]]])
            virial = unit_to_internal("energy", "electronvolt", -atoms.get_volume() * stress)
        extras = {
            "committee_pot": energies.tolist(),
            "committee_force": forces.reshape(len(forces), -1).tolist(),
            "bound": found.uncertainty.tolist(),  # eV/Å, of every atom
        }
        return energies.mean(), forces.mean(axis=0), virial, json.dumps(extras)
