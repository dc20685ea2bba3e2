"""Damage files of other programs at random, and see what importing them comes to.

    python benchmarks/python/fuzz_foreign.py --potentials 20000 --structures 5000

Each from a seed, a file of a potential of n2p2 (plain and with functions of all kinds) or of Amp,
an ``input.data`` or a ``Gs.json`` is damaged: by bytes as in `fuzz_files.py`, by words (numbers
beyond all bounds, other words, Python that would make a file if it were executed), by lines.
Importing it must be refused with one sentence that names a file of it, or give what is finite where
it is evaluated, and the same again from the file it is saved to. Nothing may be executed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))
from fuzz_files import assert_sentence, carry_out, cut, of_bytes

from helpers.general import CASES, functions_like
from helpers.structures import functions_of, random_ensemble, structure
from nearsight.errors import InputError
from nearsight.foreign.amp import read_functions
from nearsight.foreign.n2p2_write import write_n2p2
from nearsight.foreign.potentials import import_potential
from nearsight.model.ensemble import Ensemble
from nearsight.model.general_functions import Radial
from nearsight.model.symmetry_functions import Cutoff, SymmetryFunctions
from nearsight.structures.images import read_structures
from nearsight.structures.n2p2_data import write_n2p2_data
from nearsight.structures.units import Units

DATA = Path(__file__).parents[2] / "tests" / "validation" / "data"
EXECUTED = "executed-by-import"
WORDS = (
    "nan", "inf", "1e999", "-1e308", "1e308", "1e-320", "0", "-1", "0.5", "3", "25", "99999999",
    "Pt", "Cu", "Xx", "p2a", "4G", "l", "t", "#", "begin", "end", "None", "[]", "'", '"', "(", "{",
    "9" * 5000, "(" * 3000, "-" * 3000, "\u00e9", "\u0661",
    f"__import__('os').mknod('{EXECUTED}')", f"open('{EXECUTED}', 'w')",
)  # fmt: skip


def of_words(content: bytes, dice: random.Random) -> bytes:
    """A word exchanged, doubled or left out, or a line."""
    lines = content.decode(errors="replace").split("\n")
    at = dice.randrange(len(lines))
    kind = dice.randrange(5)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(dice.randrange(len(lines)), lines[at])
    else:
        words = lines[at].split(" ")
        words[dice.randrange(len(words))] = dice.choice(WORDS) if kind < 4 else ""
        lines[at] = " ".join(words)
    return "\n".join(lines).encode()


def damaged(content: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        content = dice.choice((of_bytes, of_words, of_words, of_words, cut))(content, dice)
    return content


class Base:
    """Undamaged files, and structures to evaluate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.two = structure("cluster", 2)
        copper = self.two.copy()
        copper.symbols = ["Pt", "Cu"] * 6
        atoms = {"plain": self.two, "general": self.two, "Pt": structure("cluster")}
        kinds = CASES["exponential"] + CASES["compact polynomial2"]
        for name, functions in (
            ("plain", functions_of(("Pt", "Au"), 5.0)),
            ("general", functions_like(kinds)),
        ):
            # n2p2 has one cutoff function for all
            given = functions.subset({e: self.of_one_cutoff(functions, e) for e in ("Pt", "Au")})
            made = random_ensemble(given, self.two, members=1, hidden=(4,))
            write_n2p2(made, folder / name, Units())
        shutil.copytree(DATA / "n2p2", folder / "Pt")
        for other in (folder / "Pt").iterdir():
            if other.suffix not in (".nn", ".data"):
                other.unlink()
        self.potentials = [(folder / name, each) for name, each in atoms.items()]
        self.potentials += [
            (DATA / "amp_files" / name, copper) for name in ("m0.amp", "three.ensemble")
        ]
        self.data = folder / "input.data"
        labelled = [structure(name, 2) for name in ("cluster", "skewed")]
        for each in labelled:
            found = random_ensemble(functions_of(("Pt", "Au"), 5.0), each).evaluate(each)
            each.calc = SinglePointCalculator(each, energy=found.energy, forces=found.forces)
        write_n2p2_data(self.data, labelled)

    @staticmethod
    def of_one_cutoff(functions: SymmetryFunctions, element: str) -> list[int]:
        general = [isinstance(f, Radial) for f in functions.functions[element]]
        return [i for i, each in enumerate(general) if each or not any(general)]

    def potential(self, dice: random.Random) -> str:
        """Damage one file of a potential once; what came of it."""
        whole, atoms = dice.choice(self.potentials)
        place = self.folder / "case"
        if whole.is_file():
            place = place.with_suffix(whole.suffix)
            place.write_bytes(damaged(whole.read_bytes(), dice))
        else:
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(whole, place)
            name = dice.choice(sorted(each.name for each in whole.iterdir()))
            (place / name).write_bytes(damaged((whole / name).read_bytes(), dice))
        try:
            made = import_potential([place])
        except InputError as error:
            assert_sentence(str(error))
            if str(place) not in str(error) and "members' networks" not in str(error):
                raise AssertionError(f"names no file: {error}") from error
            self.nothing_executed()
            return "refused"
        self.nothing_executed()
        saved = self.folder / "saved.json"
        made.save(saved)
        if Ensemble.load(saved).digest != made.digest:
            raise AssertionError("not the same when saved")
        try:
            found = made.evaluate(atoms)
        except InputError as error:
            assert_sentence(str(error))
            return "refused when evaluated"
        if not all(np.isfinite(value).all() for value in found.results.values()):
            raise AssertionError("not finite")
        return "evaluated"

    def structures(self, dice: random.Random) -> str:
        """Likewise of structures, or of Amp's symmetry functions."""
        if dice.random() < 0.3:
            place = self.folder / "Gs.json"
            place.write_bytes(damaged((DATA / "amp_files" / "Gs.json").read_bytes(), dice))
            try:
                read_functions(place, Cutoff(6.5))
            except InputError as error:
                assert_sentence(str(error), place)
                return "refused"
            return "read"
        place = self.folder / "damaged.data"
        place.write_bytes(damaged(self.data.read_bytes(), dice))
        try:
            found = read_structures(place)
            again = self.folder / "again.data"
            write_n2p2_data(again, found)
        except InputError as error:
            assert_sentence(str(error))
            return "refused"
        for one, two in zip(found, read_structures(again), strict=True):
            np.testing.assert_array_equal(one.positions, two.positions)
            np.testing.assert_array_equal(one.get_forces(), two.get_forces())
        return "read"

    @staticmethod
    def nothing_executed() -> None:
        if Path(EXECUTED).exists():
            raise AssertionError("something in the file was executed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--potentials", type=int, default=2000)
    parser.add_argument("--structures", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for a case")
    parser.add_argument("--tell", type=int, default=5000, help="cases between two lines")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-wrong"))
    given = parser.parse_args()
    keep = given.keep.absolute()
    with tempfile.TemporaryDirectory() as folder:
        base = Base(Path(folder))
        os.chdir(folder)
        wrong = sum(
            carry_out(name, case, range(given.first, given.first + count), given, keep)
            for name, case, count in (
                ("potentials", base.potential, given.potentials),
                ("structures", base.structures, given.structures),
            )
        )
        os.chdir(keep.parent)
    if wrong:
        raise SystemExit(f"{wrong} went wrong")


if __name__ == "__main__":
    main()
