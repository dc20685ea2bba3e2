"""Symmetry functions and ensembles, as their files hold them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, FiniteFloat, model_validator

from nearsight.files.records.base import (
    Array,
    IntArray,
    Part,
    Record,
    Vector,
    array_of,
    check_lengths,
)
from nearsight.files.records.bounds import Bounds, Factor, Uncertainty

__all__ = ["EnsembleRecord", "FunctionsRecord"]

UNITS = {"energy": "eV", "length": "Å"}


class CutoffPart(Part):
    """A cutoff function."""

    radius: FiniteFloat
    function: str = "cosine"
    gamma: FiniteFloat = 4.0


class RadialPart(Part):
    """A radial symmetry function."""

    type: Literal["G2"]
    element: str
    eta: FiniteFloat
    r_s: FiniteFloat = 0.0


class AngularPart(Part):
    """An angular symmetry function."""

    type: Literal["G4", "G5"]
    elements: tuple[str, str]
    eta: FiniteFloat
    zeta: Annotated[FiniteFloat, Field(le=10_000)]
    gamma: FiniteFloat
    r_s: FiniteFloat | None = None
    """Å, where it is not 0."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("r_s",)


class WindowPart(Part):
    """A window of a distance or an angle."""

    shape: str
    start: FiniteFloat
    end: FiniteFloat
    bump: bool
    asymmetric: bool


class GeneralRadialPart(Part):
    """A radial symmetry function as other programs have it."""

    type: Literal["Radial"]
    elements: tuple[str, ...]
    eta: FiniteFloat
    r_s: FiniteFloat
    window: WindowPart
    weights: Annotated[dict[str, FiniteFloat], Field(min_length=1)] | None = None

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("weights", "angles")


class GeneralAngularPart(GeneralRadialPart):
    """An angular one."""

    type: Literal["Angular"]  # type: ignore[assignment]
    zeta: Annotated[FiniteFloat, Field(le=10_000)]
    gamma: FiniteFloat
    closed: bool
    angles: WindowPart | None = None


FunctionPart = Annotated[
    RadialPart | AngularPart | GeneralRadialPart | GeneralAngularPart, Field(discriminator="type")
]


