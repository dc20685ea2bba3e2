"""Damage files at random, and see whether anything but a sentence comes of it.

    python benchmarks/python/fuzz_files.py --potentials 20000 --configurations 2000 \
        --records 5000 --runs 500

A small run (55 copper atoms, EMT, all stages) is made once. Then, each from a seed,

* its potential is damaged and loaded: it must be refused, or be the same to its digest, and what it
  computes must be finite. One in four has its digest taken out, as older files have none: then it
  may be another potential, whose results must be finite, too;
* its configuration is damaged and read: it must be refused, or be a configuration that can be
  written and read again;
* one of the files of its folder is damaged and read as what it is: it must be refused, or be a
  record that can be written and read again;
* one of the files of its folder is damaged, missing, a folder or a pipe, and commands that read it
  are given: ``status``, ``info``, ``evaluate``, ``relax``, ``report``, and every
  ``--run-every``-th time ``run``, after which the results must be those of the undamaged run (the
  figures, which take ten times as long as all else, are drawn in one case of fifty);
* its database of calculations is damaged and read: every row must be refused, or be as it was, and
  nothing be calculated again.

A damage is one to four changes: of bytes (changed, doubled, cut out, zeroed), of the JSON (values
of a wrong kind, numbers beyond all bounds, missing and doubled entries, deep brackets), or a cut at
the end. Whatever happens must end within ``--limit`` seconds with one sentence for every mistake
and exit code 2, or without and 0, or 3 where it ends early. The command ends with an error if
anything else happens; what happened is kept in ``--keep`` and told.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import numpy as np
from ase import Atoms
from ase.db import connect
from jinja2 import Environment

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import nearsight.files.records
from helpers import copper
from helpers.runs import assert_same_results, make_workplace, tiny_config, without_times
from nearsight.cli import app
from nearsight.config import Config
from nearsight.errors import InputError
from nearsight.files.records import Record
from nearsight.model.ensemble import Ensemble
from nearsight.parents import Parent
from nearsight.report import page

# warn: without a parent calculation, which would count in the reports of the run
RELAX = (
    "relax", "nft", "particle.extxyz", "--max-steps", "1", "--on-uncertain", "warn",
    "-o", "out.extxyz",
)  # fmt: skip
WEIRD = (
    "null", "true", "false", '""', '"x"', '"nan"', '"1"', '"\\u0000"', "[]", "{}", "-1", "0",
    "1e999", "-1e999", "1e308", "1e-308", "1" + 400 * "0", "NaN", "Infinity", "[[]]",
    '[{"a": null}]', "0.5", "9223372036854775808", 99 * "[" + 99 * "]", 3000 * "[" + 3000 * "]",
    '"\\ud800"', "1.0000000000000002",
)  # fmt: skip

RECORDS = {
    each.FORMAT: each
    for each in vars(nearsight.files.records).values()
    if isinstance(each, type) and issubclass(each, Record) and hasattr(each, "FORMAT")
}

FIGURES = 50
"""They are drawn in one of so many cases."""

Case = Callable[[random.Random], str]


class TooSlow(BaseException):
    """A case that did not end; not an Exception, so that nothing takes it for its own."""


# -- damages


def damaged(content: bytes, dice: random.Random) -> bytes:
    """The content with one to four changes."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        content = dice.choice((of_bytes, of_bytes, of_text, of_text, cut))(content, dice)
    return content


def of_bytes(content: bytes, dice: random.Random) -> bytes:
    """Some bytes changed, doubled, cut out or zeroed."""
    if not content:
        return bytes([dice.randrange(256)])
    begin = dice.randrange(len(content))
    length = dice.choice((1, 1, 2, 8, 64, 512))
    part = content[begin : begin + length]
    new = dice.choice(
        (
            bytes([part[0] ^ 1 << dice.randrange(8)]) + part[1:],
            dice.randbytes(len(part)),
            part + part,
            b"",
            bytes(len(part)),
            dice.choice((b'"', b"[", b"{", b",", b"\0", b"\xff", b"-", b"e", b"\n")),
        )
    )
    return content[:begin] + new + content[begin + length :]


