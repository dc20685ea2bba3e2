"""Symmetry functions as other programs have them, and models of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ase import Atoms

from helpers.structures import random_ensemble
from nearsight.model.ensemble import Ensemble
from nearsight.model.general_functions import Angular, Radial, Window
from nearsight.model.scaling import Scaling, ScalingForm
from nearsight.model.symmetry_functions import G2, G4, SymmetryFunctions

RADIUS = 5.0
Z = {"Pt": 78.0, "Au": 79.0}
SMOOTH = (
    "cosine",
    "exponential",
    "polynomial1",
    "polynomial2",
    "polynomial3",
    "polynomial4",
)
TANH = ("tanh3", "scaled_tanh3")


def with_cutoff(cutoff: Window) -> list[Any]:
    """n2p2's types 2, 3, 9, 12 and 13."""
    return [
        Radial(("Au",), 0.3, 1.0, cutoff),
        Angular(("Au", "Pt"), 0.01, 0.6, cutoff, zeta=2.7, gamma=-1.0),
        Angular(("Pt", "Pt"), 0.05, 0.0, cutoff, zeta=4.0, gamma=1.0, closed=False),
        Radial((), 0.1, 0.0, cutoff, Z),
        Angular((), 0.02, 0.5, cutoff, Z, 1.0, 0.8),
    ]


def compact(shape: str, asymmetric: bool) -> list[Any]:
    """n2p2's types 20 to 25."""
    bump = Window(shape, 0.7, 4.9, True, asymmetric)
    from_zero = Window(shape, -4.5, 4.5, True, asymmetric)
    angles = [Window(shape, *ends, True) for ends in ((20, 150), (-70, 70), (110, 250))]
    return [
        Radial(("Pt",), 0.0, 0.0, bump),
        Angular(("Au", "Au"), 0.0, 0.0, from_zero, angles=angles[0]),
        Angular(("Au", "Pt"), 0.0, 0.0, bump, closed=False, angles=angles[1]),
        Radial((), 0.0, 0.0, bump, Z),
        Angular((), 0.0, 0.0, bump, Z, angles=angles[2]),
        Angular((), 0.0, 0.0, from_zero, Z, closed=False, angles=angles[0]),
    ]


CASES = {
    **{shape: with_cutoff(Window(shape, 0.0, 4.8)) for shape in ("hard", *SMOOTH, *TANH)},
    **{
        f"{shape} from 1.5 Å": with_cutoff(Window(shape, 1.5, RADIUS))
        for shape in ("hard", *SMOOTH)
    },
    **{f"compact {shape}": compact(shape, False) for shape in SMOOTH[1:]},
    **{f"asymmetric {shape}": compact(shape, True) for shape in SMOOTH[2:]},
}


def functions_like(given: list[Any]) -> SymmetryFunctions:
    """With fast ones between, which must not mind."""
    return SymmetryFunctions(
        {"Pt": [G2("Au", 4.0), *given, G4(("Pt", "Au"), 0.1, 2.0, 1.0)], "Au": given[::-1]}, RADIUS
    )


def general_ensemble(atoms: Atoms) -> Ensemble:
    """Of all kinds of functions, with another scaling and other activations."""
    functions = functions_like(CASES["exponential"] + CASES["asymmetric polynomial2"])
    made = random_ensemble(functions, atoms, activation="gaussian")
    middle = {e: 0.5 * (made.scaling.minimum[e] + made.scaling.maximum[e]) for e in ("Pt", "Au")}
    scaling = Scaling(made.scaling.minimum, made.scaling.maximum, ScalingForm("mean", 0, 1), middle)
    return replace(made, scaling=scaling)
