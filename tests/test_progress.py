"""What is shown and logged while work goes on."""

from __future__ import annotations

import io
import re
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

import nearsight.progress
from nearsight.cli.display import TerminalProgress
from nearsight.progress import LogProgress, Progress, SeveralProgress

# the curve of the paper's Fig. S7 (structure uncertainty, eV/Å)
UNCERTAINTIES = [9.30, 7.19, 0.676, 0.211, 0.110, 0.042, 0.029, 0.030, 0.025, 0.022, 0.0194]


def records() -> list[dict[str, Any]]:
    return [
        {
            "iteration": number,
            "chunks": 15 * number,
            "structure_uncertainty": value,
            "structure_uncertainty_calibrated": None if number == 0 else 2 * value,
            "seconds": 20.0 * number,
            "best": value == min(UNCERTAINTIES[: number + 1]),
        }
        for number, value in enumerate(UNCERTAINTIES)
    ]


def work(progress: Progress) -> None:
    progress.stage("Initial cells", "Pt, space groups 225 and 79")
    progress.advance(1, None, "relaxing")
    progress.note("33 cells: 9 of 2 atoms, 4 of 4, 10 of 16, 10 of 32")
    progress.stage("NFT", "260 atoms, at most 75 chunks of 8 Å")
    for record in records():
        for member in range(1, 4):
            progress.advance(member, 3, "members trained")
        progress.iteration(record)
    progress.note("best iteration 10 " + 10 * "with a long story behind it ")


class Terminal:
    """A console that keeps what stands on the screen for good."""

    def __init__(self, width: int, encoding: str = "utf-8") -> None:
        self.stream = io.TextIOWrapper(  # as stderr is
            io.BytesIO(), encoding=encoding, errors="backslashreplace", write_through=True
        )
        self.console = Console(
            file=self.stream, force_terminal=True, width=width, height=30, legacy_windows=False
        )
        self.resized: list[tuple[int, int]] = []

    def resize(self, width: int, progress: TerminalProgress) -> None:
        """As terminals do that wrap what is too long for them, between two frames."""
        with progress._live._lock:
            self.resized.append((len(self.raw), width))
            self.console.width = width

    @property
    def raw(self) -> str:
        buffer = self.stream.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode(self.stream.encoding)

    @property
    def lines(self) -> list[str]:
        screen: list[str] = [""]
        row = at = 0
        resized = list(self.resized)
        for part in re.split(r"(\x1b\[\d*[A-Za-z]|\x1b\[[?\d;]*[a-zA-Z]|\n|\r)", self.raw):
            if resized and at >= resized[0][0]:
                _, width = resized.pop(0)
                above = [each for line in screen[: row + 1] for each in _wrapped(line, width)]
                below = [each for line in screen[row + 1 :] for each in _wrapped(line, width)]
                row, screen = len(above) - 1, above + below
            at += len(part)
            if part == "\n":
                row += 1
                screen += [""] * (row + 1 - len(screen))
            elif match := re.fullmatch(r"\x1b\[(\d*)A", part):
                row -= int(match[1] or 1)
            elif part == "\x1b[2K":
                screen[row] = ""
            elif part not in ("\r", "") and not part.startswith("\x1b"):
                screen[row] += part
        return [line.rstrip() for line in screen if line.strip()]


def _wrapped(line: str, width: int) -> list[str]:
    return [line[at : at + width] for at in range(0, max(len(line), 1), width)]


