"""Commands on the database of parent calculations: labels list, export, copy, verify."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearsight.cli.app import app, display, find_modules_in, output, show, table_of
from nearsight.cli.options import command
from nearsight.cli.places import run_folder
from nearsight.errors import InputError, ParentError
from nearsight.progress import count_noun

if TYPE_CHECKING:
    from ase import Atoms

    from nearsight.parents.database import ParentDatabase
    from nearsight.parents.rows import Row

PANEL = "Parent calculations"
STEP = 0.003
"""Å, of all atoms together along their forces, to see the slope of the energy."""
STEEP = 0.05
"""eV/Å, of all forces together, below which the slope says nothing."""
AGREES = 0.02
"""Part of the forces by which the slope may differ: what a step makes, and loose convergence."""

labels = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(
    labels,
    name="labels",
    help="The parent's labels in a database: list, export, copy, verify.",
    rich_help_panel=PANEL,
)

Database = Annotated[
    str,
    typer.Argument(
        metavar="DATABASE",
        help="A parent.db, a run with one (folder or TOML), or the URL of a PostgreSQL database.",
    ),
]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="NAME", help="Only cell, chunk, ...; may be given repeatedly."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite FILE.")]


@command(
    "list",
    PANEL,
    "List the calculations in a database.",
    "DATABASE.",
    "A table with a row for each calculation: what its structure is (role), what asked for it and "
    "in which iteration, of a chunk the target and the atom it was cut around, and the attempt "
    "that succeeded; then what they are all together.",
    "nearsight labels list parent.db --last 20",
    group=labels,
)
def list_labels(
    database: Database,
    role: Roles = None,
    last: Annotated[
        int | None, typer.Option(metavar="N", help="Only the last N rows.", min=1)
    ] = None,
) -> None:
    """List the rows of a database."""
    import numpy as np

    table = table_of(
        "row", "structure", "role", "asked for by", "around", "energy\neV", "fmax\neV/Å",
        "time\ns", "attempt", left=5,
    )  # fmt: skip
    opened = _open(database)
    roles, methods, there = Counter[str](), Counter[str](), set[str]()
    seconds = 0.0
    for number, row in _rows(opened, opened.numbers()[-(last or 0) :]):
        if isinstance(row, str):
            table.add_row(str(number), f"damaged: {row}", *7 * ["–"])
            roles["damaged"] += 1
            continue
        said = row.notes
        there.add(str(said.get("role", "not said")))
        if role and said.get("role") not in role:
            continue
        around = f"atom {said['atom']}" if "atom" in said else "–"
        if said.get("frame"):
            around += f" of target {said['frame']}"
        asked = " ".join(str(said[key]) for key in ("stage", "iteration") if key in said)
        table.add_row(
            str(number),
            f"{row.atoms.symbols.formula:metal}",
            str(said.get("role", "–")),
            asked or "–",
            around,
            f"{row.energy:.4f}",
            f"{np.linalg.norm(row.forces, axis=1).max():.4f}",
            f"{row.seconds:.2f}",
            str(said.get("attempt", "–")),
        )
        roles[str(said.get("role", "not said"))] += 1
        methods[_method(row)] += 1
        seconds += row.seconds
    if role and not roles:
        raise _no_such_role(opened, there)
    total = count_noun(sum(roles.values()), "calculation")
    counted = ", ".join(f"{count} {name}" for name, count in sorted(roles.items()))
    show(table, "", f"{total} ({counted}), {seconds:.1f} s")
    show(*(f"{count} by {name}" for name, count in sorted(methods.items())))


@command(
    "export",
    PANEL,
    "Write the structures of a database with their labels as extended XYZ.",
    "DATABASE, and FILE to write.",
    "Extended XYZ with energy, forces, and stress where it is known: what most codes that train "
    "potentials read. In info: role, stage, iteration, and of a chunk where it was cut.",
    "nearsight labels export parent.db labels.extxyz --role chunk --centres",
    group=labels,
)
def export_labels(
    database: Database,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Extended XYZ to write.")],
    role: Roles = None,
    reference_names: Annotated[
        bool,
        typer.Option(
            "--reference-names",
            help="Write REF_energy, REF_forces, REF_stress in place of energy, forces, stress.",
        ),
    ] = False,
    centres: Annotated[
        bool,
        typer.Option(
            "--centres",
            help="Mark in chunks that only the force on the centre, atom 0, counts: a column "
            "force_weights of 1 and 0 (REF_forces_atomic_weights with --reference-names), "
            "config_energy_weight=0, and nearsight_chunk=T.",
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Export labelled structures."""
    output(file, _place(database), force=force)
    from nearsight.structures.images import write_structures

    opened = _open(database)
    found, there = [], set[str]()
    for number, row in _rows(opened, opened.numbers()):
        if isinstance(row, str):
            raise InputError(
                f"{opened.name}: row {number} is damaged ({row}); nearsight labels verify "
                f"{opened.name} finds all such rows"
            )
        there.add(str(row.notes.get("role", "not said")))
        if not role or row.notes.get("role") in role:
            found.append(_labelled(row, reference_names, centres))
    if not found:
        raise _no_such_role(opened, there) if role else InputError(f"{opened.name}: no calculation")
    write_structures(file, found)
    show(f"{file}: {count_noun(len(found), 'structure')}")


