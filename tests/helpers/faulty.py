"""A calculator that fails as it is told to, in child processes and jobs too."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT

FAULTY = "helpers.faulty:FaultyEMT"


def digest(atoms: Atoms) -> str:
    """Hexadecimal SHA-256 of numbers, positions and cell."""
    arrays = (atoms.numbers, atoms.positions, np.asarray(atoms.cell))
    parts = b"".join(np.asarray(array, "<f8").tobytes() for array in arrays)
    return hashlib.sha256(parts).hexdigest()


class _Speechless(Exception):
    """An exception without words."""

    def __str__(self) -> str:
        raise ValueError("no words")


class _Panic(BaseException):
    """As those of Rust, which are no `Exception`."""


class Script:
    """File that steers a `FaultyEMT` of unchanged arguments, and so of an unchanged database key.

    Parameters
    ----------
    path : path
        Pass it to the calculator as ``script``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write()

    def write(self, faults: Mapping[str, str] | None = None, interrupt_after: int = -1) -> None:
        """Replace the faults, and the number of calculations until `KeyboardInterrupt`."""
        self.path.write_text(json.dumps({"faults": faults or {}, "left": interrupt_after}))


class FaultyEMT(EMT):
    """EMT that fails on chosen structures.

    Parameters
    ----------
    faults : mapping
        Structures → name of a method ``_…`` below, with spaces for underscores. Structures are
        given by their number of atoms (``"4"``), formula (``"CO"``), `digest`, or ``"*"`` for all.
    log : path
        Gets a line for every calculation, before its fault: number of atoms, ``mixer``, `digest`.
    script : path
        A `Script`, read at every calculation; its faults go before ``faults``.
    results : mapping
        Results that replace those of EMT.
    lacks : sequence of str
        Results that are not given at all.
    mixer : float
        For the log.
    pause : float
        Duration of every calculation, s.
    """

    def __init__(
        self,
        faults: Mapping[str, str] | None = None,
        log: str = "",
        script: str = "",
        results: Mapping[str, Any] | None = None,
        lacks: Sequence[str] = (),
        mixer: float = 0.1,
        pause: float = 0.0,
    ) -> None:
        super().__init__()
        self._faults = dict(faults or {})
        self._log = Path(log).absolute() if log else None  # it is made in the folder of the start
        self._script = Path(script).absolute() if script else None
        self._replaced = dict(results or {})
        self._lacks = tuple(lacks)
        self._mixer = mixer
        self._pause = pause
        self.implemented_properties = [
            name for name in type(self).implemented_properties if name not in lacks
        ]

    def calculate(self, *arguments: Any, **more: Any) -> None:
        super().calculate(*arguments, **more)
        time.sleep(self._pause)
        if self._log is not None:
            with self._log.open("a") as log:
                log.write(f"{len(self.atoms)} {self._mixer} {digest(self.atoms)}\n")
        self.results |= {name: np.array(value) for name, value in self._replaced.items()}
        for name in self._lacks:
            self.results.pop(name, None)
        faults = self._faults | self._read_script()
        keys = (str(len(self.atoms)), self.atoms.get_chemical_formula(), digest(self.atoms), "*")
        for fault in (faults[key] for key in keys if key in faults):
            getattr(self, f"_{fault.replace(' ', '_')}")()

    def _read_script(self) -> dict[str, str]:
        if self._script is None:
            return {}
        content = json.loads(self._script.read_text())
        if content["left"] == 0:
            raise KeyboardInterrupt
        Script(self._script).write(content["faults"], content["left"] - 1)
        faults: dict[str, str] = content["faults"]
        return faults

    def _marked(self, name: str) -> bool:
        """Whether this fault has happened before; ``log`` must be given."""
        assert self._log is not None
        marker = self._log.with_suffix(f".{name}")
        before = marker.exists()
        marker.touch()
        return before

    def _raise(self) -> None:
        raise RuntimeError("SCF did not\n converge")

    def _interrupt(self) -> None:
        raise KeyboardInterrupt

    def _press_ctrl_c_once(self) -> None:
        if not self._marked("interrupted"):
            # Ctrl-C is ignored in what a shell starts in the background.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), signal.SIGINT)

    def _panic(self) -> None:
        raise _Panic("of another language")

    def _cancel(self) -> None:
        raise asyncio.CancelledError

    def _empty_the_environment(self) -> None:
        os.environ.clear()

    def _sleep(self) -> None:
        time.sleep(100)

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _kill_once(self) -> None:
        if not self._marked("killed"):
            self._kill()

    def _nan(self) -> None:
        self.results["forces"][0, 0] = np.nan

    def _infinite_force(self) -> None:
        self.results["forces"][0, 0] = -np.inf

    def _infinite_energy(self) -> None:
        self.results["energy"] = self.results["free_energy"] = np.inf

    def _blow_up(self) -> None:
        self.results["forces"][0] = (0.0, 600.0, 800.0)

    def _lose_an_atom(self) -> None:
        self.results["forces"] = self.results["forces"][1:]

    def _keep_one_force(self) -> None:
        self.results["forces"] = self.results["forces"][:1]

    def _spoil_all_but_the_first_force(self) -> None:
        self.results["forces"][1:] = 12.3
        self.results["energy"] = self.results["free_energy"] = -1e6

    def _say_odd_things(self) -> None:
        raise RuntimeError("a\x1b[31m\0b\ud800")

    def _say_too_much(self) -> None:
        raise RuntimeError("much " * 10_000_000)

    def _say_nothing(self) -> None:
        raise _Speechless
