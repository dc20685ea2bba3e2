"""What of ``atoms.info`` reaches a parent: total charge and spin, and what is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from helpers.copper import particle
from helpers.recorder import Recorder
from helpers.runs import make_workplace, tiny_config
from nearsight.errors import InputError
from nearsight.learning.targets import Targets
from nearsight.parents import Parent
from nearsight.run.run import Run
from nearsight.structures.chunks import extract_chunks


class ReadsInfo(EMT):  # type: ignore[misc]
    """EMT whose energy tells what of ``info`` has reached it."""

    def calculate(self, atoms: Atoms, *arguments: Any) -> None:
        """Add charge, spin and field to the energy."""
        super().calculate(atoms, *arguments)
        added = 1e3 * atoms.info.get("charge", 0) + 1e4 * atoms.info.get("spin", 0)
        added += 1e5 * float(np.sum(atoms.info.get("field", 0)))
        assert not {"name", "source_index"} & atoms.info.keys()
        self.results["energy"] += added
        self.results["free_energy"] += added


READS = "test_pass_info:ReadsInfo"


@pytest.fixture
def cell() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    return atoms


def energy(parent: Parent, atoms: Atoms, **info: Any) -> float:
    given = atoms.copy()
    given.info = {"name": "copper", "source_index": 3, **info}
    return round(parent.calculate(given).energy - Parent("emt").calculate(atoms).energy, 6)


@pytest.mark.parametrize("by_name", [True, False])
def test_charge_and_spin_reach_the_parent(by_name: bool, cell: Atoms) -> None:
    parent = Parent(READS if by_name else ReadsInfo)
    assert energy(parent, cell) == 0
    assert energy(parent, cell, charge=1) == 1e3
    assert energy(parent, cell, charge=np.int64(-2), spin=np.float64(0.5)) == 3e3
    assert energy(parent, cell, field=2.0) == 0
    named = Parent(READS, pass_info=["field"])
    assert energy(named, cell, field=np.array([1.0, 2.0]), charge=1) == 3e5 + 1e3


def test_they_belong_to_the_key(cell: Atoms, tmp_path: Path) -> None:
    path = tmp_path / "parent.db"
    parent = Parent(READS, database=path, pass_info=["field"])
    found = {energy(parent, cell, charge=q, field=f) for q in (0, 1) for f in (0.0, 1.0)}
    assert len(found) == 4
    assert parent.calculations == 4
    again = Parent(READS, database=path, pass_info=["field"])
    assert energy(again, cell, charge=1, field=1.0) == 1e3 + 1e5
    assert again.calculations == 0
    # a key that is not passed on is not another calculation
    assert energy(again, cell, charge=1, field=1.0, color="red") == 1e3 + 1e5
    assert again.calculations == 0


def test_structures_without_them_keep_their_keys(cell: Atoms, tmp_path: Path) -> None:
    path = tmp_path / "parent.db"
    Parent("emt", database=path).calculate(cell)
    later = Parent("emt", database=path, pass_info=["field"])
    assert later.calculate(cell).cached


def test_a_value_that_is_not_plain(cell: Atoms) -> None:
    cell.info["field"] = object()
    with pytest.raises(InputError) as caught:
        Parent("emt", pass_info=["field"]).calculate(cell)
    assert "'field' of atoms.info: object is no number, text or list" in str(caught.value)
    Parent("emt").calculate(cell)


def test_chunks_have_what_is_named_but_no_total_charge() -> None:
    target = particle()
    target.info = {"charge": 1, "spin": 2, "field": 0.5, "name": "x"}
    (chunk,) = extract_chunks(target, [3], 4.0, keep_info=["field"])
    assert chunk.info == {"field": 0.5, "source_index": 3, "chunk_radius": 4.0}
    (chunk,) = Targets.of(target, ["field"]).extract([3], 4.0, 5.0)
    assert chunk.info["field"] == 0.5
    assert "charge" not in chunk.info


def test_a_run_of_a_charged_target(tmp_path: Path) -> None:
    """The whole target is calculated with its charge, its chunks without; both with the field."""
    target = particle()
    target.info = {"charge": 2, "field": 1.0, "name": "x"}
    parent = {"calculator": READS, "pass_info": ["field"]}
    config = make_workplace(
        tmp_path, tiny_config(parent=parent, locality=None, nft={"chunk_radius": 4.5}), target
    )
    recorder = Recorder()
    Run(config, tmp_path / "nft", recorder).execute()
    assert ase.io.read(tmp_path / "nft/target.extxyz").info == {"charge": 2, "field": 1.0}
    rows = list(ase.db.connect(tmp_path / "nft/parent.db").select())
    told = {(row.natoms == len(target), *sorted(row.data.get("info", {}))) for row in rows}
    assert told == {(True, "charge", "field"), (False, "field"), (False,)}
    assert any("the charge of the target is that of the whole" in n for n in recorder.notes)