class FunctionsPart(Part):
    """Symmetry functions by central element, in the order of the features."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("angular_cutoff",)

    cutoff: CutoffPart
    angular_cutoff: CutoffPart | None = None
    """That of G4 and G5, where it is another one."""
    functions: dict[str, list[FunctionPart]]

    @property
    def are_general(self) -> bool:
        """Whether one of them is of another program, which older versions do not compute."""
        return any(isinstance(f, GeneralRadialPart) for of in self.functions.values() for f in of)

    @property
    def are_shifted(self) -> bool:
        """Whether an angular one has an R_s, which older versions would not see."""
        every = (f for of in self.functions.values() for f in of)
        return any(isinstance(f, AngularPart) and f.r_s for f in every)


class FunctionsRecord(FunctionsPart, Record):
    """``symmetry_functions.json``."""

    FORMAT: ClassVar[str] = "nearsight-symmetry-functions"
    VERSION: ClassVar[int] = 3
    FILE: ClassVar[str] = "symmetry_functions.json"

    notes: dict[str, Any] = Field(default_factory=dict)
    """How they were chosen; never needed."""

    @property
    def version(self) -> int:
        """Of the file: the oldest that programs must know to compute what it holds."""
        if self.are_shifted:
            return 3
        return 2 if self.are_general or self.angular_cutoff is not None else 1


class ScalingPart(Part):
    """Range of the features of an element, and what else its scaling rests on."""

    minimum: Vector
    maximum: Vector
    mean: Vector | None = None
    sigma: Vector | None = None

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("mean", "sigma")

    @model_validator(mode="after")
    def _check(self) -> ScalingPart:
        if self.minimum.shape != self.maximum.shape or (self.maximum < self.minimum).any():
            raise ValueError("expected a maximum for every minimum, at least as large")
        check_lengths(len(self.minimum), mean=self.mean, sigma=self.sigma)
        return self


class ScalingFormPart(Part):
    """How features are scaled, where it is not to [-1, 1]."""

    kind: str
    low: FiniteFloat
    high: FiniteFloat


class EnvironmentsPart(Part):
    """The labelled environments of an element."""

    center: Vector
    factor: Annotated[Array, array_of(float, None, None)]
    minimum: Vector
    maximum: Vector
    least: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """With several elements; older files have none."""
    spacing: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Å. Older files have none."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("least", "spacing")

    @model_validator(mode="after")
    def _check(self) -> EnvironmentsPart:
        size = len(self.center)
        if self.factor.shape != (size, size):
            raise ValueError("expected a square factor, as large as the center")
        check_lengths(size, minimum=self.minimum, maximum=self.maximum)
        if (self.maximum < self.minimum).any():
            raise ValueError("expected a maximum at least as large as the minimum")
        return self


class DomainPart(Part):
    """What the labels of an ensemble cover."""

    largest_uncertainty: Uncertainty
    environments: dict[str, EnvironmentsPart]


class BaselinePart(Part):
    """Pair terms that are added to the networks."""

    radii: dict[str, Annotated[FiniteFloat, Field(gt=0)]]
    charges: dict[str, FiniteFloat]
    damping: Annotated[FiniteFloat, Field(ge=0)]
    cutoff: Annotated[FiniteFloat, Field(gt=0)]


class LayerPart(Part):
    """A layer of the network of a member."""

    activation: str
    weights: Annotated[Array, array_of(float, None, None)]
    bias: Vector


class NetworkPart(Part):
    """The network of a member for an element."""

    slope: FiniteFloat
    intercept: FiniteFloat
    layers: list[LayerPart]


class EnsembleRecord(Record):
    """An ensemble: ``best.json``, ``ensemble.json``."""

    FORMAT: ClassVar[str] = "nearsight-ensemble"
    VERSION: ClassVar[int] = 6
    FILE: ClassVar[str] = "best.json"

    units: dict[str, str]
    elements: list[str]
    provenance: dict[str, Any]
    calibration: Factor
    symmetry_functions: FunctionsPart
    scaling: dict[str, ScalingPart]
    scaling_form: ScalingFormPart | None = None
    """Files of versions 1 and 2 have none."""
    domain: DomainPart | None = None
    """Older files have none."""
    baseline: BaselinePart | None = None
    """Files of version 1 have none."""
    bounds: Bounds | None = None
    """The same."""
    multiplicities: Annotated[IntArray, array_of(int, None, None)] | None
    members: list[dict[str, NetworkPart]]
    digest: str | None = None
    """SHA-256 of all else; older files have none."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = (
        "digest",
        "domain",
        "baseline",
        "bounds",
        "scaling_form",
    )

    @property
    def version(self) -> int:
        """Of the file: the oldest that programs must know to compute what it holds."""
        known = {"linear", "tanh", "sigmoid", "softplus"}
        activations = {
            layer.activation
            for member in self.members
            for network in member.values()
            for layer in network.layers
        }
        if self.symmetry_functions.are_shifted:
            return 6
        environments = [] if self.domain is None else list(self.domain.environments.values())
        knee = None if self.bounds is None else self.bounds.forces.knee
        if knee is not None or any(each.spacing for each in environments):
            return 5
        if any(each.least for each in environments):
            return 4
        functions = self.symmetry_functions
        is_new = functions.are_general or functions.angular_cutoff is not None
        if self.scaling_form or is_new or activations - known:
            return 3
        return 1 if self.baseline is None else 2

    @model_validator(mode="after")
    def _check(self) -> EnsembleRecord:
        if self.units != UNITS:
            raise ValueError("units must be eV and Å")
        if self.bounds is not None and self.bounds.forces.factor != self.calibration:
            raise ValueError("calibration must be the factor of the bound of forces")
        if self.multiplicities is not None:
            if len(self.multiplicities) != len(self.members):
                raise ValueError("multiplicities must be those of every member")
            if (self.multiplicities < 0).any():
                raise ValueError("multiplicities must not be negative")
        return self
