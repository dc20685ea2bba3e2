"""The command line application, and what its commands share.

Nothing here or in the modules of the commands imports ASE, NumPy or the core before a command is
at work: ``--help`` must be quick.
"""

from __future__ import annotations

import errno
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from nearsight.config import ExecutorSettings, ParentSettings
from nearsight.errors import InputError, ParentError, explain, is_full
from nearsight.progress import LineProgress, LogProgress, Progress
from nearsight.reading import split_selection

if TYPE_CHECKING:
    from nearsight.parents import Parent

__all__ = [
    "Calculator",
    "Seed",
    "app",
    "display",
    "end_early",
    "find_modules_in",
    "open_parent",
    "output",
    "printer",
    "show",
    "table_of",
    "tell",
    "translate_errors",
    "work_folder",
]


class Commands(TyperGroup):
    """The commands; ``--traceback`` may stand anywhere on the command line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command."""
        return super().parse_args(ctx, sorted(args, key=lambda word: word != "--traceback"))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass
class _Invocation:
    """The present command: whether tracebacks are shown, and the folder with its log."""

    traceback: bool = False
    folder: Path | None = None


_present = _Invocation()


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"nearsight {version('nearsight')}")
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback",
            help="Show the Python traceback of an error, too; may stand after COMMAND as well.",
        ),
    ] = False,
) -> None:
    """Machine-learning potentials for large structures by nearsighted force training.

    Begin with [bold]nearsight new STRUCTURE[/bold]: it writes a configuration for your structure.
    [bold]nearsight run[/bold] then carries it out.
    """
    _present.traceback, _present.folder = traceback, None


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn every exception of a command into one sentence on stderr and an exit code.

    A mistake of the user, a failed parent and an error of the system end with 2; an error of the
    program ends with 1, its traceback in ``run.log`` of the folder the command works in. What has
    ended too early, see `end_early`, keeps its 3.
    """
    received: list[int] = []
    try:
        with _stoppable(received):
            yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        raise _stopped(received) from None
    except (InputError, ParentError, OSError, MemoryError) as error:
        if getattr(error, "errno", None) == errno.EPIPE:  # the reader of a pipe has seen enough
            raise
        text = explain(error)
        if isinstance(error, OSError):
            place = f"{error.filename}: " if error.filename else ""
            text = f"{place}{error.strerror or text}"
        _print_traceback()
        _complain(text)
        raise typer.Exit(2) from None
    except Exception as error:
        if received:  # libraries turn what a signal raises in them into errors of their own
            raise _stopped(received) from None
        _print_traceback()
        _complain(f"{explain(error)}{_place_of_traceback()}.")
        raise typer.Exit(1) from None


def _stopped(received: list[int]) -> typer.Exit:
    """Say that the work was stopped, by the first of these signals; the exit."""
    number = (received or [signal.SIGINT])[0]
    how = "Interrupted" if number == signal.SIGINT else "Terminated"
    _complain(f"{how}; the same command continues from here.")
    return typer.Exit(128 + number)


def _print_traceback() -> None:
    if _present.traceback:
        tell(traceback.format_exc())


def _place_of_traceback() -> str:
    """Keep the traceback of the present error in ``run.log``, if there is one; where to see it."""
    if _present.folder is not None and _present.folder.is_dir():
        log = _present.folder / "run.log"
        try:
            LogProgress(log).note(traceback.format_exc().rstrip())
        except InputError:
            pass
        else:
            return f" (traceback in {log})"
    return "" if _present.traceback else " (traceback with --traceback)"


@contextmanager
def _stoppable(received: list[int]) -> Iterator[None]:
    """Take down the signals that stop the work, and let both be exceptions.

    SIGTERM is what queues and service managers end a program by, SIGHUP comes when a terminal is
    closed. A second one ends it at once.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    # who starts a program in the background, or by nohup, has them ignored
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is usual:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _complain(sentence: str) -> None:
    tell(f"{sentence}\n", fg=typer.colors.RED)


