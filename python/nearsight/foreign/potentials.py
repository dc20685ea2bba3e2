"""Potentials of other programs, whichever they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nearsight.errors import InputError
from nearsight.foreign.n2p2_read import is_n2p2, read_n2p2
from nearsight.foreign.units import Units
from nearsight.model.ensemble import Ensemble

__all__ = ["FORMATS", "import_potential"]

FORMATS = ("n2p2",)


def import_potential(
    paths: Sequence[str | Path],
    format: str | None = None,
    length_unit: str = "angstrom",
    energy_unit: str = "eV",
) -> Ensemble:
    """Read a potential of another program.

    Parameters
    ----------
    paths : sequence of str or Path
        A folder of n2p2 or RuNNer, or several: each is a member of one ensemble.
    format : {"n2p2"}, optional
        Found out where it is left out.
    length_unit : {"angstrom", "bohr"}
    energy_unit : {"eV", "hartree"}
        Units of the files of n2p2, which do not say them.

    Returns
    -------
    Ensemble
        It gives what the other program gives. It knows no domain and no bounds of its errors: its
        uncertainty is the spread of its members, not calibrated.

    Raises
    ------
    InputError
        For files that are missing or damaged, or hold what cannot be computed here.
    """
    places = [Path(each) for each in paths]
    if not places:
        raise InputError("nothing to import: give a folder or a file")
    units = Units(length_unit, energy_unit)
    kind = format or _kind(places[0])
    if kind == "n2p2":
        return read_n2p2(places, units)
    raise InputError(f"format {kind!r} is not read, only {', '.join(FORMATS)}")


def _kind(path: Path) -> str:
    if is_n2p2(path):
        return "n2p2"
    what = "no input.nn in this folder" if path.is_dir() else "not a folder with an input.nn"
    raise InputError(f"{path}: no potential of another program ({what})")
