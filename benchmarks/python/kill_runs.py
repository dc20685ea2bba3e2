"""Disturb runs at random moments, start them again until they end: is anything lost?

    python benchmarks/python/kill_runs.py --disturbances 500
    python benchmarks/python/kill_runs.py --disturbances 500 --engine "per_job = 2"

A small run (two particles of copper and gold, EMT, all stages with retraining and dynamics) is made
once undisturbed and then again and again, disturbed at moments drawn from a seed, up to twelve
times: half of them at any time of the undisturbed run's duration, then at any time of what is left
of it; half of them in a stage drawn from those that are not done, at any time of its duration. The
disturbances are SIGKILL, at its moment or from then on inside a write (a temporary file or a
journal of the database is there); SIGINT; SIGTERM; two signals within 50 ms; and SIGKILL to a
worker, after which the run goes on. The runs have ``engine = "inline"``, ``"local"`` with two
workers, or the same with ``per_job = 2``, in turns or one of these alone.

What must hold, or the command ends with an error:

* what is told to end, or killed, ends within 20 s with all its processes, and a run whose worker
  was killed ends in its time: nothing hangs;
* a run that was disturbed ends with the files of the undisturbed one, bit for bit but for times;
* no structure whose result was in parent.db or a file of its own is calculated again, and no row is
  written again. What is calculated twice can only be what was under way at a disturbance;
* nothing else lies in the folder.
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
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from helpers.copper import particle
from helpers.faulty import FAULTY, digest
from helpers.processes import session
from helpers.runs import files, make_workplace, tiny_config, without_times

ENGINES = {
    "inline": {"engine": "inline"},
    "local": {"engine": "local", "workers": 2, "resubmissions": 1000},
    "per_job = 2": {"engine": "local", "workers": 2, "per_job": 2, "resubmissions": 1000},
}
"""Of the runs, in turns. A worker may be killed again and again over the same calculation."""

RETRAINING = {"max_rounds": 1, "chunks": 2, "target_chunks": 2, "threshold": 1e-3, "window": 1e4}
KINDS = {
    "kill": 1,
    "kill in a write": 1,
    "SIGINT": 1,
    "SIGTERM": 1,
    "two signals": 1,
    "kill of a worker": 2,
}
"""Of disturbances, with their shares. In a run without workers there is none for the last."""
MOST = 12  # disturbances of one run

# parent.db is looked at by itself; the others hold times, or nothing
OF_TIME = {"parent.db", "run.lock", "run.log", "status.json", "report.html"}
STOPS = {signal.SIGINT, signal.SIGTERM}
GONE_WITHIN = 20.0  # s, for a run that is told to end and for its processes

Rows = dict[str, tuple[Any, ...]]
"""By digest of the structure: number, time made and changed, energy, forces, stress of its row."""


@dataclass
class Found:
    """What the runs of one engine came to."""

    seconds: float = 0.0
    start: float = 0.0
    durations: dict[str, float] = field(default_factory=dict)
    calculations: int = 0
    runs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    part_left: int = 0
    journal_left: int = 0
    result_left: int = 0
    repeated: int = 0
    slowest_end: float = 0.0
    stages: Counter[str] = field(default_factory=Counter)


def alloy(seed: int) -> Atoms:
    """A particle of copper with some gold in it."""
    atoms = particle(seed)
    atoms.symbols[::6] = "Au"
    return atoms


def prepare(folder: Path, engine: str) -> Path:
    """Make the folder of a run, with its configuration beside it."""
    folder.mkdir()
    config = tiny_config(
        target={"others": ["other.extxyz"]},
        parent={"calculator": FAULTY, "arguments": {"log": "calculations.log", "pause": 0.01}},
        executor=ENGINES[engine],
        locality=None,
        retraining=RETRAINING,
        dynamics={"steps": 6, "write_every": 2, "watch_every": 2, "max_rounds": 1},
    )
    ase.io.write(folder / "other.extxyz", alloy(2))
    make_workplace(folder, config, alloy(1))
    (folder / "calculations.log").touch()
    return folder / "nft"


def carry_out(run: Path) -> None:
    """What a run's process does: ``nearsight run nft.toml``."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    os.chdir(run.parent)
    for stream, name in ((1, os.devnull), (2, "stderr.log")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.argv = ["nearsight", "run", "nft.toml"]
    importlib.import_module("nearsight.__main__").main()


def start(run: Path) -> ForkProcess:
    # forked from what has imported all, but calculated nothing: imports take longer than the run
    process = multiprocessing.get_context("fork").Process(target=carry_out, args=(run,))
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # what multiprocessing does is not tested
    process.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
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


def strike(process: ForkProcess, run: Path, kind: str, rng: np.random.Generator) -> bool:
    """Disturb a run now; whether it was still there."""
    if kind == "kill of a worker":
        workers: list[int] = []
        while not workers and process.exitcode is None:  # they are there when the parent is asked
            process.join(0.05)
            workers = [each for each in session(process.pid) if each != process.pid]
        if process.exitcode is not None:
            return False
        with suppress(ProcessLookupError):
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
        return True
    old = half_written(run)
    while kind == "kill in a write" and process.exitcode is None and half_written(run) <= old:
        time.sleep(0.0003)  # they are there for milliseconds
    if process.exitcode is not None:
        return False
    signals = {"SIGINT": [signal.SIGINT], "SIGTERM": [signal.SIGTERM]}.get(kind, [signal.SIGKILL])
    if kind == "two signals":
        signals = [int(each) for each in rng.choice([signal.SIGINT, signal.SIGTERM], 2)]
    for number, each in enumerate(signals):
        if number:
            time.sleep(float(rng.uniform(0.0, 0.05)))
        with suppress(ProcessLookupError):
            os.kill(process.pid, each)
    process.join(GONE_WITHIN)
    if process.exitcode is None:
        raise SystemExit(f"{run}: hangs after {kind}; it is process {process.pid}")
    said = (run.parent / "stderr.log").read_text()
    # the command line's word for a Ctrl-C before the work has begun
    if process.exitcode == 2 or (process.exitcode == 1 and "Aborted" not in said):
        raise SystemExit(f"{run}: {kind} ended it with {said}")
    return process.exitcode != 0


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


def finished(run: Path) -> set[str]:
    """Digests of the structures whose results are in parent.db or a file of their own."""
    found = set(rows(run))
    for path in run.glob("parent/results/*.json"):
        with suppress(FileNotFoundError):  # it is in parent.db by now
            found.add(digest(Atoms.fromdict(json.loads(path.read_text())["structure"])))
    return found


def calculated(run: Path) -> list[str]:
    lines = (run.parent / "calculations.log").read_text().splitlines()
    return [line.rpartition(" ")[2] for line in lines]


def stage_at(run: Path, size: int) -> str:
    """The last stage that the log names from a place on."""
    log = run / "run.log"
    text = log.read_text()[size:] if log.exists() else ""
    stages = [line.partition("  ")[2].partition(":")[0] for line in text.splitlines()]
    return ([each for each in stages if each and not each.startswith(" ")] or ["Start"])[-1]


def stages(run: Path) -> dict[str, Any]:
    """What stages.json says of those that are done."""
    path = run / "stages.json"
    known: dict[str, Any] = json.loads(path.read_text())["stages"] if path.exists() else {}
    return known


def wait_for_stage(
    process: ForkProcess, run: Path, found: Found, size: int, rng: np.random.Generator
) -> None:
    """Wait for a random moment in one of the stages that are not done."""
    left = sorted(found.durations.keys() - stages(run).keys()) or ["Report"]
    stage = str(rng.choice(left))
    log = run / "run.log"
    while process.exitcode is None:
        if log.exists() and f"  {stage}\n" in log.read_text()[size:].replace(":", "\n"):
            break
        process.join(0.01)
    process.join(float(rng.uniform(0.0, found.durations.get(stage, 1.0))))


def content(path: Path) -> Any:
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    return path.read_bytes()


def compare(run: Path, expected: Path) -> None:
    """End with an error unless a run came to what the undisturbed one did."""
    lost = run / "failures.json"
    if lost.exists():  # workers that were killed
        if any(each["given_up"] for each in json.loads(lost.read_text())["structures"].values()):
            raise SystemExit(f"{run}: a structure was given up")
        lost.unlink()
    if files(run) != files(expected):
        raise SystemExit(f"{run}: other files: {sorted(files(run) ^ files(expected))}")
    for name in sorted(files(expected) - OF_TIME):
        if not name.startswith("figures/") and content(run / name) != content(expected / name):
            raise SystemExit(f"{run / name}: not what the undisturbed run has")
    mine, theirs = rows(run), rows(expected)
    if mine.keys() != theirs.keys() or any(mine[key][3:] != theirs[key][3:] for key in mine):
        raise SystemExit(f"{run}: parent.db holds other calculations")


def disturb(run: Path, expected: Path, found: Found, wanted: int, rng: np.random.Generator) -> int:
    """Start a run again and again, disturbing it at most so often, until it ends; how often."""
    done: set[str] = set()
    committed: Rows = {}
    seen = 0  # lines of the log of calculations
    left, inline = wanted, "inline" in (run.parent / "nft.toml").read_text()
    first, last = 0.0, found.seconds  # when to disturb it, s after its start
    while True:
        log, old = run / "run.log", half_written(run)
        size = len(log.read_text()) if log.exists() else 0
        began = time.monotonic()
        process = start(run)
        ended = False
        while left > 0 and not ended:
            if rng.random() < 0.5:
                wait_for_stage(process, run, found, size, rng)
            else:
                process.join(max(began + float(rng.uniform(first, last)) - time.monotonic(), 0.0))
            kinds = list(KINDS)[: -1 if inline else None]
            shares = np.array([KINDS[kind] for kind in kinds])
            kind = str(rng.choice(kinds, p=shares / shares.sum()))
            if not strike(process, run, kind, rng):
                if process.exitcode is not None:
                    break
                continue  # there is no worker now
            left -= 1
            found.kinds[kind] += 1
            found.stages[stage_at(run, size)] += 1
            ended = kind != "kill of a worker"
        if not ended:
            wait_to_end(process, run)
        lasted = time.monotonic() - began
        found.slowest_end = max(found.slowest_end, time_to_end(process.pid))
        lines = calculated(run)
        if again := set(lines[seen:]) & done:
            raise SystemExit(f"{run}: {len(again)} known structures were calculated again")
        now = rows(run)
        if any(now.get(key) != row for key, row in committed.items()):
            raise SystemExit(f"{run}: a row of parent.db was lost or written again")
        done, committed, seen = finished(run), now, len(lines)
        found.result_left += len(done) > len(committed)
        if not ended:
            if left == wanted:  # the machine has less to do than it had
                found.seconds = min(found.seconds, lasted)
            break
        new = half_written(run) - old
        found.part_left += any(name.endswith(".part") for name in new)
        found.journal_left += "parent.db-journal" in new
        # it goes on from there, after another start, of which the first kills have shown enough
        first, last = 0.5 * found.start, max(found.start + last - lasted, found.start)
    compare(run, expected)
    found.runs += 1
    found.repeated += len(calculated(run)) - len(committed)
    return wanted - left


def undisturbed(run: Path) -> Found:
    began = time.monotonic()
    process = start(run)
    while process.exitcode is None and not (run / "run.log").exists():
        time.sleep(0.01)
    found = Found(start=time.monotonic() - began)
    wait_to_end(process, run)
    found.seconds = time.monotonic() - began
    found.durations = {name: float(each["seconds"]) for name, each in stages(run).items()}
    found.calculations = len(calculated(run))
    if found.calculations != len(rows(run)):
        raise SystemExit(f"{run}: {found.calculations} calculations made {len(rows(run))} rows")
    return found


def work(wanted: int, seed: int, folder: Path, engines: list[str]) -> dict[str, Found]:
    results = {
        engine: undisturbed(prepare(folder / str(number), engine))
        for number, engine in enumerate(engines)
    }
    rng = np.random.default_rng(seed)
    left, number = wanted, 0
    while left > 0:
        kind = number % len(engines)
        engine = engines[kind]
        number += 1
        run = prepare(folder / f"{kind}-{number}", engine)
        expected = folder / str(kind) / "nft"
        left -= disturb(run, expected, results[engine], min(left, MOST), rng)
        shutil.rmtree(run.parent)
        print(f"run {number} ended; {left} disturbances are left", file=sys.stderr, flush=True)
    return results


def report(results: dict[str, Found]) -> str:
    rows_ = {
        "undisturbed run, s": [f"{each.seconds:.0f}" for each in results.values()],
        "calculations of one run": [each.calculations for each in results.values()],
        "disturbances": [sum(each.kinds.values()) for each in results.values()],
        **{f"... {kind}": [each.kinds[kind] for each in results.values()] for kind in KINDS},
        "hangs beyond 20 s": [0 for _ in results],
        "a half-written file was left": [each.part_left for each in results.values()],
        "a journal of the database was left": [each.journal_left for each in results.values()],
        "runs that ended like the undisturbed one": [each.runs for each in results.values()],
        "a result was left in its file, taken in": [each.result_left for each in results.values()],
        "finished results lost": [0 for _ in results],
        "known calculations repeated": [0 for _ in results],
        "calculations under way, repeated": [each.repeated for each in results.values()],
        "longest time to the end of all processes, s": [
            f"{each.slowest_end:.2f}" for each in results.values()
        ],
    }
    stages = sum((each.stages for each in results.values()), Counter[str]())
    for stage in stages:
        rows_[f"disturbed in: {stage}"] = [each.stages[stage] for each in results.values()]
    lines = [f"| | {' | '.join(results)} |", "|---|" + "--:|" * len(results)]
    lines += [f"| {name} | {' | '.join(map(str, values))} |" for name, values in rows_.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--disturbances", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=ENGINES, action="append", help="all by default")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for module in (
        "nearsight.cli",
        "nearsight.run.run",
        "nearsight.run.status",
        "nearsight.progress",
        "nearsight.report.figures",
        "ase.calculators.emt",
        "ase.db.sqlite",
        "ase.io.extxyz",
        "matplotlib.backends.backend_agg",
        "scipy.optimize",
    ):
        importlib.import_module(module)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        engines = arguments.engine or list(ENGINES)
        results = work(arguments.disturbances, arguments.seed, Path(folder), engines)
    print(report(results))
    print(f"\n{time.monotonic() - began:.0f} s; nothing was lost")


if __name__ == "__main__":
    main()
