"""Record of failed and lost parent calculations, so that they are not tried for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from nearsight.errors import DamagedFileError
from nearsight.files.atomic import check_header, read_json, write_json

__all__ = ["Failure", "FailureRecord", "name_of"]

FORMAT = "nearsight-failures"
VERSION = 1


@dataclass(frozen=True)
class Failure:
    """A structure that was given up.

    Attributes
    ----------
    structure : str
        Its formula and number of atoms.
    reasons : tuple of str
        What each attempt ended with.
    """

    structure: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.structure}: {self.reasons[-1]}" + (
            f" (given up after {len(self.reasons)} attempts)" if len(self.reasons) > 1 else ""
        )


class FailureRecord:
    """The failed attempts of every structure, in a file if there is a path.

    Parameters
    ----------
    path : Path, optional
        JSON; read if it is there, written whole at every event.

    Raises
    ------
    InputError
        If the file is of another kind, or damaged: what it held cannot be made again.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._events: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            try:
                content = check_header(read_json(path), path, FORMAT, VERSION)
                self._events = {
                    key: {
                        "structure": str(each["structure"]),
                        "failed": [str(reason) for reason in each["failed"]],
                        "lost": [str(reason) for reason in each["lost"]],
                        "given_up": bool(each["given_up"]),
                    }
                    for key, each in content["structures"].items()
                }
            except (DamagedFileError, KeyError, TypeError, AttributeError) as error:
                raise DamagedFileError(
                    f"{path}: truncated or corrupted record of failures; "
                    "delete it to try again what failed"
                ) from error

    def failed(self, key: str) -> list[str]:
        """Reasons of the failed attempts on a structure."""
        return list(self._events.get(key, {}).get("failed", []))

    def lost(self, key: str) -> list[str]:
        """Reasons of the attempts on a structure whose process or job vanished."""
        return list(self._events.get(key, {}).get("lost", []))

    def given_up(self) -> list[Failure]:
        """All structures that were given up, in an order that does not depend on the engine."""
        events = [event for _, event in sorted(self._events.items()) if event["given_up"]]
        return [self._failure(event) for event in events]

    def find(self, key: str) -> Failure | None:
        """The structure of that key, if it was given up."""
        event = self._events.get(key)
        return self._failure(event) if event and event["given_up"] else None

    def add(self, key: str, atoms: Atoms, kind: str, reason: str, given_up: bool = False) -> None:
        """Put an event on record before anything follows from it.

        Parameters
        ----------
        key : str
            Fingerprint of the structure.
        atoms : ase.Atoms
        kind : str
            ``failed``, or ``lost`` where the process or job vanished.
        reason : str
        given_up : bool
            Whether this was the last attempt.
        """
        event = self._events.setdefault(
            key, {"structure": name_of(atoms), "failed": [], "lost": [], "given_up": False}
        )
        event[kind].append(reason)
        event["given_up"] = given_up
        if self.path is not None:
            write_json(
                self.path, {"format": FORMAT, "version": VERSION, "structures": self._events}
            )

    @staticmethod
    def _failure(event: dict[str, Any]) -> Failure:
        reasons: Sequence[str] = event["failed"] or event["lost"]
        return Failure(event["structure"], tuple(reasons))


def name_of(atoms: Atoms) -> str:
    """Formula and number of atoms."""
    count = len(atoms)
    return f"{atoms.symbols} ({count} {'atom' if count == 1 else 'atoms'})"
