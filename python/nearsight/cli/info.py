"""Content of one of nearsight's files, in a screenful."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.table import Table

from nearsight.cli.app import table_of
from nearsight.errors import DamagedFileError, InputError
from nearsight.files.atomic import read_json
from nearsight.files.records import EnsembleRecord, ForceLocality, FunctionsRecord
from nearsight.model.ensemble import Ensemble
from nearsight.model.general_functions import Angular, Radial
from nearsight.model.symmetry_functions import (
    G2,
    Cutoff,
    SymmetryFunction,
    SymmetryFunctions,
)
from nearsight.progress import count_noun

__all__ = ["describe", "locality_table"]

MOST_ENTRIES = 8  # of a list that are shown


def describe(path: Path) -> Sequence[str | Table]:
    """Tables and sentences on a file.

    Raises
    ------
    InputError
        If it is none of nearsight's, or damaged.
    """
    try:
        content = read_json(path)
    except DamagedFileError as error:
        if path.suffix == ".json":
            raise
        raise InputError(
            f"{path}: must be a JSON file of nearsight, such as best.json, or the folder of a run; "
            f"a structure is shown by ase gui {quote(str(path))}"
        ) from error
    kind = content.get("format") if isinstance(content, dict) else None
    if kind == EnsembleRecord.FORMAT:
        return _ensemble(Ensemble.load(path))
    if kind == FunctionsRecord.FORMAT:
        return _functions(SymmetryFunctions.load(path))
    if kind == ForceLocality.FORMAT:
        return _locality(ForceLocality.load(path))
    raise InputError(
        f"{path}: must be an ensemble, symmetry functions or a locality scan of nearsight, "
        f"got {'JSON of another kind' if kind is None else repr(kind)}"
    )


def _ensemble(ensemble: Ensemble) -> Sequence[str | Table]:
    table = table_of("", "", left=2)
    table.add_row(
        "ensemble", f"{count_noun(len(ensemble), 'member')} for {', '.join(ensemble.elements)}"
    )
    for element, network in ensemble.members[0].items():
        nodes = [ensemble.functions.size(element), *(len(layer.bias) for layer in network.layers)]
        activations = dict.fromkeys(layer.activation for layer in network.layers)
        table.add_row(
            f"network of {element}", f"{'-'.join(map(str, nodes))}, {', '.join(activations)}"
        )
    if ensemble.baseline is not None:
        table.add_row("baseline", ensemble.baseline.summary)
    if ensemble.multiplicities is not None:
        table.add_row("trained on", f"{ensemble.multiplicities.shape[1]} images")
    table.add_row("calibration", _calibration(ensemble))
    for name, value in ensemble.provenance.items():
        for row in _rows(name.replace("_", " "), value):
            table.add_row(*row)
    return [table, "", *_functions(ensemble.functions)]


def _calibration(ensemble: Ensemble) -> str:
    """How the stated uncertainty follows from the raw one, and what that rests on."""
    if not ensemble.is_calibrated:
        return "none: it was never compared with labels that its members do not know"
    if ensemble.bounds is None:
        return f"uncertainty = {ensemble.calibration:.3f} × raw uncertainty"
    bound = ensemble.bounds.forces
    more = bound.factor > 1.0 and bound.knee is not None
    text = (
        f"uncertainty (99 %) = {bound.factor:.3f} × raw uncertainty"
        + (f" ({1000 * bound.floor:.3g} meV/Å at least)" if bound.is_constant else "")
        + (f", at most {1000 * bound.excess:.3g} meV/Å above it" if more else "")
        + f"; 95 %: {bound.factor_95:.3f} ×; from {bound.labels} forces in {bound.images} "
        "structures"
    )
    return text if bound.is_known else f"{text}: too few, not calibrated yet"


def _functions(functions: SymmetryFunctions) -> Sequence[str | Table]:
    table = table_of("atom", "function of", "kind", "number", "η", "R_s, Å", "ζ", "γ", left=3)
    for element, of_element in functions.functions.items():
        groups: dict[tuple[str, str], list[SymmetryFunction]] = {}
        for each in of_element:
            groups.setdefault((_neighbours(each), _kind(each)), []).append(each)
        for (neighbours, kind), group in groups.items():
            parameters = [
                _range({_parameter(each, name) for each in group})
                for name in ("eta", "r_s", "zeta", "gamma")
            ]
            table.add_row(element, neighbours, kind, str(len(group)), *parameters)
    cutoff = _cutoff(functions.cutoff)
    if all(isinstance(f, Radial) for of in functions.functions.values() for f in of):
        cutoff = f"{functions.cutoff.radius:g} Å (each with a window of its own, η in 1/Å²)"
    elif functions.angular_cutoff != functions.cutoff:
        cutoff += f", angular ones {_cutoff(functions.angular_cutoff)}"
    return [f"{len(functions)} symmetry functions, cutoff {cutoff}", "", table]


def _cutoff(cutoff: Cutoff) -> str:
    form = f", γ {cutoff.gamma:g}" if cutoff.function == "polynomial" else ""
    return f"{cutoff.radius:g} Å ({cutoff.function}{form})"


def _locality(scan: ForceLocality) -> Sequence[str | Table]:
    return [f"locality scan of {len(scan.indices)} atoms", "", locality_table(scan)]


def locality_table(scan: ForceLocality) -> Table:
    """A row per radius; for one atom the force itself, for several the spread of the errors."""
    single = len(scan.indices) == 1
    more = ("fx\neV/Å", "fy\neV/Å", "fz\neV/Å") if single else ("largest error\nmeV/Å",)
    table = table_of("chunk radius\nÅ", "atoms\nin chunk", "mean error\nmeV/Å", *more)
    for row, forces in zip(scan.table(), scan.forces, strict=True):
        cells = [f"{row['radius']:g}", f"{row['mean_atoms']:.0f}", _figure(row["mean_error"], 3)]
        cells += [_figure(f, 4) for f in forces[0]] if single else [_figure(row["max_error"], 3)]
        table.add_row(*cells)
    if single:
        table.add_row("whole", "", "", *(_figure(f, 4) for f in scan.true_forces[0]))
    return table


def _figure(value: float, decimals: int) -> str:
    """A number, unless the parent failed where it comes from."""
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"


def _kind(function: SymmetryFunction) -> str:
    name = type(function).__name__
    if not isinstance(function, Radial):
        return name
    return f"{name}, {'bump, ' * function.window.bump}{function.window.shape}"


def _parameter(function: SymmetryFunction, name: str) -> float | None:
    """A parameter, if it has a meaning."""
    by_angle = isinstance(function, Angular) and function.angles is not None
    return None if by_angle and name in ("zeta", "gamma") else getattr(function, name, None)


def _neighbours(function: SymmetryFunction) -> str:
    if isinstance(function, Radial) and function.weights:
        return "all, weighted"
    return function.element if isinstance(function, G2) else "-".join(function.elements)


def _range(values: set[float | None]) -> str:
    """The values of a parameter, or their range if they are many."""
    found = sorted(value for value in values if value is not None)
    if len(found) > 3:
        return f"{found[0]:.3g} to {found[-1]:.3g}"
    return ", ".join(f"{value:.3g}" for value in found)


def _rows(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A row for a value; of a table one for its own keys, and one for each table in it."""
    if not isinstance(value, dict):
        yield name, _shortened(value if isinstance(value, str) else _as_key(value))
        return
    own = {k: v for k, v in value.items() if v is not None and not isinstance(v, dict)}
    if own:
        yield name, ", ".join(f"{k} = {_shortened(_as_key(v))}" for k, v in own.items())
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _rows(f"{name}.{key}", inner)


def _as_key(value: Any) -> str:
    """As in a configuration; of a long list how it begins, and its length."""
    if isinstance(value, list) and len(value) > MOST_ENTRIES:
        first = ", ".join(_as_key(each) for each in value[:MOST_ENTRIES])
        return f"[{first}, ... {len(value)} in all]"
    return json.dumps(value, ensure_ascii=False)


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."
