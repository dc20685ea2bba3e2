"""A parent that goes wrong as it is told to; found by its name in other processes too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.emt import EMT


class Troubled(EMT):
    """EMT that has trouble with structures of certain numbers of atoms.

    Parameters
    ----------
    log : path
        Gets a line for every calculation begun: number of atoms and ``mixer``.
    trouble : mapping
        Number of atoms → what happens.
    mixer : float
        For the log.
    """

    def __init__(self, log: str, trouble: Mapping[str, str] | None = None, mixer: float = 0.1):
        super().__init__()
        self._log = Path(log)
        self._trouble = dict(trouble or {})
        self._mixer = mixer

    def calculate(self, *arguments: Any) -> None:
        super().calculate(*arguments)
        count = len(self.atoms)
        with self._log.open("a") as log:
            log.write(f"{count} {self._mixer}\n")
        what = self._trouble.get(str(count), "")
        if what:
            getattr(self, f"_{what.replace(' ', '_')}")()

    def _raise(self) -> None:
        raise RuntimeError("SCF did not\n converge")

    def _interrupt(self) -> None:
        raise KeyboardInterrupt

    def _sleep(self) -> None:
        time.sleep(100)

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _kill_once(self) -> None:
        marker = self._log.with_suffix(".killed")
        if not marker.exists():
            marker.touch()
            self._kill()

    def _nan(self) -> None:
        self.results["forces"][0, 0] = np.nan

    def _blow_up(self) -> None:
        self.results["forces"][0] = (0.0, 600.0, 800.0)

    def _lose_an_atom(self) -> None:
        self.results["forces"] = self.results["forces"][1:]