@command(
    "copy",
    PANEL,
    "Copy a database, also while runs use it.",
    "DATABASE, and FILE to write. cp may copy a torn state, or leave out what a killed run has "
    "left in a journal beside the file.",
    "FILE, whole, with every calculation that was committed when the copy began.",
    "nearsight labels copy parent.db backup.db",
    group=labels,
)
def copy_labels(
    database: Database,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Database to write.")],
    force: Force = False,
) -> None:
    """Copy a database."""
    output(file, _place(database), force=force)
    _open(database).copy(file)
    show(f"{file}: {count_noun(len(_open(str(file))), 'calculation')}")


@command(
    "verify",
    PANEL,
    "Check every row of a database, and calculate some again.",
    "DATABASE.",
    "The damaged rows, with exit code 2 if there are any: those whose digest does not match, "
    "those no parent could have given, those their keys do not lead to. With --again the largest "
    "differences between known and new results, and whether forces are the slope of the energy.",
    "nearsight labels verify parent.db --again 3",
    group=labels,
)
def verify_labels(
    database: Database,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Remove damaged rows, which are then calculated again when a run needs them, and "
            "make the list of keys anew.",
        ),
    ] = False,
    again: Annotated[
        int,
        typer.Option(
            metavar="N", help="Calculate N of the rows again, spread over all of them.", min=0
        ),
    ] = 0,
) -> None:
    """Verify a database."""
    opened = _open(database)
    opened.check_pages()
    damaged: dict[int, str] = {}
    whole: list[int] = []
    old = 0
    numbers = opened.numbers()
    for number, row in _rows(opened, numbers):
        if isinstance(row, str):
            damaged[number] = row
        else:
            whole.append(number)
            old += not row.has_digest
    lost = [number for number in opened.unfindable() if number not in damaged]
    for number in lost:
        gone = number not in numbers
        damaged[number] = "it is gone" if gone else "its key does not lead to it"
    if damaged:
        table = table_of("row", "damage", left=2)
        for number, reason in sorted(damaged.items()):
            table.add_row(str(number), reason)
        show(table, "")
    show(f"{opened.name}: {count_noun(len(numbers), 'row')}, {len(damaged)} damaged")
    if old:
        show(
            f"{count_noun(old, 'row')} of an earlier version, without a digest: only the form was "
            "checked; the next run that opens the database adds digests"
        )
    if again and whole:
        _calculate_again(opened, whole[:: max(1, len(whole) // again)][:again])
    if damaged and not repair:
        raise InputError(
            f"{opened.name}: {count_noun(len(damaged), 'damaged row')}; --repair removes what "
            "cannot be used, or put a copy in the place of the database"
        )
    if damaged:
        found = {number for number in lost if number in numbers}
        opened.repair(sorted(set(damaged) - found))
        show(
            f"{count_noun(len(damaged) - len(found), 'row')} removed"
            + (f", {len(found)} found again by their keys" if found else "")
        )


def _place(database: str) -> str | Path:
    """The URL or the file of a database."""
    if "://" in database:
        return database
    path = run_folder(Path(database))
    return path / "parent.db" if path.is_dir() else path


def _open(database: str) -> ParentDatabase:
    """A database, to look at."""
    from nearsight.parents.database import ParentDatabase

    return ParentDatabase(_place(database), inspect=True)


def _rows(opened: ParentDatabase, numbers: Sequence[int]) -> Iterator[tuple[int, Row | str]]:
    """Rows, or their damages, with a display of how many."""
    with display() as progress, opened.connected():
        progress.stage("Labels", f"{opened.name}: {len(numbers)} rows")
        for done, number in enumerate(numbers):
            yield number, opened.row(number)
            if done % 100 == 0:
                progress.advance(done, len(numbers))


def _no_such_role(opened: ParentDatabase, there: set[str]) -> InputError:
    named = ", ".join(sorted(there)) or "none"
    return InputError(f"{opened.name}: no calculation of that role; roles there are: {named}")


def _method(row: Row) -> str:
    import json

    settings = dict(row.data.get("settings", {}))
    return f"{settings.pop('calculator', 'a calculator not named')} {json.dumps(settings)}"


def _labelled(row: Row, reference_names: bool, centres: bool) -> Atoms:
    """The structure of a row with its labels."""
    import numpy as np
    from ase.calculators.singlepoint import SinglePointCalculator

    from nearsight.structures.images import CHUNK_KEY

    atoms = row.atoms.copy()
    atoms.set_constraint()  # codes that read them back set those forces to zero
    atoms.info |= {"row": row.number, **row.notes}
    if centres and row.notes.get("role") == "chunk":
        atoms.info |= {CHUNK_KEY: True, "config_energy_weight": 0.0, "config_stress_weight": 0.0}
        column = "REF_forces_atomic_weights" if reference_names else "force_weights"
        atoms.arrays[column] = np.eye(1, len(atoms))[0]
    known = {"energy": row.energy, "forces": row.forces}
    if row.stress is not None:
        known["stress"] = row.stress
    if not reference_names:
        atoms.calc = SinglePointCalculator(atoms, **known)
        return atoms
    for name, value in known.items():
        (atoms.arrays if name == "forces" else atoms.info)[f"REF_{name}"] = value
    return atoms


def _calculate_again(opened: ParentDatabase, numbers: Sequence[int]) -> None:
    """Calculate rows again with what they say of their method, and show the differences."""
    import numpy as np

    find_modules_in(Path.cwd())
    table = table_of(
        "row", "structure", "energy difference\nmeV/atom", "force difference\nmean, meV/Å",
        "\nlargest", left=2,
    )  # fmt: skip
    largest, found = [], []
    with display() as progress:
        progress.stage("Verification", f"{len(numbers)} rows calculated again")
        for done, number in enumerate(numbers):
            row = opened.row(number)
            assert not isinstance(row, str)  # it was whole a moment ago
            name = f"{row.atoms.symbols.formula:metal}"
            try:
                energy, forces = _result_again(row)
            except (InputError, ParentError) as error:
                table.add_row(str(number), name, f"failed: {error}", "–", "–")
                continue
            differences = 1000 * np.linalg.norm(forces - row.forces, axis=1)
            change = 1000 * (energy - row.energy) / len(row.atoms)
            cells = (change, differences.mean(), differences.max())
            table.add_row(str(number), name, *(f"{each:.4f}" for each in cells))
            largest.append(float(differences.max()))
            found.append((row, forces))
            progress.advance(done + 1, len(numbers))
        found.sort(key=lambda each: float(np.linalg.norm(each[1])))
        slope = _compare_with_slope(*found[-1]) if found else ""
    show("", table, "")
    worst = f", largest difference of a force {max(largest):.4f} meV/Å" if largest else ""
    show(f"{len(largest)} of {len(numbers)} calculated again{worst}")
    if slope:
        show(slope)


def _compare_with_slope(row: Row, forces: Any) -> str:
    """Forces, all together, against the slope of the energy along them; a sentence, or nothing."""
    steepness, energies = float((forces**2).sum() ** 0.5), []
    if steepness < STEEP:
        return ""
    for step in (-STEP, STEP):
        atoms = row.atoms.copy()
        atoms.positions += step * forces / steepness
        try:
            energies.append(_result_again(replace(row, atoms=atoms))[0])
        except (InputError, ParentError) as error:
            return f"the slope of the energy of row {row.number} is not known: {error}"
    slope = (energies[0] - energies[1]) / (2.0 * STEP)
    compared = f"{steepness:.4g} eV/Å in all; along them the energy falls by {slope:.4g}"
    if abs(slope - steepness) <= AGREES * steepness:
        return f"the forces of row {row.number} are the slope of its energy: {compared}"
    return (
        f"the forces of row {row.number} are NOT the slope of its energy: {compared}, "
        f"{slope / steepness:.4g} times that (25.7: forces in Ry/Bohr, 51.4: in Hartree/Bohr)"
    )


def _result_again(row: Row) -> tuple[float, Any]:
    from nearsight.parents import Parent

    if "settings" not in row.data:
        raise InputError("the row does not say how it was calculated")
    settings = dict(row.data["settings"])
    changed = settings.pop("changed", {})
    if "arguments" in row.data:
        settings = {"calculator": settings["calculator"], "arguments": row.data["arguments"]}
    else:  # a row of an earlier version
        kinds = ("chunks", "bulk")
        settings |= {kind: {**settings.get(kind, {}), **changed} for kind in kinds}
    result = Parent(**settings, max_force=float("inf"), pass_info=tuple(row.atoms.info)).calculate(
        row.atoms
    )
    return result.energy, result.forces
