"""Potentials and symmetry functions of Amp: ``.amp``, ``.ensemble``, ``Gs.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from nearsight.errors import InputError
from nearsight.files.atomic import parse_json
from nearsight.foreign.committee import Member, committee
from nearsight.foreign.literals import read_literal
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import Layer, Network
from nearsight.model.scaling import Scaling
from nearsight.model.symmetry_functions import (
    G2,
    G4,
    G5,
    Cutoff,
    SymmetryFunction,
    SymmetryFunctions,
)
from nearsight.structures.text_files import read_text

__all__ = ["is_amp", "is_functions", "read_amp", "read_functions"]

Array = npt.NDArray[np.float64]
P = TypeVar("P", bound=BaseModel)

UNVARIED = 1e-8
"""Amp leaves features as they are whose range is not more than this."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _CutoffArguments(_Part):
    Rc: Annotated[FiniteFloat, Field(gt=0)]
    gamma: FiniteFloat = 4.0


class _Cutoff(_Part):
    name: Literal["Cosine", "Polynomial"]
    kwargs: _CutoffArguments


class _Radial(_Part):
    type: Literal["G2"]
    element: str
    eta: FiniteFloat
    offset: FiniteFloat = 0.0


class _Angular(_Part):
    type: Literal["G4", "G5"]
    elements: Annotated[list[str], Field(min_length=2, max_length=2)]
    eta: FiniteFloat
    gamma: FiniteFloat
    zeta: FiniteFloat


_Functions = dict[str, list[Annotated[_Radial | _Angular, Field(discriminator="type")]]]


class _FunctionsFile(_Part):
    Gs: _Functions


class _Descriptor(_Part):
    importname: Literal[".descriptor.gaussian.Gaussian"]
    cutoff: _Cutoff | Annotated[FiniteFloat, Field(gt=0)]
    Gs: _Functions


class _Line(_Part):
    slope: FiniteFloat
    intercept: FiniteFloat


class _Model(_Part):
    importname: Literal[".model.neuralnetwork.NeuralNetwork"]
    mode: Literal["atom-centered"]
    activation: Literal["linear", "tanh", "sigmoid"]
    weights: dict[str, dict[int, list[list[FiniteFloat]]]]
    scalings: dict[str, _Line]
    fprange: dict[str, list[Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]]]


class _Potential(_Part):
    descriptor: str
    model: str


def is_amp(path: Path) -> bool:
    """Whether a file looks like a potential of Amp, or several."""
    return path.is_file() and path.suffix in (".amp", ".ensemble")


def is_functions(path: Path) -> bool:
    """Whether a file is one of Amp's with symmetry functions."""
    if not (path.is_file() and path.suffix == ".json"):
        return False
    content = parse_json(read_text(path).encode(), path)
    return isinstance(content, dict) and "format" not in content and bool(content)


def read_amp(paths: Sequence[Path]) -> Ensemble:
    """The ensemble of the potentials in files of Amp.

    All layers, the output too, have Amp's activation; the energy of an atom is intercept +
    slope × output. Nothing in the files is executed.

    Raises
    ------
    InputError
        If a file is damaged, or holds another descriptor or model than Gaussian and NeuralNetwork.
    """
    members = [member for path in paths for member in _members(path)]
    return committee(members, {"format": "Amp"})


