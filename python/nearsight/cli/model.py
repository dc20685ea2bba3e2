"""Commands that use a potential, or look at files: evaluate, relax, locality, info."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from nearsight.cli.app import (
    display,
    end_early,
    find_modules_in,
    open_parent,
    output,
    show,
    table_of,
)
from nearsight.cli.carry_out import show_report
from nearsight.cli.options import command
from nearsight.cli.places import (
    KEEP_RESULTS,
    EnsembleFile,
    Format,
    check_ensemble,
    ensemble_file,
    is_run,
    load_ensemble,
    run_folder,
)
from nearsight.config import (
    ExecutorSettings,
    LocalitySettings,
    ParentSettings,
    RelaxationSettings,
)
from nearsight.errors import InputError
from nearsight.progress import count_noun

if TYPE_CHECKING:
    from ase import Atoms

    from nearsight.model.ensemble import Evaluation
    from nearsight.structures.labels import Labels

PANEL = "With a potential"
ONE_ATOM = LocalitySettings(atoms=(0,))


@command(
    "evaluate",
    PANEL,
    "Energies, forces and uncertainties of structures.",
    "ENSEMBLE, and STRUCTURES in any format that ASE reads.",
    "A table; with --output, extended XYZ with energies, forces and columns per atom: uncertainty "
    "and uncertainty_95 (99 % and 95 % bounds of the error) and uncertainty_raw (2.58 σ), in eV/Å, "
    "and extrapolation, above 1 outside what the potential has labels of; the bounds of energy and "
    "stress are in the comment line. Errors are shown where the structures carry labels.",
    "nearsight evaluate best.json particle.xyz -o evaluated.extxyz",
)
def evaluate(
    ensemble: EnsembleFile,
    structures: Annotated[
        str, typer.Argument(metavar="STRUCTURES", help="Structures; file@index picks some.")
    ],
    output_file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Extended XYZ to write.")
    ] = None,
    file_format: Format = None,
) -> None:
    """Evaluate structures."""
    if output_file is not None:
        output(output_file, ensemble_file(ensemble), structures)
    from nearsight.model.snapshot import labelled
    from nearsight.structures.images import (
        check_structure,
        read_structures,
        write_structures,
    )
    from nearsight.structures.labels import labels_of

    model = load_ensemble(ensemble, structures)
    found = read_structures(structures, file_format)
    labels = []
    for number, atoms in enumerate(found):
        name = f"{structures}, structure {number}"
        check_structure(atoms, model.elements, name)
        labels.append(labels_of(atoms, name))
    table = table_of(
        "",
        "structure",
        "energy\neV",
        "± (99 %)\nmeV/atom",
        "fmax\neV/Å",
        "uncertainty\nraw, eV/Å",
        "\n99 %",
        "extrapolation\ngrade",
        left=2,
    )
    errors = table_of(
        "", "structure", "energy error\nmeV/atom", "force error\nmean, meV/Å", "\nlargest", left=2
    )
    evaluated, notes = [], []
    with display() as progress:
        progress.stage("Evaluation", count_noun(len(found), "structure"))
        for number, atoms in enumerate(found):
            result = model.evaluate(atoms)
            name = f"{atoms.symbols.formula:metal}"
            largest = [
                _largest(result.forces, axis=1),
                _largest(result.uncertainty_raw) if model.has_spread else None,
                _largest(result.uncertainty) if model.is_calibrated else None,
            ]
            cells = ["–" if each is None else f"{each:.4f}" for each in largest]
            grade = _largest(result.extrapolation)
            cells.append("–" if grade is None else f"{grade:.3g}")
            bound = result.energy_uncertainty
            cells.insert(0, "–" if bound is None else f"{1000 * bound / len(atoms):.3g}")
            table.add_row(str(number), name, f"{result.energy:.4f}", *cells)
            _add_errors(errors, number, name, labels[number], result)
            evaluated.append(labelled(atoms, model, result))
            doubts = _doubts(atoms, result, model.functions.cutoff.radius)
            notes += [f"structure {number}: {doubt}" for doubt in doubts]
            progress.advance(number + 1, len(found))
    show(table, *notes)
    if errors.row_count:
        show("", "against the labels of the structures:", errors)
    predicted = sum(each.predicted for each in labels)
    if predicted:
        show(
            "",
            f"{predicted} of {len(found)} structures carry predictions of a potential of nearsight "
            "in place of labels: no errors against these",
        )
    if output_file is not None:
        write_structures(output_file, evaluated)
        show("", f"{output_file}: {count_noun(len(evaluated), 'structure')}")


@command(
    "relax",
    PANEL,
    "Relax a structure with an ensemble.",
    "ENSEMBLE, and STRUCTURE in any format that ASE reads. With an ensemble's file the relaxation "
    "ends at the last frame that is known. With the folder of a run its parent labels what is not, "
    "the ensemble learns it, and the relaxation goes on (--on-uncertain).",
    "The relaxed structure with energy, forces and uncertainties as extended XYZ, or as ASE "
    "trajectory where the name ends in .traj, which keeps every constraint. Where something was "
    "learned, a folder of the same name with the new ensemble (best.json).",
    "nearsight relax nft/ particle.xyz --fmax 0.05 -o relaxed.extxyz",
    without=("with_parent",),
)
def relax(
    ensemble: EnsembleFile,
    structure: Annotated[str, typer.Argument(metavar="STRUCTURE", help="The structure to relax.")],
    relaxation: RelaxationSettings,
    output_file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The relaxed structure.")
    ] = Path("relaxed.extxyz"),
    trajectory: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="ASE trajectory of all steps to write."),
    ] = None,
    file_format: Format = None,
) -> None:
    """Relax a structure."""
    output(output_file, ensemble_file(ensemble), structure)
    if trajectory is not None:
        output(trajectory, ensemble_file(ensemble), structure, output_file)
    if output_file.suffix not in KEEP_RESULTS:
        raise InputError(
            f"{output_file}: must end in {' or '.join(KEEP_RESULTS)}, formats that keep energy, "
            "forces and uncertainties; ase convert makes others from these"
        )
    from nearsight.files.trajectory import write_frames
    from nearsight.model.snapshot import labelled
    from nearsight.run.finished import learn_to_relax
    from nearsight.simulation.relaxation import relax as relax_structure
    from nearsight.structures.images import (
        check_constraints,
        check_structure,
        read_structure,
        write_structures,
    )

    model = load_ensemble(ensemble, structure)
    atoms = read_structure(structure, file_format)
    check_structure(atoms, model.elements, structure)
    if output_file.suffix != ".traj":
        check_constraints(atoms, structure, f"{output_file}: extended XYZ", " (a .traj keeps all)")
    learns = relaxation.on_uncertain == "retrain" and is_run(ensemble)
    retrained, place = None, output_file.with_suffix("")
    with display() as progress:
        progress.stage("Relaxation", f"{relaxation.optimizer} to {relaxation.fmax:g} eV/Å")
        result = relax_structure(model, atoms, relaxation, progress, trajectory)
        if result.stopped and learns:
            run = run_folder(ensemble)
            find_modules_in(run.absolute().parent)
            progress.note(result.summary)
            retrained = learn_to_relax(run, atoms, place, relaxation, progress)
            progress.note(retrained.summary)
            if retrained.best:
                model = retrained.learner.ensemble
                progress.stage("Relaxation", "with what was learned")
                result = relax_structure(model, atoms, relaxation, progress, trajectory)
    found = model.evaluate(result.atoms)
    if output_file.suffix == ".traj":
        write_frames(output_file, [labelled(result.atoms, model, found, in_info=True)])
    else:
        write_structures(output_file, [labelled(result.atoms, model, found)])
    show(f"{output_file}: {result.summary}")
    if result.stopped and not learns:
        show(_what_next(ensemble, structure))
    for doubt in _doubts(result.atoms, found, model.functions.cutoff.radius):
        show(doubt)
    if retrained is not None:
        kind = "that has learned from the relaxation" if retrained.best else "of the run, as it was"
        reason = retrained.record.stop_reason
        show(f"{place / 'best.json'}: the ensemble {kind}; learning ended because {reason}")
        show_report(place)
    if not result.converged:
        end_early()


def _what_next(ensemble: Path, structure: str) -> str:
    """The command that leads on from a relaxation that has ended at its last known frame."""
    run = run_folder(ensemble)
    if run.is_dir():
        files = f"{quote(str(run))} {quote(structure)}"
        return f"To let the parent label what is not known: nearsight relax {files}"
    return (
        "To let the parent label what is not known, give the folder of the ensemble's run: "
        f"nearsight relax FOLDER {quote(structure)}"
    )


@command(
    "locality",
    PANEL,
    "Scan how far the parent's forces see: the force on an atom by chunk radius.",
    "STRUCTURE, and the parent method. No potential is needed.",
    "A table of the force on the centre of each chunk against that in the whole structure; with "
    "--output as JSON, with --figure as PNG. It tells which chunk radius is large enough.",
    "nearsight locality particle.xyz --atoms 29 --figure locality.png",
)
def locality(
    structure: Annotated[str, typer.Argument(metavar="STRUCTURE", help="The structure.")],
    *,
    locality: LocalitySettings = ONE_ATOM,
    parent: ParentSettings,
    executor: ExecutorSettings,
    output_file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="JSON to write.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="PNG to write.")] = None,
    file_format: Format = None,
) -> None:
    """Scan the locality of the parent."""
    if output_file is not None:
        output(output_file, structure)
    if figure is not None:
        output(figure, structure, output_file)
    from nearsight.cli.info import locality_table
    from nearsight.files.atomic import write_bytes
    from nearsight.learning.locality import force_locality
    from nearsight.parents import Origin
    from nearsight.structures.chunks import extract_chunks
    from nearsight.structures.images import read_structure

    whole = read_structure(structure, file_format)
    indices = None if locality.atoms == "all" else list(locality.atoms)
    with display() as progress, open_parent(parent, executor, Path()) as labelling:
        first = 0 if indices is None else indices[0]
        chunk = extract_chunks(whole, [first], min(locality.radii), keep_info=labelling.pass_info)
        labelling.probe(chunk, origin=Origin(stage="locality"), progress=progress)
        progress.stage("Locality scan", f"{structure}, {parent.calculator}")
        scan = force_locality(whole, labelling, locality.radii, indices, progress=progress)
    show(locality_table(scan))
    if output_file is not None:
        scan.save(output_file)
        show("", f"{output_file}: {len(scan.radii)} radii, {len(scan.indices)} atoms")
    if figure is not None:
        from nearsight.report.drawing import png
        from nearsight.report.figures import locality_figure

        write_bytes(figure, png(locality_figure(scan)))
        show("", f"{figure}: the figure")


@command(
    "info",
    PANEL,
    "Show what a file holds.",
    "FILE: an ensemble, symmetry functions or a locality scan (JSON).",
    "A screenful of text.",
    "nearsight info best.json",
)
def info(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file of nearsight, or a run's folder.")
    ],
) -> None:
    """Show a file."""
    from nearsight.cli.info import describe

    show(*describe(check_ensemble(file) if is_run(file) else file))


def _largest(values: Any, axis: int | None = None) -> float | None:
    """The largest of values, or of the norms of vectors."""
    import numpy as np

    if values is None:
        return None
    return float(np.max(values if axis is None else np.linalg.norm(values, axis=axis)))


def _add_errors(table: Table, number: int, name: str, labels: Labels, result: Evaluation) -> None:
    """A row with the errors against the labels, if the structure carries any."""
    import numpy as np

    row = [str(number), name, "–", "–", "–"]
    if labels.energy is not None:
        row[2] = f"{1000 * (result.energy - labels.energy) / len(result.forces):.3f}"
    if labels.forces is not None:
        known = slice(None) if labels.force_weights is None else labels.force_weights > 0
        errors = 1000 * np.linalg.norm((result.forces - labels.forces)[known], axis=1)
        row[3:] = [f"{errors.mean():.3f}", f"{errors.max():.3f}"]
    if row[2:] != ["–", "–", "–"]:
        table.add_row(*row)


def _doubts(atoms: Atoms, found: Evaluation, cutoff: float) -> list[str]:
    """Sentences on atoms of which the potential knows nothing."""
    doubts = []
    grade = found.extrapolation
    if grade is not None and (grade > 1.0).any():
        doubts.append(
            f"outside what the potential has labels of, grade up to {grade.max():.3g}: "
            f"{_atoms(atoms, grade > 1.0)}; energy, forces and uncertainty there are guesses"
        )
    if found.isolated.any():
        doubts.append(
            f"isolated, without neighbours within {cutoff:g} Å: {_atoms(atoms, found.isolated)}"
        )
    return doubts


def _atoms(atoms: Atoms, marked: Any) -> str:
    numbers = marked.nonzero()[0]
    names = ", ".join(f"{n} ({atoms.symbols[n]})" for n in numbers[:5])
    return f"{names} and {len(numbers) - 5} more" if len(numbers) > 5 else names
