"""Programs that work with files, many at once: the same bits with every engine, nothing left."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.lj import LennardJones

from helpers import slurm
from helpers.file_based import clusters
from helpers.parents import bits
from nearsight.config import ExecutorSettings
from nearsight.executors import make_executor
from nearsight.parents import Parent, ParentResult
from nearsight.parents.folders import AttemptFolders

MOPAC = {"method": "PM7", "task": "1SCF GRADIENTS"}
JOBS: dict[str, Any] = {"workers": 4, "memory": 0.5}
QUICK = "helpers.file_based:QuickFiles"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """SLURM at work, its jobs able to import what stands here."""
    missing = slurm.missing()
    if missing and "NEARSIGHT_CI" not in os.environ:
        pytest.skip(f"not installed: {', '.join(missing)}")
    path = [str(Path(__file__).parent), *filter(None, sys.path)]
    with pytest.MonkeyPatch.context() as patch, slurm.running(tmp_path_factory.mktemp("slurm")):
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        patch.setattr("nearsight.executors.slurm.QUEUE", 1.0)
        patch.setattr("nearsight.executors.slurm.PAUSES", (0.5,))
        yield


def labels(
    name: str, arguments: dict[str, Any], structures: list[Atoms], place: Path, **engine: Any
) -> list[ParentResult]:
    """Labels by an engine, started in an empty folder that must stay so."""
    start = place / "start"
    start.mkdir(parents=True)
    settings = ExecutorSettings(**engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(start)
        parent = Parent(name, arguments, engine=settings, max_force=1e6)
        parent.attach(place / "parent.db", folders=AttemptFolders(place / "parent"))
        with make_executor(settings, place) as parent.executor:  # type: ignore[union-attr]
            results = parent.calculate_many(structures)
    assert list(start.iterdir()) == []
    assert not (place / "parent").exists()
    assert parent.calculations == len(structures)
    return results  # type: ignore[return-value]


def same(first: list[ParentResult], second: list[ParentResult]) -> bool:
    return [bits(result) for result in first] == [bits(result) for result in second]


def ethanols(count: int) -> list[Atoms]:
    """Rattled molecules, 20 ms each."""
    found = [molecule("CH3CH2OH") for _ in range(count)]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.05, seed=seed)
    return found


@pytest.fixture
def mopac() -> None:
    if shutil.which("mopac") is None and "NEARSIGHT_CI" not in os.environ:
        pytest.skip("not installed: mopac")


@pytest.mark.slow
@pytest.mark.usefixtures("mopac")
def test_sixty_with_mopac(tmp_path: Path) -> None:
    given = ethanols(60)
    alone = labels("mopac", MOPAC, given, tmp_path / "1", engine="local", workers=1)
    four = labels("mopac", MOPAC, given, tmp_path / "4", engine="local", workers=4)
    assert same(alone, four)
    assert len({result.energy for result in alone}) == 60


@pytest.mark.slurm
@pytest.mark.usefixtures("mopac", "cluster")
def test_sixty_with_mopac_in_jobs_of_five(tmp_path: Path) -> None:
    given = ethanols(60)
    alone = labels("mopac", MOPAC, given, tmp_path / "1", engine="local", workers=1)
    jobs = labels("mopac", MOPAC, given, tmp_path / "s", engine="slurm", per_job=5, **JOBS)
    assert same(alone, jobs)


def check_lennard_jones(structures: list[Atoms], results: list[ParentResult]) -> None:
    """Compare with ASE's own Lennard-Jones calculator."""
    for atoms, result in zip(structures, results, strict=True):
        atoms = atoms.copy()
        # it shifts the energy to zero at rc, here by less than 1e-12 eV
        atoms.calc = LennardJones(sigma=2.5, epsilon=0.4, rc=1000.0)
        assert result.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(result.forces, atoms.get_forces(), atol=1e-9)


@pytest.mark.slow
def test_three_hundred_of_one_size(tmp_path: Path) -> None:
    given = clusters(300)
    alone = labels(QUICK, {}, given, tmp_path / "1", engine="local", workers=1)
    four = labels(QUICK, {}, given, tmp_path / "4", engine="local", workers=4, per_job=3)
    assert same(alone, four)
    check_lennard_jones(given, four)


@pytest.mark.slurm
@pytest.mark.usefixtures("cluster")
def test_three_hundred_of_one_size_in_jobs(tmp_path: Path) -> None:
    given = clusters(300)
    jobs = labels(QUICK, {}, given, tmp_path / "s", engine="slurm", per_job=30, **JOBS)
    check_lennard_jones(given, jobs)
    again = labels(QUICK, {}, given, tmp_path / "4", engine="local", workers=4)
    assert same(jobs, again)
