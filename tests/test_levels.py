"""Every SIMD level that was built and that this processor has, against the baseline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

import nearsight
from helpers import reference
from helpers.structures import (
    ELEMENTS,
    functions_of,
    random_ensemble,
    scattered,
    structure,
    training_data,
)
from nearsight import _core
from nearsight._core import _cpu
from nearsight.model.symmetry_functions import G2, G4, G5, Cutoff, SymmetryFunctions
from nearsight.structures.images import Image, core_structure
from nearsight.training.fingerprints import Fingerprints

LEVELS = [level for level in _cpu.levels() if _core.load(level) is not None]
FASTER = [level for level in LEVELS if level != "baseline"]

# The levels differ in the order of sums and in FMA, both of the order of 1e-16 per operation.
# Between the features, up to a hundred, and a force lie some thousand operations on numbers of
# the order of 10 to 100.
ROUNDING = 1e-12


@contextmanager
def at_level(level: str) -> Iterator[None]:
    """What is made inside lives on the compiled core of ``level``."""
    module = _core.load(level)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NeighborList", "Potential", "Structure", "SymmetryFunctions", "TrainingSet"):
            patch.setattr(_core, name, getattr(module, name))
        yield


def functions_at(level: str, functions: SymmetryFunctions) -> SymmetryFunctions:
    with at_level(level):
        return SymmetryFunctions(functions.functions, functions.cutoff)


def assert_same(one: Any, two: Any) -> None:
    for a, b in zip(one, two, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING * max(1.0, np.abs(b).max()))


def test_the_baseline_is_always_there() -> None:
    assert LEVELS[-1] == "baseline"
    assert _core.build_info()["level"] in LEVELS


def test_a_level_says_which_it_is() -> None:
    assert [_core.load(level).build_info()["level"] for level in LEVELS] == LEVELS
    assert _core.load("x86_64_v9") is None


@pytest.mark.parametrize("level", FASTER)
@pytest.mark.parametrize("members", [2, 3, 8])
@pytest.mark.parametrize("name", ["linear", "cluster", "slab", "particle", "tiny", "skewed"])
def test_force_call(name: str, members: int, level: str) -> None:
    """Numbers of neighbours, elements and members that do and do not fill the vectors."""
    n_elements = min(3, len(structure(name)))
    atoms = structure(name, n_elements)
    functions = functions_of(ELEMENTS[:n_elements], 5.2)
    ensemble = random_ensemble(functions, atoms, members=members)
    found = []
    for each in (level, "baseline"):
        with at_level(each):
            made = replace(ensemble, functions=functions_at(each, functions))
            r = made.evaluate(atoms)
        assert type(made.core) is _core.load(each).Potential
        found.append([r.energies, r.member_energies, r.member_forces, r.uncertainty, r.forces])
        if r.stress is not None:
            found[-1].append(r.stress * atoms.get_volume())
    assert_same(*found)


@pytest.mark.parametrize("level", FASTER)
@pytest.mark.parametrize("cutoff", ["cosine", "polynomial"])
def test_fingerprints(cutoff: str, level: str) -> None:
    image = Image(structure("particle", 3), np.zeros((1, 3)))
    functions = functions_of(ELEMENTS, Cutoff(5.0, cutoff, 3.5))
    one, two = (Fingerprints.of(image, functions_at(e, functions)) for e in (level, "baseline"))
    np.testing.assert_array_equal(one.block_offsets, two.block_offsets)
    np.testing.assert_array_equal(one.block_center, two.block_center)
    assert_same([one.features, one.derivatives], [two.features, two.derivatives])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [*range(2, 21), 63, 64, 65, 66, 127, 128, 129, 130, 200])
def test_kernels_at_every_length_of_their_loops(n: int, level: str) -> None:
    """One atom that sees n others: vectors and parts of lists that are full and that are not."""
    atoms = Atoms("Au" + "Pt" * n, scattered(n + 1, [8, 8, 8], 0, apart=1.0))
    angular = [
        kind(("Pt", "Pt"), eta, zeta, gamma)
        for kind in (G4, G5)  # powers and η with a loop of their own, and those without
        for eta, zeta, gamma in [
            (0.3, 1, 1.0),
            (0.3, 2, -1.0),
            (1.0, 2, -1.0),
            (9.0, 2, -1.0),
            (0.3, 7, 0.5),
            (1.1, 2.5, -1.0),
            (40.0, 16, 1.0),
        ]
    ]
    given = {"Au": [G2("Pt", 0.4, 0.0), *angular, G2("Pt", 90.0, 2.5)], "Pt": [G2("Pt", 1.0, 0.0)]}
    functions = SymmetryFunctions(given, 15.0)  # longer than the diagonal of the box
    image = Image(atoms, np.zeros((1, 3)))
    one, two = (Fingerprints.of(image, functions_at(e, functions)) for e in (level, "baseline"))
    assert_same([one.features, one.derivatives], [two.features, two.derivatives])
    if n in (5, 130):
        expected = reference.features(atoms, functions)["Au"]
        found = functions_at(level, functions).compute(atoms)["Au"]
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("level", FASTER)
def test_neighbor_lists(level: str) -> None:
    atoms = structure("skewed")
    found = []
    for each in (level, "baseline"):
        with at_level(each):
            given = core_structure(atoms)
            found.append(_core.NeighborList(given, 7.3).bonds(given))
    one, two = found
    for a, b in zip(one[:3], two[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(one[3], two[3], rtol=0, atol=1e-14)


@pytest.mark.parametrize("level", FASTER)
def test_loss(level: str) -> None:
    data = training_data(2, (5, 4))
    weights = np.random.default_rng(0).normal(0.0, 0.6, data.core.n_weights)
    loss_weights = data.weights(np.array([1, 2, 0, 1, 1, 3, 1]), 0.4)
    found = []
    for each in (level, "baseline"):
        with at_level(each):
            core = replace(data).core
        fit = core.levenberg_marquardt(weights, *loss_weights, 1e-4, 2)
        found.append(
            [
                *core.jacobian(weights, *loss_weights),
                core.curvature(weights, *loss_weights),
                *map(np.array, fit[:2]),
            ]
        )
    assert_same(*found)


@pytest.mark.parametrize(
    ("level", "above"),
    [
        ("baseline", r"%[yz]mm|\tv\w+[ps][sd] "),
        ("x86_64_v3", r"%zmm|%k[1-7]|%[xy]mm(1[6-9]|2\d|3[01])"),
    ],
)
@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump (binutils)")
@pytest.mark.skipif("x86_64_v3" not in _cpu.levels(), reason="one level only")
def test_no_module_holds_code_of_a_level_above(level: str, above: str) -> None:
    """The bindings, which all share, and what the linker merged are for every processor."""
    file = str(_core.load(level).__file__)
    listed = subprocess.run(["objdump", "-d", file], capture_output=True, text=True, check=True)
    assert listed.stdout.count("\n") > 10_000
    assert re.search(above, listed.stdout) is None


# --- the choice --------------------------------------------------------------------------------


def run(isa: str | None) -> subprocess.CompletedProcess[str]:
    """Import nearsight in a process of its own with NEARSIGHT_ISA set."""
    environment = {k: v for k, v in os.environ.items() if k != "NEARSIGHT_ISA"}
    if isa is not None:
        environment["NEARSIGHT_ISA"] = isa
    code = "import nearsight; print(nearsight.build_info()['level'])"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_the_best_level_is_taken() -> None:
    done = run(None)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == LEVELS[0]


@pytest.mark.parametrize("isa", LEVELS)
def test_a_level_can_be_forced(isa: str | None) -> None:
    done = run(isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == isa


@pytest.mark.parametrize("isa", ["x86_64_v9", "", "avx2"])
def test_a_level_that_is_not_there_is_refused_loudly(isa: str | None) -> None:
    done = run(isa)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"nearsight.errors.InputError: NEARSIGHT_ISA={isa} cannot run here; this processor has"
    )


def test_a_level_that_was_not_built_is_refused_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARSIGHT_ISA", "x86_64_v9")
    monkeypatch.setattr(_cpu, "levels", lambda: ["x86_64_v9", "baseline"])
    with pytest.raises(ImportError, match="no compiled core for x86_64_v9; install nearsight"):
        _core._best()


def test_build_info_tells_how_it_was_built() -> None:
    info = nearsight.build_info()
    assert set(info) == {"version", "level", "compiler", "flags", "eigen", "openmp", "threads"}
    assert "-ffast-math" not in info["flags"]


def test_the_core_keeps_no_state_between_calls():
    """What `mod_gil_not_used` promises: no variable that outlives a call and can change.

    But for the mark of a forked process, and memory that each thread keeps for itself.
    """
    sources = Path(__file__).parents[1] / "cpp" / "src"
    files = [*sources.glob("*.?pp"), *(sources.parent / "include" / "nearsight").glob("*.hpp")]
    assert len(files) > 20
    changing = re.compile(
        r"\bmutable\b|\bthread_local\b"
        r"|\bstatic\s+(?!constexpr|_assert|const\b)\w[\w:<>, ]*[ &*]\w+\s*(=|\{|;)"
        r"|^inline (?!constexpr|const)[\w:<>, ]+ \w+\s*(=|\{)",
        re.MULTILINE,
    )
    for file in files:
        text = re.sub(r"(?m)^.*\b(forked|watches_forks|kept)\b.*$", "", file.read_text())
        assert not changing.search(text), file.name
