"""Commands that use a potential, or look at files: evaluate, relax, locality, info."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from nearsight.cli.app import (
    Arguments,
    Calculator,
    Database,
    checked,
    command,
    display,
    make_parent,
    numbers,
    output,
    setting,
    show,
)
from nearsight.config import LocalitySettings, RelaxationSettings
from nearsight.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

PANEL = "With a potential"
RELAXATION = RelaxationSettings()
LOCALITY = LocalitySettings()

EnsembleFile = Annotated[
    Path, typer.Argument(metavar="ENSEMBLE", help="An ensemble: a file of train, nft or run.")
]


@command(
    "evaluate",
    PANEL,
    "Energies, forces and uncertainties of structures.",
    "ENSEMBLE, and STRUCTURES in any format that ASE reads.",
    "A table; with --output, extended XYZ with energies, forces and two columns per atom: "
    "uncertainty (calibrated) and uncertainty_raw (2.58 σ), in eV/Å. Errors are shown where the "
    "structures carry labels.",
    "nearsight evaluate best.json particle.xyz -o evaluated.extxyz",
)
def evaluate(
    ensemble: EnsembleFile,
    structures: Annotated[
        str, typer.Argument(metavar="STRUCTURES", help="Structures; file@index picks some.")
    ],
    output_file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Extended XYZ to write.")
    ] = None,
) -> None:
    """Evaluate structures."""
    if output_file is not None:
        output(output_file)
    from nearsight.ensemble import Ensemble
    from nearsight.images import check_structure, read_structures, write_structures

    model = Ensemble.load(ensemble)
    found = read_structures(structures)
    for number, atoms in enumerate(found):
        check_structure(atoms, model.elements, f"{structures}, structure {number}")
    table = _table(
        "", "structure", "energy\neV", "fmax\neV/Å", "uncertainty\nraw, eV/Å", "\ncalibrated"
    )
    errors = _table("", "structure", "energy error\nmeV/atom", "force MAE\nmeV/Å", "max\nmeV/Å")
    evaluated = []
    with display() as progress:
        progress.stage("Evaluation", f"{len(found)} structures")
        for number, atoms in enumerate(found):
            result = model.evaluate(atoms)
            name = atoms.get_chemical_formula("metal")
            table.add_row(
                str(number),
                name,
                f"{result.energy:.4f}",
                f"{_largest(result.forces):.4f}",
                f"{result.uncertainty_raw.max():.4f}",
                f"{result.uncertainty.max():.4f}",
            )
            _add_errors(errors, number, name, atoms, result)
            evaluated.append(_labelled(atoms, result))
            progress.advance(number + 1, len(found))
    show(table)
    if errors.row_count:
        show("", "against the labels of the structures:", errors)
    if output_file is not None:
        write_structures(output_file, evaluated)
        show("", f"{output_file}: {len(evaluated)} structures")


@command(
    "relax",
    PANEL,
    "Relax a structure with an ensemble.",
    "ENSEMBLE, and STRUCTURE in any format that ASE reads.",
    "The relaxed structure as extended XYZ, and its largest uncertainty.",
    "nearsight relax best.json particle.xyz --fmax 0.05 -o relaxed.extxyz",
)
def relax(
    ensemble: EnsembleFile,
    structure: Annotated[str, typer.Argument(metavar="STRUCTURE", help="The structure to relax.")],
    output_file: Annotated[
        Path, typer.Option("--output", "-o", help="The relaxed structure.")
    ] = Path("relaxed.extxyz"),
    optimizer: Annotated[
        str, setting(RelaxationSettings, "optimizer", metavar="BFGS|LBFGS|FIRE|BFGSLineSearch")
    ] = RELAXATION.optimizer,
    fmax: Annotated[float, setting(RelaxationSettings, "fmax")] = RELAXATION.fmax,
    max_steps: Annotated[int, setting(RelaxationSettings, "max_steps")] = RELAXATION.max_steps,
) -> None:
    """Relax a structure."""
    settings = checked(RelaxationSettings, optimizer=optimizer, fmax=fmax, max_steps=max_steps)
    output(output_file)
    from nearsight.ensemble import Ensemble
    from nearsight.images import read_structure, write_structures
    from nearsight.relaxation import relax as relax_structure

    model = Ensemble.load(ensemble)
    atoms = read_structure(structure)
    with display() as progress:
        progress.stage("Relaxation", f"{optimizer} to {fmax:g} eV/Å")
        relaxation = relax_structure(model, atoms, settings, progress)
    write_structures(output_file, [_labelled(relaxation.atoms, model.evaluate(relaxation.atoms))])
    show(f"{output_file}: {relaxation.summary}")


@command(
    "locality",
    PANEL,
    "How far the parent's forces see: the force on an atom by chunk radius.",
    "STRUCTURE, and the parent method. No potential is needed.",
    "A table of the force on the centre of each chunk against that in the whole structure; with "
    "--output as JSON, with --figure as PNG. It tells which chunk radius is large enough.",
    "nearsight locality particle.xyz --atoms 29 --radii 4.5,6.5,8.5 --figure locality.png",
)
def locality(
    structure: Annotated[str, typer.Argument(metavar="STRUCTURE", help="The structure.")],
    radii: Annotated[str, setting(LocalitySettings, "radii", metavar="R,R,...")] = ",".join(
        f"{radius:g}" for radius in LOCALITY.radii
    ),
    atoms: Annotated[str, setting(LocalitySettings, "atoms", metavar="I,I,...|all")] = "0",
    parent: Calculator = "emt",
    parent_arguments: Arguments = "{}",
    database: Database = None,
    output_file: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON to write.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="PNG to write.")] = None,
) -> None:
    """Scan the locality of the parent."""
    settings = checked(
        LocalitySettings,
        radii=numbers(radii, float, "--radii"),
        atoms="all" if atoms == "all" else numbers(atoms, int, "--atoms"),
    )
    for file in (output_file, figure):
        if file is not None:
            output(file)
    from nearsight.images import read_structure
    from nearsight.locality import force_locality
    from nearsight.storage import write_bytes

    whole = read_structure(structure)
    labels = make_parent(parent, parent_arguments, database)
    indices = None if settings.atoms == "all" else list(settings.atoms)
    with display() as progress:
        progress.stage("Locality scan", f"{structure}, {parent}")
        scan = force_locality(whole, labels, settings.radii, indices, progress=progress)
    show(scan)
    if output_file is not None:
        scan.save(output_file)
    if figure is not None:
        from nearsight.report.figures import locality_figure, png

        write_bytes(figure, png(locality_figure(scan)))


@command(
    "info",
    PANEL,
    "What is installed, or what a file holds.",
    "Nothing, or FILE: an ensemble, symmetry functions or a locality scan (JSON).",
    "A screenful of text.",
    "nearsight info best.json",
)
def info(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A file of nearsight.")
    ] = None,
) -> None:
    """Show the build or a file."""
    raise InputError(str(file))


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 1 else "right", no_wrap=True)
    return table


def _largest(forces: Any) -> float:
    import numpy as np

    return float(np.linalg.norm(forces, axis=1).max())


def _add_errors(table: Table, number: int, name: str, atoms: Atoms, result: Any) -> None:
    """A row with the errors against the labels, if the structure carries any."""
    import numpy as np

    labels = getattr(atoms.calc, "results", {})
    if "energy" not in labels and "forces" not in labels:
        return
    row = [str(number), name, "–", "–", "–"]
    if "energy" in labels:
        row[2] = f"{1000 * (result.energy - labels['energy']) / len(atoms):.3f}"
    if "forces" in labels:
        errors = 1000 * np.linalg.norm(result.forces - labels["forces"], axis=1)
        row[3:] = [f"{errors.mean():.3f}", f"{errors.max():.3f}"]
    table.add_row(*row)


def _labelled(atoms: Atoms, result: Any) -> Atoms:
    """A copy with energy and forces as labels and the uncertainties as columns."""
    from ase.calculators.singlepoint import SinglePointCalculator

    copy = atoms.copy()
    copy.arrays["uncertainty"] = result.uncertainty
    copy.arrays["uncertainty_raw"] = result.uncertainty_raw
    copy.calc = SinglePointCalculator(copy, energy=result.energy, forces=result.forces)
    return copy
