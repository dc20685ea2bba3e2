"""Text files of other programs: their lines, and numbers without rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from nearsight.errors import InputError, plain_text
from nearsight.reading import read_file

__all__ = ["Line", "number", "read_lines", "read_text", "shortest", "whole_number"]

LONGEST = 60
"""Characters of a number: those that programs print have 25."""


class Line(NamedTuple):
    """Words of one line of a file, without comment."""

    place: str
    words: Sequence[str]

    def error(self, reason: str) -> InputError:
        """The error for this line."""
        return InputError(f"{self.place}: {reason}")


def read_text(path: Path) -> str:
    """The text of a file.

    Raises
    ------
    InputError
        If it is missing, unreadable, or no text.
    """
    content = read_file(path)
    if b"\0" in content:
        raise InputError(f"{path}: not a text file")
    return content.decode(errors="replace")


def read_lines(path: Path, text: str | None = None) -> Iterator[Line]:
    """The lines of a file that hold more than a comment (``#``)."""
    for count, line in enumerate((read_text(path) if text is None else text).split("\n"), 1):
        words = line.partition("#")[0].split()
        if words:
            yield Line(f"{path}, line {count}", words)


def number(word: str, line: Line) -> Fraction:
    """A number as it is written, without rounding.

    Raises
    ------
    InputError
        If it is none, or not finite as a floating-point number.
    """
    try:
        value = Decimal(word) if len(word) <= LONGEST else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or not -400 < value.adjusted() < 308:
        raise line.error(f"expected a number, found {plain_text(word, 40)!r}")
    return Fraction(value)


def whole_number(word: str, line: Line, most: int = 10_000) -> int:
    """A whole number from 0 to ``most``."""
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) <= most):
        raise line.error(f"expected a whole number up to {most}, found {plain_text(word, 40)!r}")
    return int(word)


def shortest(value: Fraction, fits: Callable[[Fraction], bool]) -> str:
    """The shortest decimal number near ``value`` that fits.

    Raises
    ------
    ValueError
        If none of 40 digits fits.
    """
    for digits in range(1, 40):
        near = Context(prec=digits).divide(Decimal(value.numerator), Decimal(value.denominator))
        if fits(Fraction(near)):
            return _plain(near)
    raise ValueError(f"no decimal number near {float(value)!r} fits")


def _plain(value: Decimal) -> str:
    """Without exponent where it is short."""
    return f"{value:f}" if -6 < value.adjusted() < 17 else f"{value:E}"
