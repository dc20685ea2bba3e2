"""Networks of one element, all members stacked, and their evaluation in the compiled core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearsight import _core
from nearsight.errors import InputError
from nearsight.model.baseline import Baseline
from nearsight.model.domain import Domain
from nearsight.model.scaling import Scaling
from nearsight.model.symmetry_functions import SymmetryFunctions

__all__ = [
    "Layer",
    "Network",
    "core_potential",
    "networks_from_weights",
    "stack",
    "weights_from_networks",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """x → f(W x + b), of all members or, without the first axis, of one.

    Attributes
    ----------
    weights : (M, out, in) float64
    bias : (M, out) float64
    activation : {"linear", "tanh", "sigmoid", "softplus"}
    """

    weights: Array
    bias: Array
    activation: str

    @property
    def shape(self) -> tuple[int, int, str]:
        """Outputs, inputs and activation."""
        return (*self.weights.shape[-2:], self.activation)


@dataclass(frozen=True)
class Network:
    """Energy of an atom from its scaled features: E_i = intercept + slope · output (SI section 2).

    Attributes
    ----------
    layers : tuple of Layer
    slope, intercept : (M,) float64, eV; a number where the network is of one member
    """

    layers: tuple[Layer, ...]
    slope: Array | float = 1.0
    intercept: Array | float = 0.0

    @property
    def shape(self) -> list[tuple[int, int, str]]:
        """Shapes of the layers."""
        return [layer.shape for layer in self.layers]

    def member(self, index: int) -> Network:
        """The network of one member."""
        return Network(
            tuple(Layer(a.weights[index], a.bias[index], a.activation) for a in self.layers),
            float(np.asarray(self.slope)[index]),
            float(np.asarray(self.intercept)[index]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON of the network of one member."""
        return {
            "slope": self.slope,
            "intercept": self.intercept,
            "layers": [
                {"activation": layer.activation, "weights": layer.weights, "bias": layer.bias}
                for layer in self.layers
            ],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Network:
        """The inverse of `to_dict`."""
        layers = tuple(
            Layer(
                np.asarray(layer["weights"], dtype=float),
                np.asarray(layer["bias"], dtype=float),
                str(layer["activation"]),
            )
            for layer in content["layers"]
        )
        return cls(layers, float(content["slope"]), float(content["intercept"]))


def stack(members: Sequence[Mapping[str, Network]]) -> dict[str, Network]:
    """Networks of all members, by element, from those of every member.

    Raises
    ------
    InputError
        If there is no member, or they differ in their elements or in the shape of their networks.
    """
    if not members:
        raise InputError("an ensemble needs at least one member")
    stacked = {}
    for element in dict.fromkeys(e for member in members for e in member):
        try:
            networks = [member[element] for member in members]
        except KeyError:
            raise InputError(f"a member has no network for {element}") from None
        if any(n.shape != networks[0].shape for n in networks):
            raise InputError(f"the members' networks for {element} differ in shape")
        layers = tuple(
            Layer(
                np.stack([layer.weights for layer in same]),
                np.stack([layer.bias for layer in same]),
                same[0].activation,
            )
            for same in zip(*(n.layers for n in networks), strict=True)
        )
        stacked[element] = Network(
            layers,
            np.array([n.slope for n in networks]),
            np.array([n.intercept for n in networks]),
        )
    return stacked


def networks_from_weights(
    weights: Array,
    sizes: Mapping[str, Sequence[int]],
    activations: Sequence[str],
    intercepts: Mapping[str, float],
) -> dict[str, Network]:
    """Networks from flat weights (M, P), or from those (P,) of one member.

    Flat weights hold, for every element and layer, W (out, in) row-major, then b (out).
    """
    members = weights.shape[:-1]
    networks = {}
    begin = 0
    for element, nodes in sizes.items():
        layers = []
        for activation, inputs, outputs in zip(activations, nodes[:-1], nodes[1:], strict=True):
            bias, end = begin + inputs * outputs, begin + (inputs + 1) * outputs
            matrix = weights[..., begin:bias].reshape(*members, outputs, inputs)
            layers.append(Layer(matrix.copy(), weights[..., bias:end].copy(), activation))
            begin = end
        networks[element] = Network(
            tuple(layers), np.ones(members), np.full(members, intercepts[element])
        )
    return networks


def weights_from_networks(networks: Mapping[str, Network]) -> Array:
    """The inverse of `networks_from_weights`."""
    return np.concatenate(
        [
            part.reshape(*layer.bias.shape[:-1], -1)
            for network in networks.values()
            for layer in network.layers
            for part in (layer.weights, layer.bias)
        ],
        axis=-1,
    )


def core_potential(
    functions: SymmetryFunctions,
    scaling: Scaling,
    networks: Mapping[str, Network],
    domain: Domain | None = None,
    baseline: Baseline | None = None,
) -> _core.Potential:
    """Many members as one compiled potential: one traversal of the structure serves all.

    Raises
    ------
    InputError
        If the networks, the domain or the baseline do not fit the symmetry functions or each other.
    """
    batches = []
    for element in functions.elements:
        if element not in networks:
            raise InputError(f"the ensemble has no network for {element}")
        network = networks[element]
        batches.append(
            (
                [layer.weights for layer in network.layers],
                [layer.bias for layer in network.layers],
                [layer.activation for layer in network.layers],
                np.asarray(network.slope),
                np.asarray(network.intercept),
                *scaling.linear(element),
            )
        )
    domains = [] if domain is None else domain.core(functions)
    added = None if baseline is None else baseline.core(functions.elements)
    return _core.Potential(functions.core, batches, domains, added)
