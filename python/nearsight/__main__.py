"""``python -m nearsight``, and the command ``nearsight``."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit."""
    _open_streams()
    try:
        gc.disable()
        from nearsight.cli import main as command_line  # takes half a second, in which one may stop

        gc.freeze()  # modules stay: no need to look for garbage among them again and again
        gc.enable()
        command_line()
    except KeyboardInterrupt:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("Interrupted.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _open_streams() -> None:
    """Have standard streams where they are closed: else a file would get the number of one."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open("r" if name == "stdin" else "w")  # noqa: SIM115
            setattr(sys, name, stream)


if __name__ == "__main__":
    main()
