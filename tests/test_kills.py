"""Runs that are killed, told to end, or started twice; as processes, as a user would see them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.cli import without_progress
from helpers.faulty import FAULTY
from helpers.processes import alive, children, until
from helpers.runs import make_workplace, tiny_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs signals, terminals and /proc"),
]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "xterm"}
HARNESS = Path(__file__).parents[1] / "benchmarks" / "python" / "kill_runs.py"
COMMAND = [sys.executable, "-m", "nearsight", "run", "nft.toml"]


def test_nothing_is_lost_in_forty_disturbances() -> None:
    done = subprocess.run(
        [sys.executable, HARNESS, "--disturbances", "40", "--seed", "1"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for line in done.stdout.splitlines()
        if len(cells := line.split("|")) == 6
    }
    assert sum(map(int, table["disturbances"])) == 40
    # a run is disturbed twelve times at most
    assert sum(map(int, table["runs that ended like the undisturbed one"])) >= 3
    for never in ("hangs beyond 20 s", "finished results lost", "known calculations repeated"):
        assert set(table[never]) == {"0"}
    assert done.stdout.rstrip().endswith("nothing was lost")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A configuration whose parent calculates the first cell for ever, in two local processes."""
    arguments = {"log": tmp_path / "log", "faults": {"4": "sleep"}}
    parent = {"calculator": FAULTY, "arguments": arguments}
    make_workplace(tmp_path, tiny_config(parent=parent, executor={"engine": "local"}))
    return tmp_path


class Screen:
    """A terminal that takes all that is written to it."""

    def __init__(self) -> None:
        self._here, self.there = os.openpty()
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self._parts.append(os.read(self._here, 100_000))
            except OSError:  # Linux's way to say that nobody writes any longer
                return

    def text(self) -> str:
        """All of it, once its other end is closed everywhere."""
        self._reader.join(30)
        return b"".join(self._parts).decode()

    def close(self) -> None:
        self._reader.join(30)
        os.close(self._here)


@pytest.fixture
def at_work(place: Path) -> Iterator[tuple[subprocess.Popen[bytes], Screen]]:
    """A run that is calculating, with a terminal for its display."""
    screen = Screen()
    process = subprocess.Popen(
        COMMAND, cwd=place, env=ENVIRONMENT, stdout=screen.there, stderr=screen.there
    )
    os.close(screen.there)
    try:
        until((place / "log").exists, 120)
        yield process, screen
    finally:
        process.kill()
        process.wait()
        screen.close()


def test_a_second_run_says_so(place: Path, at_work: tuple[subprocess.Popen[bytes], Screen]) -> None:
    log = (place / "nft" / "run.log").read_text()
    second = subprocess.run(
        COMMAND, cwd=place, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (second.returncode, second.stdout) == (2, "")
    assert without_progress(second.stderr) == (
        "nft: the run folder is locked by another nearsight process; wait for it, or stop it "
        "first\n"
    )
    assert at_work[0].poll() is None
    assert (place / "nft" / "run.log").read_text() == log


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGTERM, 143, "Terminated"),
        (signal.SIGINT, 130, "Interrupted"),
        (signal.SIGHUP, 129, "Terminated"),
    ],
)
def test_a_run_that_is_told_to_end(
    place: Path,
    at_work: tuple[subprocess.Popen[bytes], Screen],
    number: signal.Signals,
    code: int,
    word: str,
) -> None:
    process, screen = at_work
    workers = children(process.pid)
    assert workers
    status = subprocess.run(
        [*COMMAND[:3], "status", "nft"], cwd=place, env=ENVIRONMENT, capture_output=True, check=True
    ).stdout.decode()
    assert "First calculation, for " in status
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) == code
    assert time.monotonic() - began < 30
    until(lambda: not any(map(alive, workers)))
    text = screen.text()
    assert "First calculation" in text
    assert "on Cu4 (4 atoms)" in text
    # the cursor is back
    assert text.rfind("\x1b[?25h") >= text.rfind("\x1b[?25l")
    assert f"{word}; the same command continues from here." in text
    assert not list((place / "nft").rglob("*.part"))
