"""The errors of the package, each in one sentence: bad input, a failed parent calculation."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

__all__ = [
    "DamagedFileError",
    "InputError",
    "ParentError",
    "UnavailableError",
    "cannot_be",
    "did_you_mean",
    "explain",
    "is_bug",
    "is_full",
    "plain_text",
    "text_of",
]

FULL = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """Bad input; the message names what came and what was expected."""


class DamagedFileError(InputError):
    """A truncated or incomplete file of nearsight; its content may be made again."""


class UnavailableError(InputError):
    """A full disk or a locked database: the same will work when there is room, or it is free."""


class ParentError(RuntimeError):
    """A parent calculation failed; the message says on which structure and why."""


def is_bug(error: BaseException) -> bool:
    """True for an error of the program: not of its input, a parent, the system or its memory."""
    return isinstance(error, Exception) and not isinstance(
        error, InputError | ParentError | OSError | MemoryError
    )


def is_full(error: BaseException) -> bool:
    """True for the error of a full disk, or a quota that is used up."""
    return isinstance(error, OSError) and error.errno in FULL


def cannot_be(done: str, path: object, error: OSError) -> InputError:
    """The error for a path that cannot be ``done`` ("written", "made")."""
    kind = UnavailableError if is_full(error) else InputError
    return kind(f"{path}: cannot be {done} ({error.strerror or error})")


def plain_text(text: str, most: int = 1000) -> str:
    """Text of any origin in one line, cut, with what cannot be printed escaped."""
    words = " ".join(text[: 4 * most].split())
    rest = len(text) - most
    if len(words) > most or len(text) > 4 * most:
        words = f"{words[:most]}... ({rest} more characters)"
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in words
    )


def text_of(error: BaseException) -> str:
    """The words of an error, see `plain_text`; of one that has none to give, none."""
    try:
        return plain_text(str(error))
    except Exception:  # raised by the exception of a parent code
        return ""


def explain(error: BaseException) -> str:
    """One sentence on an error: its own words, or that it is one of the program."""
    text = str(error) if isinstance(error, InputError) else text_of(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory" + (f" ({text})" if text else "")
    if not is_bug(error):
        return text or type(error).__name__
    name = f"{type(error).__name__}: {text}".removesuffix(": ")
    return f"{name}. This is an error in nearsight or in a library, not in what it was given"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on an unknown name: the known name nearest to it, if one is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
