"""Parent calculations as tasks: plain content in, plain content out, in whatever process."""

from __future__ import annotations

import concurrent.futures as futures
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.errors import UnavailableError, is_full, plain_text, text_of
from nearsight.executors.local import LocalExecutor
from nearsight.parents.codes import CODES
from nearsight.parents.database import ParentResult
from nearsight.parents.folders import attempt_folder, with_absolute_paths, working_in
from nearsight.parents.results import keep_result
from nearsight.parents.spec import CalculatorSpec, factory_named
from nearsight.structures.labels import LARGEST

__all__ = [
    "Outcome",
    "make_task",
    "outcomes_of",
    "reason_of",
    "run_tasks",
    "try_one",
    "validate_result",
]

Outcome = dict[str, Any]
"""Fields of a `ParentResult`; or why there is none: ``failure``, or ``full``, a disk."""

OUTCOMES = ({"failure"}, {"full"}, {field.name for field in fields(ParentResult)})
"""Keys of an outcome."""


def run_tasks(tasks: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """Carry out calculations one after the other; every result is in its file before the next.

    Nothing is raised: a failure is an outcome too, and an engine that keeps what a call raised
    would raise it for ever.

    Parameters
    ----------
    tasks : sequence of mapping
        Of each: ``calculator`` (name), ``folder`` (where its module lies, or None), ``script``
        (the file it stands in, if that is the driver's script), ``arguments``, ``structure``
        (`ase.Atoms.todict`), ``stress`` (whether it is wanted), ``attempt_folder`` (see
        `attempt_folder`), ``shared`` (by several processes), ``result`` (path of the file for it,
        or None), ``about`` (what else that file holds).
    """
    return [_perform(task) for task in tasks]


def make_task(
    spec: CalculatorSpec, atoms: Atoms, changes: Mapping[str, Any], stress: bool
) -> dict[str, Any]:
    """Task of a structure for `run_tasks`, without what belongs to the attempt.

    Parameters
    ----------
    spec : CalculatorSpec
    atoms : ase.Atoms
    changes : mapping
        Arguments to change in this attempt.
    stress : bool
    """
    return {
        "calculator": spec.name,
        "folder": spec.folder,
        "script": spec.script,
        "arguments": with_absolute_paths(spec.arguments(atoms, changes)),
        "structure": atoms.todict(),
        "stress": stress,
    }


def _perform(task: Mapping[str, Any]) -> Outcome:
    name = task["calculator"]
    in_process = name in CODES and CODES[name].in_process
    # threads of one process have one working folder
    alone = threading.current_thread() is threading.main_thread()
    if not (alone or in_process or task["script"]):
        with LocalExecutor(1, threads=None) as child:
            (outcome,) = child.submit(run_tasks, [task]).result()
        return dict(outcome)
    try:
        make = factory_named(name, task["folder"], task["script"])
    except BaseException as error:  # a module may raise anything while it is imported
        return {"failure": reason_of(error)}
    atoms = Atoms.fromdict(task["structure"])
    try:
        outcome = try_one(
            lambda given: make(given, task["arguments"]),
            atoms,
            task["stress"],
            task["attempt_folder"],
            shared=task["shared"],
            enter=alone,
            # some codes start their program as soon as the calculator is made
            inside=name in CODES and not in_process,
        )
    except KeyboardInterrupt as error:  # the parent's own: a Ctrl-C does not reach a worker
        return {"failure": reason_of(error)}
    about = {**task["about"], "structure": task["structure"]}
    keep_result(task["result"], about, outcome)
    return outcome


def try_one(
    make: Callable[[Atoms], tuple[Atoms, Any]],
    atoms: Atoms,
    stress: bool,
    folder: str | None = None,
    shared: bool = False,
    enter: bool = False,
    inside: bool = False,
) -> Outcome:
    """Calculate a structure, well or not.

    Parameters
    ----------
    make : callable
        Gives the structure as the code wants it and a calculator, which is of its own for every
        structure: what it carries from one to the next (densities, neighbour lists) would make a
        result depend on what came before it.
    atoms : ase.Atoms
    stress : bool
        Whether the stress is wanted as well.
    folder, shared
        See `attempt_folder`.
    enter : bool
        See `working_in`.
    inside : bool
        Make the calculator in the folder too, if that is entered; else where the process is, for
        factories with relative paths.

    Raises
    ------
    InputError
        If the folder cannot be made, which is no fault of the calculation. A full disk is none
        either, but an outcome.
    """
    try:
        with attempt_folder(folder, shared) as place:
            try:
                return vars(_evaluate(make, atoms, stress, place, enter, inside))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a parent code raises whatever it likes
                if is_full(error) or _has_no_room(place):
                    return {"full": reason_of(error)}
                return {"failure": reason_of(error)}
    except UnavailableError as error:
        return {"full": str(error)}


def _has_no_room(folder: str) -> bool:
    """True on a full disk, whatever a program made of it."""
    try:
        return shutil.disk_usage(folder).free < NO_ROOM
    except OSError:
        return False


def _evaluate(
    make: Callable[[Atoms], tuple[Atoms, Any]],
    atoms: Atoms,
    stress: bool,
    folder: str,
    enter: bool,
    inside: bool,
) -> ParentResult:
    start = time.perf_counter()
    with working_in(folder, None, enter and inside):
        prepared, calculator = make(atoms)
    asked = prepared.copy()
    prepared = prepared.copy()
    with working_in(folder, calculator, enter):
        prepared.calc = calculator
        consistent = "free_energy" in getattr(calculator, "implemented_properties", ())
        # + 0.0 turns -0.0 into 0.0: SQLite does not keep the sign of a zero
        energy = _real(prepared.get_potential_energy(force_consistent=consistent), "energy") + 0.0
        forces = _real(prepared.get_forces(), "forces")
        tensor = _real(_stress(prepared), "stress") if stress else None
    if getattr(calculator, "converged", None) is False:  # of VASP
        raise RuntimeError("self-consistency was not reached")
    if np.shape(energy):
        raise ValueError(f"energy of shape {np.shape(energy)}, not ()")
    _check_same(asked, prepared, "the calculator changed the structure it was given")
    known = getattr(calculator, "atoms", None)
    if isinstance(known, Atoms):
        _check_same(asked, known, "the calculator holds the result of another structure")
    seconds = time.perf_counter() - start
    return ParentResult(float(energy), forces, seconds, cached=False, stress=tensor)


NO_ROOM = 1 << 16  # bytes
SAME = 1e-4  # Å; files of codes round positions


def _check_same(asked: Atoms, found: Atoms, complaint: str) -> None:
    """Refuse a label of another structure than was asked for."""
    if not (
        np.array_equal(asked.numbers, found.numbers)
        and np.array_equal(asked.pbc, found.pbc)
        and _near(asked.positions, found.positions)
        and _near(np.asarray(asked.cell), np.asarray(found.cell))
    ):
        raise ValueError(complaint)


def _near(asked: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> bool:
    return bool((np.abs(asked - found) <= SAME).all())  # false where one is no number


def _real(values: Any, name: str) -> npt.NDArray[np.float64]:
    """Real numbers, none of them masked."""
    if np.ma.is_masked(values):
        raise ValueError(f"{name} with masked values")
    if np.asarray(values).dtype.kind not in "iuf":
        raise ValueError(f"{name} not of real numbers")
    return np.array(values, dtype=np.float64)


def validate_result(outcome: Outcome, count: int, max_force: float) -> str:
    """Fault of the result of a structure of ``count`` atoms in words; empty if there is none.

    A force above ``max_force`` (eV/Å) is not believed, nor an energy that no atoms have.
    """
    for name, shape in (("energy", ()), ("forces", (count, 3)), ("stress", (6,))):
        value = outcome[name]
        if value is None:
            continue
        if np.shape(value) != shape:
            return f"{name} of shape {np.shape(value)}, not {shape}"
        if np.asarray(value).dtype.kind != "f":
            return f"{name} not of real numbers"
        if not np.isfinite(value).all():
            return f"{name} not finite"
    if abs(outcome["energy"]) > LARGEST * count:
        return f"an energy of {outcome['energy']:.4g} eV, beyond {LARGEST:g} eV per atom"
    largest = float(np.linalg.norm(outcome["forces"], axis=1).max())
    bound = min(max_force, LARGEST)
    if largest > bound:
        return f"a force of {largest:.4g} eV/Å, beyond max_force = {bound:g} eV/Å"
    return ""


def reason_of(error: BaseException) -> str:
    """An exception in one line."""
    return f"{plain_text(type(error).__name__)}: {text_of(error)}".removesuffix(": ")


def _stress(atoms: Atoms) -> Any:
    try:
        return atoms.get_stress()
    except NotImplementedError as error:  # ASE's own subclass of it often comes without a text
        raise NotImplementedError("it gives no stress, which relaxing a cell needs") from error


def outcomes_of(future: Future[list[Outcome]], count: int) -> list[Outcome]:
    """Outcomes of the structures of one call."""
    alone = count == 1  # of several in one call, nobody knows which one it was
    try:
        outcomes = future.result()
        if len(outcomes) != count or any(set(outcome) not in OUTCOMES for outcome in outcomes):
            raise ValueError(f"not the result of {count} calculations")
        return outcomes
    except (TimeoutError, futures.TimeoutError) as error:  # the same from Python 3.11 on
        kind = "failure" if alone else "lost"
        return [{kind: str(error) or "no result in time", "alone": alone}] * count
    except Exception as error:  # engines say in ways of their own that a worker vanished
        return [{"lost": reason_of(error), "alone": alone}] * count