def tell(text: str, **style: Any) -> None:
    """Write to stderr; a full disk that it is directed to, or a closed terminal, stops no work."""
    try:
        typer.secho(text, err=True, nl=False, **style)
    except OSError as error:
        if not (is_full(error) or error.errno == errno.EIO):
            raise


def end_early() -> NoReturn:
    """Leave a command whose results are written, but are not what was asked for."""
    raise typer.Exit(3)


def output(path: Path, *others: str | Path | None, force: bool = True) -> Path:
    """Check before the work that an output file can be written, and is none of the others.

    Those are what the command reads, as on the command line, and what else it writes.
    """
    from nearsight.files.atomic import check_writable

    if (path.exists() and not path.is_file()) or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: must be a file in an existing folder")
    for other in others:
        if other is not None and _is_same(path, Path(split_selection(other)[0])):
            raise InputError(f"{path}: must be another file than {other}, which it would overwrite")
    if path.exists() and not force:
        raise InputError(f"{path}: exists already; give --force to overwrite it")
    check_writable(path)
    return path


def _is_same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def work_folder(path: Path) -> Path:
    """The folder that the command works in, and keeps its log in."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: must be a folder (give another one with --workdir)")
    _present.folder = path
    return path


@contextmanager
def display() -> Iterator[Progress]:
    """Display of the work on stderr: redrawn in a terminal, else line by line."""
    progress: Progress = LineProgress(tell)
    if sys.stderr.isatty():
        console = Console(stderr=True)
        if not console.is_dumb_terminal:  # which cannot draw in place
            from nearsight.cli.display import TerminalProgress

            progress = TerminalProgress(console)
    try:
        yield progress
    finally:
        progress.close()


def find_modules_in(folder: Path) -> None:
    """Let a parent "module:name" be a file in that folder.

    A program started by its name, other than ``python -m``, does not look in any such place.
    """
    sys.path.append(str(folder))


@contextmanager
def open_parent(
    settings: ParentSettings, executor: ExecutorSettings, folder: Path, database: Path | None = None
) -> Iterator[Parent]:
    """The parent with its executor, whose jobs keep their files in the folder."""
    from nearsight.executors import has_calls, make_executor
    from nearsight.parents import Parent
    from nearsight.parents.folders import AttemptFolders

    find_modules_in(Path.cwd())
    parent = Parent.of(settings, executor)
    with ExitStack() as stack:
        folders = AttemptFolders(folder / "parent", settings.keep_files)
        parent.attach(settings.database or database, folders=folders)
        if not has_calls(folder):
            parent.take_in()
        engine = make_executor(executor, folder, settings.timeout)
        parent.executor = None if engine is None else stack.enter_context(engine)
        yield parent


def printer() -> Console:
    """Console for results."""
    # a pipe has no width, and a file should not be broken at 80 columns
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def show(*parts: Any) -> None:
    """Print results: tables, sentences."""
    console = printer()
    for part in parts:
        console.print(part, markup=False)


def table_of(*columns: str, left: int = 0) -> Table:
    """A table with these headings; the first ``left`` columns hold words, the others numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=any(columns))
    for number, column in enumerate(columns):
        table.add_column(
            column, justify="left" if number < left else "right", no_wrap=number >= left
        )
    return table


Calculator = Annotated[
    str,
    typer.Option(
        "--parent",
        "-p",
        metavar="NAME",
        help="Parent method: a code (emt, gpaw, espresso, vasp, ...), or any ASE calculator as "
        '"module:name".',
    ),
]


def _seed(value: int) -> int:
    if value >= 2**64:  # as in a configuration; a maximum of the option would fill its help
        raise typer.BadParameter("must be less than 2**64")
    return value


Seed = Annotated[
    int,
    typer.Option(metavar="N", help="Seed of everything random.", min=0, callback=_seed),
]
