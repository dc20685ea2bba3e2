"""Potentials written as n2p2 and RuNNer read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers

from nearsight.errors import InputError, cannot_be
from nearsight.files.atomic import write_bytes
from nearsight.foreign.convert import to_lines
from nearsight.foreign.mean import mean_potential
from nearsight.foreign.n2p2_functions import read_functions
from nearsight.foreign.n2p2_settings import ACTIVATIONS, Settings
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import Layer, Network
from nearsight.model.scaling import Scaling, ScalingForm
from nearsight.structures.text_files import shortest
from nearsight.structures.units import Units

__all__ = ["without_constant", "write_n2p2"]

Array = npt.NDArray[np.float64]

LETTERS = {name: letter for letter, name in ACTIVATIONS.items()}
KEYWORDS = {
    "range": ("scale_symmetry_functions",),
    "mean": ("scale_symmetry_functions", "center_symmetry_functions"),
    "sigma": ("scale_symmetry_functions_sigma",),
    "centered": ("center_symmetry_functions",),
    "none": (),
}


def write_n2p2(ensemble: Ensemble, folder: Path, units: Units) -> dict[str, Path]:
    """Write the members as potentials of n2p2, each in a folder.

    Parameters
    ----------
    ensemble : Ensemble
    folder : Path
        A new or empty one. A single member is written there; several into ``member-00``,
        ``member-01``, ... and their mean, as one larger network, into ``mean``.
    units : Units
        Of the numbers written.

    Returns
    -------
    dict of str to Path
        The folders written, by "member-00" or "mean".

    Raises
    ------
    InputError
        For what n2p2 cannot express, and a folder that is not empty.
    """
    if ensemble.baseline is not None:
        raise InputError("the ensemble has a baseline (pair terms), which n2p2 has not")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: must be a new or an empty folder")
    ensemble = without_constant(ensemble)
    if len(ensemble) == 1:
        places = {"member-00": folder}
        texts = {"member-00": _texts(ensemble, ensemble.members[0], units)}
    else:
        members = {f"member-{m:02d}": each for m, each in enumerate(ensemble.members)}
        mean = mean_potential(ensemble)
        texts = {name: _texts(ensemble, each, units) for name, each in members.items()}
        texts["mean"] = _texts(mean, mean.members[0], units)
        places = {name: folder / name for name in texts}
    for name, place in places.items():
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_be("made", place, error) from error
        for file, text in texts[name].items():
            write_bytes(place / file, text.encode())
    return places


def without_constant(ensemble: Ensemble) -> Ensemble:
    """The same without features that never varied: the networks see zeros of them, n2p2 NaN."""
    kept = {
        element: np.flatnonzero(ensemble.scaling.linear(element)[0])
        for element in ensemble.elements
    }
    if all(len(kept[e]) == ensemble.functions.size(e) for e in kept):
        return ensemble
    given = ensemble.scaling

    def of(values: Mapping[str, Array] | None) -> dict[str, Array] | None:
        return None if values is None else {e: values[e][kept[e]] for e in kept}

    scaling = Scaling(
        of(given.minimum) or {},
        of(given.maximum) or {},
        given.form,
        of(given.mean),
        of(given.sigma),
    )
    networks = {}
    for element, network in ensemble.networks.items():
        first = network.layers[0]
        layer = replace(first, weights=first.weights[..., kept[element]])
        networks[element] = replace(network, layers=(layer, *network.layers[1:]))
    return Ensemble(ensemble.functions.subset(kept), scaling, networks)


def _texts(ensemble: Ensemble, member: Mapping[str, Network], units: Units) -> dict[str, str]:
    """The content of the files of one member."""
    shaped = _with_common_slope(member)
    text = _input_nn(ensemble, shaped, units)
    settings = Settings.read(Path("input.nn"), text)
    ranks = {
        element: sorted(range(len(of)), key=lambda i, of=of: of[i].rank)  # type: ignore[misc]
        for element, of in read_functions(settings).items()
    }
    files = {"input.nn": text, "scaling.data": _scaling_data(ensemble.scaling, ranks)}
    for element, network in shaped.items():
        file = f"weights.{atomic_numbers[element]:03d}.data"
        files[file] = _weights_data(network, ranks[element])
    return files


def _with_common_slope(member: Mapping[str, Network]) -> dict[str, Network]:
    """Networks of one slope; where they differ, with one more layer, as Amp's exporter writes."""
    if len({float(network.slope) for network in member.values()}) == 1:
        return dict(member)
    return {
        element: Network(
            (*network.layers, Layer(np.array([[float(network.slope)]]), np.zeros(1), "linear")),
            1.0,
            network.intercept,
        )
        for element, network in member.items()
    }


