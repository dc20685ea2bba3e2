"""PySCF as a parent code: molecules and clusters with Gaussian basis functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase import Atoms

from nearsight.errors import InputError
from nearsight.parents.code import Arguments, Code, Preset

__all__ = ["PySCFCode"]


class PySCFCode(Code):
    """PySCF through its own ASE calculator; structures that are not periodic.

    Arguments: ``method`` ("RKS", "UKS", "RHF", "UHF"), those of ``pyscf.gto.M`` named in
    `MOLECULE`, ``smearing`` (a width of Fermi's function, in Hartree), and attributes of the
    mean-field object (``xc``, ``conv_tol``, ``max_cycle``, ...).

    ``spin`` is the number of unpaired electrons; as few as possible when left out. ``charge`` and
    ``spin`` of ``atoms.info`` go over the arguments.
    """

    METHODS = ("RKS", "UKS", "RHF", "UHF")
    MOLECULE = ("basis", "ecp", "charge", "spin", "cart", "max_memory")

    def example(self, elements: Sequence[str]) -> Preset:
        """See `Code.example`."""
        return Preset({"method": "UKS", "xc": "pbe", "basis": "def2-svp", "smearing": 0.005})

    def check(self, arguments: Arguments | None = None) -> None:
        """See `Code.check`."""
        try:
            import pyscf  # noqa: F401
        except Exception as error:  # a broken installation may raise anything
            raise InputError(
                f'calculator = "pyscf" cannot be imported: {type(error).__name__}: {error} '
                "(pip install pyscf)"
            ) from error
        if arguments is not None:
            self.make(Atoms("He"), arguments)

    def prepare(self, atoms: Atoms, arguments: Arguments) -> Atoms:
        """See `Code.prepare`."""
        if atoms.pbc.any():
            raise InputError(
                "parent pyscf calculates structures that are not periodic: give clusters as "
                "initial.structures"
            )
        return atoms.copy()

    def make(self, atoms: Atoms, arguments: Arguments) -> Any:
        """See `Code.make`."""
        from pyscf import dft, gto, scf
        from pyscf.pbc.tools.pyscf_ase import PySCF

        method = arguments.get("method", "RKS")
        if method not in self.METHODS:
            raise InputError(f"parent pyscf: method must be one of {self.METHODS}, got {method!r}")
        given = {key: arguments[key] for key in self.MOLECULE if key in arguments}
        given |= {key: int(atoms.info[key]) for key in ("charge", "spin") if key in atoms.info}
        charge = given.get("charge", 0)
        given.setdefault("spin", int(atoms.numbers.sum() - charge) % 2)
        molecule = gto.M(
            atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)), verbose=0, **given
        )
        field = getattr(dft if method.endswith("KS") else scf, method)(molecule)
        if "smearing" in arguments:
            field = scf.addons.smearing_(field, sigma=arguments["smearing"], method="fermi")
        for key, value in arguments.items():
            if key in ("method", "smearing", *self.MOLECULE):
                continue
            if not hasattr(field, key):
                raise InputError(f"parent pyscf: a {method} object has no {key!r}")
            setattr(field, key, value)
        return PySCF(method=field)
