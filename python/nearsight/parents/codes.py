"""The parent codes that have a name of their own; the only file that knows particular ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import kpts2sizeandoffsets
from ase.calculators.emt import EMT

from nearsight.errors import InputError
from nearsight.parents.database import fingerprint

__all__ = ["CODES", "Code", "Preset"]

Arguments = Mapping[str, Any]
"""Keyword arguments of a calculator, as JSON, and so a configuration file, can write them."""


@dataclass(frozen=True)
class Preset:
    """Arguments that come ready under a name.

    Attributes
    ----------
    common : for every structure
    chunks : for structures that are not periodic, over those
    bulk : for periodic structures, over the common ones
    """

    common: Arguments = field(default_factory=dict)
    chunks: Arguments = field(default_factory=dict)
    bulk: Arguments = field(default_factory=dict)


class Code(Protocol):
    """A parent code: how its calculators are made, and what it wants of a structure."""

    presets: ClassVar[Mapping[str, Preset]] = MappingProxyType({})
    proposed: ClassVar[str | None] = None
    """The preset that a new configuration begins with."""

    def check(self, arguments: Arguments | None = None) -> None:
        """Find out before any work whether the code is there, and whether it takes arguments.

        Raises
        ------
        InputError
            If the code is not there, or not in a version that will do.
        Exception
            Whatever the code raises at arguments it does not take.
        """

    def identity(self, arguments: Arguments) -> dict[str, Any]:
        """The arguments that decide a result; the others may change without a new calculation."""
        return dict(arguments)

    def prepare(self, atoms: Atoms, arguments: Arguments) -> Atoms:
        """The structure as the code wants it: a copy, with the same atoms in the same order.

        Raises
        ------
        InputError
            If the code cannot calculate it.
        """
        return atoms.copy()

    def make(self, atoms: Atoms, arguments: Arguments) -> Any:
        """A fresh ASE calculator for a structure, as it was before `prepare`.

        Raises
        ------
        Exception
            Whatever the code raises at arguments it does not take.
        """


class EMTCode(Code):
    """ASE's effective medium theory: quick, for metals; for tests and examples."""

    def check(self, arguments: Arguments | None = None) -> None:
        """See `Code.check`."""
        EMT(**(arguments or {}))

    def make(self, atoms: Atoms, arguments: Arguments) -> Any:
        """See `Code.make`."""
        return EMT(**arguments)


