"""Whether a frame is known: its uncertainty against a threshold, its grades against 1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ase import Atoms

__all__ = ["doubt", "why_unknown"]

Array = npt.NDArray[np.float64]


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
            f"eV/Å, above {threshold:g}"
        )
    assert grade is not None  # else nothing would be in doubt
    atom = int(grade.argmax())
    return (
        f"atom {atom} ({atoms.symbols[atom]}) is outside what the potential has labels of, grade "
        f"{grade[atom]:.3g}"
    )
