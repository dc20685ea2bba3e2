"""Labels that structures of users carry: whose names, which energy, what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from nearsight.errors import InputError
from nearsight.structures.images import read_structures
from nearsight.structures.labels import PREDICTED_KEY, read_labels

FORCES = np.array([[0.0, 0.0, 1.5], [0.0, 0.0, -1.5]])


def pair(results: dict[str, Any] | None = None, **named: Any) -> Atoms:
    """Two atoms; arrays become columns."""
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    for name, value in named.items():
        (atoms.arrays if isinstance(value, np.ndarray) else atoms.info)[name] = value
    if results:
        atoms.calc = SinglePointCalculator(atoms)
        atoms.calc.results = dict(results)
    return atoms


def text(header: str, columns: str, rows: list[str], path: Path) -> Atoms:
    lines = ["2", f'Properties=species:S:1:pos:R:3:{columns} {header} pbc="F F F"']
    lines += [f"Cu 0 0 {2.5 * n} {row}" for n, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n")
    return ase.io.read(path)


@pytest.mark.parametrize(
    ("energy", "forces"),
    [
        ("energy", "forces"),
        ("REF_energy", "REF_forces"),
        ("ref_energy", "ref_force"),
        ("dft_energy", "dft_force"),
        ("DFT_energy", "DFT_forces"),
        ("Energy", "force"),
        ("total_energy", "Force"),
        ("free_energy", "forces"),
        ("energy_dft", "forces_dft"),
    ],
)
def test_labels_are_found_under_the_names_of_other_codes(
    energy: str, forces: str, tmp_path: Path
) -> None:
    rows = ["0 0 1.5", "0 0 -1.5"]
    atoms = text(f"{energy}=-3.25", f"{forces}:R:3", rows, tmp_path / "x.xyz")
    found = read_labels(atoms)
    assert found.energy == -3.25
    np.testing.assert_array_equal(found.forces, FORCES)
    assert found.force_weights is None
    assert found.names == (energy, forces)
    assert found.unused == ()


def test_the_free_energy_comes_first() -> None:
    for atoms in (
        pair({"energy": -3.2, "free_energy": -3.3, "forces": FORCES}),
        pair({"energy": -3.2, "forces": FORCES}, REF_free_energy=-3.3),
    ):
        found = read_labels(atoms)
        assert found.energy == -3.3
        assert found.names[0].endswith("free_energy")


def test_a_calculator_gives_its_labels() -> None:
    atoms = pair()
    atoms.calc = EMT()
    forces = atoms.get_forces()
    found = read_labels(atoms)
    assert found.energy == atoms.get_potential_energy()
    np.testing.assert_array_equal(found.forces, forces)


def test_nothing_is_found_where_nothing_is() -> None:
    found = read_labels(pair(comment="relaxed", charge=1))
    assert (found.energy, found.forces, found.names, found.unused) == (None, None, (), ())
    assert found.explain_missing("forces") == "carries no forces"


def test_what_looks_like_labels_is_named() -> None:
    found = read_labels(pair(MACE_energy=-3.0, energy_per_atom=-1.5, MACE_forces=FORCES))
    assert (found.energy, found.forces) == (None, None)
    assert found.unused == ("MACE_energy", "energy_per_atom", "MACE_forces")
    assert found.explain_missing("energy") == (
        "carries no energy; rename what is meant to energy or forces "
        "(found: MACE_energy, energy_per_atom, MACE_forces)"
    )


def test_two_names_of_one_meaning_must_agree() -> None:
    same = pair({"energy": -3.0, "forces": FORCES}, REF_energy=-3.0, REF_forces=FORCES.copy())
    assert read_labels(same).energy == -3.0
    other = pair({"energy": -3.0}, REF_energy=-3.1)
    with pytest.raises(InputError, match="its energy and its REF_energy differ, and each may be"):
        read_labels(other)
    other = pair({"forces": FORCES}, REF_forces=2 * FORCES)
    with pytest.raises(InputError, match="its forces and its REF_forces differ"):
        read_labels(other)


def test_a_row_of_nan_leaves_the_atom_out(tmp_path: Path) -> None:
    rows = ["0 0 1.5", "nan nan nan"]
    found = read_labels(text("energy=1.0", "forces:R:3", rows, tmp_path / "x.xyz"))
    np.testing.assert_array_equal(found.forces, [[0, 0, 1.5], [0, 0, 0]])
    np.testing.assert_array_equal(found.force_weights, [1, 0])


@pytest.mark.parametrize("name", ["force_weights", "REF_forces_atomic_weights", "forces_weights"])
def test_weights_of_forces_are_read(name: str, tmp_path: Path) -> None:
    rows = ["0 0 1.5 0.25", "nan nan nan 1.0"]
    atoms = text("energy=1.0", f"forces:R:3:{name}:R:1", rows, tmp_path / "x.xyz")
    np.testing.assert_array_equal(read_labels(atoms).force_weights, [0.25, 0])


def test_in_a_chunk_without_energy_the_centre_counts() -> None:
    found = read_labels(pair({"forces": FORCES}, nearsight_chunk=True))
    np.testing.assert_array_equal(found.force_weights, [1, 0])
    assert (
        read_labels(pair({"energy": 1.0, "forces": FORCES}, nearsight_chunk=True)).force_weights
        is None
    )


def test_labels_that_are_nan_throughout_are_none() -> None:
    found = read_labels(pair({"energy": np.nan, "forces": np.full((2, 3), np.nan)}))
    assert (found.energy, found.forces, found.force_weights) == (None, None, None)


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ({"REF_energy": "unknown"}, "its REF_energy must be numbers, got 'unknown'"),
        ({"REF_energy": [1.0, 2.0]}, r"its REF_energy has shape \(2,\), not \(\)"),
        ({"REF_energy": np.inf}, "its energy is not finite"),
        ({"REF_forces": FORCES[:, :2]}, r"its REF_forces has shape \(2, 2\), not \(2, 3\)"),
        ({"REF_forces": np.array([[np.nan, 0, 0], [0, 0, 0]])}, "its forces are not finite"),
        ({"REF_forces": np.array([[np.inf] * 3, [0, 0, 0]])}, "its forces are not finite"),
        ({"forces": FORCES, "force_weights": np.array([1.0, -1.0])}, "must be finite and not neg"),
        ({"forces": FORCES, "force_weights": np.array([1.0, np.nan])}, "must be finite and not"),
    ],
)
def test_labels_of_the_wrong_form_are_refused(named: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_labels(pair(None, **named))


def test_predictions_are_no_labels() -> None:
    atoms = pair({"energy": -3.0, "forces": FORCES}, **{PREDICTED_KEY: -3.0})
    found = read_labels(atoms)
    assert found.predicted
    assert (found.energy, found.forces) == (None, None)
    assert found.explain_missing("forces").startswith(
        "carries no forces of a parent: what is there was predicted by a potential of nearsight"
    )
    # the labels beside them are
    atoms = pair({"energy": -3.0}, REF_energy=-3.5, REF_forces=FORCES, **{PREDICTED_KEY: -3.0})
    assert read_labels(atoms).energy == -3.5


def test_what_names_a_potential_is_a_prediction() -> None:
    assert read_labels(pair({"energy": -3.0}, nearsight_potential="sha256-1")).predicted
    atoms = pair({"energy": -3.0})
    for name in ("nearsight", "nearsightcalculator"):
        atoms.calc.name = name
        assert read_labels(atoms).predicted


def test_what_was_calculated_after_a_prediction_is_a_label() -> None:
    atoms = pair({"energy": -3.0, "forces": FORCES}, **{PREDICTED_KEY: -2.9})
    found = read_labels(atoms)
    assert not found.predicted
    assert found.energy == -3.0


def test_databases_of_ase(tmp_path: Path) -> None:
    """Labels among the key-value pairs and the data of a row; ASE's selections."""
    rng = np.random.default_rng(5)
    place, forces = tmp_path / "all.db", rng.normal(size=(4, 3))
    weights = np.array([1.0, 0.0, 0.5, 1.0])
    atoms = Atoms("Pt4", [[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [0, 0, 2.5]])
    calculated = atoms.copy()
    calculated.calc = SinglePointCalculator(calculated, energy=-3.0, forces=forces)
    with connect(place) as database:
        database.write(calculated, data={"force_weights": weights})
        database.write(
            atoms,
            REF_energy=-4.0,
            config_energy_weight=1.0,
            data={"REF_forces": forces, "REF_forces_atomic_weights": weights, "notes": "none"},
        )
        database.write(atoms, nearsight_energy=-1.0)
    first, second, third = (read_labels(each) for each in read_structures(place))
    assert (first.energy, second.energy, third.energy) == (-3.0, -4.0, None)
    assert third.predicted
    for labels in (first, second):
        np.testing.assert_array_equal(labels.forces, forces)
        np.testing.assert_array_equal(labels.force_weights, weights)
    for selection, count in (("@-1", 1), ("@:2", 2), ("@id=2", 1), ("@REF_energy<-1", 1)):
        assert len(read_structures(f"{place}{selection}")) == count
    with pytest.raises(InputError, match="there is no structure 7 in it"):
        read_structures(f"{place}@7")
    with pytest.raises(InputError, match="holds no structure"):
        read_structures(f"{place}@id=9")
