"""Machine-learning potentials for large atomic structures by nearsighted force training.

After C. Zeng, X. Chen, A. A. Peterson, J. Chem. Phys. 156, 064104 (2022). Units: eV, Å.
"""

import lazy_loader

# names come from __init__.pyi when they are first used: `nearsight --help` needs no NumPy, no core
_getattr, _dir, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("nearsight")
    return _getattr(name)


def __dir__() -> list[str]:
    return [*_dir(), "__version__"]
