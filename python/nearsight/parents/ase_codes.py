"""Parent codes that have an ASE calculator, by ASE's own names."""

from __future__ import annotations

import importlib
import operator
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import BadConfiguration, get_calculator_class, names
from ase.calculators.emt import EMT
from ase.config import cfg

from nearsight.errors import InputError
from nearsight.parents.code import Arguments, Code, Preset, in_box
from nearsight.parents.folders import SCRATCH

__all__ = ["ASE_CODES", "ASECode"]

NOT_OF_ARGUMENTS = {"exciting", "ff", "plumed", "tersoff"}
"""Calculators that are made of Python objects, which no configuration can write."""

IN_PROCESS = {"eam", "emt", "lj", "morse", "tip3p", "tip4p", "asap"}
"""Calculators that are not a program of their own."""

STARTED_AT_ONCE = {"castep", "cp2k", "lammpslib", "turbomole"}
"""Calculators that look for their program, or start it, as soon as they are made."""

REPEATED = {"abinit", "castep", "elk", "espresso", "onetep", "openmx", "siesta", "vasp"}
"""Codes that repeat every structure in all directions, whether it is periodic or not."""

SMALLEST_GAP = 4.0  # Å; nearer than this, a structure would bond with its own repetition

PROGRAMS: Mapping[str, str] = {
    "aims": "mpirun -n 4 aims.x",
    "cp2k": "cp2k_shell.psmp",
    "espresso": "mpirun -n 4 pw.x",
    "orca": "/opt/orca/orca",
    "vasp": "mpirun -n 4 vasp_std",
}
"""Commands as they are often written, for messages."""

HINTS: Mapping[tuple[str, str], str] = {
    ("espresso", "forces"): "input_data = { control = { tprnfor = true } }",
    ("espresso", "stress"): "input_data = { control = { tstress = true } }",
    ("espresso", "pseudopotentials"): 'pseudopotentials = { Al = "Al.UPF" } and pseudo_dir, their '
    "folder",
    ("mopac", "forces"): 'task = "1SCF GRADIENTS"',
    ("orca", "forces"): 'ENGRAD in orcasimpleinput, e.g. "PBE def2-SVP ENGRAD"',
    ("vasp", "pseudopotentials"): "the environment variable VASP_PP_PATH, or pp",
}
"""What to write in ``arguments`` where something is lacking."""


_GAMMA = {"kpts": [1, 1, 1]}
EXAMPLES: Mapping[str, Preset] = {
    "aims": Preset({"command": PROGRAMS["aims"], "xc": "pbe"}, bulk={"k_grid": [6, 6, 6]}),
    "cp2k": Preset({"command": PROGRAMS["cp2k"], "xc": "PBE"}),
    "espresso": Preset(
        {
            "command": PROGRAMS["espresso"],
            "pseudo_dir": "pseudos",
            "input_data": {
                "control": {"tprnfor": True, "tstress": True},
                "system": {
                    "ecutwfc": 40.0,
                    "occupations": "smearing",
                    "smearing": "cold",
                    "degauss": 0.02,
                },
            },
        },
        _GAMMA,
        {"kpts": {"density": 3.5}},
    ),
    "mopac": Preset({"method": "PM7", "task": "1SCF GRADIENTS"}),
    "nwchem": Preset({"theory": "dft", "basis": "def2-svp", "dft": {"xc": "pbe96"}}),
    "orca": Preset({"command": PROGRAMS["orca"], "orcasimpleinput": "PBE def2-SVP ENGRAD"}),
    "tblite": Preset({"method": "GFN1-xTB"}),
    "vasp": Preset(
        {"command": PROGRAMS["vasp"], "xc": "PBE", "ediff": 1e-6, "ismear": 1, "sigma": 0.1},
        _GAMMA,
        {"kspacing": 0.2},
    ),
}
"""Arguments that a new configuration begins with."""


class EMTCode(Code):
    """ASE's effective medium theory: quick, for metals; for tests and examples."""

    certain = True

    def check(self, arguments: Arguments | None = None) -> None:
        """See `Code.check`."""
        EMT(**(arguments or {}))

    def make(self, atoms: Atoms, arguments: Arguments) -> Any:
        """See `Code.make`."""
        return EMT(**arguments)


