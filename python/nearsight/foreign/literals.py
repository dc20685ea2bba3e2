"""Values as Python writes them, read without executing anything: the files of Amp."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from typing import Any

from nearsight.errors import InputError, plain_text

__all__ = ["read_literal"]

DEEPEST = 12
"""Levels of brackets; Amp's files have 6."""

SPACE = re.compile(r"\s*")
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
STRING = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
WORDS = {"None": None, "True": True, "False": False}
CLOSING = {"[": "]", "(": ")", "{": "}"}


class _Reader:
    """A place in a text; every method reads what begins there."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def error(self, expected: str) -> InputError:
        found = plain_text(self.text[self.at : self.at + 20], 20) or "the end"
        return InputError(f"expected {expected}, found {found!r} at character {self.at}")

    def take(self, token: str) -> bool:
        """Whether this token is next; it is read if so."""
        self.skip()
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def need(self, token: str) -> None:
        if not self.take(token):
            raise self.error(repr(token))

    def match(self, pattern: re.Pattern[str]) -> str | None:
        self.skip()
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found.group()

    def skip(self) -> None:
        found = SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def value(self) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error(f"no more than {DEEPEST} levels of brackets")
        try:
            return self._value()
        finally:
            self.depth -= 1

    def _value(self) -> Any:
        if self.take("["):
            return self.items("]", self.value)
        if self.take("("):
            return self.items(")", self.value)
        if self.take("{"):
            return self.mapping(self.items("}", self.pair))
        if (text := self.match(STRING)) is not None:
            try:
                return ast.literal_eval(text)  # one string, as the pattern says
            except (ValueError, SyntaxError):
                raise self.error("a string without wrong escapes") from None
        if (text := self.match(NUMBER)) is not None:
            if len(text) > 60:
                raise self.error("a number of fewer digits")
            number = int(text) if text.lstrip("+-").isdigit() else float(text)
            if not math.isfinite(number):
                raise self.error("a finite number")
            return number
        start = self.at
        name = self.match(NAME)
        if name in WORDS:
            return WORDS[name]
        if name is not None and self.take("("):
            return self.call(name, start)
        self.at = start
        raise self.error("a value")

    def items(self, closing: str, item: Callable[[], Any]) -> list[Any]:
        found = []
        while not self.take(closing):
            found.append(item())
            if not self.take(","):
                self.need(closing)
                break
        return found

    def pair(self) -> tuple[Any, Any]:
        key = self.value()
        self.need(":")
        return key, self.value()

    def argument(self) -> tuple[Any, Any]:
        """A keyword argument, or (None, value)."""
        start = self.at
        name = self.match(NAME)
        if name is not None and self.take("="):
            return name, self.value()
        self.at = start
        return None, self.value()

    def mapping(self, pairs: list[Any]) -> dict[Any, Any]:
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            raise self.error("pairs of a key and a value before")
        if not all(isinstance(key, str | int) for key, _ in pairs):
            raise self.error("keys that are text or whole numbers before")
        return dict(pairs)

    def call(self, name: str, start: int) -> Any:
        """What Amp's files name: dict(...), OrderedDict([...]), array([...]), matrix([...])."""
        arguments = self.items(")", self.argument)
        given = [value for key, value in arguments if key is None]
        named = {key: value for key, value in arguments if key is not None}
        if name == "dict" and not given:
            return named
        if name == "OrderedDict" and not named and len(given) <= 1:
            pairs = given[0] if given else []
            if isinstance(pairs, list):
                return self.mapping(pairs)
        if name in ("array", "matrix") and len(given) == 1 and not named:
            return given[0]
        self.at = start
        raise self.error("dict, OrderedDict, array or matrix, and nothing else that is called")


def read_literal(text: str) -> Any:
    """The value that a text describes: lists (also for tuples), dicts, strings, numbers.

    Raises
    ------
    InputError
        For anything else, and more than one value.
    """
    reader = _Reader(text)
    value = reader.value()
    reader.skip()
    if reader.at != len(text):
        raise reader.error("the end")
    return value
