"""Worker that calls any function, for tests of the engines themselves."""

from __future__ import annotations

from nearsight.executors import protocol, work

__all__ = ["Everything", "serve", "use"]


class Everything:
    def __contains__(self, name: object) -> bool:
        return True


def use() -> None:
    """Have engines of this process start such workers."""
    protocol.FUNCTIONS = Everything()  # type: ignore[assignment]
    protocol.WORKER = "helpers.any_function"


def serve() -> None:
    use()
    work.serve()


if __name__ == "__main__":
    use()
    work.main()
