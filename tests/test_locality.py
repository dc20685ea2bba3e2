"""The locality scan, against the EMT section of the paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT

from helpers.recorder import Recorder
from nearsight.errors import InputError, ParentError
from nearsight.learning.locality import ForceLocality, force_locality
from nearsight.parents import Parent

# Fig. S7a of the paper: force on atom 29 of the rattled Pt260, EMT, in eV/Å
RADII = [3.5, 4.5, 5.5, 6.5, 7.5, 8.5]
COUNTS = [13, 19, 40, 63, 83, 110]
FORCES = [
    [0.0668, -0.4140, -0.3086],
    [0.0885, -0.4069, -0.2325],
    [-0.0900, -0.5629, -0.1181],
    [-0.1680, -0.6329, -0.0628],
    [-0.1690, -0.6336, -0.0633],
    [-0.1691, -0.6338, -0.0631],
]


@pytest.fixture(scope="module")
def scan(pt260_original: Atoms) -> ForceLocality:
    return force_locality(pt260_original, "emt", RADII, [29])


def test_forces_of_atom_29_are_those_of_the_paper(scan: ForceLocality) -> None:
    assert scan.n_atoms[:, 0].tolist() == COUNTS
    np.testing.assert_allclose(scan.forces[:, 0], FORCES, rtol=0, atol=1e-4)
    np.testing.assert_allclose(scan.true_forces[0], FORCES[-1], rtol=0, atol=1e-4)


def test_target_has_the_published_energy_and_forces(pt260: Atoms, emt_parent: Parent) -> None:
    # the structure of Fig. S7 is recovered by these: energy, smallest and largest force
    result = emt_parent.calculate(pt260)
    norms = np.linalg.norm(result.forces, axis=1)
    assert result.energy == pytest.approx(110.30646, abs=1e-5)
    assert norms.min() == pytest.approx(0.18008, abs=1e-5)
    assert norms.max() == pytest.approx(5.13311, abs=1e-5)


@pytest.mark.slow
def test_errors_over_the_whole_particle(pt260: Atoms) -> None:
    # mean and largest error over all 260 atoms in meV/Å, measured with a script of ASE alone
    scan = force_locality(pt260, "emt", [5.5, 6.5, 8.0])
    assert scan.indices.tolist() == list(range(260))
    rows = scan.table()
    assert [row["radius"] for row in rows] == [5.5, 6.5, 8.0]
    assert [round(row["mean_error"]) for row in rows[:1]] == [131]
    assert [round(row["max_error"]) for row in rows[:1]] == [321]
    assert (round(rows[1]["mean_error"], 1), round(rows[1]["max_error"], 1)) == (1.8, 5.9)
    assert (round(rows[2]["mean_error"], 2), round(rows[2]["max_error"], 2)) == (0.02, 0.05)


def test_summary_figures_follow_from_the_forces() -> None:
    scan = ForceLocality(
        radii=np.array([3.0, 4.0]),
        indices=np.array([5, 6]),
        n_atoms=np.array([[3, 4], [9, 12]]),
        forces=np.array([[[3, 4, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0.5]]], dtype=float),
        true_forces=np.array([[0, 0, 0], [0, 0, 1]], dtype=float),
    )
    assert scan.errors.tolist() == [[5.0, 1.0], [0.0, 0.5]]
    assert scan.mean_errors.tolist() == [3.0, 0.25]
    assert scan.max_errors.tolist() == [5.0, 0.5]
    assert scan.table() == [
        {"radius": 3.0, "mean_atoms": 3.5, "mean_error": 3000.0, "max_error": 5000.0},
        {"radius": 4.0, "mean_atoms": 10.5, "mean_error": 250.0, "max_error": 500.0},
    ]


def test_takes_a_parent_a_calculator_or_a_function(pt260: Atoms, scan: ForceLocality) -> None:
    for parent in (Parent("emt"), EMT(), EMT):
        other = force_locality(pt260, parent, RADII[:1], [29])
        np.testing.assert_array_equal(other.forces, scan.forces[:1])


def test_comes_back_bit_for_bit_from_its_file(scan: ForceLocality, tmp_path: Path) -> None:
    path = tmp_path / "locality.json"
    scan.save(path)
    found = ForceLocality.load(path)
    for name in ("radii", "indices", "n_atoms", "forces", "true_forces"):
        np.testing.assert_array_equal(getattr(found, name), getattr(scan, name))
        assert getattr(found, name).dtype == getattr(scan, name).dtype


@pytest.mark.parametrize(
    ("radii", "indices", "message"),
    [
        ([], None, "at least one chunk radius and one atom"),
        ([6.5], [], "at least one chunk radius and one atom"),
        ([6.5, -1.0], [29], "the chunk radius must be a positive number"),
        ([6.5], [260], "there is no atom 260"),
        ([6.5, 1.0], [29], "atom 29 .Pt. has no neighbour within 1 Å"),
    ],
)
def test_refuses_before_anything_is_calculated(
    pt260: Atoms,
    emt_parent: Parent,
    radii: list[float],
    indices: list[int] | None,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        force_locality(pt260, emt_parent, radii, indices)
    assert emt_parent.calculations == 0


def test_a_failing_parent_is_named(emt_parent: Parent) -> None:
    with pytest.raises(ParentError, match="No EMT-potential for Si"):
        force_locality(molecule("SiH4"), emt_parent, [3.0])


def test_reports_its_progress(pt260: Atoms) -> None:
    recorder = Recorder()
    force_locality(pt260, "emt", [3.5, 4.0], [29, 30], progress=recorder)
    # twice where one has ended and the next begins
    assert list(dict.fromkeys(step[:2] for step in recorder.steps)) == [(k, 5) for k in range(6)]
    assert {step[2] for step in recorder.steps} == {"whole structure and chunks"}
