"""A configuration written as commented TOML."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nearsight.config.errors import section_model

__all__ = ["to_toml", "to_toml_value"]


ALWAYS = (
    "target.structure",
    "parent.calculator",
    "nft.chunk_radius",
    "nft.max_chunks",
    "nft.accuracy",
    "relaxation.fmax",
)
"""Keys that a short file holds also with their defaults."""


def to_toml(config: BaseModel, title: str = "", short: bool = False) -> str:
    """A configuration as commented TOML; keys that are off stand there as ``#key = value``.

    Parameters
    ----------
    config : Config
        A model whose fields are sections.
    title : str
        Lines to begin with, made comments.
    short : bool
        Only with what differs from the defaults, and what everybody looks at first.
    """
    lines = [f"# {line}".rstrip() for line in title.splitlines()]
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        model = section_model(field)
        if short and (value is None or (model is None and value == field.get_default())):
            continue
        if model is None:
            lines += ["", *_comment(field.description), f"{name} = {to_toml_value(value)}"]
        else:
            part = list(_section(name, model, value, short))
            lines += ["", "", *part] if part else []
    return "\n".join(lines).lstrip("\n") + "\n"


def _section(
    name: str, model: type[BaseModel], section: BaseModel | None, short: bool
) -> Iterator[str]:
    keys = [
        key
        for key, field in model.model_fields.items()
        if not short or f"{name}.{key}" in ALWAYS or getattr(section, key) != field.get_default()
    ]
    if not keys:
        return
    yield from _comment(model.__doc__)
    yield f"[{name}]" if section else f"#[{name}]"
    only = getattr(model, "replaces_all", None)
    alone = section is not None and only is not None and getattr(section, only) is not None
    for key in keys:
        field = model.model_fields[key]
        default = field.get_default()
        value = default if section is None else getattr(section, key)
        off = section is None or value is None or (alone and key != only)
        if value is None:
            value = (field.examples or [None])[0]
        yield from _comment(field.description)
        if isinstance(value, tuple) and len(value) > 8 and (off or value == default):
            shown = f"[{value[0]:.4g}, {value[1]:.4g}, …, {value[-1]:.4g}]"
            yield f"#{key} = {shown}  ({len(value)} values)"
        else:
            yield f"{'#' if off else ''}{key} = {to_toml_value(value)}"


def _comment(text: str | None) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join((text or "").split()), 96)]


def to_toml_value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Path):
        value = value.as_posix()
    if isinstance(value, str):  # a basic TOML string is a JSON string, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        entries = [f"{to_toml_value(key)} = {to_toml_value(each)}" for key, each in value.items()]
        return "{ " + ", ".join(entries) + " }" if entries else "{}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(to_toml_value(each) for each in value) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)
