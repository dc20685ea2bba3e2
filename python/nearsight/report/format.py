"""Numbers as text: three digits and a unit."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from markupsafe import Markup, escape

__all__ = [
    "as_text",
    "capital",
    "core_time",
    "duration",
    "ev",
    "formula",
    "g",
    "mev",
    "mev_per_angstrom",
    "number",
    "percent",
]

SPACE = "\N{NO-BREAK SPACE}"
NONE = "–"


def number(value: float | None, digits: int = 3) -> str:
    """``value`` to that many digits, never in scientific notation; a dash if it is not known."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(decimals, 6)}f}"
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")


def mev(value: float | None) -> str:
    """A quantity in eV, eV/Å or eV/atom as a number in thousandths of it, without the unit."""
    return number(None if value is None else 1000 * value)


def mev_per_angstrom(value: float | None) -> str:
    """A quantity in eV/Å as a number in meV/Å with its unit, never split between lines."""
    return f"{mev(value)}{SPACE}meV/\N{WORD JOINER}Å"


def ev(value: float | None) -> str:
    """An energy in eV to a hundredth of one, without the unit."""
    return NONE if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def percent(fraction: float | None, decimals: int = 1) -> str:
    """A fraction in per cent."""
    return NONE if fraction is None else f"{100 * fraction:.{decimals}f}{SPACE}%"


def capital(text: str) -> str:
    """A sentence with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def g(value: float) -> str:
    """A number from the settings, in its shortest form."""
    return f"{value:g}"


def duration(seconds: float) -> str:
    """Seconds in seconds, minutes or hours."""
    if seconds < 10:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest}{SPACE}s"
    hours, left = divmod(minutes, 60)
    if hours < 1:
        return f"{minutes}{SPACE}min {rest}{SPACE}s"
    return f"{hours:,}{SPACE}h {left}{SPACE}min".replace(",", "\N{NARROW NO-BREAK SPACE}")


def core_time(seconds: float) -> str:
    """Time of a core: in hours, or in seconds where it is little."""
    if seconds < 360:
        return f"{number(seconds, 2)}{SPACE}core-seconds"
    return f"{number(seconds / 3600)}{SPACE}core-hours"


def formula(text: str) -> Markup:
    """A chemical formula with its numbers as subscripts."""
    return Markup(re.sub(r"(?<=[A-Za-z)])(\d+)", r"<sub>\1</sub>", str(escape(text))))


def as_text(value: Any) -> str:
    """A value of any kind, if it is not text in the form of JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