def of_text(content: bytes, dice: random.Random) -> bytes:
    """A value of JSON or TOML exchanged, or a line doubled, moved or left out."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at = dice.randrange(len(lines))
    kind = dice.randrange(4)
    if kind == 0:
        lines[at] = b""
    elif kind == 1:
        lines.insert(dice.randrange(len(lines)), lines[at])
    else:
        head, separator, tail = lines[at].rpartition(dice.choice((b":", b"=", b",", b" ")))
        end = b",\n" if tail.rstrip().endswith(b",") else b"\n"
        value = dice.choice(WEIRD).encode()
        lines[at] = head + separator + (b" " if separator else b"") + value + end
    return b"".join(lines)


def cut(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randrange(len(content) + 1)]


# -- cases: what was wrong, or how it ended


class Base:
    """The undamaged run, and a place for damaged copies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "base").mkdir()
        make_workplace(
            folder / "base", tiny_config(dynamics={"steps": 4}, retraining={"max_rounds": 1})
        )
        os.chdir(folder / "base")
        code, said = command("run", "nft.toml")
        if code:
            raise SystemExit(f"the run cannot be made: {said}")
        self.run = folder / "base" / "nft"
        self.atoms = copper.particle()
        self.small = copper.cells()[0].atoms
        self.ensemble = Ensemble.load(self.run / "best.json")
        self.potential = (self.run / "best.json").read_bytes()
        content = json.loads(self.potential)
        del content["digest"]
        self.without_digest = (json.dumps(content, indent=1) + "\n").encode()
        self.configuration = (folder / "base" / "nft.toml").read_bytes()
        self.database = (self.run / "parent.db").read_bytes()
        with connect(self.run / "parent.db") as rows:
            self.rows = [row.toatoms() for row in rows.select()]
        place = folder / "whole.db"
        place.write_bytes(self.database)
        if self.ask(place, self.rows) or connect(place).count() != len(self.rows):
            raise SystemExit("the undamaged database is not read")
        self.names = sorted(
            str(path.relative_to(self.run))
            for path in self.run.rglob("*")
            if path.is_file() and path.suffix in (".json", ".toml", ".extxyz", ".traj", ".log")
        )

        self.later = [name for name in self.names if name.startswith(("dynamics", "retrain"))]

    @staticmethod
    def ask(database: Path, rows: list[Atoms]) -> int:
        """Ask for the labels of rows; how often a sentence came. Other labels are an error."""
        refused = 0
        for atoms in rows:
            parent = Parent("emt")
            try:
                parent.attach(database)
                label = parent.calculate(atoms)
            except InputError as error:
                assert_sentence(str(error))
                refused += 1
                continue
            if parent.calculations:
                raise AssertionError("calculated again without a word")
            forces = atoms.get_forces(apply_constraint=False)
            if (
                abs(label.energy - atoms.get_potential_energy()) > 1e-6
                or np.abs(label.forces - forces).max() > 1e-6
            ):
                raise AssertionError("other labels than were written")
        return refused


def command(*arguments: str) -> tuple[int, str]:
    """A command in this process: its exit code, and what it says on stderr."""
    out, err = io.StringIO(), io.StringIO()
    path = list(sys.path)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            app(list(arguments), prog_name="nearsight")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.path[:] = path
    said = err.getvalue()
    if code != 2 and arguments[0] in ("evaluate", "relax"):
        for word in out.getvalue().split():
            if word.strip(",;") in ("nan", "inf", "-inf"):
                raise AssertionError(f"{' '.join(arguments)} prints {word}")
    return code, said


def potentials(base: Base, dice: random.Random) -> str:
    whole = dice.random() < 0.75
    content = damaged(base.potential if whole else base.without_digest, dice)
    place = base.folder / "potential.json"
    place.write_bytes(content)
    try:
        found = Ensemble.load(place)
    except InputError as error:
        assert_sentence(str(error), place)
        return "refused"
    has_digest = b'"digest":' in content
    if found.digest != base.ensemble.digest and has_digest:
        raise AssertionError("another potential is taken for the one it was")
    try:
        result = found.evaluate(dice.choice((base.atoms, base.small)))
    except InputError as error:
        assert_sentence(str(error))
        return "refused when evaluated"
    for name, value in result.results.items():
        if not np.isfinite(value).all():
            raise AssertionError(f"{name} is not finite")
        if name.startswith("uncertainty") and (value < 0).any():
            raise AssertionError(f"{name} is negative")
    return "the same" if found.digest == base.ensemble.digest else "another one, without digest"


def configurations(base: Base, dice: random.Random) -> str:
    place = base.folder / "base" / "damaged.toml"
    place.write_bytes(damaged(base.configuration, dice))
    try:
        found = Config.load(place)
    except InputError as error:
        assert_sentence(str(error), place, several=True)
        return "refused"
    text = found.source
    if Config.parse(text, folder=place.parent) != found:
        raise AssertionError("it is not read again as it was written")
    return "read"


def records(base: Base, dice: random.Random) -> str:
    name = dice.choice([each for each in base.names if each.endswith(".json")])
    place = base.folder / "record.json"
    content = (base.run / name).read_bytes()
    place.write_bytes(damaged(content, dice))
    kind = RECORDS.get(json.loads(content).get("format"))
    if kind is None:
        return "no record"
    try:
        found = kind.load(place)
    except InputError as error:
        assert_sentence(str(error), place)
        return "refused"
    found.save(place)
    if kind.load(place) != found:
        raise AssertionError(f"{name} is not read again as it was written")
    return "read"


def runs(base: Base, dice: random.Random, whole: bool) -> str:
    if dice.random() < 1 / FIGURES:
        return in_a_run(base, dice, whole)
    with patch.object(page, "draw_figures", lambda data: iter(())):
        return in_a_run(base, dice, whole)


