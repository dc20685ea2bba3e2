"""Symmetry functions of n2p2 as those of nearsight, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from ase.data import atomic_numbers

from nearsight.errors import InputError
from nearsight.foreign.n2p2_functions import COMPACT, CutoffType, FunctionLine
from nearsight.model.general_functions import Angular, Radial, Window
from nearsight.model.symmetry_functions import (
    G2,
    G4,
    G5,
    Cutoff,
    SymmetryFunction,
    SymmetryFunctions,
)
from nearsight.structures.text_files import shortest
from nearsight.structures.units import Units

__all__ = ["to_functions", "to_lines"]

FAST = {1: ("cosine", 4.0), 5: ("polynomial", 2.0)}
"""Cutoff types that are those of nearsight, with its γ: 5 is 1 + 2x³ − 3x²."""


SHAPES = (
    "hard",
    "cosine",
    "tanh3",
    "scaled_tanh3",
    "exponential",
    "polynomial1",
    "polynomial2",
    "polynomial3",
    "polynomial4",
)
"""Shapes of windows, by n2p2's cutoff type."""

COMPACT_SHAPES = {
    "e": "exponential",
    "p1": "polynomial1",
    "p2": "polynomial2",
    "p3": "polynomial3",
    "p4": "polynomial4",
}
RADIAL = (2, 12, 20, 23)
CLOSED = (3, 13, 21, 24)
WEIGHTED = (12, 13, 23, 24, 25)
"""Types of n2p2: of one neighbour, with a factor in R_jk, weighted by atomic numbers."""


def to_functions(
    lines: Mapping[str, Sequence[FunctionLine]], cutoff: CutoffType, units: Units
) -> SymmetryFunctions:
    """The same functions, in the order of the lines.

    Raises
    ------
    InputError
        For a parameter out of its domain.
    """
    is_known = cutoff.type in FAST and cutoff.alpha == 0
    pairs = {
        element: [(line, _fast(line, units) if is_known else None) for line in of]
        for element, of in lines.items()
    }
    every = [pair for of in pairs.values() for pair in of]
    reach = max(line.values["rc"] for line, _ in every)
    angular = (line.values["rc"] for line, made in every if isinstance(made, G4 | G5))
    inner = max(angular, default=reach)

    def of_line(line: FunctionLine, made: SymmetryFunction | None) -> SymmetryFunction:
        radius = reach if isinstance(made, G2) else inner
        if made is not None and line.values["rc"] == radius:
            return made
        return _general(line, cutoff, units, list(lines))

    kind, gamma = FAST.get(cutoff.type, FAST[1])
    outer, within = (Cutoff(float(r * units.in_angstrom), kind, gamma) for r in (reach, inner))
    found = {element: [of_line(*pair) for pair in of] for element, of in pairs.items()}
    return SymmetryFunctions(found, outer, within)


def _fast(line: FunctionLine, units: Units) -> SymmetryFunction | None:
    """As one of the functions for which there are fast loops, which η divided by Rc² has."""
    value = line.values
    if line.type not in (2, 3, 9) or value["eta"] < 0:
        return None
    eta = float(value["eta"] * value["rc"] ** 2)
    if line.type == 2:
        return G2(line.elements[0], eta, float(value["r_s"] * units.in_angstrom))
    if value["zeta"] < 1 or abs(value["lambda"]) > 1:
        return None
    kind = G4 if line.type == 3 else G5
    first, second = line.elements
    numbers = eta, float(value["zeta"]), float(value["lambda"])
    return kind((first, second), *numbers, float(value["r_s"] * units.in_angstrom))


def _general(
    line: FunctionLine, cutoff: CutoffType, units: Units, elements: Sequence[str]
) -> SymmetryFunction:
    """As one with a window of its own."""
    value, unit = line.values, units.in_angstrom
    end = float(value["rc"] * unit)
    eta = r_s = 0.0
    angles = None
    if line.type < COMPACT:
        eta, r_s = float(value["eta"] / unit**2), float(value["r_s"] * unit)
        start = float(cutoff.alpha * value["rc"] * unit)
        window = Window(SHAPES[cutoff.type], start, end)
    else:
        shape = COMPACT_SHAPES[line.shape.removesuffix("a")]
        kind = {"bump": True, "asymmetric": line.shape.endswith("a")}
        window = Window(shape, float(value["low"] * unit), end, **kind)
        if "left" in value:
            # n2p2 has the angle's window symmetric, whatever that of the distances
            angles = Window(shape, float(value["left"]), float(value["right"]), bump=True)
    weights = {each: float(atomic_numbers[each]) for each in elements}
    weighted = weights if line.type in WEIGHTED else {}
    if line.type in RADIAL:
        return Radial(line.elements, eta, r_s, window, weighted)
    zeta, gamma = float(value.get("zeta", 1)), float(value.get("lambda", 0))
    closed = line.type in CLOSED
    return Angular(line.elements, eta, r_s, window, weighted, zeta, gamma, closed, angles)


