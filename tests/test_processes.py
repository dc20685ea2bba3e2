"""An ensemble and its calculator in other processes and threads, and as copies."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

import joblib
import numpy as np
import pytest
from ase import Atoms
from ase.mep import NEB
from ase.optimize import BFGS

import nearsight
from helpers import Array
from helpers.structures import ELEMENTS, functions_of, random_ensemble, structure
from nearsight.model.ensemble import Ensemble

COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    **{f"pickle {p}": lambda x, p=p: pickle.loads(pickle.dumps(x, p)) for p in (2, 5)},
}


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return random_ensemble(functions_of(ELEMENTS[:2], 5.0), structure("cluster", 2))


def rattled(number: int) -> Atoms:
    atoms = structure(("cluster", "slab")[number % 2], 2)
    atoms.rattle(0.05, seed=number)
    return atoms


def forces_of(ensemble: Ensemble, number: int) -> Array:
    return ensemble.evaluate(rattled(number)).forces


def forces_by(calculator: nearsight.NearsightCalculator, number: int) -> Array:
    atoms = rattled(number)
    atoms.calc = calculator
    return atoms.get_forces()


@pytest.mark.parametrize("way", COPIES)
def test_copies_compute_the_same(ensemble: Ensemble, way: str) -> None:
    made = COPIES[way](ensemble)
    assert made.digest == ensemble.digest
    np.testing.assert_array_equal(forces_of(made, 1), forces_of(ensemble, 1))
    functions = COPIES[way](ensemble.functions)
    assert functions.to_dict() == ensemble.functions.to_dict()
    atoms = rattled(2)
    for element, features in ensemble.functions.compute(atoms).items():
        np.testing.assert_array_equal(functions.compute(atoms)[element], features)


@pytest.mark.parametrize("way", COPIES)
def test_copies_of_a_calculator_at_work(ensemble: Ensemble, way: str) -> None:
    """Results that it holds come with it; from there on each goes its own way."""
    atoms = rattled(1)
    atoms.calc = nearsight.NearsightCalculator(ensemble, threads=1)
    forces = atoms.get_forces()
    made = COPIES[way](atoms.calc)
    assert not made.calculation_required(atoms, ["forces"])
    np.testing.assert_array_equal(made.get_property("forces", atoms), forces)
    made.results = {}
    made.calculate()
    np.testing.assert_array_equal(made.results["forces"], forces)
    np.testing.assert_array_equal(forces_by(made, 4), forces_by(atoms.calc, 4))


def test_a_pickle_holds_plain_content(ensemble: Ensemble) -> None:
    """Nothing of the compiled core, whose form may change with the processor."""
    content = pickle.dumps(ensemble)
    assert b"nearsight._core" not in content
    other = subprocess.run(
        [sys.executable, "-c", "import pickle, sys; print(pickle.load(sys.stdin.buffer).digest)"],
        input=content,
        env={**os.environ, "NEARSIGHT_ISA": "baseline"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert other.stdout.decode().strip() == ensemble.digest


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_pool_of_processes(ensemble: Ensemble, method: str) -> None:
    """After a force call with several threads, none of which a forked child has."""
    numbers = range(100)
    expected = [ensemble.evaluate(rattled(number), threads=4).forces for number in numbers]
    context = multiprocessing.get_context(method)
    tasks = (
        partial(forces_of, ensemble),
        partial(forces_by, nearsight.NearsightCalculator(ensemble)),
    )
    with ProcessPoolExecutor(4, mp_context=context) as pool:
        for task in tasks:
            found = list(pool.map(task, numbers, chunksize=5, timeout=120))
            np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-12)


def test_a_forked_child_of_a_forked_child(ensemble: Ensemble) -> None:
    """Forked in the midst of a calculator's use, explicit threads or not."""
    calculator = nearsight.NearsightCalculator(ensemble, threads=4)
    expected = forces_by(calculator, 0)

    def same(depth: int) -> bool:
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            code = 1
            try:
                own, other = forces_by(calculator, depth), forces_of(ensemble, depth)
                good = np.allclose(own, other, atol=1e-12)
                good &= nearsight.build_info()["threads"] == 1
                code = 0 if good and (depth == 0 or same(depth - 1)) else 1
            finally:
                os._exit(code)
        return os.waitpid(child, 0)[1] == 0

    assert same(1)
    np.testing.assert_array_equal(forces_by(calculator, 0), expected)


def test_joblib(ensemble: Ensemble) -> None:
    expected = np.concatenate([forces_of(ensemble, number) for number in range(20)])
    for backend in ("loky", "threading"):
        tasks = (joblib.delayed(forces_of)(ensemble, number) for number in range(20))
        found = joblib.Parallel(2, backend=backend)(tasks)
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-12)


def test_threads_of_one_process(ensemble: Ensemble) -> None:
    """One ensemble for all, a calculator for each."""
    expected = np.concatenate([forces_of(ensemble, number) for number in range(40)])
    for call in (
        partial(forces_of, ensemble),
        lambda number: forces_by(nearsight.NearsightCalculator(ensemble), number),
    ):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(call, range(40)))
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-12)


@pytest.mark.parametrize("way", ["shared", "own", "threads"])
def test_nudged_elastic_band(ensemble: Ensemble, way: str) -> None:
    """Five images between two minima; every arrangement of calculators gives the same band."""

    def band(way: str) -> list[Any]:
        ends = [structure("cluster", 2) for _ in range(2)]
        ends[1].rattle(0.3, seed=3)
        images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
        one = nearsight.NearsightCalculator(ensemble, threads=1)
        for image in images:
            image.calc = one if way == "shared" else copy.deepcopy(one)
        neb = NEB(
            images,
            method="improvedtangent",
            allow_shared_calculator=way == "shared",
            parallel=way == "threads",
        )
        neb.interpolate()
        BFGS(neb, logfile=None).run(fmax=0.05, steps=10)
        return images

    found, expected = band(way), band("own")
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.positions, two.positions, atol=1e-10)
    assert np.ptp([image.get_potential_energy() for image in found]) > 0.01