@pytest.mark.parametrize("widths", [(120, 80), (100, 80, 60), (80, 60, 90)])
def test_a_terminal_that_is_resized(widths: tuple[int, ...]) -> None:
    """Nothing stays of what was drawn for the width before, and nothing finished is erased."""
    terminal = Terminal(widths[0])
    progress = TerminalProgress(terminal.console)
    progress.stage("Initial cells", "Pt, space groups 225 and 79")
    progress.stage("NFT", "260 atoms, at most 75 chunks of 8 Å " * 3)
    for width, record in zip(widths, records(), strict=False):
        progress.iteration(record)
        terminal.resize(width, progress)
        progress.iteration(record)
    screen = terminal.lines
    progress.close()
    assert [sum(word in line for line in screen) for word in ("Initial cells", "NFT")] == [1, 1]
    assert all(cell_len(line) <= widths[-1] for line in screen)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_finished_stages_stay_with_their_results(width: int) -> None:
    terminal = Terminal(width)
    progress = TerminalProgress(terminal.console)
    work(progress)
    progress.close()
    lines = terminal.lines
    assert all(cell_len(line) <= width for line in lines)
    assert lines[0].startswith("✓ Initial cells")
    assert "33 cells" in lines[0]
    table = [line for line in lines if re.match(r" +\d+ +\d+ +\d+\.\d{4} ", line)]
    assert len(table) == len(UNCERTAINTIES)
    starred = [line for line in table if "★" in line]
    assert starred == [table[-1]]
    if width >= 80:
        bars = [line.count("━") for line in table]
        assert bars[0] == max(bars)
        # 0.029 → 0.030 eV/Å is the only step up of the curve
        assert all(b <= a for i, (a, b) in enumerate(pairwise(bars)) if i != 6)
        assert min(bars) >= 1


def test_a_stage_that_fails_is_crossed() -> None:
    terminal = Terminal(80)
    progress = TerminalProgress(terminal.console)
    with pytest.raises(ValueError, match="broken"):  # noqa: PT012
        try:
            progress.stage("Features", "force correlation")
            raise ValueError("broken")
        finally:
            progress.close()
    assert [line.partition("  ")[0] for line in terminal.lines] == ["✗ Features"]


def test_the_cursor_comes_back() -> None:
    terminal = Terminal(80)
    progress = TerminalProgress(terminal.console)
    progress.stage("Target")
    assert terminal.raw.endswith("\x1b[?25l") or "\x1b[?25h" not in terminal.raw
    progress.close()
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")
    progress.close()  # twice does no harm


def test_an_ascii_terminal_gets_ascii_marks() -> None:
    terminal = Terminal(80, encoding="ascii")
    progress = TerminalProgress(terminal.console)
    progress.stage("Target")
    progress.iteration(records()[3] | {"best": True})
    progress.close()
    assert terminal.lines[0].startswith("+ Target")
    assert "*" in terminal.lines[-1]


def test_the_present_stage_shows_its_steps() -> None:
    terminal = Terminal(80)
    progress = TerminalProgress(terminal.console)
    progress.stage("NFT", "260 atoms")
    progress.advance(2, 8, "chunks, 63 atoms")
    with terminal.console.capture() as capture:
        terminal.console.print(progress._present())
    progress.close()
    shown = Text.from_ansi(capture.get()).plain
    assert "260 atoms" in shown
    assert "2 of 8 chunks, 63 atoms" in shown
    assert "time left" in shown


def test_the_log_has_a_dated_line_for_every_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 25))  # seconds
    monkeypatch.setattr(nearsight.progress.time, "monotonic", lambda: float(next(clock)))
    path = tmp_path / "run.log"
    path.write_text("before\n")
    work(LogProgress(path))
    before, *lines = path.read_text().splitlines()
    assert before == "before"
    for line in lines:
        assert datetime.fromisoformat(line.split()[0]).tzinfo is not None
    text = [line.partition("  ")[2] for line in lines]
    assert text[0] == "Initial cells: Pt, space groups 225 and 79"
    assert text[1] == "  33 cells: 9 of 2 atoms, 4 of 4, 10 of 16, 10 of 32"
    assert text[2] == "NFT: 260 atoms, at most 75 chunks of 8 Å"
    first = "  iteration 0: 0 chunks, uncertainty 9.3000 eV/Å, not calibrated, 0.0 s"
    assert f"{first}, the best so far" in text
    assert (
        "  iteration 7: 105 chunks, uncertainty 0.0300 eV/Å, calibrated 0.0600 eV/Å, 140.0 s"
        in text
    )
    # 33 steps of 25 s each: only every third is a minute or more after the last one written
    assert sum("members trained" in line for line in text) == 11


def test_several_hear_the_same(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    both = SeveralProgress(LogProgress(first), LogProgress(second), Progress())
    work(both)
    both.close()
    plain = [
        [line.partition("  ")[2] for line in path.read_text().splitlines()]
        for path in (first, second)
    ]
    assert plain[0] == plain[1]
    assert len(plain[0]) == 4 + len(UNCERTAINTIES)
