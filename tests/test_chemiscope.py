"""A run for chemiscope, against what chemiscope's own package writes."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from helpers.cli import run_command
from helpers.report import ATOMS, CALIBRATED, DIFFERENCE, iteration, save
from nearsight.errors import InputError
from nearsight.report.chemiscope import chemiscope_data, write_chemiscope
from nearsight.report.data import RunData


def test_the_same_as_chemiscope_writes(full: Path) -> None:
    if "NEARSIGHT_CI" not in os.environ:
        pytest.importorskip("chemiscope")
    import chemiscope

    found = chemiscope_data(RunData.load(full))
    frames = 3 * [ATOMS]
    theirs = chemiscope.create_input(
        structures=frames,
        metadata=found["meta"],
        properties=found["properties"],
        environments=chemiscope.all_atomic_environments(frames, cutoff=8.0),
        settings=found["settings"],
    )
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(theirs))


def test_numbers(full: Path) -> None:
    found = chemiscope_data(RunData.load(full))["properties"]
    kept = slice(4, 8)  # iteration 1 of three
    np.testing.assert_allclose(found["uncertainty"]["values"][kept], 1000 * CALIBRATED)
    errors = 1000 * np.linalg.norm(DIFFERENCE, axis=1)
    np.testing.assert_allclose(found["error"]["values"][kept], errors, atol=1e-9)
    assert found["learned"]["values"] == [0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 1]
    assert found["iteration"]["values"] == np.repeat([0, 1, 2], 4).tolist()
    assert found["neighbours"]["values"] == 3 * [2, 2, 3, 1]


def test_files(full: Path, tmp_path: Path) -> None:
    plain = write_chemiscope(full, tmp_path / "run.json").read_bytes()
    packed = write_chemiscope(full, tmp_path / "run.json.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    with pytest.raises(InputError, match=r"run\.html: chemiscope reads files that end in \.json"):
        write_chemiscope(full, tmp_path / "run.html")
    without = save(tmp_path / "run", iteration(0, []))
    with pytest.raises(InputError, match="does not hold its targets"):
        write_chemiscope(without, tmp_path / "run.json")


def test_the_command(full: Path, tmp_path: Path) -> None:
    code, out, _ = run_command("export", full, tmp_path / "run.json", "--format", "chemiscope")
    assert (code, out) == (0, f"{tmp_path / 'run.json'}: open it on chemiscope.org\n")
    assert (tmp_path / "run.json").read_bytes() == (
        write_chemiscope(full, tmp_path / "again.json").read_bytes()
    )
    code, _, err = run_command("export", full, tmp_path / "x", "--format", "chemiscope")
    assert (code, err) == (
        2, f"{tmp_path / 'x'}: chemiscope reads files that end in .json or .json.gz\n"
    )  # fmt: skip
