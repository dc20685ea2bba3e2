"""What a user did wrong, or a parent code failed at: each in one sentence."""

from __future__ import annotations

__all__ = ["InputError", "ParentError"]


class InputError(ValueError):
    """Bad input; the message names what came and what was expected."""


class ParentError(RuntimeError):
    """A parent calculation failed; the message says on which structure and why."""