def in_a_run(base: Base, dice: random.Random, whole: bool) -> str:
    place = base.folder / "copy"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(base.folder / "base", place)
    folder = place / "nft"
    name = dice.choice(base.names)
    content = (folder / name).read_bytes()
    change = dice.random()
    if change < 0.03:
        (folder / name).unlink()
        os.mkfifo(folder / name)
    elif change < 0.06:
        (folder / name).unlink()
        (folder / name).mkdir()
    elif change < 0.09:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damaged(content, dice))
    os.chdir(place)
    commands: list[tuple[str, ...]] = [("status", "nft")]
    commands.append(
        dice.choice(
            (
                ("report", "nft") if dice.random() < 0.3 else ("info", f"nft/{name}"),
                ("info", f"nft/{name}"),
                ("evaluate", "nft", f"nft/{name}"),
                RELAX,
            )
        )
    )
    if whole:
        commands.append(("run", "nft.toml"))
    ended = []
    for each in commands:
        code, said = command(*each)
        if code not in (0, 2, 3) or "Traceback" in said:
            raise AssertionError(f"{' '.join(each)}: exit code {code}: {said}")
        if code == 2:
            assert_sentence(said.rstrip("\n"), several=True)
        ended.append(f"{each[0]} {code}")
        if each[0] == "run" and code == 0 and (folder / name).is_file():
            if content_of(folder / name) == content_of(base.run / name):
                # a space more, or digits beyond the last that count
                shutil.copyfile(base.run / name, folder / name)
            try:
                assert_same_results(folder, base.run)
                for other in base.later:
                    assert content_of(folder / other) == content_of(base.run / other), other
            except AssertionError as error:
                raise AssertionError(f"{name} was damaged: another {error}") from error
    return ended[-1]


def content_of(path: Path) -> object:
    """What a file says, however it is written."""
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    return path.read_bytes().split() if path.suffix == ".extxyz" else path.read_bytes()


def databases(base: Base, dice: random.Random) -> str:
    place = base.folder / "damaged.db"
    for path in base.folder.glob("damaged.db*"):
        path.unlink()
    content = bytearray(base.database)
    for _ in range(dice.randrange(1, 21)):
        content[dice.randrange(len(content))] = dice.randrange(256)
    place.write_bytes(content)
    return "refused" if base.ask(place, dice.sample(base.rows, 5)) else "as it was"


def assert_sentence(text: str, place: Path | None = None, several: bool = False) -> None:
    """One sentence (for each mistake), which names the file."""
    if not text.strip() or "Traceback" in text or (not several and "\n" in text):
        raise AssertionError(f"no sentence: {text!r}")
    if len(text) > (20_000 if several else 2_000):
        raise AssertionError(f"{len(text)} characters: {text[:200]!r}")
    if place is not None and not text.startswith(str(place)):
        raise AssertionError(f"names no file: {text!r}")


# -- the harness


def carry_out(name: str, case: Case, numbers: range, given: argparse.Namespace, keep: Path) -> int:
    """The cases of these numbers; how many went wrong."""
    seed = given.seed
    ended: Counter[str] = Counter()
    wrong = 0
    began = time.perf_counter()
    for number in numbers:
        dice = random.Random(f"{name} {seed} {number}")
        try:
            with within(given.limit):
                ended[case(dice)] += 1
        except (Exception, TooSlow):
            wrong += 1
            keep.mkdir(parents=True, exist_ok=True)
            told = f"{name} --seed {seed} --first {number}\n{traceback.format_exc()}"
            (keep / f"{name}-{seed}-{number}.txt").write_text(told)
            print(told, flush=True)
        done = number + 1 - numbers.start
        if done % given.tell == 0 or done == len(numbers):
            seconds = time.perf_counter() - began
            table = ", ".join(f"{what}: {many}" for what, many in ended.most_common())
            print(f"{name}: {done} in {seconds:.0f} s: {wrong} went wrong; {table}", flush=True)
    return wrong


@contextlib.contextmanager
def within(limit: float) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"not done after {limit:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--potentials", type=int, default=2000)
    parser.add_argument("--configurations", type=int, default=2000)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--run-every", type=int, default=20)
    parser.add_argument("--databases", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=180.0, help="seconds for a case")
    parser.add_argument("--tell", type=int, default=10_000, help="cases between two lines")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-wrong"))
    given = parser.parse_args()
    keep = given.keep.absolute()
    with tempfile.TemporaryDirectory() as folder:
        base = Base(Path(folder))
        templates = page.environment()

        def environment(drawn: Mapping[str, Any] | None = None) -> Environment:
            templates.globals["drawn"] = drawn or {}
            return templates

        page.environment = environment  # parsed once
        turns = iter(range(given.runs))
        cases: dict[str, tuple[Case, int]] = {
            "potentials": (lambda dice: potentials(base, dice), given.potentials),
            "configurations": (lambda dice: configurations(base, dice), given.configurations),
            "records": (lambda dice: records(base, dice), given.records),
            "runs": (
                lambda dice: runs(base, dice, next(turns) % given.run_every == 0),
                given.runs,
            ),
            "databases": (lambda dice: databases(base, dice), given.databases),
        }
        wrong = sum(
            carry_out(name, case, range(given.first, given.first + count), given, keep)
            for name, (case, count) in cases.items()
        )
        os.chdir(keep.parent)
    if wrong:
        raise SystemExit(f"{wrong} went wrong")


if __name__ == "__main__":
    main()
