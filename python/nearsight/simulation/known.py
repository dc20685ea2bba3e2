"""Whether a frame is known: its uncertainty against a threshold, its grades against 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.config import DynamicsSettings

__all__ = ["MAX_UNCERTAIN_IN_A_ROW", "Limits", "doubt", "why_unknown"]

Array = npt.NDArray[np.float64]

MIN_THRESHOLD = 0.1
"""eV/Å. Thermal forces are ten times that: in Pt260 0.8 eV/Å at 300 K, 1.5 at 1000 K (EMT)."""
CANDIDATE_FRACTION = 0.5
"""Part of the threshold from which on frames and atoms are candidates to be learned: what makes a
frame uncertain is mostly two or three atoms that collide, for a few steps."""
MAX_UNCERTAIN_IN_A_ROW = 100
"""Looks at the uncertainty without a trusted frame among them after which there are enough
uncertain ones to learn from."""


@dataclass(frozen=True)
class Limits:
    """Where dynamics are trusted, learned from, and ended.

    Attributes
    ----------
    threshold : float, eV/Å
        Raw uncertainty below which a frame is trusted.
    window : float
        They end above this many times the threshold.
    most : float
        Extrapolation grade up to which an atom is known.
    """

    threshold: float
    window: float
    most: float = 1.0

    @classmethod
    def of(cls, settings: DynamicsSettings, window: float, first: float) -> Limits:
        """Those of dynamics whose first frame has the raw uncertainty ``first``, eV/Å."""
        threshold = settings.threshold or max(MIN_THRESHOLD, 2.0 * first)
        return cls(threshold, window, settings.max_extrapolation)

    def why_so_high(self, settings: DynamicsSettings, first: float) -> str:
        """Sentence on a threshold that the first frame has raised; empty if it has not."""
        if settings.threshold is not None or self.threshold <= MIN_THRESHOLD:
            return ""
        return (
            f"the raw uncertainty is {first:.4g} eV/Å at the start: frames are trusted up to twice "
            f"that, {self.threshold:.4g}, in place of {MIN_THRESHOLD:g} (--threshold), and the "
            f"dynamics stop above {self.high:.4g}"
        )

    @property
    def low(self) -> float:
        """Uncertainty from which on there is something to learn, eV/Å."""
        return CANDIDATE_FRACTION * self.threshold

    @property
    def high(self) -> float:
        """Uncertainty above which nothing is believed, eV/Å."""
        return self.threshold * self.window

    def doubt(self, raw: Array, grade: Array | None) -> Array:
        """(N,) `doubt` by raw uncertainties and grades."""
        return doubt(raw, grade, self.threshold, self.most)


def doubt(uncertainty: Array, grade: Array | None, threshold: float, most: float = 1.0) -> Array:
    """Uncertainty that is above a threshold wherever an atom is not known.

    Parameters
    ----------
    uncertainty : (N,) float64, eV/Å
        Raw or calibrated.
    grade : (N,) float64 or None
        Extrapolation grades; see `Evaluation.extrapolation`.
    threshold : float, eV/Å
        Uncertainty up to which an atom is known that is not outside.
    most : float
        Grade above which it is outside.

    Returns
    -------
    (N,) float64, eV/Å
        The uncertainty; of an atom outside, at least the threshold times its grade in ``most``.
    """
    if grade is None:
        return uncertainty
    least = grade / most * threshold
    return np.where(grade > most, np.maximum(uncertainty, least), uncertainty)


def why_unknown(
    atoms: Atoms, uncertainty: Array, grade: Array | None, threshold: float, most: float = 1.0
) -> str:
    """Reason why a frame is not known, without its step; empty if it is.

    Parameters
    ----------
    atoms : ase.Atoms
    uncertainty, grade, threshold, most
        See `doubt`.
    """
    if doubt(uncertainty, grade, threshold, most).max() <= threshold:
        return ""
    atom = int(uncertainty.argmax())
    if uncertainty[atom] > threshold:
        return (
            f"the uncertainty of atom {atom} ({atoms.symbols[atom]}) is {uncertainty[atom]:.4f} "
            f"eV/Å, above {threshold:.4g}"
        )
    assert grade is not None  # else nothing would be in doubt
    atom = int(grade.argmax())
    return (
        f"atom {atom} ({atoms.symbols[atom]}) is outside what the potential has labels of, grade "
        f"{grade[atom]:.3g}"
    )
