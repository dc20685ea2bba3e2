"""Common base of all settings, a frozen model, and the types of their fields."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    model_validator,
)

from nearsight.errors import did_you_mean
from nearsight.reading import split_selection

__all__ = [
    "Count",
    "CutoffRadius",
    "Different",
    "Element",
    "Hours",
    "InputFile",
    "Listed",
    "NotNegative",
    "Place",
    "Positive",
    "Possible",
    "Settings",
    "Timestep",
    "Zeta",
]


def _in_folder(path: Path, info: ValidationInfo) -> Path:
    """The path as seen from the folder of the configuration file, checked to exist there.

    In a run that has begun it need not: what was read of it is in the folder of the run.
    """
    context = info.context or {}
    begun = context.get("begun")
    folder = begun or context.get("folder")
    if folder is None:
        return path
    path = folder / path.expanduser()
    file = Path(split_selection(path)[0])
    if not file.is_file() and begun is None:
        raise ValueError(f"must be an existing file; there is no {file}")
    return path


def _place(place: str, info: ValidationInfo) -> str:
    """A file as seen from the folder of the configuration file; a URL as it is."""
    parts = urlsplit(place if "://" in place else "")
    if parts.password or "password" in parse_qs(parts.query):
        raise ValueError(
            "must not hold a password, for the configuration is copied and shown; PostgreSQL takes "
            "it from ~/.pgpass or from the environment variable PGPASSWORD"
        )
    folder = (info.context or {}).get("folder")
    if folder is None or "://" in place:
        return place
    return str(folder / Path(place).expanduser())


def _known_element(symbol: str) -> str:
    from ase.data import chemical_symbols  # reading a configuration needs it only when it is asked

    known = chemical_symbols[1:]
    if symbol not in known:
        parts = re.findall("[A-Z][a-z]?", symbol)
        several = "".join(parts) == symbol and set(parts) <= set(known)
        hint = (
            f"; did you mean {' '.join(parts)}?" if several else did_you_mean(symbol.title(), known)
        )
        raise ValueError(f"unknown chemical element {symbol!r}{hint}")
    return symbol


def _all_different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("must not name anything twice")
    return values


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
CutoffRadius = Annotated[float, Field(gt=0, le=30)]
Hours = Annotated[float, Field(gt=0, le=1e6)]
Timestep = Annotated[float, Field(gt=0, le=100)]
Zeta = Annotated[float, Field(ge=1, le=10_000)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Element = Annotated[str, AfterValidator(_known_element)]
InputFile = Annotated[Path, Strict(False), AfterValidator(_in_folder)]
Place = Annotated[str, Field(min_length=1), AfterValidator(_place)]
Item = TypeVar("Item")
# TOML arrays come as lists, which strict mode would not take for tuples
Listed = Annotated[tuple[Item, ...], Strict(False), Field(min_length=1)]
Different = Annotated[Listed[Item], AfterValidator(_all_different)]
Possible = Annotated[tuple[Item, ...], Strict(False), AfterValidator(_all_different)]
"""Like Different, or none."""


SettingsType = TypeVar("SettingsType", bound="Settings")


class Settings(BaseModel):
    """Settings that are checked when made and never change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    replaces_all: ClassVar[str | None] = None
    """A key that stands for all other keys of its section."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self: SettingsType) -> SettingsType:
        key = self.replaces_all
        others = sorted(self.model_fields_set - {key})
        if key and others and getattr(self, key) is not None:
            raise ValueError(f"{key} stands for all other keys here; leave out {', '.join(others)}")
        return self
