"""The example with GPAW, which takes a quarter of an hour with it: here EMT stands in for GPAW."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.cluster.octahedron import Octahedron
from ase.neighborlist import neighbor_list

from nearsight.config import Config, EnsembleSettings, ExecutorSettings, ParentSettings
from nearsight.run.run import Run

EXAMPLE = Path(__file__).parents[1] / "examples" / "cu55_gpaw.toml"


@pytest.fixture(scope="module")
def config() -> Config:
    return Config.load(EXAMPLE)


def test_structures_are_what_it_says(config: Config) -> None:
    cluster = Octahedron("Cu", 5, 2, latticeconstant=3.64)
    particle = Atoms(cluster.symbols, cluster.positions)
    particle.rattle(stdev=0.1, seed=42)
    particle.center(vacuum=3.5)
    target = ase.io.read(config.target.structure)
    np.testing.assert_allclose(target.positions, particle.positions, atol=1e-8)
    np.testing.assert_allclose(target.cell, particle.cell, atol=1e-8)
    assert config.initial.structures is not None
    small = ase.io.read(config.initial.structures, ":")
    assert [len(atoms) for atoms in small] == [1] * 4 + [13] * 8
    assert all(atoms.calc is None for atoms in small)
    for atoms in small:
        assert atoms.pbc.all() == (len(atoms) == 1)
    assert config.locality is not None
    assert isinstance(config.locality.atoms, tuple)
    near = neighbor_list("i", target, 3.2)
    assert [int((near == i).sum()) for i in config.locality.atoms] == [8, 7, 5]


def test_the_example_runs_with_emt(config: Config, tmp_path: Path) -> None:
    parts = {"parent": ParentSettings(), "executor": ExecutorSettings()}
    parts["ensemble"] = EnsembleSettings(members=3)
    folder = tmp_path / "run"
    Run(config.model_copy(update=parts), folder).execute()
    report = json.loads((folder / "report.json").read_text())
    chunks = [entry["chunks"] for entry in report["iterations"]]
    assert chunks == [0, *range(8, chunks[-1] + 1, 4)]
    assert 8 <= chunks[-1] <= 40
    errors = [entry["mae"] for entry in report["iterations"]]
    assert errors[report["best_iteration"]] < errors[0] / 2
