"""Symmetry functions as other programs have them, each with a window of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nearsight.errors import InputError

__all__ = ["Angular", "Radial", "Window"]


@dataclass(frozen=True)
class Window:
    """A function that is 1 up to ``start`` and falls to 0 at ``end``; or a bump between them.

    With x from 0, where it is 1, to 1, where it is 0:

    ================  =====================================================
    hard              1
    cosine            (1 + cos πx) / 2
    tanh3             tanh³(1 − r/end); ``start`` does not count
    scaled_tanh3      the same over tanh³(1)
    exponential       exp(1 − 1/(1 − x²))
    polynomial1       1 + 2x³ − 3x²
    polynomial2       1 − 6x⁵ + 15x⁴ − 10x³
    polynomial3       1 + 20x⁷ − 70x⁶ + 84x⁵ − 35x⁴
    polynomial4       1 − 70x⁹ + 315x⁸ − 540x⁷ + 420x⁶ − 126x⁵
    ================  =====================================================

    Attributes
    ----------
    shape : str
    start, end : float
        Å; degrees for a window of an angle.
    bump : bool
        Whether it is 1 in the middle between start and end, and 0 at both.
    asymmetric : bool
        Whether (2 − x) x stands for x.
    """

    shape: str
    start: float
    end: float
    bump: bool = False
    asymmetric: bool = False

    @property
    def row(self) -> tuple[str, float, float, bool, bool]:
        """As the core takes it."""
        return self.shape, float(self.start), float(self.end), self.bump, self.asymmetric


@dataclass(frozen=True)
class Radial:
    """Σ_j w_j exp(−η (R_ij − R_s)²) window(R_ij) (n2p2's types 2, 12, 20 and 23).

    Attributes
    ----------
    elements : tuple of str
        Element of the neighbours; none where there are weights.
    eta : float
        1/Å², not divided by a cutoff.
    r_s : float
        R_s in Å.
    window : Window
    weights : dict of str to float
        w by element: all neighbours count; without them w is 1.
    """

    elements: tuple[str, ...]
    eta: float
    r_s: float
    window: Window
    weights: Mapping[str, float] = field(default_factory=dict)

    COUNT = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(self.elements))
        expected = 0 if self.weights else self.COUNT
        if len(self.elements) != expected:
            raise InputError(
                f"a symmetry function {type(self).__name__} "
                f"{'with weights ' * (expected == 0)}takes {expected} elements, got "
                f"{self.elements!r}"
            )

    @property
    def named(self) -> tuple[str, ...]:
        """Elements that it mentions."""
        return (*self.elements, *self.weights)

    def form(self, index: Mapping[str, int]) -> tuple[Any, ...]:
        """What the core takes beside the numbers; ``index`` is that of the species."""
        weights = [float(self.weights.get(element, 0.0)) for element in index]
        return self.window.row, False, None, weights if self.weights else []

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON."""
        content = {
            "type": type(self).__name__,
            "elements": list(self.elements),
            "eta": self.eta,
            "r_s": self.r_s,
            "window": vars(self.window).copy(),
        }
        return content | ({"weights": dict(self.weights)} if self.weights else {})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Radial:
        """The inverse of `to_dict`; the content of a record."""
        values = {name: value for name, value in content.items() if value is not None}
        del values["type"]
        for name in ("window", "angles"):
            if name in values:
                values[name] = Window(**values[name])
        return cls(**values)


@dataclass(frozen=True)
class Angular(Radial):
    """Σ_{j<k} w_j w_k A(θ) ρ(R_ij) ρ(R_ik) ρ(R_jk), with the ρ of `Radial`.

    A = 2^(1−ζ) (1 + γ cos θ)^ζ where 1 + γ cos θ is positive, or a window of the angle (n2p2's
    types 3, 9, 13, 21, 22, 24 and 25).

    Attributes
    ----------
    elements : tuple of two str
        Of the neighbours, in either order; none where there are weights.
    zeta, gamma : float
        ζ > 0, and γ; without meaning where there is a window of the angle.
    closed : bool
        Whether ρ(R_jk) is a factor.
    angles : Window or None
        In degrees.
    """

    zeta: float = 1.0
    gamma: float = 0.0
    closed: bool = True
    angles: Window | None = None

    COUNT = 2

    def form(self, index: Mapping[str, int]) -> tuple[Any, ...]:
        """What the core takes beside the numbers."""
        window, _, _, weights = super().form(index)
        return window, self.closed, None if self.angles is None else self.angles.row, weights

    def to_dict(self) -> dict[str, Any]:
        """Plain content for JSON."""
        content = super().to_dict() | {
            "zeta": self.zeta,
            "gamma": self.gamma,
            "closed": self.closed,
        }
        return content | ({} if self.angles is None else {"angles": vars(self.angles).copy()})
