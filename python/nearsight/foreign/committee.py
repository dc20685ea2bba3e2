"""Potentials that become the members of one ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble
from nearsight.model.network import Network, stack
from nearsight.model.scaling import Scaling
from nearsight.model.symmetry_functions import SymmetryFunctions

__all__ = ["Member", "committee"]


@dataclass(frozen=True)
class Member:
    """A potential, and what messages call it."""

    name: str
    functions: SymmetryFunctions
    scaling: Scaling
    networks: Mapping[str, Network]


def committee(members: Sequence[Member], notes: Mapping[str, Any]) -> Ensemble:
    """The ensemble of these members, with the scaling of the first.

    Parameters
    ----------
    members : sequence of Member
        Those scaled otherwise get a first layer that makes up for it, but for rounding.
    notes : dict
        Where they come from.

    Raises
    ------
    InputError
        If they differ in their symmetry functions or in the shape of their networks.
    """
    first = members[0]
    content = first.functions.to_dict()
    for other in members[1:]:
        if other.functions.to_dict() != content:
            raise InputError(
                f"{other.name}: its symmetry functions are not those of {first.name}; members of "
                "one potential share them"
            )
    networks = [_rescaled(each, first.scaling) for each in members]
    names = [each.name for each in members]
    return Ensemble(
        first.functions,
        first.scaling,
        stack(networks),
        provenance={"imported": {**notes, "members": names}},
    )


def _rescaled(member: Member, scaling: Scaling) -> dict[str, Network]:
    """Networks that give the same from features scaled otherwise."""
    found = {}
    for element, network in member.networks.items():
        scale, offset = member.scaling.linear(element)
        target, shift = scaling.linear(element)
        if (scale != target).any() or (offset != shift).any():
            ratio = scale / target
            first = network.layers[0]
            bias = first.bias + first.weights @ (offset - ratio * shift)
            layer = replace(first, weights=first.weights * ratio, bias=bias)
            network = replace(network, layers=(layer, *network.layers[1:]))
        found[element] = network
    return found
