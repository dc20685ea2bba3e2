"""The display of a run in a terminal."""

from __future__ import annotations

import math
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.segment import ControlType, Segment
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from nearsight.progress import Progress, Tally
from nearsight.report.format import duration as unbroken_duration

if TYPE_CHECKING:
    from nearsight.files.records import Verdict

__all__ = [
    "Redrawn",
    "TerminalProgress",
    "duration",
    "iterations_table",
    "tally_text",
    "verdict_text",
]

NARROWEST_FOR_BARS = 72


class Redrawn:
    """What a `rich.live.Live` draws again and again, in a terminal that is resized meanwhile.

    A terminal that becomes narrower wraps the lines that are drawn. Live erases as many rows as
    there were lines; the rows that were added are erased here.

    Parameters
    ----------
    console : rich.console.Console
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last: tuple[RenderableType, int] | None = None

    def forget(self) -> None:
        """Nothing is drawn any more."""
        self._last = None

    def next(self, page: RenderableType) -> RenderableType:
        """The page, which is drawn in place of the last one."""
        width = self.console.width
        if self._last is not None and width < self._last[1]:
            self._erase(self._added_rows(*self._last, width))
        self._last = page, width
        return page

    def _added_rows(self, page: RenderableType, before: int, now: int) -> int:
        options = self.console.options.update(max_width=before)
        lines = self.console.render_lines(page, options, pad=False)
        return sum(max(Segment.get_line_length(line) - 1, 0) // now for line in lines)

    def _erase(self, rows: int) -> None:
        upwards = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
        self.console.control(Control(ControlType.CARRIAGE_RETURN, *(upwards * rows)))


class TerminalProgress(Progress):
    """Shows the stages, how far the present one is, and the NFT iterations.

    Finished stages are printed for good, with the notes made during them; the present stage is
    redrawn in place until `close`.

    Parameters
    ----------
    console : rich.console.Console
        The terminal to draw on.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        plain = console.options.ascii_only
        self._tick, self._cross = ("+", "x") if plain else ("✓", "✗")
        self._spinner = Spinner("line" if plain else "dots", style="cyan")
        self._name = ""
        self._detail = ""
        self._notes: list[str] = []
        self._began = 0.0
        self._records: list[Mapping[str, Any]] = []
        self._tally: Tally | None = None
        self._bar = self._new_bar()
        self._redrawn = Redrawn(console)
        self._live = self._new_live()

    def stage(self, name: str, detail: str = "") -> None:
        """Print the last stage as it ended, and show the new one."""
        self._finish(self._tick, "green")
        self._name, self._detail = name, detail
        self._notes, self._records = [], []
        self._tally = None
        self._bar = self._new_bar()
        self._began = time.monotonic()
        self._redrawn.forget()
        self._live = self._new_live()
        self._live.start(refresh=True)

    def advance(self, done: int, total: int | None = None, what: str = "") -> None:
        """Show the step and move the bar."""
        self._tally = None
        text = f"{done}{f' of {total}' if total is not None else ''} {what}".rstrip()
        task = self._bar.tasks[0] if self._bar.tasks else None
        if task is None or done < task.completed or total != task.total:
            # a new round of steps (the members of the next iteration) has its own time left
            self._bar = self._new_bar(timed=total is not None)
            self._bar.add_task(text, total=total, completed=done)
        else:
            self._bar.update(task.id, completed=done, description=text)

    def calculations(self, tally: Tally, what: str) -> None:
        """Show the step, and what runs side by side."""
        self.advance(tally.finished, tally.total, what)
        self._tally = tally

    def iteration(self, record: Mapping[str, Any]) -> None:
        """Add a row to the table of iterations."""
        self._records.append(record)
        self._live.refresh()

    def note(self, text: str) -> None:
        """Keep the sentence for the end of the stage; print it before the first one."""
        if self._name:
            self._notes.append(text)
        else:
            self.console.print(text, markup=False)

    def close(self) -> None:
        """Print the last stage as it ended: well, unless an exception is on its way."""
        if sys.exc_info()[0] is None:
            self._finish(self._tick, "green")
        else:
            self._finish(self._cross, "red")

    def _new_live(self) -> Live:
        return Live(
            console=self.console,
            get_renderable=lambda: self._redrawn.next(self._present()),
            transient=True,
            refresh_per_second=8,
            # what a parent prints goes above the display, unless it goes to a file anyway
            redirect_stdout=sys.stdout.isatty(),
        )

    def _new_bar(self, timed: bool = False) -> Bar:
        columns: list[ProgressColumn] = [
            TextColumn(" "),
            BarColumn(bar_width=20),
            TextColumn("{task.description}", markup=False),
        ]
        if timed:
            columns += [TextColumn("[dim]time left"), TimeRemainingColumn(compact=True)]
        # a parent calculation can take hours: the speed is that of all steps so far
        return Bar(*columns, console=self.console, speed_estimate_period=math.inf)

    def _finish(self, mark: str, style: str) -> None:
        """Print the present stage as it ended."""
        if not self._name:
            return
        self._live.stop()  # first: its thread must not draw while others print
        notes = "\n".join(self._notes) or self._detail
        ended = [self._heading(Text(mark, style=style), notes)]
        if self._records:
            ended.append(self._iterations(len(self._records)))
        self._name = ""
        self.console.print(Group(*ended))

    def _present(self) -> RenderableType:
        """The present stage as it is now."""
        parts: list[RenderableType] = [self._heading(self._spinner, self._detail)]
        if self._records:
            parts.append(self._iterations(max(self.console.height - 8, 3)))
        if self._bar.tasks:
            parts.append(self._bar)
        if self._tally is not None and self._tally.finished < self._tally.total:
            parts.append(Text(" " * 24).append_text(tally_text(self._tally)))
        return Group(*parts)

    def _heading(self, mark: RenderableType, text: str) -> Table:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(width=1)
        grid.add_column(width=26, style="bold")
        grid.add_column(ratio=1)
        grid.add_column(justify="right", style="dim", no_wrap=True)
        grid.add_row(mark, self._name, text, f" {duration(time.monotonic() - self._began)}")
        return grid

    def _iterations(self, most: int) -> Table:
        return iterations_table(self._records, self.console, most)


