"""The URL of a database, and what messages may show of it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

__all__ = ["passwords_in", "without_password"]


def passwords_in(url: str) -> list[str]:
    """The password in a URL, as it is written there and as it is meant."""
    found = urlsplit(url).password
    return [] if not found else sorted({found, unquote(found)}, key=len, reverse=True)


def without_password(url: str) -> str:
    """The URL of a database as messages may show it."""
    password = urlsplit(url).password
    return url if not password else url.replace(f":{password}@", "@", 1)
