"""The C++ library reads potentials by itself, and computes what Python does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from helpers.cli import python
from helpers.general import general_ensemble
from helpers.library import LEVELS, build_example, call_example
from helpers.structures import CUTOFFS, functions_of, random_ensemble, structure, with_domain
from nearsight.files.records import Bound, Bounds
from nearsight.model.symmetry_functions import SymmetryFunctions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_example(tmp_path_factory.mktemp("library"))


EVALUATE = """
import sys
import numpy as np
from ase.io import read
from nearsight import Ensemble

found = Ensemble.load(sys.argv[1]).evaluate(read(sys.argv[2]))
grade = 0.0 * found.energies if found.extrapolation is None else found.extrapolation
np.save(sys.argv[3], np.column_stack([found.energies, found.forces, found.uncertainty, grade]))
"""


@pytest.mark.parametrize("level", LEVELS)
def test_functions_of_other_programs(programs: dict[str, Path], tmp_path: Path, level: str) -> None:
    """Equal to Python to the last bit, with another scaling and other activations, too."""
    potential, place, result = tmp_path / "p.json", tmp_path / "s.extxyz", tmp_path / "result.npy"
    write(place, structure("left-handed", 2))
    general_ensemble(read(place)).save(potential)
    done = python("-c", EVALUATE, potential, place, result, NEARSIGHT_ISA=level)
    if "cannot run here" in done.err:
        pytest.skip(f"this processor has no {level}")
    assert done.code == 0, done.err
    rows, said = call_example(programs[level], potential, place)
    assert not said
    np.testing.assert_array_equal(rows, np.load(result))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("name", "elements", "cutoff", "activation"),
    [
        ("particle", ("Pt",), "cosine", "tanh"),
        ("supercell", ("Pt", "Au", "Cu"), "polynomial 4", "sigmoid"),
        ("left-handed", ("Pt", "Au"), "polynomial 6.5", "softplus"),
    ],
)
def test_equal_to_python_to_the_last_bit(
    programs: dict[str, Path],
    tmp_path: Path,
    level: str,
    name: str,
    elements: tuple[str, ...],
    cutoff: str,
    activation: str,
) -> None:
    """The same level in a process of its own; with a domain and without."""
    potential, place, result = tmp_path / "p.json", tmp_path / "s.extxyz", tmp_path / "result.npy"
    write(place, structure(name, len(elements)))
    atoms = read(place)
    whole = random_ensemble(functions_of(elements, CUTOFFS[cutoff]), atoms, activation=activation)
    whole = replace(whole, provenance={"note": "Å é\n", "seed": 2**64 - 1, "numbers": [1e-7, 1e16]})
    known = with_domain(whole, atoms, every=9)
    stated = known.evaluate(atoms).uncertainty
    assert stated is not None
    floor = float(np.median(stated)) / known.calibration
    knee = float(np.quantile(stated, 0.75)) / known.calibration
    forces = Bound(factor=1.7, factor_95=1.1, floor=floor, knee=knee, labels=120, images=4)
    energy = forces.model_copy(update={"floor": 0.0})
    bounded = replace(known, calibration=1.7, bounds=Bounds(forces=forces, energy=energy))
    apart = replace(
        whole, functions=SymmetryFunctions(whole.functions.functions, CUTOFFS[cutoff], 4.4)
    )
    for ensemble in (whole, known, apart, bounded):
        ensemble.save(potential)
        done = python("-c", EVALUATE, potential, place, result, NEARSIGHT_ISA=level)
        if "cannot run here" in done.err:
            pytest.skip(f"this processor has no {level}")
        assert done.code == 0, done.err
        rows, _ = call_example(programs[level], potential, place)
        np.testing.assert_array_equal(rows, np.load(result))
    assert (rows[:, 4] == 1.7 * floor).any()
    assert (rows[:, 4] > 1.7 * knee).any()
    assert (rows[:, 5] > 1.0).any()
    assert (rows[:, 5] <= 1.0).any()


def test_damaged_files(programs: dict[str, Path], tmp_path: Path) -> None:
    """A few hundred; the program is told to do more by hand."""
    fuzz = Path(__file__).parents[1] / "benchmarks" / "python" / "fuzz_library.py"
    options = [
        "--program",
        programs["baseline"],
        "--potentials",
        "300",
        "--keep",
        tmp_path / "wrong",
    ]
    done = python(fuzz, *options, cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert "potentials: 300 in " in done.out


def test_files_that_are_refused(programs: dict[str, Path], tmp_path: Path) -> None:
    program, place = programs["baseline"], tmp_path / "s.extxyz"
    potential = tmp_path / "p.json"
    atoms = structure("particle")
    write(place, atoms)
    random_ensemble(functions_of(("Pt",)), atoms).save(potential)
    whole = json.loads(potential.read_text())
    for change, sentence in (
        ({"calibration": 2.0}, "changed or damaged: its digest is that of another content"),
        ({"calibration": 1e300}, "expected more than 0, at most 1e50"),
        ({"version": 7}, "written by a newer nearsight (file version 7, this one reads up to 6)"),
        ({"baseline": {"kind": "zbl"}}, "has a baseline"),
        ({"members": []}, "incomplete or damaged (members: expected at least one)"),
        ({"scaling": {"Pt": {"minimum": [0.0], "maximum": [1.0]}}}, "incomplete or damaged"),
        ({"units": {"energy": "Ha", "length": "Å"}}, "units must be eV and Å"),
    ):
        potential.write_text(json.dumps(whole | change))
        rows, said = call_example(program, potential, place)
        assert len(rows) == 0
        assert said.startswith(f"{potential}: ")
        assert sentence in said
        assert said.count("\n") == 1
    del whole["digest"]  # as in older files
    potential.write_text(json.dumps(whole))
    assert len(call_example(program, potential, place)[0]) == len(atoms)
