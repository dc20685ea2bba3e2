"""Kill runs at random moments, start them again until they end, and see whether anything is lost.

    python benchmarks/python/kill_runs.py --kills 200

A small run (55 copper atoms, EMT, all stages) is made once undisturbed and then again and again,
its process killed with SIGKILL at moments drawn from a seed: at any time of the undisturbed run's
duration, then at any time of what is left of it, up to eight times. Half of the kills wait from
their moment on for a temporary file or a journal of the database to appear, to come inside a write.
One run in four has ``engine = "local"``, the others ``engine = "inline"``.

What must hold, or the command ends with an error:

* a run that was killed ends with the files of the undisturbed one, bit for bit but for times;
* no structure whose calculation was committed to parent.db before a kill is calculated again, and
  its row is never written again. What is calculated twice can only be what was under way at a kill:
  with ``inline`` one calculation, with ``local`` those its two workers have in hand;
* nothing else lies in the folder, and every process of a killed run goes too.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from helpers.faulty import FAULTY
from helpers.runs import files, make_workplace, tiny_config, without_times

ENGINES = ("inline", "inline", "inline", "local")  # of the runs, in turns
MOST_KILLS = 8  # of one run

# parent.db is looked at by itself; the others hold times, or nothing
OF_TIME = {"parent.db", "run.lock", "run.log", "status.json", "report.html"}
GONE_WITHIN = 60.0  # s, for the processes of a killed run: they may be at their imports

Rows = dict[str, tuple[Any, ...]]
"""By digest of the structure: number, time made and changed, energy, forces, stress of its row."""


@dataclass
class Found:
    """What the runs of one engine came to."""

    seconds: float = 0.0
    start: float = 0.0
    calculations: int = 0
    runs: int = 0
    any_time: int = 0
    in_write: int = 0
    part_left: int = 0
    journal_left: int = 0
    repeated: int = 0
    slowest_end: float = 0.0
    stages: Counter[str] = field(default_factory=Counter)

    @property
    def kills(self) -> int:
        return self.any_time + self.in_write


def prepare(folder: Path, engine: str) -> Path:
    """Make the folder of a run, with its configuration beside it."""
    folder.mkdir()
    parent = {"calculator": FAULTY, "arguments": {"log": "calculations.log", "pause": 0.01}}
    executor = {"engine": engine, "workers": 2}
    make_workplace(folder, tiny_config(parent=parent, executor=executor))
    (folder / "calculations.log").touch()
    return folder / "nft"


def carry_out(run: Path) -> None:
    """What a run's process does: ``nearsight run nft.toml``."""
    os.setsid()
    os.chdir(run.parent)
    for stream, name in ((1, os.devnull), (2, "stderr.log")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.argv = ["nearsight", "run", "nft.toml"]
    importlib.import_module("nearsight.cli").main()


def start(run: Path) -> ForkProcess:
    # forked from what has imported all, but calculated nothing: imports take longer than the run
    process = multiprocessing.get_context("fork").Process(target=carry_out, args=(run,))
    process.start()
    return process


def wait_to_end(process: ForkProcess, run: Path) -> None:
    process.join(600)
    if process.exitcode != 0:
        said = (run.parent / "stderr.log").read_text()
        raise SystemExit(f"{run}: ended with exit code {process.exitcode}: {said}")


def half_written(run: Path) -> set[str]:
    """Temporary files and journals; without those of status.json, which is written all the time."""
    return {
        name
        for _, _, names in os.walk(run)
        for name in names
        if name.endswith((".part", "-journal")) and not name.startswith(".status.json")
    }


def kill(process: ForkProcess, run: Path, moment: float, in_write: bool) -> bool:
    """Kill a run at its moment; whether it was still there."""
    old = half_written(run)
    process.join(moment)
    while in_write and process.exitcode is None and half_written(run) <= old:
        time.sleep(0.0003)  # they are there for milliseconds
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def session(leader: int) -> list[int]:
    """The processes of a session that are no zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[3]) == leader and words[0] != "Z":
            found.append(int(path.parent.name))
    return found


def time_to_end(leader: int) -> float:
    """How long the processes of a killed run are still there, s."""
    began = time.monotonic()
    while left := session(leader):
        if time.monotonic() - began > GONE_WITHIN:
            raise SystemExit(f"processes {left} outlive the run that started them")
        time.sleep(0.01)
    return time.monotonic() - began


def rows(run: Path) -> Rows:
    """What is committed; looked at in a copy, so that nothing is repaired in the run's own file."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("parent.db", "parent.db-journal"):
            if (run / name).exists():
                shutil.copy(run / name, place)
        path = Path(place, "parent.db")
        if not path.exists():
            return {}
        with closing(sqlite3.connect(path)) as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            found = (
                connection.execute(
                    "SELECT numbers, positions, cell, id, ctime, mtime, energy, forces, stress "
                    "FROM systems"
                ).fetchall()
                if tables
                else []
            )
    known: Rows = {}
    for numbers, positions, cell, *rest in found:
        digest = hashlib.sha256()
        for blob, dtype in ((numbers, "<i4"), (positions, "<f8"), (cell, "<f8")):
            digest.update(np.frombuffer(blob, dtype).astype("<f8").tobytes())
        if digest.hexdigest() in known:
            raise SystemExit(f"{run}: a calculation is in parent.db twice")
        known[digest.hexdigest()] = tuple(rest)
    return known


def calculated(run: Path) -> list[str]:
    lines = (run.parent / "calculations.log").read_text().splitlines()
    return [line.rpartition(" ")[2] for line in lines]


def stage_at(run: Path, size: int) -> str:
    """The last stage that the log names from a place on."""
    log = run / "run.log"
    text = log.read_text()[size:] if log.exists() else ""
    stages = [line.partition("  ")[2].partition(":")[0] for line in text.splitlines()]
    return ([each for each in stages if each and not each.startswith(" ")] or ["Start"])[-1]


def content(path: Path) -> Any:
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    return path.read_bytes()


def compare(run: Path, expected: Path) -> None:
    """End with an error unless a run came to what the undisturbed one did."""
    if files(run) != files(expected):
        raise SystemExit(f"{run}: other files: {sorted(files(run) ^ files(expected))}")
    for name in sorted(files(expected) - OF_TIME):
        if not name.startswith("figures/") and content(run / name) != content(expected / name):
            raise SystemExit(f"{run / name}: not what the undisturbed run has")
    mine, theirs = rows(run), rows(expected)
    if mine.keys() != theirs.keys() or any(mine[key][3:] != theirs[key][3:] for key in mine):
        raise SystemExit(f"{run}: parent.db holds other calculations")


def disturb(run: Path, expected: Path, found: Found, wanted: int, rng: np.random.Generator) -> None:
    """Start a run again and again, killing it at most so often, until it ends."""
    committed: Rows = {}
    seen = 0  # lines of the log of calculations
    first, last = 0.0, found.seconds  # when to kill it, s after its start
    while True:
        log, old = run / "run.log", half_written(run)
        size = len(log.read_text()) if log.exists() else 0
        in_write = bool(rng.integers(2))
        began = time.monotonic()
        process = start(run)
        killed = wanted > 0 and kill(process, run, float(rng.uniform(first, last)), in_write)
        if not killed:
            wait_to_end(process, run)
        lasted = time.monotonic() - began
        found.slowest_end = max(found.slowest_end, time_to_end(process.pid))
        lines = calculated(run)
        if again := set(lines[seen:]) & set(committed):
            raise SystemExit(f"{run}: {len(again)} known structures were calculated again")
        now = rows(run)
        if any(now.get(key) != row for key, row in committed.items()):
            raise SystemExit(f"{run}: a row of parent.db was lost or written again")
        committed, seen = now, len(lines)
        if not killed:
            break
        wanted -= 1
        found.any_time += not in_write
        found.in_write += in_write
        new = half_written(run) - old
        found.part_left += any(name.endswith(".part") for name in new)
        found.journal_left += "parent.db-journal" in new
        found.stages[stage_at(run, size)] += 1
        # it goes on from there, after another start, of which the first kills have shown enough
        first, last = 0.5 * found.start, max(found.start + last - lasted, found.start)
    compare(run, expected)
    found.runs += 1
    found.repeated += len(calculated(run)) - len(committed)


def undisturbed(run: Path) -> Found:
    began = time.monotonic()
    process = start(run)
    while process.exitcode is None and not (run / "run.log").exists():
        time.sleep(0.01)
    found = Found(start=time.monotonic() - began)
    wait_to_end(process, run)
    found.seconds = time.monotonic() - began
    found.calculations = len(calculated(run))
    if found.calculations != len(rows(run)):
        raise SystemExit(f"{run}: {found.calculations} calculations made {len(rows(run))} rows")
    return found


def work(kills: int, seed: int, folder: Path) -> dict[str, Found]:
    results = {
        engine: undisturbed(prepare(folder / engine, engine)) for engine in sorted(set(ENGINES))
    }
    rng = np.random.default_rng(seed)
    number = 0
    while left := kills - sum(each.kills for each in results.values()):
        engine = ENGINES[number % len(ENGINES)]
        number += 1
        run = prepare(folder / f"{engine}-{number}", engine)
        disturb(run, folder / engine / "nft", results[engine], min(left, MOST_KILLS), rng)
        shutil.rmtree(run.parent)
        print(f"run {number} ended; {left} kills were left", file=sys.stderr, flush=True)
    return results


def report(results: dict[str, Found]) -> str:
    rows_ = {
        "undisturbed run, s": [f"{each.seconds:.0f}" for each in results.values()],
        "calculations of one run": [each.calculations for each in results.values()],
        "kills": [each.kills for each in results.values()],
        "... at any time": [each.any_time for each in results.values()],
        "... inside a write": [each.in_write for each in results.values()],
        "a half-written file was left": [each.part_left for each in results.values()],
        "a journal of the database was left": [each.journal_left for each in results.values()],
        "runs that ended like the undisturbed one": [each.runs for each in results.values()],
        "known calculations repeated": [0 for _ in results],
        "calculations under way at a kill, repeated": [each.repeated for each in results.values()],
        "longest time to the end of all processes, s": [
            f"{each.slowest_end:.2f}" for each in results.values()
        ],
    }
    stages = sum((each.stages for each in results.values()), Counter[str]())
    for stage in stages:
        rows_[f"killed in: {stage}"] = [each.stages[stage] for each in results.values()]
    lines = [f"| | {' | '.join(results)} |", "|---|" + "--:|" * len(results)]
    lines += [f"| {name} | {' | '.join(map(str, values))} |" for name, values in rows_.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for module in (
        "nearsight.cli",
        "nearsight.run.run",
        "nearsight.run.status",
        "nearsight.progress",
    ):
        importlib.import_module(module)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = work(arguments.kills, arguments.seed, Path(folder))
    print(report(results))
    print(f"\n{time.monotonic() - began:.0f} s; nothing was lost")


if __name__ == "__main__":
    main()
