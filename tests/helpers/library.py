"""The core as an installed C++ library, and the example that uses it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from helpers import Array

ROOT = Path(__file__).parents[2]
LEVELS = ["baseline", "x86_64_v3"] if platform.machine() in ("x86_64", "AMD64") else ["baseline"]


def build_example(folder: Path) -> dict[str, Path]:
    """Install the library and build ``examples/cpp`` on it; the program of every level."""
    missing = [name for name in ("cmake", "ninja") if shutil.which(name) is None]
    if missing:
        (pytest.fail if "NEARSIGHT_CI" in os.environ else pytest.skip)(
            f"needs {' and '.join(missing)}, Eigen and nlohmann/json to build the C++ library"
        )
    wheels = sysconfig.get_path("platlib")  # Eigen and nlohmann/json may be there
    _cmake(ROOT, folder / "library", NEARSIGHT_PYTHON="OFF", NEARSIGHT_LIBRARY="ON",
           NEARSIGHT_ALL_LEVELS="OFF", CMAKE_PREFIX_PATH=wheels)  # fmt: skip
    _call("cmake", "--install", folder / "library", "--prefix", folder / "prefix")
    found = {}
    for level in LEVELS:
        _cmake(ROOT / "examples" / "cpp", folder / level, LEVEL=level,
               CMAKE_PREFIX_PATH=f"{folder / 'prefix'};{wheels}")  # fmt: skip
        found[level] = folder / level / "forces"
    return found


def _cmake(source: Path, build: Path, **options: str) -> None:
    given = [f"-D{name}={value}" for name, value in options.items()]
    _call("cmake", "-S", source, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *given)
    _call("cmake", "--build", build)


def _call(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def call_example(program: Path, potential: Path, structure: Path) -> tuple[Array, str]:
    """Rows (N, 6) of energy, force, uncertainty and grade; or none, and why."""
    done = subprocess.run(
        [program, potential, structure],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 2), done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return np.array(rows, dtype=float).reshape(-1, 6), done.stderr
