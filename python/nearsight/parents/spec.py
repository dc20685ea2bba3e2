"""The parent's method: a calculator and its arguments for a kind of structure."""

from __future__ import annotations

import importlib
import importlib.util
import json
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator

from nearsight.errors import InputError, did_you_mean, plain_text
from nearsight.parents.codes import CODES, expected_name
from nearsight.parents.folders import with_absolute_paths

__all__ = ["TOTALS", "CalculatorSpec", "factory_named", "plain_structure"]

Arguments = dict[str, Any]
Make = Callable[[Atoms, Arguments], tuple[Atoms, Any]]
"""Structure and arguments → the structure as the code wants it, and a fresh calculator for it."""


TOTALS = ("charge", "spin")
"""Keys of ``atoms.info`` that calculators read; they belong to a whole structure, not to chunks."""


class CalculatorSpec:
    """A calculator with its arguments, which may differ for isolated and periodic structures.

    Later ones go over earlier ones: those of the preset, `arguments`, and `chunks` or `bulk`.

    Parameters
    ----------
    calculator, arguments, preset, chunks, bulk
        See `nearsight.parents.Parent`.
    retries : sequence of mapping
        Arguments to change in later attempts; only checked here.

    Attributes
    ----------
    name : str
        Of the calculator.
    settings : dict
        ``calculator`` and ``arguments``, and the others where there are any; as JSON writes them.
    portable : bool
        Whether name and arguments suffice to make the calculator in another process.
    apart : bool
        Whether the calculator needs a process with a working folder of its own.
    in_process : bool
        Whether it is known to leave nothing in that folder.

    Raises
    ------
    InputError
        See `nearsight.parents.Parent`.
    """

    def __init__(
        self,
        calculator: str | Callable[..., Any] | Calculator,
        arguments: Mapping[str, Any] | None = None,
        preset: str | None = None,
        chunks: Mapping[str, Any] | None = None,
        bulk: Mapping[str, Any] | None = None,
        retries: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._calculator = calculator
        if _is_calculator(calculator):
            self._take_ready(calculator, bool(arguments or chunks or bulk or preset or retries))
            return
        if not (isinstance(calculator, str) or callable(calculator)):
            raise InputError(
                f"parent calculator must be a name, a callable or an ASE calculator, "
                f"got {calculator!r}"
            )
        self.name = calculator if isinstance(calculator, str) else _qualified_name(calculator)
        self.portable = isinstance(calculator, str) or _is_found(calculator)
        self._make = factory_named(calculator) if isinstance(calculator, str) else _own(calculator)
        self._preset = _preset(self.name, preset)
        self._given = {
            "arguments": self._written(arguments),
            "chunks": self._written(chunks),
            "bulk": self._written(bulk),
        }
        self.settings = {
            "calculator": self.name,
            **({"preset": preset} if preset else {}),
            "arguments": self._given["arguments"],
            **{key: self._given[key] for key in ("chunks", "bulk") if self._given[key]},
        }
        self.in_process = self.name in CODES and CODES[self.name].in_process
        self.apart = self.name in CODES and not self.in_process
        self._check([{}, *(self._written(each) for each in retries)])

    def _take_ready(self, calculator: Calculator, arguments: bool) -> None:
        if arguments:
            raise InputError(
                "arguments cannot go with a ready calculator "
                f"({type(calculator).__name__}); give them to its constructor"
            )
        parameters = dict(getattr(calculator, "parameters", {}))
        self.name = _qualified_name(type(calculator))
        self.portable = self.apart = self.in_process = False
        self._make = lambda atoms, _: (atoms, _reset(calculator))
        self._preset = {}
        self._given = {}
        self.settings = {
            "calculator": self.name,
            "arguments": json.loads(json.dumps(parameters, default=repr)),
        }

    def arguments(self, atoms: Atoms, changes: Mapping[str, Any] | None = None) -> Arguments:
        """The arguments for a structure; ``changes`` go over all of them."""
        return self._merged("bulk" if atoms.pbc.any() else "chunks", changes or {})

    def identity(self, atoms: Atoms) -> str:
        """Text that tells the calculations of this method on such a structure from all others."""
        info = {"info": atoms.info} if atoms.info else {}
        if _is_calculator(self._calculator):
            return _canonical_json(self.settings | info)
        arguments = self.arguments(atoms)
        if self.name in CODES:
            arguments = CODES[self.name].identity(arguments)
        return _canonical_json({"calculator": self.name, "arguments": arguments} | info)

    def maker(self, changes: Mapping[str, Any]) -> Callable[[Atoms], tuple[Atoms, Any]]:
        """Function that prepares a structure for the code and makes a fresh calculator for it."""
        return lambda atoms: self._make(atoms, with_absolute_paths(self.arguments(atoms, changes)))

    @property
    def certain(self) -> bool:
        """Whether there is no doubt that the calculator works here."""
        return self.name in CODES and CODES[self.name].certain

    @property
    def findable(self) -> bool:
        """Whether another process makes the calculator without carrying out a script."""
        return self.portable and not self.name.startswith("__main__:")

    @property
    def folder(self) -> str | None:
        """The folder in which another process finds the calculator's module."""
        module_name = self.name.partition(":")[0].partition(".")[0]
        file = getattr(sys.modules.get(module_name), "__file__", None)
        if self.name in CODES or file is None:
            return None
        path = Path(file).absolute()
        return str(path.parents[1] if path.name == "__init__.py" else path.parent)

    @property
    def script(self) -> str | None:
        """The running script, where the calculator stands in it."""
        in_script = self.name.partition(":")[0] == "__main__"
        return getattr(sys.modules["__main__"], "__file__", None) if in_script else None

    def _merged(self, kind: str, changes: Mapping[str, Any]) -> Arguments:
        layers: list[Mapping[str, Any]] = [
            *(self._preset.get(each, {}) for each in ("common", kind)),
            *(self._given.get(each, {}) for each in ("arguments", kind)),
            changes,
        ]
        return {key: value for layer in layers for key, value in layer.items()}

    def _written(self, arguments: Mapping[str, Any] | None) -> Arguments:
        """Arguments as JSON would write and read them: what one sees is what goes in."""
        try:
            return dict(json.loads(_canonical_json(dict(arguments or {}))))
        except (TypeError, ValueError) as error:
            raise InputError(f"arguments of parent calculator {self.name}: {error}") from error

    def _check(self, changes: Sequence[Arguments]) -> None:
        """Make a calculator with every set of arguments that can come."""
        tried = []
        for kind in ("chunks", "bulk"):
            for change in changes:
                arguments = self._merged(kind, change)
                if (kind, arguments) in tried or ("chunks", arguments) in tried:
                    continue
                tried.append((kind, arguments))
                try:
                    self._try(arguments, kind)
                except (InputError, KeyboardInterrupt):
                    raise
                except BaseException as error:  # whatever a parent code raises at its arguments
                    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
                    text = plain_text(str(error).partition("\n\n")[0])
                    reason = f"{type(error).__name__}: {text}".removesuffix(": ")
                    raise InputError(
                        f"parent calculator {self.name} cannot be made with arguments ({given}): "
                        f"{reason}"
                    ) from error

    def _try(self, arguments: Arguments, kind: str) -> None:
        if self.name in CODES:
            CODES[self.name].check(arguments)
            return
        probe = Atoms("H", cell=[10.0, 10.0, 10.0], pbc=kind == "bulk")
        calculator = self._make(probe, arguments)[1]
        if not _is_calculator(calculator):
            raise InputError(f"parent calculator {self.name} does not make an ASE calculator")
        # no other way to tell it where to write; a script's own would carry out the script
        self.apart |= self.findable and not hasattr(calculator, "directory")


def plain_structure(atoms: Atoms, pass_info: Sequence[str]) -> Atoms:
    """A structure with nothing but what a calculator shall see of it.

    Of ``info`` that is ``charge``, ``spin``, and what ``pass_info`` names.

    Raises
    ------
    InputError
        A value that is no number, text or list of them.
    """
    plain = atoms.copy()
    plain.set_constraint()
    plain.info = {}
    for key in dict.fromkeys([*TOTALS, *pass_info]):
        if key not in atoms.info:
            continue
        value = atoms.info[key]
        value = value.tolist() if hasattr(value, "tolist") else value  # of NumPy
        try:
            plain.info[key] = json.loads(_canonical_json(value))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the parent cannot be given {key!r} of atoms.info: {type(value).__name__} is no "
                "number, text or list"
            ) from error
    return plain


