"""A few hundred damaged files; the program behind it is told to do more by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "python" / "fuzz_files.py"
CASES = {"potentials": 600, "configurations": 600, "records": 600, "runs": 24, "databases": 100}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="makes pipes and waits with a timer")
def test_damaged_files_end_with_a_sentence(tmp_path: Path) -> None:
    counts = [word for name, count in CASES.items() for word in (f"--{name}", str(count))]
    done = subprocess.run(
        [sys.executable, PROGRAM, *counts, "--run-every", "6", "--seed", "7", "--keep", "wrong"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name, count in CASES.items():
        assert f"{name}: {count} in " in done.stdout
    assert not (tmp_path / "wrong").exists()


def test_damaged_files_of_other_programs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM.with_name("fuzz_foreign.py"), "--potentials", "500",
         "--structures", "300", "--seed", "7", "--keep", "wrong"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "potentials: 500 in " in done.stdout
    assert "structures: 300 in " in done.stdout
