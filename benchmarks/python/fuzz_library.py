"""Damage potentials at random, and see what the C++ library makes of them.

    python benchmarks/python/fuzz_library.py --potentials 5000

The library and `examples/cpp` are built, or `--program` is taken. Then potentials are damaged as by
`fuzz_files.py`, each from a seed, one in four without its digest, one in three with functions of
other programs. The program must refuse them with
one sentence that names the file and exit code 2, or compute what Python computes of the same file,
to 1e-9; what Python refuses it must refuse, or give numbers that are not finite.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.io import read, write

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))
from fuzz_files import assert_sentence, carry_out, damaged

from helpers.general import general_ensemble
from helpers.library import build_example
from helpers.structures import functions_of, random_ensemble, structure, with_domain
from nearsight.errors import InputError
from nearsight.model.ensemble import Ensemble


class Base:
    """An undamaged potential of two elements, and a structure."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.program, self.place = program, folder / "potential.json"
        self.structure = folder / "particle.extxyz"
        write(self.structure, structure("cluster", 2))
        self.atoms = read(self.structure)
        functions = functions_of(("Pt", "Au"), 5.0)
        ensemble = random_ensemble(functions, self.atoms, members=3, hidden=(4,))
        self.files = []
        for each in (ensemble, ensemble, general_ensemble(self.atoms)):
            with_domain(each, self.atoms).save(self.place)
            whole = self.place.read_bytes()
            content = json.loads(whole)
            del content["digest"]
            self.files.append((whole, (json.dumps(content, indent=1) + "\n").encode()))

    def expected(self) -> np.ndarray | None:
        """Rows of the example by Python; None where it refuses the file or its results."""
        try:
            found = Ensemble.load(self.place).evaluate(self.atoms)
        except InputError:
            return None
        grade = np.zeros(len(self.atoms)) if found.extrapolation is None else found.extrapolation
        return np.column_stack([found.energies, found.forces, found.uncertainty, grade])

    def case(self, dice: random.Random) -> str:
        """Damage it once; what came of it."""
        whole, without_digest = dice.choice(self.files)
        self.place.write_bytes(damaged(whole if dice.random() < 0.75 else without_digest, dice))
        done = subprocess.run(
            [self.program, self.place, self.structure],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
        )
        said = done.stderr.decode(errors="replace").rstrip("\n")
        if done.returncode == 2:
            assert_sentence(said, self.place)
            return "refused" if self.expected() is None else "refused here alone"
        if done.returncode != 0:
            raise AssertionError(f"exit code {done.returncode}: {said}")
        rows = np.array([line.split() for line in done.stdout.splitlines()], dtype=float)
        expected = self.expected()
        if expected is None:
            if np.isfinite(rows).all():
                raise AssertionError("computes what Python refuses")
            return "not finite"
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
        np.testing.assert_allclose(rows, expected, rtol=1e-9, atol=1e-9 * largest)
        return "the same"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--potentials", type=int, default=2000)
    parser.add_argument("--program", type=Path, help="examples/cpp, built")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for a case")
    parser.add_argument("--tell", type=int, default=1000, help="cases between two lines")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-wrong"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = given.program or build_example(Path(folder))["baseline"]
        base = Base(Path(folder), program.absolute())
        numbers = range(given.first, given.first + given.potentials)
        wrong = carry_out("potentials", base.case, numbers, given, given.keep.absolute())
    if wrong:
        raise SystemExit(f"{wrong} went wrong")


if __name__ == "__main__":
    main()