def to_lines(functions: SymmetryFunctions, units: Units) -> tuple[str, dict[str, list[str]]]:
    """What stands behind ``cutoff_type``, and behind ``symfunction_short`` for every element.

    The numbers are the shortest that `to_functions` turns into these functions again.

    Raises
    ------
    InputError
        For a function that n2p2 does not have.
    """
    writer = _Writer(functions, units)
    lines = {
        element: [" ".join((element, *writer.words(each))) for each in of]
        for element, of in functions.functions.items()
    }
    return writer.cutoff(), lines


class _Writer:
    """The cutoff that all functions share shows as they are written."""

    def __init__(self, functions: SymmetryFunctions, units: Units) -> None:
        self.unit = units.in_angstrom
        self.cutoff_of_g2, self.angular = functions.cutoff, functions.angular_cutoff
        self.types: set[int] = set()
        self.starts: set[tuple[float, str]] = set()

    def words(self, function: SymmetryFunction) -> list[str]:
        if isinstance(function, Radial):
            return self._general(function)
        known = {form: number for number, form in FAST.items()}
        cutoff = self.cutoff_of_g2 if isinstance(function, G2) else self.angular
        kind, gamma = cutoff.function, cutoff.gamma
        number = known.get((kind, FAST[1][1] if kind == "cosine" else gamma))
        if number is None:
            raise InputError(f"n2p2 has no polynomial cutoff with γ = {gamma:g}, only with γ = 2")
        self.types.add(number)
        rc = self._length(cutoff.radius)
        self.starts.add((0.0, rc))
        square = Fraction(rc) ** 2
        eta = shortest(
            Fraction(function.eta) / square, lambda near: float(near * square) == function.eta
        )
        if isinstance(function, G2):
            return ["2", function.element, eta, self._length(function.r_s), rc]
        number = 3 if isinstance(function, G4) else 9
        return [
            str(number),
            *function.elements,
            eta,
            _text(function.gamma),
            _text(function.zeta),
            rc,
            *([self._length(function.r_s)] if function.r_s else []),
        ]

    def _general(self, function: Radial) -> list[str]:
        window, rc = function.window, self._length(function.window.end)
        is_angular = isinstance(function, Angular)
        angles = function.angles if isinstance(function, Angular) else None
        self._check_weights(function)
        if window.bump:
            return self._compact(function, rc)
        if angles is not None or window.asymmetric or window.shape not in SHAPES:
            raise InputError("n2p2 has no window of an angle beside a cutoff function")
        self.types.add(SHAPES.index(window.shape))
        self.starts.add((window.start, rc))
        square = self.unit**2
        eta = shortest(
            Fraction(function.eta) * square, lambda near: float(near / square) == function.eta
        )
        r_s = self._length(function.r_s)
        if not is_angular:
            return ["12" if function.weights else "2", *function.elements, eta, r_s, rc]
        assert isinstance(function, Angular)
        turn = [_text(function.gamma), _text(function.zeta)]
        if not function.weights:
            return ["3" if function.closed else "9", *function.elements, eta, *turn, rc, r_s]
        if not function.closed:
            raise InputError("n2p2 has no weighted angular function without the third distance")
        return ["13", eta, r_s, *turn, rc]

    def _compact(self, function: Radial, rc: str) -> list[str]:
        window = function.window
        shape = {name: letter for letter, name in COMPACT_SHAPES.items()}.get(window.shape)
        if shape is None or function.eta != 0.0:
            raise InputError(
                f"n2p2 has no compact function of shape {window.shape} with η = {function.eta:g}"
            )
        shape += "a" * window.asymmetric
        weighted, low = bool(function.weights), self._length(window.start)
        if not isinstance(function, Angular):
            return ["23" if weighted else "20", *function.elements, low, rc, shape]
        angles = function.angles
        if angles is None or not angles.bump or angles.shape != window.shape or angles.asymmetric:
            raise InputError("n2p2 has one shape for the distances and the angle of a function")
        number = (24 if function.closed else 25) if weighted else (21 if function.closed else 22)
        turn = [_text(angles.start), _text(angles.end)]
        return [str(number), *function.elements, low, rc, *turn, shape]

    def cutoff(self) -> str:
        """Type and alpha."""
        if not self.types:
            return "1"
        if len(self.types) > 1:
            raise InputError("n2p2 has one cutoff function for all symmetry functions")
        start, rc = max(self.starts)
        length = Fraction(rc) * self.unit

        def fits(near: Fraction) -> bool:
            return all(float(near * Fraction(r) * self.unit) == s for s, r in self.starts)

        try:
            alpha = shortest(Fraction(start) / length, fits)
        except ValueError:
            raise InputError(
                "n2p2 has one ratio of the inner to the outer radius of all cutoffs"
            ) from None
        return f"{self.types.pop()} {alpha}"

    def _length(self, value: float) -> str:
        return shortest(
            Fraction(value) / self.unit, lambda near: float(near * self.unit) == float(value)
        )

    @staticmethod
    def _check_weights(function: Radial) -> None:
        if any(weight != atomic_numbers[e] for e, weight in function.weights.items()):
            raise InputError("n2p2 weights functions by atomic numbers alone")


def _text(value: float) -> str:
    return shortest(Fraction(value), lambda near: float(near) == float(value))
