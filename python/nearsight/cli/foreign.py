"""Commands for the files of other programs: import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import output, show
from nearsight.cli.model import PANEL
from nearsight.cli.options import command
from nearsight.cli.places import is_run, load_ensemble
from nearsight.errors import InputError
from nearsight.progress import count_noun

Kind = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="NAME", help="Format of the files: n2p2.", show_default="found out"
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
    "Read a potential, or labelled structures, of n2p2 or RuNNer.",
    "FILES: folders with input.nn, scaling.data and weights.XXX.data; several folders become the "
    "members of one ensemble, whose spread is its uncertainty. Or one input.data.",
    "An ensemble (JSON) that gives the same energies and forces, in eV and Å; of an input.data its "
    "structures and labels as extended XYZ, for nearsight train.",
    "nearsight import h2o/ --length-unit bohr --energy-unit hartree -o h2o.json",
)
def import_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="Folder of a potential, or several.")
    ],
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write.",
            show_default="potential.json, or structures.extxyz",
        ),
    ] = None,
    file_format: Kind = None,
    length_unit: LengthUnit = "angstrom",
    energy_unit: EnergyUnit = "eV",
) -> None:
    """Import a potential, or structures."""
    from nearsight.structures.n2p2_data import is_n2p2_data

    if len(files) == 1 and files[0].is_file() and is_n2p2_data(files[0]):
        _import_structures(
            files[0], output_file or Path("structures.extxyz"), length_unit, energy_unit
        )
        return
    place = output_file or Path("potential.json")
    output(place)
    from nearsight.foreign.potentials import import_potential

    made = import_potential(files, file_format, length_unit, energy_unit)
    made.save(place)
    members = len(made)
    show(
        f"{place}: {members} member{'s' * (members > 1)} for {', '.join(made.elements)}, "
        f"{len(made.functions)} symmetry functions",
        "Energies in eV, lengths in Å. "
        + (
            "Uncertainties are the spread of the members, not calibrated."
            if members > 1
            else "A single member has no uncertainty."
        ),
    )


def _import_structures(file: Path, place: Path, length_unit: str, energy_unit: str) -> None:
    output(place)
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
    "Write a potential, or labelled structures, for n2p2 and RuNNer.",
    "SOURCE: an ensemble, and a folder to write, new or empty. Or labelled structures, and the "
    "input.data to write.",
    "input.nn, scaling.data and weights.XXX.data, also for LAMMPS's ML-HDNNP: of every member in a "
    "folder member-00, member-01, ..., and of their mean, as one larger network, in mean; of a "
    "single member in TARGET itself. What the files cannot hold is said.",
    "nearsight export best.json n2p2/",
)
def export_command(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="An ensemble, a run, or labelled structures.")
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Folder, or file, to write.")],
    file_format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="Format of the files: n2p2.")
    ] = "n2p2",
    length_unit: LengthUnit = "angstrom",
    energy_unit: EnergyUnit = "eV",
    force: Force = False,
) -> None:
    """Export a potential, or structures."""
    from nearsight.foreign.potentials import export_potential

    if not (is_run(source) or source.suffix == ".json"):
        _export_structures(source, target, length_unit, energy_unit, force)
        return
    made = load_ensemble(source)
    written = export_potential(made, target, file_format, length_unit, energy_unit)
    show(f"{target}: {', '.join(written.folders)}")
    if written.left_out:
        show(f"left out, since they never vary: {written.left_out} symmetry functions")
    show("Not in these files: " + "; ".join(written.lost))


def _export_structures(
    source: Path, target: Path, length_unit: str, energy_unit: str, force: bool
) -> None:
    output(target, force)
    from nearsight.structures.images import read_structures
    from nearsight.structures.n2p2_data import write_n2p2_data
    from nearsight.structures.units import Units

    found = read_structures(source)
    write_n2p2_data(target, found, Units(length_unit, energy_unit))
    show(f"{target}: {count_noun(len(found), 'structure')}")