def _input_nn(ensemble: Ensemble, member: Mapping[str, Network], units: Units) -> str:
    first = next(iter(member.values()))
    nodes = [layer.shape[0] for layer in first.layers[:-1]]
    activations = [layer.activation for layer in first.layers]
    for element, network in member.items():
        own = [layer.shape[0] for layer in network.layers[:-1]]
        if (own, [layer.activation for layer in network.layers]) != (nodes, activations):
            raise InputError(
                f"the network of {element} has another shape than that of {next(iter(member))}; "
                "n2p2 reads no other hidden layers of single elements (its last one is ignored)"
            )
    if not nodes:
        raise InputError("the networks have no hidden layer, n2p2 needs one")
    cutoff, functions = to_lines(ensemble.functions, units)
    slope = float(first.slope)
    lines = [
        f"# written by nearsight; lengths in {units.length}, energies in {units.energy}",
        *_normalisation(slope, units),
        f"number_of_elements {len(member)}",
        f"elements {' '.join(member)}",
        *(
            f"atom_energy {element} {_energy(float(network.intercept), units)}"
            for element, network in member.items()
            if network.intercept != 0.0
        ),
        f"cutoff_type {cutoff}",
        *_scaling_keywords(ensemble.scaling.form),
        f"global_hidden_layers_short {len(nodes)}",
        f"global_nodes_short {' '.join(map(str, nodes))}",
        f"global_activation_short {' '.join(LETTERS[each] for each in activations)}",
        *(f"symfunction_short {words}" for of in functions.values() for words in of),
    ]
    return "".join(f"{line}\n" for line in lines)


def _normalisation(slope: float, units: Units) -> list[str]:
    """Keys for a slope of the networks' output that is not the unit of energy."""
    unit = units.in_ev
    if slope == float(unit):
        return []
    if slope == 0.0:
        raise InputError("the networks have a slope of 0, which n2p2 cannot have")
    factor = shortest(unit / Fraction(slope), lambda near: float(unit / near) == slope)
    return ["mean_energy 0", f"conv_energy {factor}", "conv_length 1"]


def _energy(value: float, units: Units) -> str:
    unit = units.in_ev
    return shortest(Fraction(value) / unit, lambda near: float(near * unit) == value)


def _scaling_keywords(form: ScalingForm) -> list[str]:
    if form.kind in ("centered", "none"):
        return list(KEYWORDS[form.kind])
    ends = [f"scale_min_short {form.low!r}", f"scale_max_short {form.high!r}"]
    return [*KEYWORDS[form.kind], *ends]


def _scaling_data(scaling: Scaling, ranks: Mapping[str, Sequence[int]]) -> str:
    lines = ["# e_index sf_index sf_min sf_max sf_mean sf_sigma (0 where it is not known)"]
    for index, element in enumerate(sorted(ranks, key=atomic_numbers.__getitem__), 1):
        parts = (scaling.minimum, scaling.maximum, scaling.mean, scaling.sigma)
        for place, row in enumerate(ranks[element], 1):
            values = [0.0 if part is None else part[element][row] for part in parts]
            numbers = " ".join(f"{value:24.16E}" for value in values)
            lines.append(f"{index:10d} {place:10d} {numbers}")
    return "".join(f"{line}\n" for line in lines)


def _weights_data(network: Network, ranks: Sequence[int]) -> str:
    """Of every layer the weights from each node to all of the next layer, then the biases."""
    lines = ["# connection, kind (a: weight, b: bias), index, from (layer, node), to (layer, node)"]
    count = 0
    for number, layer in enumerate(network.layers, 1):
        weights = layer.weights[:, list(ranks)] if number == 1 else layer.weights
        for begin, column in enumerate(weights.T, 1):
            for end, value in enumerate(column, 1):
                count += 1
                lines.append(f"{value:24.16E} a {count:9d} {number - 1:5d} {begin:5d} "
                             f"{number:5d} {end:5d}")  # fmt: skip
        for end, value in enumerate(layer.bias, 1):
            count += 1
            lines.append(f"{value:24.16E} b {count:9d} {number:5d} {end:5d}")
    return "".join(f"{line}\n" for line in lines)
