"""Mistakes in a configuration file: one sentence each, with its line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from nearsight.errors import did_you_mean

__all__ = ["describe_mistakes", "list_mistakes", "section_model"]

Key = tuple[str | int, ...]

# pydantic's words for these speak of Python
PLAIN_WORDS = {
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "model_type": "must be a table",
    "path_type": "must be a file name in quotes",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list",
}


def describe_mistakes(
    error: ValidationError, model: type[BaseModel], content: Any, source: str, name: str
) -> list[str]:
    """One sentence with its line for every mistake in a configuration file, in its order.

    Parameters
    ----------
    error : pydantic.ValidationError
    model : type of pydantic.BaseModel
        The model the content was checked against.
    content : dict
        The parsed file.
    source : str
        Its text, to find the lines.
    name : str
        Name of the file in the sentences.
    """
    found = []
    for key, sentence in list_mistakes(error, model, content):
        line = _line(key, source)
        found.append((line, f"{name}, line {line}: {sentence}" if line else f"{name}: {sentence}"))
    return [text for _, text in sorted(found, key=lambda pair: pair[0])]


def section_model(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section (``Section`` or ``Section | None``)."""
    for option in (field.annotation, *getattr(field.annotation, "__args__", ())):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def list_mistakes(
    error: ValidationError, model: type[BaseModel], content: Any
) -> list[tuple[Key, str]]:
    """The key and one sentence for every mistake that a check found."""
    grouped: dict[Key, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        grouped.setdefault(_key(details, content), []).append(details)
    # a union reports what is wrong with each alternative; the one that got furthest was meant
    meant = [
        key for key in grouped if not any(key == other[: len(key)] != other for other in grouped)
    ]
    return [(key, _sentence(key, grouped[key], model)) for key in meant]


def _key(details: ErrorDetails, content: Any) -> Key:
    """The key of the file that a mistake is about."""
    key: list[str | int] = []
    for part in details["loc"]:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            continue  # the name of an alternative in a union is no key
        key.append(part)
    if details["type"] == "missing":
        key.append(details["loc"][-1])
    return tuple(key)


def _sentence(key: Key, errors: Sequence[ErrorDetails], model: type[BaseModel]) -> str:
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)[1:]
    first = errors[0]
    if first["type"] == "extra_forbidden":
        names = list(_fields(key[:-1], model))
        hint = did_you_mean(str(key[-1]), names) or f"; known here: {', '.join(names)}"
        return f"unknown key {dotted}{hint}"
    if first["type"] == "missing":
        return f"{dotted} is missing ({_what(_fields(key[:-1], model)[str(key[-1])])})"
    for each in errors:
        if each["type"] == "value_error":  # our own words say all there is to say
            text = str(each["ctx"]["error"])
            return (
                text if not dotted else f"{dotted}{'' if text.startswith('must ') else ':'} {text}"
            )
    allowed = " or ".join(dict.fromkeys(_allowed(each) for each in errors))
    return f"{dotted} {allowed.replace(' or must be ', ' or ')}, got {_shown(first['input'])}"


def _allowed(details: ErrorDetails) -> str:
    words = PLAIN_WORDS.get(details["type"], details["msg"])
    if details["type"] == "too_short":
        return "must not be empty"
    for pydantic, plain in (
        ("Input should ", "must "),
        ("greater than or equal to", "at least"),
        ("less than or equal to", "at most"),
    ):
        words = words.replace(pydantic, plain)
    return words


def _fields(key: Key, model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of the section that ``key`` names."""
    for part in key:
        model = section_model(model.model_fields[str(part)]) or model
    return dict(model.model_fields)


def _what(field: FieldInfo) -> str:
    text = field.description or getattr(field.annotation, "__doc__", None) or ""
    text = text.strip().rstrip(".")
    return text[:1].lower() + text[1:]


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _line(key: Key, source: str) -> int:
    """The line (from 1) where the key, or as much of it as is written there, stands; or 0."""
    names = [str(part) for part in key]
    section: list[str] = []
    best, found = 0, 0
    for number, line in enumerate(source.splitlines(), 1):
        heading = re.match(r"\s*\[([^\[\]]+)\]", line)
        entry = re.match(r"\s*([^\s=#\[]+)\s*=", line)
        if heading:
            here = section = _parts(heading[1])
        elif entry:
            here = section + _parts(entry[1])
        else:
            continue
        if len(here) > best and here == names[: len(here)]:
            best, found = len(here), number
    return found


def _parts(dotted: str) -> list[str]:
    return [part.strip(" \"'") for part in dotted.split(".")]