def read_functions(path: Path, cutoff: Cutoff) -> SymmetryFunctions:
    """The symmetry functions of a ``Gs.json``, which does not hold their cutoff.

    Raises
    ------
    InputError
        If the file is damaged, or a parameter out of its domain.
    """
    content = parse_json(read_text(path).encode(), path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: no symmetry functions of Amp")
    # feature selection writes a single function without a list
    lists = {key: [value] if isinstance(value, dict) else value for key, value in content.items()}
    made = _check(_FunctionsFile, {"Gs": lists}, str(path))
    return _functions(made.Gs, cutoff, str(path))


def _members(path: Path) -> list[Member]:
    text = read_text(path)
    if not text.lstrip().startswith("["):
        return [_member(text, str(path))]
    texts = parse_json(text.encode(), path)
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise InputError(f"{path}: no ensemble of Amp (a list of texts, one of each member)")
    return [_member(each, f"{path}, member {count}") for count, each in enumerate(texts)]


def _member(text: str, name: str) -> Member:
    parts = _check(_Potential, _literal(text, name), name)
    descriptor = _check(_Descriptor, _literal(parts.descriptor, name), name)
    model = _check(_Model, _literal(parts.model, name), name)
    given = descriptor.cutoff
    if not isinstance(given, _Cutoff):
        cutoff = Cutoff(float(given))
    elif given.name == "Cosine":
        cutoff = Cutoff(given.kwargs.Rc)
    else:
        cutoff = Cutoff(given.kwargs.Rc, "polynomial", given.kwargs.gamma)
    functions = _functions(descriptor.Gs, cutoff, name)
    minimum, maximum, networks = {}, {}, {}
    for element in functions.elements:
        for part in ("weights", "scalings", "fprange"):
            if element not in getattr(model, part):
                raise InputError(f"{name}: no {part} of {element}")
        if len(model.fprange[element]) != functions.size(element):
            raise InputError(
                f"{name}: {len(model.fprange[element])} ranges of {functions.size(element)} "
                f"symmetry functions of {element}"
            )
        low, high = np.array(model.fprange[element], dtype=float).reshape(-1, 2).T
        as_they_are = high - low <= UNVARIED
        minimum[element] = np.where(as_they_are, -1.0, low)
        maximum[element] = np.where(as_they_are, 1.0, high)
        networks[element] = Network(
            _layers(model, element, functions.size(element), name),
            float(model.scalings[element].slope),
            float(model.scalings[element].intercept),
        )
    return Member(name, functions, Scaling(minimum, maximum), networks)


def _functions(given: _Functions, cutoff: Cutoff, name: str) -> SymmetryFunctions:
    found: dict[str, list[SymmetryFunction]] = {}
    for element, of in given.items():
        found[element] = []
        for f in of:
            if isinstance(f, _Radial):
                found[element].append(G2(f.element, float(f.eta), float(f.offset)))
            else:
                kind = G4 if f.type == "G4" else G5
                first, second = f.elements
                numbers = float(f.eta), float(f.zeta), float(f.gamma)
                found[element].append(kind((first, second), *numbers))
    try:
        return SymmetryFunctions(found, cutoff)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _layers(model: _Model, element: str, inputs: int, name: str) -> tuple[Layer, ...]:
    """Amp's matrices (inputs + 1, outputs), whose last row is the bias, in their order."""
    weights = model.weights[element]
    if sorted(weights) != list(range(1, len(weights) + 1)) or not weights:
        raise InputError(f"{name}: layers of {element} must be numbered from 1")
    layers = []
    for number in sorted(weights):
        rows = weights[number]
        columns = {len(row) for row in rows}
        outputs = columns.pop() if len(columns) == 1 else 0
        if len(rows) != inputs + 1 or outputs == 0 or (number == len(weights) and outputs != 1):
            raise InputError(
                f"{name}: layer {number} of {element} has {len(rows)} rows of weights, expected "
                f"{inputs + 1} of one length, and one output of the last"
            )
        matrix = np.array(rows, dtype=float)
        layers.append(Layer(matrix[:-1].T.copy(), matrix[-1].copy(), model.activation))
        inputs = outputs
    return tuple(layers)


def _literal(text: str, name: str) -> Any:
    try:
        return read_literal(text)
    except InputError as error:
        raise InputError(f"{name}: no potential of Amp ({error})") from None


def _check(kind: type[P], content: Any, name: str) -> P:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"])[:80]
        reason = " ".join(first["msg"].split())
        raise InputError(
            f"{name}: not a potential of Amp that is read ({key}: {reason[:1].lower()}{reason[1:]})"
        ) from None
