"""Potentials of n2p2 and RuNNer, read from their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers

from nearsight.errors import InputError
from nearsight.foreign.committee import Member, committee
from nearsight.foreign.convert import to_functions
from nearsight.foreign.n2p2_functions import FunctionLine, read_cutoff, read_functions
from nearsight.foreign.n2p2_settings import Settings
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import Layer, Network
from nearsight.model.scaling import Scaling, ScalingForm
from nearsight.structures.text_files import number, read_lines
from nearsight.structures.units import Units

__all__ = ["is_n2p2", "read_n2p2"]

Array = npt.NDArray[np.float64]


def is_n2p2(folder: Path) -> bool:
    """Whether a folder holds a potential of n2p2 or RuNNer."""
    return (folder / "input.nn").is_file()


def read_n2p2(folders: Sequence[Path], units: Units) -> Ensemble:
    """The committee of the potentials in these folders.

    Parameters
    ----------
    folders : sequence of Path
        Each with ``input.nn``, ``scaling.data`` and ``weights.XXX.data`` of every element.
    units : Units
        Of all of them.

    Returns
    -------
    Ensemble
        Features in the order of the lines of ``input.nn``.

    Raises
    ------
    InputError
        For files that are missing, damaged, or of a potential that has charges or a long range; if
        the folders differ in their symmetry functions or in the shape of their networks.
    """
    notes = {"format": "n2p2", "length_unit": units.length, "energy_unit": units.energy}
    return committee([_read_member(folder, units) for folder in folders], notes)


def _read_member(folder: Path, units: Units) -> Member:
    settings = Settings.read(folder / "input.nn")
    lines = read_functions(settings)
    ranks = {
        element: sorted(range(len(of)), key=lambda i, of=of: of[i].rank)  # type: ignore[misc]
        for element, of in lines.items()
    }
    cutoff = read_cutoff(settings)
    try:
        functions = to_functions(lines, cutoff, units)
    except InputError as error:  # a parameter out of its domain
        raise InputError(f"{settings.path}: {error}") from None
    scaling = _read_scaling(folder / "scaling.data", settings, lines, ranks)
    networks = {
        element: _read_network(folder, settings, element, ranks[element], units)
        for element in settings.elements
    }
    return Member(str(folder), functions, scaling, networks)


def _read_scaling(
    path: Path,
    settings: Settings,
    lines: Mapping[str, Sequence[FunctionLine]],
    ranks: Mapping[str, Sequence[int]],
) -> Scaling:
    """Rows stand by atomic number and n2p2's order; RuNNer writes one more, of energies."""
    scale, center = "scale_symmetry_functions" in settings, "center_symmetry_functions" in settings
    sigma = "scale_symmetry_functions_sigma" in settings
    kind = {(True, False): "range", (False, True): "centered", (True, True): "mean"}.get(
        (scale, center), "sigma" if sigma else "none"
    )
    form = ScalingForm(kind)
    if kind in ("range", "mean", "sigma"):
        low = settings.number("scale_min_short", "0")
        high = settings.number("scale_max_short", "1")
        if low == high:
            raise InputError(f"{settings.path}: scale_min_short and scale_max_short are the same")
        form = ScalingForm(kind, float(low), float(high))
    if kind == "none" and not path.is_file():
        sizes = {element: len(of) for element, of in lines.items()}
        return Scaling.unscaled(sizes)
    rows = list(read_lines(path))
    found: dict[str, Array] = {}
    begin = 0
    ordered = sorted(lines, key=atomic_numbers.__getitem__)
    for index, element in enumerate(ordered):
        values = np.zeros((len(lines[element]), 4))
        for place, row in enumerate(rows[begin : begin + len(values)]):
            if len(row.words) < 5 or list(row.words[:2]) != [str(index + 1), str(place + 1)]:
                raise row.error(f"expected function {place + 1} of element {index + 1} ({element})")
            given = [float(number(word, row)) for word in row.words[2:6]]
            values[ranks[element][place], : len(given)] = given
            if kind == "sigma" and len(given) < 4:
                raise row.error("no sigma, by which input.nn scales")
        begin += len(values)
        if begin > len(rows):
            raise InputError(f"{path}: ends before the functions of {element} do")
        found[element] = values
    if len(rows) > begin + 1 or any(len(row.words) != 2 for row in rows[begin:]):
        raise rows[begin].error("there are more rows than symmetry functions")
    column = {
        name: {element: found[element][:, i].copy() for element in lines}
        for i, name in enumerate(("minimum", "maximum", "mean", "sigma"))
    }
    needed = {"mean": kind in ("mean", "sigma", "centered"), "sigma": kind == "sigma"}
    extra = {
        name: column[name] if use or any(of.any() for of in column[name].values()) else None
        for name, use in needed.items()
    }
    made = Scaling(column["minimum"], column["maximum"], form, extra["mean"], extra["sigma"])
    for element, of in lines.items():
        constant = np.flatnonzero(made.linear(element)[0] == 0.0)
        if len(constant):
            raise of[constant[0]].error(
                "this function never varied (scaling.data), and n2p2 itself gives NaN for it"
            )
    return made


