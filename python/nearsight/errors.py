"""What a user did wrong, or a parent code failed at: each in one sentence."""

from __future__ import annotations

__all__ = ["DamagedFileError", "InputError", "ParentError"]


class InputError(ValueError):
    """Bad input; the message names what came and what was expected."""


class DamagedFileError(InputError):
    """A file of ours that is torn or incomplete; what it held may be made again."""


class ParentError(RuntimeError):
    """A parent calculation failed; the message says on which structure and why."""
