"""The mean of the members of an ensemble as one network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearsight.model.ensemble import Ensemble
from nearsight.model.network import Layer, Network, stack

__all__ = ["mean_potential"]

Array = npt.NDArray[np.float64]


def mean_potential(ensemble: Ensemble) -> Ensemble:
    """One network that gives the mean of all members, but for rounding.

    The members lie side by side in its hidden layers, and the output adds them up. It takes about
    the time of all members, in programs that know no ensemble.
    """
    networks = {element: _mean(network) for element, network in ensemble.networks.items()}
    return Ensemble(
        ensemble.functions,
        ensemble.scaling,
        stack([networks]),
        provenance=ensemble.provenance,
        baseline=ensemble.baseline,
    )


def _mean(network: Network) -> Network:
    members = len(np.atleast_1d(network.slope))
    share = np.asarray(network.slope, dtype=float) / members
    layers = []
    for number, layer in enumerate(network.layers):
        weights = np.concatenate(layer.weights) if number == 0 else _block_diagonal(layer.weights)
        layers.append(Layer(weights, np.concatenate(layer.bias), layer.activation))
    last = layers.pop()
    if last.activation == "linear":
        output = Layer(share[None] @ last.weights, share[None] @ last.bias, "linear")
    else:
        layers.append(last)
        output = Layer(share[None].copy(), np.zeros(1), "linear")
    return Network((*layers, output), 1.0, float(np.mean(network.intercept)))


def _block_diagonal(blocks: Array) -> Array:
    members, rows, columns = blocks.shape
    whole = np.zeros((members, rows, members, columns))
    whole[np.arange(members), :, np.arange(members)] = blocks
    return whole.reshape(members * rows, members * columns)
