"""Networks of one element, and their evaluation in the compiled core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearsight import _core
from nearsight.errors import InputError
from nearsight.model.symmetry_functions import Scaling, SymmetryFunctions

__all__ = ["Layer", "Network", "core_potential", "networks_from_weights", "weights_from_networks"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """x → f(W x + b).

    Attributes
    ----------
    weights : (out, in) float64
    bias : (out,) float64
    activation : {"linear", "tanh", "sigmoid", "softplus"}
    """

    weights: Array
    bias: Array
    activation: str


@dataclass(frozen=True)
class Network:
    """Energy of an atom from its scaled features: E_i = intercept + slope · output (SI section 2).

    Attributes
    ----------
    layers : tuple of Layer
    slope, intercept : float, eV
    """

    layers: tuple[Layer, ...]
    slope: float = 1.0
    intercept: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON."""
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


def networks_from_weights(
    weights: Array,
    sizes: Mapping[str, Sequence[int]],
    activations: Sequence[str],
    intercepts: Mapping[str, float],
) -> dict[str, Network]:
    """One member's networks from its vector of weights.

    The vector holds, for every element and layer, W (out, in) row-major, then b (out).
    """
    networks = {}
    place = 0
    for element, nodes in sizes.items():
        layers = []
        for activation, inputs, outputs in zip(activations, nodes[:-1], nodes[1:], strict=True):
            matrix = weights[place : place + inputs * outputs].reshape(outputs, inputs)
            place += inputs * outputs
            layers.append(Layer(matrix.copy(), weights[place : place + outputs].copy(), activation))
            place += outputs
        networks[element] = Network(tuple(layers), 1.0, intercepts[element])
    return networks


def weights_from_networks(networks: Mapping[str, Network]) -> Array:
    """The inverse of `networks_from_weights`."""
    return np.concatenate(
        [
            part
            for network in networks.values()
            for layer in network.layers
            for part in (layer.weights.ravel(), layer.bias)
        ]
    )


def core_potential(
    functions: SymmetryFunctions, scaling: Scaling, members: Sequence[Mapping[str, Network]]
) -> _core.Potential:
    """Many members as one compiled potential: one traversal of the structure serves all.

    Raises
    ------
    InputError
        If the networks do not fit the symmetry functions or each other.
    """
    batches = []
    for element in functions.elements:
        try:
            networks = [member[element] for member in members]
        except KeyError:
            raise InputError(f"a member has no network for {element}") from None
        depth = len(networks[0].layers)
        if any(
            len(n.layers) != depth
            or any(
                a.activation != b.activation or a.weights.shape != b.weights.shape
                for a, b in zip(n.layers, networks[0].layers, strict=False)
            )
            for n in networks
        ):
            raise InputError(f"the members' networks for {element} differ in shape")
        scale, offset = scaling.linear(element)
        batches.append(
            (
                [np.stack([n.layers[i].weights for n in networks]) for i in range(depth)],
                [np.stack([n.layers[i].bias for n in networks]) for i in range(depth)],
                [layer.activation for layer in networks[0].layers],
                np.array([n.slope for n in networks]),
                np.array([n.intercept for n in networks]),
                scale,
                offset,
            )
        )
    try:
        return _core.Potential(functions.core, batches)
    except ValueError as error:
        raise InputError(str(error)) from error