class GPAWCode(Code):
    """GPAW, density functional theory; its keywords, with dictionaries in place of its objects.

    Different from GPAW's own:

    * ``kpts = {"length": 30.0}`` takes at least 30 Å / a k-points along a periodic cell vector of
      length a, and one along the others; more keys go to GPAW (``"gamma": true``);
    * ``logs`` names a folder where every calculation writes a log of its own, in place of ``txt``;
    * what is not periodic is calculated in periodic repetition with the empty space around it, as
      plane waves are in any case; with LCAO the electrostatic potential is then a Fourier
      transform, the quickest way.
    """

    OLDEST = (26, 7)
    VACUUM = 5.0  # Å, around a structure that comes without a cell (the paper, SI 8.4)
    SMALLEST_GAP = 4.0  # Å; nearer than this, a structure would bond with its own repetition
    NOT_IN_RESULT = ("logs", "parallel")

    # SI 5, 8.1 and 8.4: FermiDirac(0.1), Mixer(0.02, 5, 100). The SI extrapolates energies to 0 K;
    # here they are free energies, which the forces derive from.
    _PBE: ClassVar[dict[str, Any]] = {
        "xc": "PBE",
        "occupations": {"name": "fermi-dirac", "width": 0.1},
        "spinpol": False,
        "convergence": {"energy": 1e-4},  # eV per valence electron
    }
    _GAMMA: ClassVar[dict[str, Any]] = {"kpts": [1, 1, 1], "symmetry": {"point_group": False}}
    proposed = "si"
    presets = MappingProxyType(
        {
            "si": Preset(
                common={
                    **_PBE,
                    "mode": {"name": "pw", "ecut": 450},
                    "mixer": {"name": "pulay", "beta": 0.02, "nmaxold": 5, "weight": 100},
                    "maxiter": 333,
                },
                chunks=_GAMMA,
                bulk={"kpts": {"length": 30.0}},
            ),
            "lcao": Preset(
                common={**_PBE, "mode": "lcao", "basis": "dzp", "h": 0.22},
                chunks=_GAMMA,
                bulk={"kpts": {"length": 15.0}},
            ),
        }
    )

    def check(self, arguments: Arguments | None = None) -> None:
        """See `Code.check`; one step towards self-consistency of a hydrogen atom.

        GPAW reads most arguments only when it begins to calculate.
        """
        try:
            import gpaw
        except Exception as error:  # a broken installation may raise anything
            if isinstance(error, ModuleNotFoundError) and error.name == "gpaw":
                raise InputError(
                    'calculator = "gpaw" needs GPAW: CC=g++ pip install "nearsight[gpaw]"'
                ) from error
            raise InputError(
                f'calculator = "gpaw": GPAW cannot be imported ({type(error).__name__}: {error})'
            ) from error
        found = tuple(int(part) for part in gpaw.__version__.split(".")[:2])
        if found < self.OLDEST:
            raise InputError(
                f'calculator = "gpaw" needs GPAW 26.7 or newer, found {gpaw.__version__}'
            )
        if arguments is None:
            return
        probe = Atoms("H", cell=[self.SMALLEST_GAP] * 3)
        quiet = {key: value for key, value in arguments.items() if key != "logs"}
        next(self.make(probe, quiet).icalculate(self.prepare(probe, quiet)))
        self._log(probe, arguments)

    def identity(self, arguments: Arguments) -> dict[str, Any]:
        """See `Code.identity`."""
        return {key: arguments[key] for key in arguments if key not in self.NOT_IN_RESULT}

    def prepare(self, atoms: Atoms, arguments: Arguments) -> Atoms:
        """See `Code.prepare`; in a box with vacuum, periodic in all directions."""
        boxed = atoms.copy()
        lacking = [axis for axis in range(3) if not atoms.cell[axis].any()]
        if lacking:  # not periodic: `check_structure` has seen to that
            boxed.center(vacuum=self.VACUUM, axis=lacking)
        for axis in np.flatnonzero(~atoms.pbc):
            inverse = np.linalg.inv(boxed.cell)[:, axis]
            height = 1 / np.linalg.norm(inverse)
            gap = height - np.ptp(boxed.positions @ inverse) * height
            if gap < self.SMALLEST_GAP:
                raise InputError(
                    f"parent gpaw: {atoms.symbols} has {max(gap, 0.0):.1f} Å of empty space along "
                    f"cell vector {axis}, where it is not periodic, and needs at least "
                    f"{self.SMALLEST_GAP:g} Å (nft.vacuum for chunks; else the structure's cell)"
                )
        boxed.pbc = True
        return boxed

    def make(self, atoms: Atoms, arguments: Arguments) -> Any:
        """See `Code.make`."""
        from gpaw import GPAW

        if "txt" in arguments:
            raise InputError(
                'parent gpaw: in place of txt give logs = "FOLDER", where every calculation '
                "writes a log of its own"
            )
        given = {key: value for key, value in arguments.items() if key != "logs"}
        if isinstance(given.get("kpts"), dict):
            given["kpts"] = _k_points(atoms, given["kpts"])
        # the old GPAW, which the new one would fall back to, takes any keyword
        calculator = GPAW(txt=self._log(atoms, arguments), legacy_gpaw=False, **given)
        if calculator.params.mode.name != "pw":
            calculator.get_stress = _no_stress  # GPAW's own ends in an AttributeError
        return calculator

    def _log(self, atoms: Atoms, arguments: Arguments) -> Path | None:
        """A file named after the calculation, in the folder of that name."""
        if "logs" not in arguments:
            return None
        folder = Path(arguments["logs"]).absolute()  # the calculation has another working folder
        folder.mkdir(parents=True, exist_ok=True)
        others = {key: value for key, value in arguments.items() if key != "logs"}
        digest = fingerprint(atoms, json.dumps(others)).removeprefix("sha256-")
        return folder / f"{atoms.symbols}-{digest[:8]}.txt"


CODES: Mapping[str, Code] = MappingProxyType({"emt": EMTCode(), "gpaw": GPAWCode()})
"""The codes by their names."""


def _no_stress(_: Atoms) -> None:
    raise NotImplementedError


def _k_points(atoms: Atoms, wanted: Arguments) -> dict[str, Any]:
    """A grid as GPAW takes it, with one k-point where the structure is not periodic."""
    others = dict(wanted)
    if "length" in others:
        length = others.pop("length")
        if isinstance(length, bool) or not isinstance(length, int | float) or not length > 0:
            raise InputError(f"parent gpaw: kpts.length must be a positive number, got {length!r}")
        lengths = atoms.cell.lengths()
        size = [
            math.ceil(length / lengths[axis] - 1e-9) if atoms.pbc[axis] else 1 for axis in range(3)
        ]
        return {"size": size, **others}
    if "density" in others:
        size, _ = kpts2sizeandoffsets(
            density=others.pop("density"), even=others.pop("even", None), atoms=atoms
        )
        # ASE rounds to an even number what is not periodic, too
        size = [int(n) if periodic else 1 for n, periodic in zip(size, atoms.pbc, strict=True)]
        return {"size": size, **others}
    return others
