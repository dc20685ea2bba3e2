"""Errors of an ensemble where the forces are known, and how far its bounds hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.stats import spearmanr

from nearsight.model.ensemble import Ensemble

__all__ = ["COLUMNS", "Accuracy"]

Forces = npt.NDArray[np.float64]

COLUMNS = (
    "MAE\nmeV/Å",
    "max\nmeV/Å",
    "within\n99 %",
    "within\n95 %",
    "bound/\nerror",
    "rank",
)


@dataclass(frozen=True)
class Accuracy:
    """Of the norms of the force errors on all atoms of some structures.

    Attributes
    ----------
    mae, largest : float, meV/Å
    covered, covered_95 : float
        Share of the atoms within their bounds, of 99 and 95 %.
    width : float
        Mean bound (99 %) over mean error.
    rank : float
        Spearman's, of bound against error; nan where the bound is the same for all.
    """

    mae: float
    largest: float
    covered: float
    covered_95: float
    width: float
    rank: float

    @classmethod
    def of(cls, ensemble: Ensemble, known: Iterable[tuple[Atoms, Forces]]) -> Accuracy:
        """On structures with their forces (N, 3), eV/Å."""
        errors, bounds, bounds_95 = [], [], []
        for atoms, forces in known:
            found = ensemble.evaluate(atoms, stress=False)
            assert found.uncertainty_95 is not None
            errors.append(np.linalg.norm(found.forces - forces, axis=1))
            bounds.append(found.uncertainty)
            bounds_95.append(found.uncertainty_95)
        error, bound, bound_95 = map(np.concatenate, (errors, bounds, bounds_95))
        return cls(
            mae=1000 * float(error.mean()),
            largest=1000 * float(error.max()),
            covered=float((error <= bound).mean()),
            covered_95=float((error <= bound_95).mean()),
            width=float(bound.mean() / error.mean()),
            rank=float("nan") if np.ptp(bound) == 0.0 else float(spearmanr(bound, error).statistic),
        )

    @property
    def cells(self) -> list[str]:
        """Text for the columns."""
        return [
            f"{self.mae:.3g}",
            f"{self.largest:.0f}",
            f"{100 * self.covered:.1f}",
            f"{100 * self.covered_95:.1f}",
            f"{self.width:.1f}",
            "-" if np.isnan(self.rank) else f"{self.rank:.2f}",
        ]