def factory_named(name: str, folder: str | None = None, script: str | None = None) -> Make:
    """Factory of the calculators of a name: a known code, or ``package.module:factory``.

    Parameters
    ----------
    name : str
    folder : str, optional
        Where to look for the module too.
    script : str, optional
        The file of the module ``__main__``.

    Raises
    ------
    InputError
        If there is no such code, module or factory.
    """
    if name in CODES:
        code = CODES[name]
        code.check()
        return lambda atoms, arguments: (
            code.prepare(atoms, arguments),
            code.make(atoms, arguments),
        )
    if folder is not None and folder not in sys.path:
        sys.path.append(folder)
    return _own(_import_factory(name, script))


def _own(factory: Callable[..., Any]) -> Make:
    return lambda atoms, arguments: (atoms, factory(**arguments))


def _preset(name: str, preset: str | None) -> dict[str, Arguments]:
    if preset is None:
        return {}
    known = CODES[name].presets if name in CODES else {}
    if preset not in known:
        listed = ", ".join(repr(each) for each in known) or "none"
        raise InputError(
            f"parent preset must be one of those of {name!r} ({listed}), got {preset!r}"
            + did_you_mean(preset, known)
        )
    found = known[preset]
    return {"common": dict(found.common), "chunks": dict(found.chunks), "bulk": dict(found.bulk)}


