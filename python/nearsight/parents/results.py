"""Results as files of their own: from the moment they exist until the database holds them.

Whoever has computed a result writes it, worker, job or driver: it outlives all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nearsight.errors import DamagedFileError, InputError
from nearsight.files.records import FinishedCalculation

__all__ = ["Finished", "ResultFiles", "keep_result", "results_in"]

Outcome = Mapping[str, Any]


@dataclass(frozen=True)
class Finished:
    """A result found in a file.

    Attributes
    ----------
    key : str
        Fingerprint of structure and parent.
    atoms : ase.Atoms
    data, notes : dict
        What the database keeps with the result, see `ParentDatabase.write`.
    outcome : dict
        Fields of a `ParentResult`.
    """

    key: str
    atoms: Atoms
    data: dict[str, Any]
    notes: dict[str, Any]
    outcome: dict[str, Any]


class ResultFiles:
    """The files of results in a folder, as the driver sees them.

    Parameters
    ----------
    folder : Path, optional
        Made when it is needed; there are no files when left out.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def path(self, key: str) -> str | None:
        """Path of the file of a result; None: there is none."""
        name = f"{key.removeprefix('sha256-')}.json"
        return None if self._folder is None else str(self._folder / name)

    def known(self) -> list[str]:
        """Keys of all that are there."""
        found = [] if self._folder is None else self._folder.glob("*.json")
        return sorted(f"sha256-{path.stem}" for path in found)

    def read(self, key: str) -> Finished | None:
        """A result, if it is there.

        Raises
        ------
        InputError
            If the file is damaged, or cannot be read.
        """
        path = self.path(key)
        if path is None or not Path(path).exists():
            return None
        record = FinishedCalculation.load(path)
        if record.key != key:
            raise DamagedFileError(f"{path}: the result of another calculation")
        try:
            atoms = Atoms.fromdict(record.structure)
        except Exception as error:  # whatever ASE meets
            raise DamagedFileError(f"{path}: incomplete or damaged ({error})") from error
        names = ("energy", "forces", "seconds", "stress")
        outcome = {name: getattr(record, name) for name in names} | {"cached": False}
        return Finished(key, atoms, record.data, record.notes, outcome)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove files of results that are kept elsewhere."""
        for path in map(self.path, keys):
            if path is not None:
                with suppress(OSError):
                    Path(path).unlink()


def keep_result(path: str | None, about: Mapping[str, Any], outcome: Outcome) -> None:
    """Write a result to its file, if there is to be one.

    What cannot be written now is still on its way to the database.

    Parameters
    ----------
    path : str, optional
    about : mapping
        ``key``, ``structure``, ``data`` and ``notes`` of a `FinishedCalculation`.
    outcome : mapping
        Fields of a `ParentResult`, or those of an outcome that is none.
    """
    # of the processes of one job, which all do the same, the first writes
    if path is None or "energy" not in outcome or os.environ.get("SLURM_PROCID", "0") != "0":
        return
    with suppress(InputError, ValueError, OSError):  # also a result that is no number
        result = {name: value for name, value in outcome.items() if name != "cached"}
        record = FinishedCalculation.of(**_listed(about), **result)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        record.save(path)


def _listed(value: Any) -> Any:
    """Content as JSON has it."""
    if isinstance(value, Mapping):
        return {name: _listed(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def results_in(files: ResultFiles) -> Iterator[Finished | str]:
    """All results there are; of a file that cannot be used, why."""
    for key in files.known():
        try:
            found = files.read(key)
        except InputError as error:
            yield str(error)
        else:
            if found is not None:
                yield found
