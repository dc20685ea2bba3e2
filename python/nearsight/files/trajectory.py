"""ASE trajectories written whole or not at all; they keep every bit, where extended XYZ rounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ase import Atoms
from ase.io.trajectory import Trajectory

from nearsight.errors import InputError

__all__ = ["count_frames", "read_frames", "write_frames"]


def count_frames(path: Path) -> int:
    """Number of whole frames in a trajectory.

    Raises
    ------
    InputError
        If it is missing or cannot be read.
    """
    try:
        with Trajectory(path) as reader:
            return len(reader)
    except Exception as error:  # ASE's reader raises whatever a torn file makes it raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path}: truncated or corrupted trajectory ({text})") from error


def read_frames(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Atoms]:
    """Frames from ``start`` to before ``stop``, one after the other.

    Raises
    ------
    InputError
        See `count_frames`.
    """
    count = count_frames(path)
    with Trajectory(path) as reader:
        for number in range(start, count if stop is None else min(stop, count)):
            yield reader[number]


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
