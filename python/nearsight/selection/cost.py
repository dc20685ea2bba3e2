"""What symmetry functions cost in a force call, from a table: no time is measured in a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearsight.errors import InputError
from nearsight.model.general_functions import Radial
from nearsight.model.symmetry_functions import G2, G4, G5, SymmetryFunction, SymmetryFunctions

__all__ = ["cost_of", "marginal_costs"]

# µs per atom of Pt1415 at 6.5 Å, ten members, level x86_64_v3 (docs/how-to/symmetry-functions.md).
# What is chosen follows from ratios, which are about the same on other machines.
RADIUS = 6.5
RADIAL = 0.14
"""A G2."""
MOMENTS = {1: 0.15, 2: 0.15, 3: 0.3, 4: 0.7}
"""The moments that G5 of one η and R_s share, by their largest ζ."""
OF_SHIFT = 0.1
"""More of them with an R_s."""
OF_MOMENTS = 0.15
"""A G5 of moments."""
WIDEST = 4.0
"""Largest η of G5 of moments, without an R_s."""
PAIRS = 5.9
"""All pairs of neighbours looked at once: the first G4, or G5 without moments."""
ETAS = (0.0, 1.9, 3.0)
"""Another η of the pairs; further ones like the last."""
SHIFTED = 3.7
"""An η with an R_s of G4: an exponential for every pair."""
LINEAR, POWER = 0.25, 0.85
"""A power of pairs, ζ = 1 and others."""


def cost_of(functions: SymmetryFunctions, given: Sequence[SymmetryFunction]) -> float:
    """Estimate of what ``given`` functions of one central element cost.

    Parameters
    ----------
    functions : SymmetryFunctions
        Whose elements, a neighbour being any of them alike, and cutoffs count.
    given : sequence of G2, G4 or G5

    Returns
    -------
    float, µs per atom

    Raises
    ------
    InputError
        For functions of other programs.
    """
    share = 1.0 / len(functions.elements)
    outer, inner = (c.radius / RADIUS for c in (functions.cutoff, functions.angular_cutoff))
    total = 0.0
    sets: dict[tuple[object, ...], list[G4 | G5]] = {}
    for f in given:
        if isinstance(f, Radial):
            raise InputError("by_cost knows the cost of G2, G4 and G5, not of imported functions")
        if isinstance(f, G2):
            total += RADIAL * share * outer**3
        elif not isinstance(f, G4) and f.zeta in MOMENTS and (f.eta <= WIDEST or f.r_s != 0.0):
            sets.setdefault(("moments", *sorted(f.elements), f.eta, f.r_s), []).append(f)
        else:
            sets.setdefault((type(f).__name__, *sorted(f.elements)), []).append(f)
    for (kind, first, second, *_), members in sets.items():
        times = 1 if first == second else 2
        zetas = [f.zeta for f in members]
        if kind == "moments":
            of_set = MOMENTS[int(max(zetas))] + OF_MOMENTS * len(members)
            of_set += OF_SHIFT * (members[0].r_s != 0.0)
            total += times * share * inner**3 * of_set
            continue
        forms = {(f.eta, f.r_s) for f in members}
        shells = sum(r_s != 0.0 for _, r_s in forms) if kind == "G4" else 0
        powers = sum(LINEAR if zeta == 1.0 else POWER for zeta in zetas)
        more = sum(ETAS[min(n, len(ETAS) - 1)] for n in range(len(forms) - shells))
        more += SHIFTED * shells
        total += times * share**2 * inner**6 * (PAIRS + powers + more)
    return total


def marginal_costs(
    functions: SymmetryFunctions, element: str, chosen: Sequence[int]
) -> npt.NDArray[np.float64]:
    """What each function of ``element`` would add to the cost of the chosen ones.

    Returns
    -------
    (functions,) float64, µs per atom
    """
    candidates = functions.functions[element]
    taken = [candidates[i] for i in chosen]
    before = cost_of(functions, taken)
    return np.array([cost_of(functions, [*taken, f]) - before for f in candidates])
