"""Values as Python writes them, read without executing anything: the files of Amp."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from nearsight.errors import InputError, plain_text

__all__ = ["read_literal"]

DEEPEST = 12
"""Levels of brackets; Amp's files have 6."""

LARGEST = 1e300
"""Numbers are below this."""

MOST_DIGITS = 60
"""Characters of a number."""

# All that Amp writes. Where thousands of operators, calls or attributes follow one another, the
# parser of Python 3.10 ends the program: no other tokens reach it, nor a value after a value.
TOKEN = re.compile(
    r"""\s*(?:(?P<closing>[\])}]) | (?P<opening>[\[({]) | (?P<between>[,:] | [A-Za-z_]\w*\s*=)
    | (?P<called>[A-Za-z_]\w*)\s*\( | (?P<value>None\b | True\b | False\b
      | '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*"
      | [+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))""",
    re.VERBOSE,
)
CALLED = ("dict", "OrderedDict", "array", "matrix")
NOT_CALLED = "dict, OrderedDict, array or matrix, and nothing else that is called"


def read_literal(text: str) -> Any:
    """The value that a text describes: lists (also for tuples), dicts, strings, numbers.

    Raises
    ------
    InputError
        For anything else.
    """
    text = text.strip()
    _check_tokens(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that are none
            tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise InputError(f"no values of Python: {plain_text(error.msg)}") from None
    except ValueError:  # a null character, half a character
        raise InputError("no values of Python: characters that are not for text") from None
    return _value(tree.body, text)


def _error(expected: str, found: str | None) -> InputError:
    return InputError(f"expected {expected}, found {plain_text((found or '')[:20]) or 'the end'!r}")


def _check_tokens(text: str) -> None:
    at, depth, after_value = 0, 0, False
    while at < len(text):
        token = TOKEN.match(text, at)
        rest = text[at : at + 20]
        if token is None:
            raise _error("a value", rest)
        kind = token.lastgroup
        if after_value and kind in ("opening", "called", "value"):
            raise _error("a comma", rest)
        if kind == "called" and token["called"] not in CALLED:
            raise _error(NOT_CALLED, rest)
        if kind == "value" and token["value"][0] not in "'\"" and len(token["value"]) > MOST_DIGITS:
            raise _error("a number of fewer digits", rest)
        depth += (kind in ("opening", "called")) - (kind == "closing")
        if depth > DEEPEST:
            raise _error(f"no more than {DEEPEST} levels of brackets", rest)
        after_value = kind in ("closing", "value")
        at = token.end()
    if not after_value:
        raise _error("a value", "")


def _value(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number) if not abs(number) < LARGEST:
            raise _error("a finite number", ast.get_source_segment(text, node))
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=number):
            return -_value(number, text)
        case ast.UnaryOp(op=ast.UAdd(), operand=number):
            return _value(number, text)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, text) for item in items]
        case ast.Dict():
            pairs = [
                [_value(key, text), _value(value, text)]
                for key, value in zip(node.keys, node.values, strict=True)
                if key is not None  # of **, which is no token
            ]
            return _mapping(pairs)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=named):
            return {each.arg: _value(each.value, text) for each in named}
        case ast.Call(func=ast.Name(id="OrderedDict"), args=[] | [_], keywords=[]):
            return _mapping(_value(node.args[0], text) if node.args else [])
        case ast.Call(func=ast.Name(id="array" | "matrix"), args=[only], keywords=[]):
            return _value(only, text)
    found = ast.get_source_segment(text, node)
    raise _error(NOT_CALLED if isinstance(node, ast.Call) else "a value", found)


def _mapping(pairs: Any) -> dict[str | int, Any]:
    if not (isinstance(pairs, list) and all(isinstance(p, list) and len(p) == 2 for p in pairs)):
        raise InputError("expected pairs of a key and a value")
    if not all(isinstance(key, str | int) for key, _ in pairs):
        raise InputError("expected keys that are text or whole numbers")
    return dict(pairs)
