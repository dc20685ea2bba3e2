"""Bounds of errors and the expected error, as ensembles and iterations hold them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from nearsight.files.records.base import Part

__all__ = [
    "FEWEST",
    "FEWEST_IMAGES",
    "STATED",
    "Bound",
    "Bounds",
    "ExpectedError",
    "Factor",
    "Uncertainty",
]

STATED = 0.99
"""Part of the errors that the stated uncertainty is to cover."""
FEWEST = 100
"""Labels on which a bound must rest: the largest of n covers 97 % with probability 1 − 0.97ⁿ."""
FEWEST_IMAGES = 2
"""Images these must be in: the forces of one chunk are alike. Of 300 draws of larger chunks of
Pt260 (EMT) the mean error in one (48 forces) was off by more than 15 % in 15 to 21 %, in two in 7
to 13 %."""

LARGEST = 1e50
"""Of a factor, and of an uncertainty in eV/Å: their products are finite."""

Factor = Annotated[FiniteFloat, Field(gt=0, le=LARGEST)]
Uncertainty = Annotated[FiniteFloat, Field(ge=0, le=LARGEST)]
Floats = npt.NDArray[np.float64]


class Bound(Part):
    """A bound of errors by the raw uncertainty δ: ``factor`` × δ, beyond the knee δ and a constant.

    Members trained on the same agree too well, which the factor mends. Labels tell it for δ as
    large as theirs; where members differ by more, δ itself is the 99 % bound of a normal
    distribution, and grows faster than errors do. The floor of forces is zero, or a δ below which
    most of what the bound rests on lies: then it is the same for nearly all.

    Attributes
    ----------
    factor, factor_95 : float
        Of the 99 % bound, which is stated, and of the 95 % bound.
    floor : float
        In the unit of δ.
    knee : float or None
        In the unit of δ, the largest or the median of the labels it rests on; None in older files,
        where factors hold for any δ (as those below 1 always do).
    labels, images : int
        On which it rests, none of them known to the members asked, and in how many images.
    """

    factor: Factor
    factor_95: Factor
    floor: Uncertainty = 0.0
    knee: Uncertainty | None = None
    labels: NonNegativeInt
    images: NonNegativeInt

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("knee",)

    @model_validator(mode="after")
    def _check(self) -> Bound:
        if self.factor_95 > self.factor:
            raise ValueError("factor_95 must not be above factor")
        if self.knee is not None and self.knee < self.floor:
            raise ValueError("knee must not be below floor")
        return self

    @property
    def is_constant(self) -> bool:
        """Whether a bound of forces is the same for all but those of uncommon δ."""
        return self.floor > 0.0

    @property
    def is_known(self) -> bool:
        """Whether it rests on enough."""
        return self.labels >= FEWEST and self.images >= FEWEST_IMAGES

    @property
    def excess(self) -> float:
        """What the bound exceeds δ by at most; infinite without a knee."""
        return self._excess(self.factor)

    def of(self, raw: Floats | float) -> Floats:
        """The 99 % bound for raw uncertainties."""
        return self._with_factor(self.factor, np.maximum(raw, self.floor))

    def beside(self, stated: Floats | float) -> Floats:
        """The 95 % bound where the 99 % bound is ``stated``."""
        raw = np.maximum(stated / self.factor, stated - self.excess)
        return self._with_factor(self.factor_95, raw)

    def _with_factor(self, factor: float, raw: Floats) -> Floats:
        return np.asarray(np.minimum(factor * raw, raw + self._excess(factor)))

    def _excess(self, factor: float) -> float:
        return np.inf if self.knee is None else max(factor - 1.0, 0.0) * self.knee


class Bounds(Part):
    """The bounds of an ensemble.

    Attributes
    ----------
    forces : Bound
        δ in eV/Å.
    energy : Bound or None
        δ of the energy per atom, in eV.
    virial : Bound or None
        δ of the virial per atom, the largest of a component, in eV; None where no chunk has all
        its forces.
    """

    forces: Bound
    energy: Bound | None = None
    virial: Bound | None = None


class ExpectedError(Part):
    """Mean error of a force on the target, as labels tell that the members do not know.

    Attributes
    ----------
    mean : float, eV/Å
    low, high : float, eV/Å
        Between which it lies with 90 % probability, if the images are like others: by Student's t
        of their means. Both are the mean where there is one image.
    forces, images : int
        On which it rests.
    source : str
        "validation": inner forces of larger chunks (or whole geometries) never trained on;
        "out-of-bag": inner forces of chunks, each by the members whose sample lacks it.
    typical : float, eV/Å
        Mean length of these forces.
    """

    mean: Uncertainty
    low: Uncertainty
    high: Uncertainty
    forces: PositiveInt
    images: PositiveInt
    source: Literal["validation", "out-of-bag"]
    typical: Uncertainty

    @model_validator(mode="after")
    def _check(self) -> ExpectedError:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self

    @property
    def relative(self) -> float:
        """Part of the typical force."""
        return self.mean / self.typical if self.typical else float("inf")
