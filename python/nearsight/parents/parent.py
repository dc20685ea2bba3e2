"""The parent code that labels structures; the only file that knows a particular one."""

from __future__ import annotations

import difflib
import importlib
import json
import operator
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from nearsight.errors import InputError, ParentError
from nearsight.images import check_structure
from nearsight.parents.database import ParentDatabase, ParentResult, fingerprint

__all__ = ["Parent", "ParentCalculator", "ParentResult", "as_parent"]

KNOWN_CALCULATORS = {"emt": "ase.calculators.emt:EMT"}
"""Parent codes that have a name of their own, and the factory of each."""


class Parent:
    """A parent code with its settings and, if wanted, a database of its calculations.

    Name and arguments are what tells one parent's calculations from another's: whoever changes
    what a factory does must start a new database.

    Parameters
    ----------
    calculator : str, callable or ASE calculator
        ``"emt"``; ``"package.module:factory"``, called with the arguments and returning an ASE
        calculator; such a callable itself; or a ready ASE calculator.
    arguments : mapping, optional
        Keyword arguments of the factory; what JSON can write.
    database : path, optional
        ASE database (SQLite) that keeps every calculation; made if it does not exist. Lambdas,
        local functions and ready calculators have no name it could go by.

    Attributes
    ----------
    settings : dict
        ``calculator`` (name) and ``arguments``, as JSON writes them.
    calculations : int
        Calculations this object has really performed.

    Raises
    ------
    InputError
        Unknown or unusable calculator, arguments it does not take, or an unusable database.
    """

    def __init__(
        self,
        calculator: str | Callable[..., Any] | Calculator,
        arguments: Mapping[str, Any] | None = None,
        database: str | Path | None = None,
    ) -> None:
        self.settings, self._make = _settings_and_factory(calculator, dict(arguments or {}))
        self.calculations = 0
        self._name = self.settings["calculator"]
        self._identity = _canonical_json(self.settings)
        if not _is_calculator(self._make()):
            raise InputError(f"parent calculator {self._name} does not make an ASE calculator")
        if database is not None and not (isinstance(calculator, str) or _is_found(calculator)):
            raise InputError(
                "a database of parent calculations needs a parent given by name ('emt' or "
                f"'package.module:factory') or a function found by its name, got {self._name}"
            )
        self._database = None if database is None else ParentDatabase(Path(database))

    @property
    def known(self) -> int:
        """Calculations in the database, or those performed where there is none."""
        return self.calculations if self._database is None else len(self._database)

    def calculate(self, atoms: Atoms, stress: bool = False) -> ParentResult:
        """Energy and forces of a structure; its constraints are disregarded.

        A structure in the database is read back, bit for bit what was calculated. A new result is
        committed to the database before it is returned.

        Parameters
        ----------
        atoms : ase.Atoms
        stress : bool
            Whether the stress is wanted as well.

        Raises
        ------
        InputError
            A structure that cannot be (see `check_structure`), or a database that cannot be used.
        ParentError
            The calculation failed, or its result is not finite.
        """
        check_structure(atoms)
        plain = atoms.copy()
        plain.set_constraint()
        plain.info = {}
        if self._database is None:
            return self._perform(plain, stress)
        key = fingerprint(plain, self._identity)
        known = self._database.read(key, len(plain))
        if known and not (stress and known.stress is None):
            return known
        result = self._perform(plain, stress)
        self._database.write(key, plain, result, self.settings)
        return result

    def _perform(self, atoms: Atoms, stress: bool) -> ParentResult:
        """Do the calculation with a calculator of its own.

        What a calculator carries from one structure to the next (densities, neighbour lists) would
        make a result depend on what came before it.
        """
        count = len(atoms)
        noun = "atom" if count == 1 else "atoms"
        failure = f"parent {self._name} failed on {atoms.symbols} ({count} {noun})"
        try:
            result = _evaluate(self._make(), atoms, stress)
        except Exception as error:  # a parent code raises whatever it likes
            text = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise ParentError(f"{failure}: {text}") from error
        self.calculations += 1
        for name, shape in (("energy", ()), ("forces", (count, 3)), ("stress", (6,))):
            value = getattr(result, name)
            if value is None:
                continue
            if np.shape(value) != shape:
                raise ParentError(f"{failure}: {name} of shape {np.shape(value)}, not {shape}")
            if not np.isfinite(value).all():
                raise ParentError(f"{failure}: {name} not finite")
        return result


class ParentCalculator(Calculator):  # type: ignore[misc, unused-ignore]  # ASE is partly untyped
    """A parent as an ASE calculator, for relaxations whose every step goes through `Parent`.

    Parameters
    ----------
    parent : Parent
    stress : bool
        Whether every calculation shall give the stress too (relaxation of a cell).
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, parent: Parent, stress: bool = False) -> None:
        super().__init__()
        self._parent = parent
        self._stress = stress

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Ask the parent; ASE calls this when it wants a result.

        Raises
        ------
        InputError, ParentError
            See `Parent.calculate`.
        """
        super().calculate(atoms, properties, system_changes)
        result = self._parent.calculate(self.atoms, self._stress or "stress" in properties)
        self.results = {
            "energy": result.energy,
            "free_energy": result.energy,
            "forces": result.forces,
        }
        if result.stress is not None:
            self.results["stress"] = result.stress


