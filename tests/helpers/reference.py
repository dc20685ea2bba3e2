"""What the package must compute, in plain NumPy on the features of the oracle."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from helpers import Array, oracle
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import G2, G5, SymmetryFunction, SymmetryFunctions

ACTIVATIONS = {
    "linear": lambda z: z,
    "tanh": np.tanh,
    "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
    "softplus": lambda z: np.logaddexp(0.0, z),
}


def to_oracle(function: SymmetryFunction) -> oracle.Function:
    if isinstance(function, G2):
        return oracle.Radial(function.element, function.eta, function.r_s)
    numbers = function.eta, function.zeta, function.gamma
    return oracle.Angular(function.elements, *numbers, isinstance(function, G5), function.r_s)


def atom_features(atoms: Atoms, functions: SymmetryFunctions) -> list[Array]:
    """Unscaled features of every atom."""
    given = {e: [to_oracle(f) for f in fs] for e, fs in functions.functions.items()}
    angular = functions.angular_cutoff
    both = [
        oracle.features(atoms, given, cutoff.radius, cutoff.function, cutoff.gamma)
        for cutoff in (functions.cutoff, angular)
    ]
    if angular == functions.cutoff:
        return both[0]
    radial = {e: np.array([isinstance(f, G2) for f in fs]) for e, fs in functions.functions.items()}
    return [np.where(radial[e], *rows) for e, *rows in zip(atoms.symbols, *both, strict=True)]


def features(atoms: Atoms, functions: SymmetryFunctions) -> dict[str, Array]:
    """By element, as `SymmetryFunctions.compute` gives them."""
    rows = list(zip(atoms.symbols, atom_features(atoms, functions), strict=True))
    return {e: np.array([row for symbol, row in rows if symbol == e]) for e in set(atoms.symbols)}


def atomic_energies(atoms: Atoms, ensemble: Ensemble) -> Array:
    """(M, N) energies of every member, eV."""
    computed = atom_features(atoms, ensemble.functions)
    energies = np.empty((len(ensemble.members), len(atoms)))
    for m, member in enumerate(ensemble.members):
        for i, (element, x) in enumerate(zip(atoms.symbols, computed, strict=True)):
            low, high = ensemble.scaling.minimum[element], ensemble.scaling.maximum[element]
            x = 2.0 * (x - low) / (high - low) - 1.0
            network = member[element]
            for layer in network.layers:
                x = ACTIVATIONS[layer.activation](layer.weights @ x + layer.bias)
            energies[m, i] = network.intercept + network.slope * x.item()
    return energies
