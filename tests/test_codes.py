"""Parent codes known by name: what is made of arguments and structures, without any GPAW."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT

from nearsight.errors import InputError
from nearsight.parents import Parent
from nearsight.parents.codes import CODES
from nearsight.structures.chunks import extract_chunk

GPAW = CODES["gpaw"]


@pytest.fixture
def gpaw(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for GPAW, whose calculators have the keywords they were made with."""

    def make(**given: Any) -> SimpleNamespace:
        mode = SimpleNamespace(name=given.get("mode"))
        return SimpleNamespace(given=given, params=SimpleNamespace(mode=mode))

    module = SimpleNamespace(GPAW=make, __version__="26.7.0")
    monkeypatch.setitem(sys.modules, "gpaw", module)
    return module


def same_place(atoms: Atoms, expected: Atoms) -> None:
    np.testing.assert_array_equal(atoms.positions, expected.positions)
    np.testing.assert_array_equal(atoms.numbers, expected.numbers)


# -- EMT


def test_emt_is_that_of_ase() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    code = CODES["emt"]
    code.check({"asap_cutoff": True})
    prepared = code.prepare(atoms, {})
    assert prepared == atoms
    assert prepared is not atoms
    prepared.calc = code.make(atoms, {"asap_cutoff": True})
    atoms.calc = EMT(asap_cutoff=True)
    np.testing.assert_array_equal(prepared.get_forces(), atoms.get_forces())
    atoms.calc = EMT()
    assert not np.array_equal(prepared.get_forces(), atoms.get_forces())


# -- is GPAW there?


