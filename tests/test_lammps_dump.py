"""Dumps of LAMMPS as structures: elements, cut-off frames, no labels."""

from __future__ import annotations

import gzip
import lzma
import re
from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.structures.images import read_structures
from nearsight.structures.lammps_dump import read_dump


def frame(step: int, columns: str, rows: list[str]) -> str:
    return (
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\n"
        "ITEM: BOX BOUNDS pp pp ff\n0.0 7.9\n0.0 7.9\n-1.0 20.0\n"
        f"ITEM: ATOMS {columns}\n" + "".join(f"{row}\n" for row in rows)
    )


TYPES = "id type x y z vx vy vz fx fy fz f_u"
ROWS = ["2 2 2.0 0 0 1 0 0 9 9 9 0.5", "1 1 0 0 0.5 0 2 0 9 9 9 0.1"]


def test_types_are_given_elements(tmp_path: Path) -> None:
    place = tmp_path / "x.dump"
    place.write_text(frame(0, TYPES, ROWS) + frame(50, TYPES, ROWS))
    frames = read_dump(place, ["Pt", "Cu"])
    assert [each.info["timestep"] for each in frames] == [0, 50]
    atoms = frames[1]
    assert str(atoms.symbols) == "PtCu"
    assert atoms.pbc.tolist() == [True, True, False]
    np.testing.assert_array_equal(atoms.positions, [[0, 0, 0.5], [2, 0, 0]])
    # Å/ps; ASE's unit of time is sqrt(u Å²/eV), 10.1805 fs
    np.testing.assert_allclose(atoms.get_velocities()[0], [0, 2 * 0.0101805, 0], rtol=1e-5)
    assert atoms.calc is None  # forces of a potential are no labels
    assert set(atoms.arrays) == {"numbers", "positions", "momenta"}


def test_elements_of_the_dump_and_a_choice_of_frames(tmp_path: Path) -> None:
    place = tmp_path / "x.dump"
    rows = ["1 Au 0 0 0", "2 Pt 2 0 0"]
    text = "".join(frame(step, "id element x y z", rows) for step in (0, 10, 20))
    place.write_text(text[:-4])  # LAMMPS was killed while it wrote the last
    assert [each.info["timestep"] for each in read_structures(place)] == [0, 10]
    assert str(read_structures(f"{place}@-1")[0].symbols) == "AuPt"


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_a_dump_says_its_units_and_is_compressed(tmp_path: Path, suffix: str) -> None:
    """What LAMMPS writes by ``units yes``, ``time yes`` and ``custom/gz``: no labels either."""
    frames = "".join(
        f"ITEM: TIME\n0.{step}\n" + frame(step, f"element {TYPES}", [f"Au {r}" for r in ROWS])
        for step in (0, 10)
    )
    content = b"ITEM: UNITS\nmetal\n" + frames.encode()
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    place = tmp_path / f"x.dump{suffix}"
    place.write_bytes(pack(content))
    for file_format in (None, "lammps-dump-text"):
        found = read_structures(place, file_format)
        assert [each.info["timestep"] for each in found] == [0, 10]
        assert [each.calc for each in found] == [None, None]
    if suffix != ".xz":  # LAMMPS was killed while it wrote the last
        place.write_bytes(pack(content)[:-9])
        assert [each.info["timestep"] for each in read_structures(place)] == [0]
    place.write_bytes(pack(content.replace(b"metal", b"real")))
    with pytest.raises(InputError, match=r"x.dump.*: a dump in units real, only those of metal"):
        read_structures(place)
    if suffix:
        packed = bytearray(pack(content))
        packed[20:40] = bytes(20)
        place.write_bytes(packed)
        with pytest.raises(InputError, match=re.escape(f"{place}: ")):
            read_structures(place)


@pytest.mark.parametrize(
    ("text", "elements", "sentence"),
    [
        (frame(0, TYPES, ROWS), None, "does not tell the elements; dump a column element"),
        (frame(0, TYPES, ROWS), ["Pt"], "has atoms of type 2, elements of 1 types"),
        (frame(0, TYPES, ROWS)[:-9], ["Pt", "Cu"], "holds no whole frame"),
        (frame(0, TYPES, ROWS[:1]) + frame(1, TYPES, ROWS)[:-9], ["Pt"], "has atoms of type 2"),
        ("ITEM: TIMESTEP\n", ["Pt"], "holds no whole frame"),
        (frame(0, "id element x y z", ["1 Au 0 0 zero"]), None, "no LAMMPS dump (ValueError"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, elements: list[str] | None, sentence: str) -> None:
    place = tmp_path / "x.dump"
    place.write_text(text)
    with pytest.raises(InputError) as refused:
        read_dump(place, elements)
    assert str(refused.value).startswith(f"{place}: {sentence}")


@pytest.mark.parametrize("name", ["x.dump", "x.xyz"])
def test_a_word_without_end_is_not_told_whole(tmp_path: Path, name: str) -> None:
    """By ASE, of a file of either kind."""
    place, long = tmp_path / name, "-" * 5000
    dump = frame(0, "id element x y z", [f"1 Au 0 0 {long}"])
    place.write_text(dump if name == "x.dump" else f"2\n\nAu 0 0 0\nAu 0 0 {long}\n")
    with pytest.raises(InputError) as refused:
        read_structures(place)
    assert len(str(refused.value)) < len(str(place)) + 300


def test_types_that_are_no_elements(tmp_path: Path) -> None:
    place = tmp_path / "x.dump"
    place.write_text(frame(0, TYPES, ROWS))
    for wrong in ("pt", "", "X"):
        with pytest.raises(InputError, match="types must be elements such as Pt, got"):
            read_dump(place, ["Cu", wrong])


def test_a_frame_in_the_middle_that_is_torn(tmp_path: Path) -> None:
    place = tmp_path / "x.dump"
    place.write_text(frame(0, TYPES, ROWS)[:-9] + "\n" + frame(1, TYPES, ROWS))
    with pytest.raises(InputError, match="no LAMMPS dump"):
        read_dump(place, ["Pt", "Cu"])
