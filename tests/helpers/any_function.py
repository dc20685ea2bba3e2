"""Worker that calls any function, for tests of the engines themselves."""

from __future__ import annotations

from nearsight.executors import protocol
from nearsight.executors.work import main, serve

__all__ = ["Everything", "serve"]


class Everything:
    def __contains__(self, name: object) -> bool:
        return True


protocol.FUNCTIONS = Everything()  # type: ignore[assignment]
protocol.WORKER = "helpers.any_function"

if __name__ == "__main__":
    main()