def as_parent(parent: Parent | str | Callable[..., Any] | Calculator) -> Parent:
    """A `Parent` of what describes one: itself, a name, a callable, an ASE calculator.

    Raises
    ------
    InputError
        See `Parent`.
    """
    return parent if isinstance(parent, Parent) else Parent(parent)


def _evaluate(calculator: Any, atoms: Atoms, stress: bool) -> ParentResult:
    """Energy, forces and, if wanted, stress by an ASE calculator."""
    start = time.perf_counter()
    consistent = "free_energy" in getattr(calculator, "implemented_properties", ())
    atoms.calc = calculator
    try:
        # + 0.0 turns -0.0 into 0.0: SQLite does not keep the sign of a zero
        energy = float(atoms.get_potential_energy(force_consistent=consistent)) + 0.0
        forces = np.array(atoms.get_forces(), dtype=np.float64)
        tensor = np.array(_stress(atoms), dtype=np.float64) if stress else None
    finally:
        atoms.calc = None
    return ParentResult(energy, forces, time.perf_counter() - start, cached=False, stress=tensor)


def _stress(atoms: Atoms) -> Any:
    try:
        return atoms.get_stress()
    except NotImplementedError as error:  # ASE's own subclass of it often comes without a text
        raise NotImplementedError("it gives no stress, which relaxing a cell needs") from error


def _settings_and_factory(
    calculator: Any, arguments: dict[str, Any]
) -> tuple[dict[str, Any], Callable[[], Any]]:
    """What names a parent, and what makes a fresh calculator of it."""
    if _is_calculator(calculator):
        if arguments:
            raise InputError(
                "arguments cannot go with a ready calculator "
                f"({type(calculator).__name__}); give them to its constructor"
            )
        parameters = dict(getattr(calculator, "parameters", {}))
        return {
            "calculator": _qualified_name(type(calculator)),
            "arguments": json.loads(json.dumps(parameters, default=repr)),
        }, lambda: _reset(calculator)

    if isinstance(calculator, str):
        name = calculator
        make = _import_factory(KNOWN_CALCULATORS.get(calculator, calculator))
    elif callable(calculator):
        name, make = _qualified_name(calculator), calculator
    else:
        raise InputError(
            f"parent calculator must be a name, a callable or an ASE calculator, got {calculator!r}"
        )
    try:
        written = json.loads(_canonical_json(arguments))
    except (TypeError, ValueError) as error:
        raise InputError(f"arguments of parent calculator {name}: {error}") from error

    def fresh() -> Any:
        try:
            return make(**arguments)
        except Exception as error:  # whatever the constructor of a parent code raises
            given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            raise InputError(
                f"parent calculator {name} cannot be made with arguments ({given}): "
                f"{type(error).__name__}: {error}"
            ) from error

    return {"calculator": name, "arguments": written}, fresh


def _import_factory(name: str) -> Callable[..., Any]:
    """The object that ``package.module:factory`` names."""
    module_name, _, attribute = name.partition(":")
    if not (module_name and attribute):
        known = ", ".join(repr(key) for key in KNOWN_CALCULATORS)
        raise InputError(
            f"parent calculator must be {known} or 'package.module:factory', got {name!r}"
            + _did_you_mean(name.lower(), KNOWN_CALCULATORS)
        )
    failure = f"parent calculator {name!r}: "
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError(
            f"{failure}module {module_name} cannot be imported ({type(error).__name__}: {error})"
        ) from error
    if not hasattr(module, attribute):
        public = [key for key in dir(module) if not key.startswith("_")]
        raise InputError(
            f"{failure}module {module_name} has no {attribute!r}" + _did_you_mean(attribute, public)
        )
    factory: Callable[..., Any] = getattr(module, attribute)
    if not callable(factory):
        raise InputError(f"{failure}{attribute} is no function or class")
    return factory


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _is_calculator(candidate: Any) -> bool:
    return not isinstance(candidate, type) and hasattr(candidate, "get_forces")


def _reset(calculator: Any) -> Any:
    """A ready calculator without what it remembers of the last structure."""
    if hasattr(calculator, "reset"):
        calculator.reset()
    return calculator


def _qualified_name(factory: Any) -> str:
    return f"{factory.__module__}:{getattr(factory, '__qualname__', type(factory).__qualname__)}"


def _is_found(factory: Any) -> bool:
    """Whether a callable is what its qualified name leads to: no lambda, method or closure is."""
    module_name, _, name = _qualified_name(factory).partition(":")
    try:
        return operator.attrgetter(name)(sys.modules[module_name]) is factory
    except (AttributeError, KeyError):
        return False


def _canonical_json(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