def test_without_gpaw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpaw", None)
    with pytest.raises(InputError) as caught:
        Parent("gpaw", preset="si")
    assert 'CC=g++ pip install "nearsight[gpaw]"' in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("raise OSError('libxc.so.9: cannot open')", "OSError: libxc.so.9: cannot open"),
        ("import gpaw_no_data", "ModuleNotFoundError: No module named 'gpaw_no_data'"),
    ],
)
def test_a_gpaw_that_cannot_be_imported(
    content: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gpaw.py").write_text(content)
    monkeypatch.delitem(sys.modules, "gpaw", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as caught:
        GPAW.check()
    assert str(caught.value) == f'calculator = "gpaw": GPAW cannot be imported ({reason})'


@pytest.mark.parametrize("version", ["22.8.0", "26.6.1"])
def test_an_old_gpaw(version: str, gpaw: Any) -> None:
    gpaw.__version__ = version
    with pytest.raises(InputError) as caught:
        GPAW.check()
    assert str(caught.value) == f'calculator = "gpaw" needs GPAW 26.7 or newer, found {version}'


@pytest.mark.parametrize("version", ["26.7.0", "26.10.1b1", "27.1"])
def test_a_new_gpaw(version: str, gpaw: Any) -> None:
    gpaw.__version__ = version
    GPAW.check()


# -- presets


def test_preset_of_the_paper() -> None:
    # SI 5, and the scripts of 8.1 (cells) and 8.4 (chunks): PW(450), PBE, FermiDirac(0.1),
    # Mixer(0.02, 5, 100), 1e-4 eV, 333 steps, spin-paired; Γ alone, or 30/l k-points
    preset = GPAW.presets["si"]
    assert preset.common == {
        "mode": {"name": "pw", "ecut": 450},
        "xc": "PBE",
        "occupations": {"name": "fermi-dirac", "width": 0.1},
        "spinpol": False,
        "maxiter": 333,
        "mixer": {"name": "pulay", "beta": 0.02, "nmaxold": 5, "weight": 100},
        "convergence": {"energy": 1e-4},
    }
    assert preset.chunks == {"kpts": [1, 1, 1], "symmetry": {"point_group": False}}
    assert preset.bulk == {"kpts": {"length": 30.0}}


def test_an_unknown_preset(gpaw: Any) -> None:
    with pytest.raises(InputError) as caught:
        Parent("gpaw", preset="lcoa")
    assert str(caught.value) == (
        "parent preset must be one of those of 'gpaw' ('si', 'lcao'), got 'lcoa'; did you mean "
        "lcao?"
    )


# -- arguments


@pytest.mark.parametrize(
    ("atoms", "kpts", "size"),
    [
        (bulk("Pt", cubic=True, a=4.0), {"length": 30.0}, [8, 8, 8]),  # 7.5 rounded up
        (bulk("Pt", cubic=True, a=3.0), {"length": 30.0}, [10, 10, 10]),
        (bulk("Pt", cubic=True, a=3.0).repeat((1, 2, 3)), {"length": 30}, [10, 5, 4]),
        (bulk("Pt", cubic=True, a=40.0), {"length": 30.0}, [1, 1, 1]),
        (fcc111("Pt", (1, 2, 3), a=4.0, vacuum=5.0, periodic=False), {"length": 30.0}, [11, 6, 1]),
        (molecule("H2O", vacuum=5.0), {"length": 30.0}, [1, 1, 1]),
        (bulk("Pt", cubic=True, a=4.0), {"density": 3.5}, [6, 6, 6]),  # 3.5 · 2π/4 = 5.5; even
        (fcc111("Pt", (1, 1, 3), a=4.0, vacuum=5.0), {"density": 2.0, "even": True}, [6, 6, 1]),
        (molecule("H2O", vacuum=5.0), {"density": 9.0}, [1, 1, 1]),
    ],
)
def test_length_gives_k_points_of_every_vector(
    atoms: Atoms, kpts: Any, size: list[int], gpaw: Any
) -> None:
    assert GPAW.make(atoms, {"kpts": {**kpts, "gamma": True}}).given["kpts"] == {
        "size": size,
        "gamma": True,
    }


@pytest.mark.parametrize("kpts", [[2, 3, 4], {"size": [2, 3, 4]}, {"kpts": [[0, 0, 0.5]]}])
def test_other_k_points_go_to_gpaw_as_they_are(kpts: Any, gpaw: Any) -> None:
    assert GPAW.make(bulk("Pt"), {"kpts": kpts}).given["kpts"] == kpts


@pytest.mark.parametrize("length", ["30", 0, -1.0, True, None])
def test_a_wrong_length_for_k_points(length: Any, gpaw: Any) -> None:
    with pytest.raises(InputError) as caught:
        GPAW.make(bulk("Pt"), {"kpts": {"length": length}})
    assert f"kpts.length must be a positive number, got {length!r}" in str(caught.value)


def test_every_calculation_writes_a_log_of_its_own(tmp_path: Path, gpaw: Any) -> None:
    folder = tmp_path / "deep" / "logs"
    arguments = {"mode": "lcao", "logs": str(folder)}
    water, methane = molecule("H2O"), molecule("CH4")
    names = [
        GPAW.make(atoms, {**arguments, **change}).given["txt"]
        for atoms, change in [(water, {}), (methane, {}), (water, {"maxiter": 500}), (water, {})]
    ]
    assert folder.is_dir()
    assert names[0] == names[3]
    assert len(set(names)) == 3
    assert all(name.parent == folder for name in names)
    assert [name.name[:3] for name in names] == ["OH2", "CH4", "OH2", "OH2"]
    assert all(name.suffix == ".txt" for name in names)
    assert GPAW.make(water, {"mode": "lcao"}).given == {
        "mode": "lcao",
        "txt": None,
        "legacy_gpaw": False,
    }


def test_txt_is_refused(gpaw: Any) -> None:
    with pytest.raises(InputError, match=r'in place of txt give logs = "FOLDER"'):
        GPAW.make(molecule("H2O"), {"mode": "lcao", "txt": "gpaw.txt"})


def test_logs_and_processors_do_not_make_another_calculation() -> None:
    arguments = {"mode": "lcao", "kpts": [1, 1, 1], "logs": "logs", "parallel": {"band": 1}}
    assert GPAW.identity(arguments) == {"mode": "lcao", "kpts": [1, 1, 1]}
    assert "logs" in arguments
    assert CODES["emt"].identity({"logs": "x"}) == {"logs": "x"}


# -- structures


def test_a_chunk_keeps_its_box(pt260: Atoms) -> None:
    chunk = extract_chunk(pt260, 29, 4.5, vacuum=3.5)
    before = chunk.copy()
    prepared = GPAW.prepare(chunk, {})
    assert chunk == before
    assert prepared.pbc.all()
    np.testing.assert_array_equal(prepared.cell, chunk.cell)
    same_place(prepared, chunk)


def test_what_has_no_box_gets_one(pt260: Atoms) -> None:
    prepared = GPAW.prepare(pt260, {})
    assert prepared.pbc.all()
    np.testing.assert_allclose(prepared.positions.min(axis=0), 5.0)
    np.testing.assert_allclose(prepared.cell, np.diag(np.ptp(pt260.positions, axis=0) + 10.0))
    np.testing.assert_allclose(prepared.get_all_distances(), pt260.get_all_distances(), atol=1e-12)


def test_a_slab_without_a_third_vector_gets_one() -> None:
    slab = fcc111("Pt", (2, 2, 3))
    assert not slab.cell[2].any()
    prepared = GPAW.prepare(slab, {})
    thickness = np.ptp(slab.positions[:, 2])
    np.testing.assert_allclose(prepared.cell[:2], slab.cell[:2])
    np.testing.assert_allclose(prepared.cell[2], [0.0, 0.0, thickness + 10.0])
    assert prepared.pbc.all()


def test_a_bulk_cell_stays_as_it_is() -> None:
    cell = bulk("Pt")
    assert GPAW.prepare(cell, {}) == cell


@pytest.mark.parametrize(("vacuum", "fits"), [(2.0, True), (1.9, False), (0.0, False)])
def test_the_empty_space_must_suffice(vacuum: float, fits: bool, pt260: Atoms) -> None:
    chunk = extract_chunk(pt260, 29, 4.5, vacuum=vacuum)
    if fits:
        GPAW.prepare(chunk, {})
        return
    with pytest.raises(InputError) as caught:
        GPAW.prepare(chunk, {})
    assert f"Pt19 has {2 * vacuum:.1f} Å of empty space along cell vector 0" in str(caught.value)
    assert "at least 4 Å (nft.vacuum" in str(caught.value)


def test_empty_space_is_measured_across_a_skewed_cell() -> None:
    # two atoms 2 Å apart along z; the third vector is 8 Å long but rises by 5 Å only
    atoms = Atoms("Pt2", [[0, 0, 0], [0, 0, 2]], cell=[4, 4, 5], pbc=[True, True, False])
    atoms.cell[2] = [39**0.5, 0, 5]
    with pytest.raises(InputError, match=r"has 3\.0 Å of empty space along cell vector 2"):
        GPAW.prepare(atoms, {})
    atoms.cell[2] = [39**0.5, 0, 6.1]
    assert GPAW.prepare(atoms, {}).pbc.all()
