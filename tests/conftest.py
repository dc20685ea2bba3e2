"""Structures and parents that several tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ase import Atoms
from ase.cluster.octahedron import Octahedron

from helpers.report import full_run, minimal_run
from nearsight.parents import Parent


def pytest_configure() -> None:
    """Let child processes and jobs import `helpers`."""
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)


@pytest.fixture(scope="session")
def pt260_original() -> Atoms:
    """The paper's target, a rattled octahedral particle of 260 platinum atoms."""
    cluster = Octahedron("Pt", 8, 3, latticeconstant=3.99)
    atoms = Atoms(cluster.symbols, cluster.positions)
    atoms.rattle(stdev=0.1, seed=42)
    return atoms


@pytest.fixture
def pt260(pt260_original: Atoms) -> Atoms:
    """A copy of the target that a test may change."""
    return pt260_original.copy()


@pytest.fixture
def emt_parent() -> Parent:
    """EMT without a database."""
    return Parent("emt")


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with all that a report can show. Not to be changed."""
    return full_run(tmp_path_factory.mktemp("full") / "run")


@pytest.fixture(scope="session")
def minimal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with as little as possible. Not to be changed."""
    return minimal_run(tmp_path_factory.mktemp("minimal") / "run")
