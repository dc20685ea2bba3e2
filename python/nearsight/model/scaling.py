"""Scaling of the features before the networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearsight import _core
from nearsight.errors import InputError
from nearsight.model.symmetry_functions import SymmetryFunctions

__all__ = ["Scaling", "ScalingForm"]

Array = npt.NDArray[np.float64]
NONE = np.zeros(0)


@dataclass(frozen=True)
class ScalingForm:
    """How features are scaled: low + (high − low) (G − origin) / width.

    Attributes
    ----------
    kind : {"range", "mean", "sigma", "centered", "none"}
        ``range``: origin is the minimum, width maximum − minimum; ``mean``: the same width from the
        mean; ``sigma``: width is the standard deviation, from the mean; ``centered``: G − mean;
        ``none``: G. The last four are n2p2's.
    low, high : float
    """

    kind: str = "range"
    low: float = -1.0
    high: float = 1.0


@dataclass(frozen=True)
class Scaling:
    """Scaling of the features, by element: to [−1, 1] unless ``form`` says otherwise.

    Attributes
    ----------
    minimum, maximum : dict of str to (features,) float64
    form : ScalingForm
    mean, sigma : dict of str to (features,) float64
        Empty where the form does not ask for them.
    """

    minimum: Mapping[str, Array]
    maximum: Mapping[str, Array]
    form: ScalingForm = ScalingForm()
    mean: Mapping[str, Array] | None = None
    sigma: Mapping[str, Array] | None = None

    @classmethod
    def fit(cls, functions: SymmetryFunctions, features: Iterable[Mapping[str, Array]]) -> Scaling:
        """From the features of structures, as `SymmetryFunctions.compute` gives them.

        Raises
        ------
        InputError
            If an element of ``functions`` occurs in none of them.
        """
        minimum, maximum = {}, {}
        structures = list(features)
        for element in functions.elements:
            parts = [s[element] for s in structures if element in s]
            if not parts:
                raise InputError(
                    f"no structure contains {element} with neighbours: "
                    "its features cannot be scaled"
                )
            of_element = np.concatenate(parts)
            minimum[element] = of_element.min(axis=0)
            maximum[element] = of_element.max(axis=0)
        return cls(minimum, maximum)

    @classmethod
    def unscaled(cls, sizes: Mapping[str, int]) -> Scaling:
        """None, of these numbers of features."""
        zero = {element: np.zeros(size) for element, size in sizes.items()}
        return cls(zero, zero, ScalingForm("none"))

    def linear(self, element: str) -> tuple[Array, Array]:
        """``scale, offset`` so that scaled = scale · G + offset.

        A feature that never varied carries no information and is scaled to zero.

        Raises
        ------
        InputError
            If what the form asks for is missing.
        """
        return _core.linear_scaling(
            self.minimum[element],
            self.maximum[element],
            NONE if self.mean is None else self.mean[element],
            NONE if self.sigma is None else self.sigma[element],
            self.form.kind,
            self.form.low,
            self.form.high,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON, without the form."""
        kept = {
            "minimum": self.minimum,
            "maximum": self.maximum,
            "mean": self.mean,
            "sigma": self.sigma,
        }
        return {
            element: {name: of[element] for name, of in kept.items() if of is not None}
            for element in self.minimum
        }

    @classmethod
    def from_dict(
        cls, content: Mapping[str, Any], form: Mapping[str, Any] | None = None
    ) -> Scaling:
        """The inverse of `to_dict`; the content of a record."""

        def of(name: str) -> dict[str, Array]:
            return {e: np.asarray(v[name], dtype=float) for e, v in content.items()}

        def of_all(name: str) -> dict[str, Array] | None:
            return of(name) if all(v.get(name) is not None for v in content.values()) else None

        return cls(
            of("minimum"),
            of("maximum"),
            ScalingForm() if form is None else ScalingForm(**form),
            of_all("mean"),
            of_all("sigma"),
        )
