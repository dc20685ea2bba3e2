"""Commands for the files of other programs: import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.cli.app import output, show
from nearsight.cli.model import PANEL
from nearsight.cli.options import command
from nearsight.cli.places import EnsembleFile, load_ensemble

Kind = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="NAME", help="Format of the files: n2p2.", show_default="found out"
    ),
]
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
    "Read a potential of n2p2 or RuNNer.",
    "FOLDERS with input.nn, scaling.data and weights.XXX.data; several folders become the members "
    "of one ensemble, whose spread is its uncertainty.",
    "An ensemble (JSON) that gives the same energies and forces, in eV and Å.",
    "nearsight import h2o/ --length-unit bohr --energy-unit hartree -o h2o.json",
)
def import_command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDERS", help="Folder of a potential, or several.")
    ],
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The ensemble to write.")
    ] = Path("potential.json"),
    file_format: Kind = None,
    length_unit: LengthUnit = "angstrom",
    energy_unit: EnergyUnit = "eV",
) -> None:
    """Import a potential."""
    output(output_file)
    from nearsight.foreign.potentials import import_potential

    made = import_potential(folders, file_format, length_unit, energy_unit)
    made.save(output_file)
    members = len(made)
    show(
        f"{output_file}: {members} member{'s' * (members > 1)} for {', '.join(made.elements)}, "
        f"{len(made.functions)} symmetry functions",
        "Energies in eV, lengths in Å. "
        + (
            "Uncertainties are the spread of the members, not calibrated."
            if members > 1
            else "A single member has no uncertainty."
        ),
    )


@command(
    "export",
    PANEL,
    "Write a potential for n2p2, RuNNer and LAMMPS's ML-HDNNP.",
    "ENSEMBLE, and FOLDER to write, new or empty.",
    "input.nn, scaling.data and weights.XXX.data: of every member in a folder member-00, "
    "member-01, ..., and of their mean, as one larger network, in mean; of a single member in "
    "FOLDER itself. The uncertainty and the domain of the ensemble are not in these files.",
    "nearsight export best.json n2p2/",
)
def export_command(
    ensemble: EnsembleFile,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write.")],
    file_format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="Format of the files: n2p2.")
    ] = "n2p2",
    length_unit: LengthUnit = "angstrom",
    energy_unit: EnergyUnit = "eV",
) -> None:
    """Export a potential."""
    from nearsight.foreign.potentials import export_potential

    made = load_ensemble(ensemble)
    written = export_potential(made, folder, file_format, length_unit, energy_unit)
    show(f"{folder}: {', '.join(written.folders)}")
    if written.left_out:
        show(f"left out, since they never vary: {written.left_out} symmetry functions")
    show("Not in these files: " + "; ".join(written.lost))