def _read_network(
    folder: Path, settings: Settings, element: str, rank: Sequence[int], units: Units
) -> Network:
    path = folder / f"weights.{atomic_numbers[element]:03d}.data"
    values = np.array([float(number(line.words[0], line)) for line in read_lines(path)])
    shape = settings.shape(element)
    sizes = [len(rank), *shape.nodes]
    expected = sum((a + 1) * b for a, b in pairwise(sizes))
    if len(values) != expected:
        text = "-".join(map(str, sizes))
        raise InputError(f"{path}: {len(values)} weights, a network {text} has {expected}")
    layers, begin = [], 0
    for (inputs, outputs), activation in zip(pairwise(sizes), shape.activations, strict=True):
        end = begin + inputs * outputs
        weights = values[begin:end].reshape(inputs, outputs).T.copy()
        bias = values[end : end + outputs].copy()
        if "normalize_nodes" in settings:
            weights, bias = weights / inputs, bias / inputs
        layers.append(Layer(weights, bias, activation))
        begin = end + outputs
    by_rank = layers[0].weights
    first = np.empty_like(by_rank)
    first[:, rank] = by_rank
    layers[0] = replace(layers[0], weights=first)
    slope, intercept = _energy_scale(settings, element, units)
    last = layers[-1]
    if len(layers) > 1 and last.shape == (1, 1, "linear"):  # Amp's networks have such a layer
        intercept += slope * Fraction(last.bias[0])
        slope *= Fraction(last.weights[0, 0])
        layers.pop()
    return Network(tuple(layers), float(slope), float(intercept))


def _energy_scale(settings: Settings, element: str, units: Units) -> tuple[Fraction, Fraction]:
    """Slope and intercept of the output of a network, in eV."""
    keys = ("mean_energy", "conv_energy", "conv_length")
    given = [key for key in keys if key in settings]
    if given and len(given) < len(keys):
        raise InputError(f"{settings.path}: {' and '.join(given)} without the others of {keys}")
    mean, factor = Fraction(0), Fraction(1)
    if given:
        mean, factor = settings.number("mean_energy"), settings.number("conv_energy")
        if factor == 0 or settings.number("conv_length") <= 0:
            raise InputError(f"{settings.path}: conv_energy must not be 0, nor conv_length")
    own = [
        line
        for line in settings.all("atom_energy")
        if line.words and settings.element(line, line.words[0]) == element
    ]
    if len(own) > 1 or any(len(line.words) != 2 for line in own):
        raise own[-1].error("expected one energy for every element")
    mean += sum(number(line.words[1], line) for line in own)
    return units.in_ev / factor, units.in_ev * mean
