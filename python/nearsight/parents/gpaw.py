"""GPAW as a parent code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import kpts2sizeandoffsets

from nearsight.errors import InputError
from nearsight.parents.code import Arguments, Code, Preset, in_box
from nearsight.parents.database import fingerprint

__all__ = ["GPAWCode"]


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
        return in_box("gpaw", atoms, self.SMALLEST_GAP)

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
