"""State of a run, in a screenful."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import datetime
from pathlib import Path
from shlex import quote
from threading import Event

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nearsight.cli.display import Redrawn, duration, iterations_table, tally_text, verdict_text
from nearsight.progress import SECONDS_BETWEEN_STEPS
from nearsight.report.format import core_time
from nearsight.run.status import RunStatus

__all__ = ["describe_status", "show_status", "watch"]

MOST_ITERATIONS = 12
MOST_FAILURES = 3
WIDEST = 100  # columns of the page
PAUSE = 2.0  # s between two looks at a run


def describe_status(status: RunStatus, console: Console) -> Iterator[RenderableType]:
    """Parts of the page, from the top down."""
    yield _headline(status)
    grid = Table.grid(padding=(0, 2), expand=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, value in [*_stage(status), *_chunks(status), *_parent(status)]:
        grid.add_row(f"  {name}", value)
    yield grid
    if status.iterations:
        yield ""
        yield iterations_table(status.iterations, console, MOST_ITERATIONS)
    if status.finished:
        yield ""
        yield f"report: {status.folder / 'report.html'}"
    if status.verdict is not None:
        yield ""
        yield verdict_text(status.verdict, status.folder, console)


def show_status(status: RunStatus, console: Console) -> None:
    """Print the page; the command of the verdict, which is to be copied, is in one piece."""
    for part in describe_status(status, console):
        console.print(part, soft_wrap=isinstance(part, Text))


def watch(folder: Path, console: Console) -> None:
    """Show the page again and again, in place in a terminal, until the run is not at work.

    Ctrl-C ends it before.
    """
    status = RunStatus.of(folder)
    in_place = console.is_terminal and not console.is_dumb_terminal
    redrawn = Redrawn(console)

    def page() -> RenderableType:
        if in_place:  # it may have been resized
            console.width = min(Console(file=console.file).width, WIDEST)
        return redrawn.next(Group(*describe_status(status, console)))

    live = Live(console=console, auto_refresh=False, transient=True, get_renderable=page)
    with suppress(KeyboardInterrupt), live if in_place else nullcontext():
        while status.is_running:
            if in_place:
                live.refresh()
            else:
                console.print(page())
            Event().wait(PAUSE if in_place else SECONDS_BETWEEN_STEPS)
            status = RunStatus.of(folder)
    show_status(status, console)


def _headline(status: RunStatus) -> Table:
    last = status.last
    if status.finished:
        mark, style, state = "✓", "green", "finished"
    elif status.is_running:
        mark, style, state = "●", "cyan", "at work"
        if last is not None and not last.ended:
            state += f" for {_since(last.began)} on {last.host}"
    elif status.is_running is None:
        mark, style, state = "?", "yellow", "run.lock cannot be read: at work or not, not known"
    else:
        mark, style, state = "■", "yellow", "not at work"
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=1)
    grid.add_column(style="bold", overflow="fold", ratio=1)
    grid.add_column(justify="right", style=style)
    grid.add_row(Text(mark, style=style), Text(str(status.folder)), state)
    return grid


def _stage(status: RunStatus) -> Iterator[tuple[str, RenderableType]]:
    last = status.last
    done = f"{len(status.stages)} stages done"
    if status.finished:
        seconds = sum(stage.seconds for stage in status.stages)
        yield "stages", f"{done} in {duration(seconds)}"
        return
    if last is None or not last.stage:
        yield "stages", done if status.stages else "none done yet"
        return
    text = Text(last.stage, style="bold")
    if last.stage_began is not None and status.is_running:
        text.append(f", for {_since(last.stage_began)}", style="not bold")
    yield "stage", text
    if status.stages:
        latest = status.stages[-1]
        yield "last done", Text(f"{latest.name}: {latest.summary}")
    if last.step is not None:
        steps, total, what = last.step
        yield "step", Text(f"{steps}{f' of {total}' if total else ''} {what}".rstrip())
    if status.is_running is not False:
        return
    when = f"{last.updated.astimezone():%Y-%m-%d %H:%M}"
    if last.error:
        yield "stopped", Text(f"{when}: {last.error}", style="red")
    elif last.ended:
        yield "stopped", when
    else:
        yield "stopped", f"without a word after {when}: killed, or its machine went down"
    yield "to go on", Text(f"nearsight run {quote(str(status.folder))}", style="bold")


def _chunks(status: RunStatus) -> Iterator[tuple[str, RenderableType]]:
    last, most = status.last, status.config.most
    if last is not None and last.calculations is not None:
        tally = last.calculations
        text = Text(f"{tally.finished} of {tally.total} done")
        if tally.finished < tally.total or tally.failed:
            text.append(": ").append_text(tally_text(tally))
        yield last.structures or "parent", text
    if not status.iterations:
        return
    latest = status.iterations[-1]
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        f"{latest['chunks']} of at most {most} {status.config.nft.noun}",
        ProgressBar(total=most, completed=latest["chunks"], width=20),
    )
    yield "training", bar
    if latest["stop_reason"]:
        yield "", f"ended, since {latest['stop_reason']}"


def _parent(status: RunStatus) -> Iterator[tuple[str, RenderableType]]:
    name = status.config.parent.calculator
    elsewhere = status.config.parent.database
    if elsewhere is not None:
        yield "parent", Text(f"{name}; its calculations are kept in {elsewhere}")
    elif status.calculations is None or status.core_seconds is None:
        yield "parent", f"{name}; parent.db cannot be read at present"
    else:
        text = f"{name}: {status.calculations} calculations, {_core_time(status.core_seconds)}"
        yield "parent", f"{text} so far" if not status.finished else text
    if status.jobs:
        yield "queue", ", ".join(f"{count} {state}" for state, count in status.jobs.items())
    left = status.estimate
    if left is not None and left.chunks:
        workers = status.config.executor.workers
        beside = "" if status.config.executor.engine == "inline" else f" with {workers} workers"
        noun = status.config.nft.noun
        text = f"at most {left.chunks} {noun}: {_core_time(left.core_seconds)}, "
        text += f"{duration(left.seconds)}{beside} (trainings and the rest not counted)"
        yield "left, estimated", text
    shown = status.given_up[-MOST_FAILURES:]
    for count, (structure, reason) in enumerate(shown):
        label = f"given up: {len(status.given_up)}" if count == 0 else ""
        yield label, Text(f"{structure}: {reason}", style="red", overflow="ellipsis", no_wrap=True)


def _core_time(seconds: float) -> str:
    text = core_time(seconds).replace("\N{NO-BREAK SPACE}", " ")
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ")


def _since(when: datetime) -> str:
    return duration(max((datetime.now().astimezone() - when).total_seconds(), 0.0))
