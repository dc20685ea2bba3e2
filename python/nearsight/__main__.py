"""``python -m nearsight``: the command line."""

from __future__ import annotations

from nearsight.cli import main

if __name__ == "__main__":
    main()
