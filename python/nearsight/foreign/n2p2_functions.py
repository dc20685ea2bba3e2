"""Lines ``symfunction_short`` of n2p2 and RuNNer, and their order in its other files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from ase.data import atomic_numbers

from nearsight.errors import InputError, plain_text
from nearsight.foreign.n2p2_settings import Settings
from nearsight.structures.text_files import Line, number, whole_number

__all__ = ["CutoffType", "FunctionLine", "read_cutoff", "read_functions"]

GAUSSIAN = ("eta", "r_s", "rc")
ANGULAR = ("eta", "lambda", "zeta", "rc")
COLUMNS = {
    2: GAUSSIAN,
    3: ANGULAR,
    9: ANGULAR,
    12: GAUSSIAN,
    13: ("eta", "r_s", "lambda", "zeta", "rc"),
    20: ("low", "rc"),
    21: ("low", "rc", "left", "right"),
    22: ("low", "rc", "left", "right"),
    23: ("low", "rc"),
    24: ("low", "rc", "left", "right"),
    25: ("low", "rc", "left", "right"),
}
"""Numbers behind the elements, by type. A last one, r_s, may stand in types 3 and 9."""

NEIGHBOURS = {2: 1, 3: 2, 9: 2, 20: 1, 21: 2, 22: 2}
"""How many elements; the other types are weighted by atomic numbers and have none."""

ORDER = {
    2: ("eta", "r_s"),
    3: ("eta", "r_s", "zeta", "lambda"),
    9: ("eta", "r_s", "zeta", "lambda"),
    12: ("eta", "r_s"),
    13: ("eta", "r_s", "zeta", "lambda"),
}
COMPACT = 20
"""The first type without cutoff function."""


@dataclass(frozen=True)
class CutoffType:
    """n2p2's cutoff function of all functions that have one."""

    type: int = 1
    alpha: Fraction = Fraction(0)


@dataclass(frozen=True)
class FunctionLine:
    """A symmetry function as n2p2 has it, in the units of the file.

    Attributes
    ----------
    center : str
    type : int
    elements : tuple of str
        Of the neighbours.
    values : dict of str to Fraction
        Named as in `COLUMNS`.
    shape : str
        n2p2's subtype of compact functions: p1 to p4, with an a behind it, or e.
    place : str
        For messages.
    """

    center: str
    type: int
    elements: tuple[str, ...]
    values: Mapping[str, Fraction]
    shape: str = ""
    place: str = ""

    @property
    def rank(self) -> tuple[object, ...]:
        """n2p2 sorts the functions of an element by this."""
        numbers = sorted(atomic_numbers[each] for each in self.elements)
        value = self.values
        if self.type < COMPACT:
            return (self.type, value["rc"], *(value[name] for name in ORDER[self.type]), *numbers)
        angles = [value[name] for name in ("left", "right") if name in value]
        return (self.type, self.shape, *numbers, value["rc"], value["low"], *angles)

    def error(self, reason: str) -> InputError:
        """The error for this function."""
        return InputError(f"{self.place}: {reason}")


def read_cutoff(settings: Settings) -> CutoffType:
    """The cutoff function.

    Raises
    ------
    InputError
        If there is none, or n2p2 does not know it.
    """
    line = settings.line("cutoff_type")
    kind = whole_number(line.words[0], line)
    if kind > 8:
        raise line.error(f"unknown cutoff_type {kind}, expected 0 to 8")
    alpha = number(line.words[1], line) if len(line.words) > 1 else Fraction(0)
    if not 0 <= alpha < 1:
        raise line.error("alpha must be at least 0 and less than 1")
    return CutoffType(kind, alpha)


def read_functions(settings: Settings) -> dict[str, list[FunctionLine]]:
    """The functions of every element, in the order of the file.

    Raises
    ------
    InputError
        For a line that n2p2 does not know, and an element without functions.
    """
    found: dict[str, list[FunctionLine]] = {element: [] for element in settings.elements}
    for line in settings.all("symfunction_short"):
        made = _function(line, settings)
        found[made.center].append(made)
    for element, functions in found.items():
        if not functions:
            raise InputError(f"{settings.path}: no symfunction_short of {element}")
    return found


def _function(line: Line, settings: Settings) -> FunctionLine:
    words = list(line.words)
    if len(words) < 2:
        raise line.error("symfunction_short needs an element and a type")
    center, kind = settings.element(line, words[0]), whole_number(words[1], line)
    if kind not in COLUMNS:
        known = ", ".join(map(str, COLUMNS))
        raise line.error(f"symmetry functions of type {kind} are not read, only {known}")
    count, names = NEIGHBOURS.get(kind, 0), list(COLUMNS[kind])
    elements = tuple(settings.element(line, word) for word in words[2 : 2 + count])
    rest = words[2 + count :]
    if kind in (3, 9) and len(rest) == len(names) + 1:
        names.append("r_s")
    shape = rest.pop() if kind >= COMPACT and len(rest) == len(names) + 1 else ""
    if len(rest) != len(names) or (kind >= COMPACT and not shape):
        raise line.error(
            f"expected {count + len(names) + (kind >= COMPACT)} values behind the type"
        )
    values = {name: number(word, line) for name, word in zip(names, rest, strict=True)}
    if kind in (3, 9):
        values.setdefault("r_s", Fraction(0))
    if values["rc"] <= 0:
        raise line.error("the cutoff must be more than 0")
    if kind >= COMPACT:
        _check_compact(values, shape, line)
    return FunctionLine(center, kind, elements, values, shape, line.place)


def _check_compact(values: Mapping[str, Fraction], shape: str, line: Line) -> None:
    """What n2p2 asks of compact functions."""
    if shape not in ("p1", "p2", "p3", "p4", "p1a", "p2a", "p3a", "p4a", "e"):
        raise line.error(
            f"unknown shape {plain_text(shape, 20)!r}, expected p1 to p4, p1a to p4a, e"
        )
    if values["low"] >= values["rc"]:
        raise line.error("the lower radius must be less than the upper one")
    if "left" not in values:
        return
    left, right = values["left"], values["right"]
    if left >= right or right - left > 360:
        raise line.error("the left angle must be less than the right one, by 360 at most")
    if (left < 0 and left + right != 0) or (right > 180 and left + right != 360):
        raise line.error(
            "angles must lie in [0, 180], unless the centre between them is 0 or 180 degrees"
        )