@dataclass(frozen=True)
class ASECode(Code):
    """A code with an ASE calculator, whose keywords are its arguments.

    ``command`` starts the program. For the codes whose calculators take a *profile* (ABINIT,
    FHI-aims, Elk, Quantum ESPRESSO, Octopus, ONETEP, ORCA), it and the folder of the
    pseudopotentials or species go into that. Without them ASE's configuration file and environment
    variables count. ``command`` does not belong to a result.

    Parameters
    ----------
    name : str
    path : str
        ``module:class`` of a calculator that is not one of ASE's.
    install : str
        How to install what is needed, if that is simple.
    defaults : mapping, optional
        Arguments unless others are given.
    """

    name: str
    path: str = ""
    install: str = ""
    defaults: Arguments | None = None

    @property
    def in_process(self) -> bool:  # type: ignore[override]
        """See `Code`."""
        return bool(self.path) or self.name in IN_PROCESS

    def example(self, elements: Sequence[str]) -> Preset:
        """See `Code.example`."""
        found = EXAMPLES.get(self.name, Preset())
        if self.name != "espresso":
            return found
        files = {"pseudopotentials": {element: f"{element}.UPF" for element in elements}}
        return Preset({**found.common, **files}, found.chunks, found.bulk)

    def check(self, arguments: Arguments | None = None) -> None:
        """See `Code.check`."""
        self._class()
        self._check_places(arguments or {})
        if arguments is None or self.name in STARTED_AT_ONCE:
            return
        probe = Atoms("H", cell=[10.0, 10.0, 10.0])
        try:
            calculator = self.make(probe, arguments)
        except (BadConfiguration, OSError) as error:  # what ASE raises without a command
            raise InputError(f"{self._no_command()}; ASE says: {error}") from error
        variables = getattr(calculator, "env_commands", None)
        if variables and "command" not in arguments and not _any_set(variables):
            raise InputError(self._no_command())

    def identity(self, arguments: Arguments) -> dict[str, Any]:
        """See `Code.identity`."""
        return {key: arguments[key] for key in arguments if key != "command"}

    def prepare(self, atoms: Atoms, arguments: Arguments) -> Atoms:
        """See `Code.prepare`; in a box, for codes that repeat every structure."""
        return in_box(self.name, atoms, SMALLEST_GAP) if self.name in REPEATED else atoms.copy()

    def make(self, atoms: Atoms, arguments: Arguments) -> Any:
        """See `Code.make`."""
        made_of = self._class()
        if self.name == "espresso":  # else it would be one folder for all calculations
            os.environ.pop("ESPRESSO_TMPDIR", None)
        given = {**(self.defaults or {}), **arguments}
        profile = self._profile_class(made_of)
        if profile is None:
            return made_of(**given)
        variables = {"command"} | profile.configvars
        if variables.isdisjoint(given):
            return made_of(**given)
        values = {key: given.pop(key) for key in variables & given.keys()}
        if self.name in cfg.parser:
            section = cfg.parser[self.name]
            values = {key: section[key] for key in variables & section.keys()} | values
        if "pseudo_dir" in variables and "pseudo_dir" not in values:
            raise InputError(
                f"parent {self.name}: arguments need pseudo_dir, the folder of the pseudopotentials"
            )
        return made_of(profile=profile(**values), **given)

    def hint(self, lacking: str) -> str:
        """See `Code.hint`."""
        return HINTS.get((self.name, lacking), "")

    def _class(self) -> Any:
        try:
            if not self.path:
                return get_calculator_class(self.name)
            module, _, attribute = self.path.partition(":")
            return operator.attrgetter(attribute)(importlib.import_module(module))
        except (Exception, SystemExit) as error:  # a broken installation may raise anything
            needs = f" (pip install {self.install})" if self.install else ""
            raise InputError(
                f'calculator = "{self.name}" cannot be imported: {type(error).__name__}: '
                f"{error}{needs}"
            ) from error

    def _check_places(self, arguments: Arguments) -> None:
        for key, value in arguments.items():
            if isinstance(value, Mapping):
                self._check_places(value)
            elif key in SCRATCH and isinstance(value, str) and _leads_out(Path(value)):
                raise InputError(
                    f"parent {self.name}: {key} = {value!r} would be one folder for all "
                    "calculations, which get each other's files there; leave it out: each works "
                    "in an empty folder of its own"
                )

    def _no_command(self) -> str:
        program = PROGRAMS.get(self.name, self.name)
        return (
            f"parent {self.name}: ASE knows no command that starts it; give "
            f'arguments = {{ command = "{program}", ... }} or a section [{self.name}] with a '
            "command in ASE's configuration file (~/.config/ase/config.ini)"
        )

    def _profile_class(self, made_of: Any) -> Any:
        """Class of the profile of a calculator, if it takes one that is its own."""
        module = sys.modules[made_of.__module__]
        return getattr(module, f"{self.name.title()}Profile", None)


def _leads_out(path: Path) -> bool:
    return path.is_absolute() or ".." in path.parts


def _any_set(variables: Sequence[str]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of environment variables
        return any(name in cfg for name in variables)


ASE_CODES: Mapping[str, Code] = {
    **{name: ASECode(name) for name in names if name not in NOT_OF_ARGUMENTS | {"gpaw"}},
    "emt": EMTCode(),
    "tblite": ASECode("tblite", "tblite.ase:TBLite", "tblite", {"verbosity": 0}),
}
"""The codes by their names."""