def _import_factory(name: str, script: str | None) -> Callable[..., Any]:
    """The object that ``package.module:factory`` names."""
    module_name, _, attribute = name.partition(":")
    if not (module_name and attribute):
        raise InputError(f"parent calculator {expected_name(name)}")
    failure = f"parent calculator {name!r}: "
    try:
        if script is not None and module_name == "__main__":
            module = _import_script(script)
        else:
            module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may raise anything while it is imported
        hint = ""
        if isinstance(error, ModuleNotFoundError) and error.name == module_name:
            hint = f"; put {module_name}.py beside the configuration, or the folder of the run"
        raise InputError(
            f"{failure}module {module_name} cannot be imported ({type(error).__name__}: {error})"
            + hint
        ) from error
    try:
        factory: Callable[..., Any] = operator.attrgetter(attribute)(module)
    except AttributeError:
        public = [key for key in dir(module) if not key.startswith("_")]
        raise InputError(
            f"{failure}module {module_name} has no {attribute!r}" + did_you_mean(attribute, public)
        ) from None
    if not callable(factory):
        raise InputError(f"{failure}{attribute} is not a function or class")
    return factory


def _import_script(path: str) -> ModuleType:
    """The script of the driver, whose name is ``__main__`` in no other process."""
    main = sys.modules["__main__"]
    if getattr(main, "__file__", None) == path:
        return main
    if _SCRIPT not in sys.modules:
        spec = importlib.util.spec_from_file_location(_SCRIPT, path)
        if spec is None or spec.loader is None:
            raise InputError(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[_SCRIPT] = module
    return sys.modules[_SCRIPT]


_SCRIPT = "__nearsight_script__"


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
    """Look whether the qualified name leads to the callable: not for lambdas and closures."""
    module_name, _, name = _qualified_name(factory).partition(":")
    try:
        return operator.attrgetter(name)(sys.modules[module_name]) is factory
    except (AttributeError, KeyError):
        return False


def _canonical_json(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
