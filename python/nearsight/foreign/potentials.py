"""Potentials of other programs, whichever they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nearsight.errors import InputError
from nearsight.foreign.amp import is_amp, read_amp
from nearsight.foreign.n2p2_read import is_n2p2, read_n2p2
from nearsight.foreign.n2p2_write import without_constant, write_n2p2
from nearsight.model.ensemble import Ensemble
from nearsight.structures.units import Units

__all__ = ["FORMATS", "Exported", "export_potential", "import_potential"]

FORMATS = ("n2p2", "amp")


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
        Folders of n2p2 or RuNNer, or files of Amp (``.amp``, ``.ensemble``): all are members of one
        ensemble.
    format : {"n2p2", "amp"}, optional
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
    if kind == "amp":
        if units != Units():
            raise InputError(f"{places[0]}: files of Amp are in Å and eV; leave out the units")
        return read_amp(places)
    raise InputError(f"format {kind!r} is not read, only {', '.join(FORMATS)}")


@dataclass(frozen=True)
class Exported:
    """What `export_potential` has written.

    Attributes
    ----------
    folders : tuple of str
        Relative to the one that was asked for.
    left_out : int
        Symmetry functions that never vary, which n2p2 divides by zero for.
    lost : tuple of str
        What the ensemble has and the files have not.
    """

    folders: tuple[str, ...]
    left_out: int
    lost: tuple[str, ...]


def export_potential(
    ensemble: Ensemble,
    folder: str | Path,
    format: str = "n2p2",
    length_unit: str = "angstrom",
    energy_unit: str = "eV",
) -> Exported:
    """Write a potential for another program; see `write_n2p2`.

    Raises
    ------
    InputError
        For what the other program cannot express, and a folder that is not empty.
    """
    if format != "n2p2":
        raise InputError(f"format {format!r} is not written, only n2p2")
    place = Path(folder)
    written = write_n2p2(ensemble, place, Units(length_unit, energy_unit))
    kept = len(without_constant(ensemble).functions)
    lost = ["uncertainties (the spread of the members)"] if len(ensemble) > 1 else []
    if ensemble.domain is not None:
        lost.append("extrapolation grades")
    if ensemble.bounds is not None or ensemble.calibration != 1.0:
        lost.append("calibrated bounds of the errors")
    return Exported(
        tuple(str(each.relative_to(place)) for each in written.values()),
        len(ensemble.functions) - kept,
        (*lost, "how it was made (provenance)"),
    )


def _kind(path: Path) -> str:
    if is_n2p2(path):
        return "n2p2"
    if is_amp(path):
        return "amp"
    what = "no input.nn in this folder" if path.is_dir() else "no folder, no .amp, no .ensemble"
    raise InputError(f"{path}: no potential of another program ({what})")