def iterations_table(
    records: Sequence[Mapping[str, Any]], console: Console, most: int | None = None
) -> Table:
    """NFT iterations, with a bar for the uncertainty on a logarithmic scale.

    Parameters
    ----------
    records : sequence of mapping
        What `Progress.iteration` gets; the last one that is the best so far gets a star.
    console : rich.console.Console
        What it is for.
    most : int, optional
        How many of the last ones are shown; all when left out.
    """
    block, star = ("#", "*") if console.options.ascii_only else ("━", "★")
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("  it.", justify="right")
    table.add_column(records[-1].get("noun", "chunks") if records else "chunks", justify="right")
    table.add_column("uncertainty\nraw, eV/Å", justify="right")
    table.add_column("\ncalibrated", justify="right")
    table.add_column("time", justify="right", style="dim")
    table.add_column("")
    wide = console.width >= NARROWEST_FOR_BARS
    if wide:
        table.add_column("[dim]log scale", no_wrap=True)
    values = [float(record["structure_uncertainty"]) for record in records]
    best = max((i for i, record in enumerate(records) if record.get("best")), default=-1)
    length = max(console.width - 58, 10)
    for number, record in list(enumerate(records))[-(most or len(records)) :]:
        calibrated = record.get("structure_uncertainty_calibrated")
        row = [
            str(record["iteration"]),
            str(record["chunks"]),
            f"{values[number]:.4f}",
            "not yet" if calibrated is None else f"{calibrated:.4f}",
            duration(record["seconds"]),
            f"[yellow]{star}" if number == best else "",
        ]
        if wide:
            row.append(f"[cyan]{block * _length(values[number], values, min(length, 40))}")
        table.add_row(*row, style="bold" if number == best else "")
    return table


def tally_text(tally: Tally) -> Text:
    """Numbers of parent calculations running, waiting and given up."""
    parts = [Text(f"{tally.running} running", style="cyan"), Text(f"{tally.waiting} waiting")]
    if tally.failed:
        parts.append(Text(f"{tally.failed} given up", style="red"))
    return Text(", ").join(parts)


def _length(value: float, values: list[float], longest: int) -> int:
    """Length of a bar on a logarithmic scale from half the smallest to the largest value."""
    positive = [each for each in values if each > 0]
    if value <= 0 or not positive:
        return 0
    low, high = math.log(min(positive) / 2), math.log(max(positive))
    return max(round(longest * (math.log(value) - low) / (high - low)), 1)


def duration(seconds: float) -> str:
    """A time in words; a terminal without Unicode has no unbroken spaces."""
    return unbroken_duration(seconds).replace("\N{NO-BREAK SPACE}", " ")


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]


def verdict_text(verdict: Verdict, folder: Path, console: Console) -> Text:
    """The verdict on a run; its last line, which is to be copied, is in one piece.

    To be printed with ``soft_wrap=True``.
    """
    *sentences, command = verdict.lines(folder)
    if console.is_terminal:
        sentences = [
            textwrap.fill(each, console.width, subsequent_indent=_indent(each) + "  ")
            for each in sentences
        ]
    return Text("\n".join([*sentences, command]))
