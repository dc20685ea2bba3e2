"""The environments that labels are known of, and how far others are from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearsight import _core
from nearsight.errors import InputError
from nearsight.model.symmetry_functions import SymmetryFunctions

__all__ = ["Domain", "Environments"]

Array = npt.NDArray[np.float64]

SPREAD: float = _core.DOMAIN_SPREAD
"""Spread of scaled features, whose range is −1 to 1, that is added to theirs: directions in which
the labelled environments hardly differ count no more than this. Of 1e-1 to 1e-4 it told best what
was wrong outside from what was right inside."""

MARGIN = 1.01
"""Radius of the ellipsoid in distances of the farthest labelled environment, and the least labelled
sum of features in units of that which is the limit."""

BOX: float = _core.DOMAIN_BOX
"""Width of the box in ranges of the labelled environments, and of the spacing in theirs."""


@dataclass(frozen=True)
class Environments:
    """An ellipsoid in the space of the scaled features x of an element, cut by a box and a plane.

    Attributes
    ----------
    center : (S,) float64
    factor : (S, S) float64
        Lower triangular; |factor (x − center)| is the Mahalanobis distance from the mean of the
        labelled environments, in units of that of the farthest one.
    minimum, maximum : (S,) float64
        Of the labelled environments.
    least : float or None
        The least sum of their features G, each in units of its range: the number of neighbours, in
        a way. None where no such plane is known. With several elements, the features of each
        element may be as small as for few neighbours where there are many of another one.
    spacing : float, Å, or None
        The largest distance to the nearest neighbour. Functions are made for such distances, and
        hardly tell a crystal stretched by half from a surface. None where it is not known.
    """

    center: Array
    factor: Array
    minimum: Array
    maximum: Array
    least: float | None = None
    spacing: float | None = None

    @classmethod
    def of(
        cls, scaled: Array, sums: Array | None = None, spacing: float | None = None
    ) -> Environments:
        """Those of scaled features (environments, S); without any, everything is outside.

        ``sums`` (environments,) are those of features in units of their ranges.
        """
        count, size = max(len(scaled), 1), scaled.shape[1]
        center = scaled.sum(axis=0) / count
        away = scaled - center
        # einsum rather than BLAS, whose last bits depend on its number of threads
        covariance = np.einsum("ni,nj->ij", away, away, optimize=False) / count
        lower = np.linalg.inv(np.linalg.cholesky(covariance + SPREAD**2 * np.eye(size)))
        turned = np.einsum("ij,nj->ni", lower, away, optimize=False)
        farthest = np.linalg.norm(turned, axis=1).max(initial=1.0)
        return cls(
            center,
            np.tril(lower) / (MARGIN * farthest),
            scaled.min(axis=0) if len(scaled) else center,
            scaled.max(axis=0) if len(scaled) else center,
            None if sums is None or not len(sums) else float(sums.min()) / MARGIN or None,
            spacing,
        )


@dataclass(frozen=True)
class Domain:
    """What the labels of an ensemble cover.

    The extrapolation grade of an atom is the Mahalanobis distance of its environment in units of
    that of the farthest labelled one, or how far a feature leaves the labelled range, or how much
    the sum of features is below the least labelled one, or the distance to the nearest neighbour in
    units of the largest labelled one, if that is more. Above 1 the atom is outside.

    Attributes
    ----------
    environments : dict of str to Environments
        By element.
    largest_uncertainty : float, eV/Å
        The largest raw uncertainty of a labelled force. That of an atom outside is said to be no
        smaller than this times its grade.
    """

    environments: Mapping[str, Environments]
    largest_uncertainty: float

    def core(
        self, functions: SymmetryFunctions
    ) -> list[tuple[Array, Array, Array, Array, float, float]]:
        """What the compiled core takes: the values of `Environments` of every element.

        Raises
        ------
        InputError
            If an element is missing, or its domain has another number of features.
        """
        found = []
        for element in functions.elements:
            if element not in self.environments:
                raise InputError(f"the domain has no environments of {element}")
            each = self.environments[element]
            if len(each.center) != functions.size(element):
                raise InputError(f"the domain of {element} has another number of features")
            arrays = (each.center, each.factor, each.minimum, each.maximum)
            found.append((*arrays, each.least or 0.0, each.spacing or 0.0))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON."""
        return {
            "largest_uncertainty": self.largest_uncertainty,
            "environments": {element: vars(each) for element, each in self.environments.items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Domain:
        """The inverse of `to_dict`; the content of a record."""
        environments = {
            element: Environments(
                **{
                    name: np.asarray(value, dtype=float)
                    for name, value in part.items()
                    if name not in ("least", "spacing")
                },
                least=part.get("least"),
                spacing=part.get("spacing"),
            )
            for element, part in content["environments"].items()
        }
        return cls(environments, float(content["largest_uncertainty"]))
