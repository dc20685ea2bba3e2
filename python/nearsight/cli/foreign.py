"""Commands for the files of other programs: import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import output, show
from nearsight.cli.model import PANEL
from nearsight.cli.options import command
from nearsight.cli.places import is_run, load_ensemble, run_folder
from nearsight.errors import InputError
from nearsight.progress import count_noun

Kind = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="NAME", help="Format of the files: n2p2, amp.", show_default="found out"
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")]
LengthUnit = Annotated[
    str,
    typer.Option(
        metavar="UNIT", help="Unit of length of the files, which do not say it: angstrom, bohr."
    ),
]
EnergyUnit = Annotated[
    str, typer.Option(metavar="UNIT", help="Unit of energy, likewise: eV, hartree.")
]


@command(
    "import",
    PANEL,
    "Read a potential, or data, of n2p2, RuNNer or Amp.",
    "FILES: folders with input.nn, scaling.data and weights.XXX.data, or .amp and .ensemble of "
    "Amp; several become the members of one ensemble, whose spread is its uncertainty. Or one "
    "input.data, or Amp's Gs.json.",
    "An ensemble (JSON) that gives the same energies and forces, in eV and Å. Of an input.data its "
    "structures with their labels, as extended XYZ; of a Gs.json its symmetry functions (JSON).",
    "nearsight import h2o/ --length-unit bohr --energy-unit hartree -o h2o.json",
)
def import_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="What to import; see above.")
    ],
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write.",
            show_default="potential.json, structures.extxyz, symmetry_functions.json",
        ),
    ] = None,
    file_format: Kind = None,
    length_unit: LengthUnit = "angstrom",
    energy_unit: EnergyUnit = "eV",
    cutoff: Annotated[
        float | None,
        typer.Option(metavar="X", help="Cutoff of a Gs.json, Å; it does not say it."),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(metavar="X", help="γ of a Gs.json whose cutoff is Amp's polynomial."),
    ] = None,
) -> None:
    """Import a potential, structures, or symmetry functions."""
    from nearsight.foreign.amp import is_functions
    from nearsight.structures.n2p2_data import is_n2p2_data

    first = files[0]
    with_units = (length_unit, energy_unit) != ("angstrom", "eV")
    if len(files) == 1 and first.is_file() and is_n2p2_data(first):
        _refuse(first, "an input.data", cutoff, gamma, file_format not in (None, "n2p2"))
        place = output_file or Path("structures.extxyz")
        _import_structures(first, place, length_unit, energy_unit)
    elif len(files) == 1 and is_functions(first):
        not_amp = file_format not in (None, "amp")
        _refuse(first, "a Gs.json", None, None, not_amp, with_units)
        _import_functions(first, output_file or Path("symmetry_functions.json"), cutoff, gamma)
    else:
        _refuse(first, "a potential", cutoff, gamma)
        place = output_file or Path("potential.json")
        _import_potential(files, place, file_format, length_unit, energy_unit)


def _refuse(
    file: Path,
    kind: str,
    cutoff: float | None,
    gamma: float | None,
    other_format: bool = False,
    with_units: bool = False,
) -> None:
    """Raise an `InputError` for options that this kind of file has no use for."""
    given = {
        "--cutoff": cutoff is not None,
        "--gamma": gamma is not None,
        "--format": other_format,
        "--length-unit, --energy-unit": with_units,
    }
    unused = ", ".join(name for name, is_given in given.items() if is_given)
    if unused:
        raise InputError(f"{file}: taken for {kind}, which does not go with {unused}")


def _import_potential(
    files: list[Path], place: Path, file_format: str | None, length_unit: str, energy_unit: str
) -> None:
    output(place, *files)
    from nearsight.foreign.potentials import import_potential

    made = import_potential(files, file_format, length_unit, energy_unit)
    made.save(place)
    show(
        f"{place}: {count_noun(len(made), 'member')} for {', '.join(made.elements)}, "
        f"{count_noun(len(made.functions), 'symmetry function')}",
        "Energies in eV, lengths in Å. "
        + (
            "Uncertainties are the spread of the members, not calibrated."
            if len(made) > 1
            else "A single member has no uncertainty."
        ),
    )


def _import_functions(file: Path, place: Path, cutoff: float | None, gamma: float | None) -> None:
    output(place, file)
    from nearsight.foreign.amp import read_functions
    from nearsight.model.symmetry_functions import Cutoff

    if cutoff is None:
        raise InputError(f"{file}: does not hold the cutoff; give it (--cutoff 6.5)")
    form = Cutoff(cutoff) if gamma is None else Cutoff(cutoff, "polynomial", gamma)
    made = read_functions(file, form)
    made.save(place)
    show(f"{place}: {count_noun(len(made), 'symmetry function')} for {', '.join(made.elements)}")


def _import_structures(file: Path, place: Path, length_unit: str, energy_unit: str) -> None:
    output(place, file)
    from nearsight.structures.images import write_structures
    from nearsight.structures.n2p2_data import read_n2p2_data
    from nearsight.structures.units import Units

    found = read_n2p2_data(file, Units(length_unit, energy_unit))
    if not found:
        raise InputError(f"{file}: holds no structure")
    write_structures(place, found)
    show(f"{place}: {count_noun(len(found), 'structure')}, in eV and Å")


@command(
    "export",
    PANEL,
    "Write a potential, or labelled structures, for n2p2 and RuNNer; a run for chemiscope.",
    "SOURCE: an ensemble, and a folder to write, new or empty. Or labelled structures, and the "
    "input.data to write. Or a finished run, and with --format chemiscope a .json or .json.gz.",
    "input.nn, scaling.data and weights.XXX.data, also for LAMMPS's ML-HDNNP: of every member in a "
    "folder member-00, member-01, ..., and of their mean, as one larger network, in mean; of a "
    "single member in TARGET itself. What the files cannot hold is said. For chemiscope "
    "(chemiscope.org) the targets with forces, errors and uncertainties of their atoms.",
    "nearsight export best.json n2p2/",
)
def export_command(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="An ensemble, a run, or labelled structures.")
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Folder, or file, to write.")],
    file_format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="Format of the files: n2p2, chemiscope.")
    ] = "n2p2",
    length_unit: LengthUnit = "angstrom",
    energy_unit: EnergyUnit = "eV",
    force: Force = False,
) -> None:
    """Export a potential, structures, or a run."""
    if file_format == "chemiscope":
        from nearsight.report.chemiscope import write_chemiscope

        output(target, source, force=force)
        show(f"{write_chemiscope(run_folder(source), target)}: open it on chemiscope.org")
        return
    from nearsight.foreign.potentials import export_potential

    if not (is_run(source) or source.suffix == ".json"):
        if file_format != "n2p2":
            raise InputError(f"format {file_format!r} is not written, only n2p2, chemiscope")
        _export_structures(source, target, length_unit, energy_unit, force)
        return
    made = load_ensemble(source)
    written = export_potential(made, target, file_format, length_unit, energy_unit)
    show(f"{target}: {', '.join(written.folders)}" if len(made) > 1 else f"{target}: written")
    if written.left_out:
        show(f"left out, since they never vary: {written.left_out} symmetry functions")
    show("Not in these files: " + "; ".join(written.lost))


def _export_structures(
    source: Path, target: Path, length_unit: str, energy_unit: str, force: bool
) -> None:
    output(target, source, force=force)
    from nearsight.structures.images import read_structures
    from nearsight.structures.n2p2_data import write_n2p2_data
    from nearsight.structures.units import Units

    found = read_structures(source)
    write_n2p2_data(target, found, Units(length_unit, energy_unit), source)
    show(f"{target}: {count_noun(len(found), 'structure')}")
