"""ASE trajectories written whole or not at all; they keep every bit, where extended XYZ rounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ase import Atoms
from ase.io.trajectory import Trajectory

from nearsight.errors import DamagedFileError

__all__ = ["count_frames", "read_frames", "write_frames"]


def count_frames(path: Path) -> int:
    """Number of whole frames in a trajectory.

    Raises
    ------
    DamagedFileError
        If it is missing or cannot be read.
    """
    with _translate_errors(path), Trajectory(path) as reader:
        return len(reader)


def read_frames(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Atoms]:
    """Frames from ``start`` to before ``stop``, one after the other.

    Raises
    ------
    DamagedFileError
        See `count_frames`.
    """
    count = count_frames(path)
    with Trajectory(path) as reader:
        for number in range(start, count if stop is None else min(stop, count)):
            with _translate_errors(path):
                atoms = reader[number]
            yield atoms


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ASE's reader raises whatever a torn file makes it raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise DamagedFileError(f"{path}: truncated or corrupted trajectory ({text})") from error


def write_frames(path: Path, frames: Iterable[Atoms]) -> None:
    """Write a trajectory, whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with Trajectory(temporary, "w") as writer:
            for atoms in frames:
                writer.write(atoms)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
