"""The names that users import, and how quickly they are there."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import nearsight

# design: other people's scripts rely on them
NAMES = set(
    """
    BaselineSettings Config Cutoff DynamicsSettings Ensemble EnsembleSettings Evaluation
    ExecutorSettings FeatureSettings ForceLocality G2 G4 G5 ImageSettings InitialSettings
    Initialization InputError LocalitySettings NFT NFTSettings NearsightCalculator
    NetworkSettings Parent ParentError ParentSettings RelaxationSettings ReportSettings
    RetrainingSettings Run SymmetryFunctions TargetSettings TrainingSettings build_info cur
    export_potential import_potential
    extract_chunk farthest_point_sampling force_correlation force_locality harvest
    image_descriptor relative_norm_deviation relax retrain run_dynamics run_in_lammps snapshot
    suggest_config
""".split()  # noqa: SIM905
)


def test_public_names() -> None:
    assert set(nearsight.__all__) == NAMES
    assert {*NAMES, "__version__"} <= set(dir(nearsight))
    assert all(getattr(nearsight, name).__doc__ for name in NAMES)


def test_version() -> None:
    assert nearsight.__version__ == version("nearsight")


def test_types_reach_users() -> None:
    """Without the marker of PEP 561, mypy takes every name of the package for Any."""
    package = files("nearsight")
    for name in ("py.typed", "__init__.pyi", "_core/__init__.pyi", "_core/_cpu.pyi"):
        assert (package / name).is_file(), name


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="Ensembel"):
        _ = nearsight.Ensembel  # type: ignore[attr-defined]


def test_the_import_is_quick() -> None:
    code = "import nearsight, sys; print({'numpy', 'ase', 'pydantic'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def test_every_name_is_in_the_reference() -> None:
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^(?:\.\. auto\w+:: |\| `)(\w+)", page, re.M)) == NAMES
