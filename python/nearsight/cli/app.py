"""The command line application, and what its commands share.

Nothing here or in the modules of the commands imports ASE, NumPy or the core before a command is
at work: ``--help`` must be quick.
"""

from __future__ import annotations

import errno
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from nearsight.config.errors import list_mistakes
from nearsight.errors import InputError, ParentError
from nearsight.progress import Progress

if TYPE_CHECKING:
    from nearsight.parents import Parent

__all__ = [
    "Arguments",
    "Calculator",
    "Database",
    "Seed",
    "app",
    "checked",
    "command",
    "display",
    "find_modules_in",
    "make_parent",
    "numbers",
    "output",
    "printer",
    "setting",
    "show",
    "table_of",
]

Model = TypeVar("Model", bound=BaseModel)
Function = TypeVar("Function", bound=Callable[..., Any])


class Commands(TyperGroup):
    """Turns every mistake of the user into one sentence on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        try:
            with _ends_when_told():
                return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            terminated = isinstance(interrupt, _Terminated)
            how = "Terminated" if terminated else "Interrupted"
            _complain(f"{how}; the same command continues from here.")
            raise typer.Exit(128 + (signal.SIGTERM if terminated else signal.SIGINT)) from None
        except InputError as error:
            _complain(str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of a pipe has seen enough
                raise
            place = f"{error.filename}: " if error.filename else ""
            _complain(f"{place}{error.strerror or error}")
        except (ParentError, ValueError, ImportError) as error:  # ImportError: no core to be had
            _complain(" ".join(str(error).split()) or type(error).__name__)
        raise typer.Exit(2)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends the work like Ctrl-C does."""


@contextmanager
def _ends_when_told() -> Iterator[None]:
    """Let SIGTERM, by which queues and service managers end a program, be an exception too."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(sentence: str) -> None:
    typer.secho(sentence, fg=typer.colors.RED, err=True)


app = typer.Typer(
    cls=Commands,
    help="Machine-learning potentials for large structures by nearsighted force training.\n\n"
    "Begin with [bold]nearsight new STRUCTURE[/bold]: it writes a configuration for your "
    "structure. [bold]nearsight run[/bold] then carries it out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command(
    name: str, panel: str, summary: str, takes: str, gives: str, example: str
) -> Callable[[Function], Function]:
    """Add a command whose help says what goes in, what comes out, and gives an example."""
    text = (
        f"{summary}\n\n[bold]In:[/bold] {takes}\n\n[bold]Out:[/bold] {gives}\n\n"
        f"[bold]Example:[/bold]\n\n  [cyan]{example}[/cyan]"
    )
    return app.command(name, help=text, short_help=summary, rich_help_panel=panel)


def setting(model: type[BaseModel], name: str, *flags: str, metavar: str = "") -> Any:
    """The option for a setting, with the setting's own description as its help."""
    field = model.model_fields[name]
    description = " ".join((field.description or "").split())
    if get_origin(field.annotation) is Literal:
        description += f" One of: {', '.join(get_args(field.annotation))}."
    return typer.Option(
        *(flags or [f"--{name.replace('_', '-')}"]),
        help=description,
        metavar=metavar
        or ("N" if field.annotation is int else "X" if field.annotation is float else "NAME"),
    )


def checked(model: type[Model], positional: str = "", **values: Any) -> Model:
    """The settings made of options.

    Parameters
    ----------
    model : type
        The settings.
    positional : str
        The value that was given without an option's name, if any.
    **values
        The settings by name.

    Raises
    ------
    InputError
        With one sentence for every option that is wrong.
    """
    try:
        return model(**values)
    except ValidationError as error:
        sentences = []
        for key, sentence in list_mistakes(error, model, values):
            name = str(key[0]) if key else ""
            shown = name.upper() if name == positional else f"--{name.replace('_', '-')}"
            sentences.append(shown + sentence.removeprefix(name) if name else sentence)
        raise InputError("\n".join(sentences)) from None


def numbers(text: str, kind: Callable[[str], Any], option: str) -> tuple[Any, ...]:
    """The numbers of an option like ``3.5,4.5``."""
    try:
        return tuple(kind(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise InputError(f"{option} must be numbers with commas between, got {text!r}") from None


def output(path: Path, force: bool = True) -> Path:
    """An output file that can be written, found out before the work."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: must be a file in an existing folder")
    if path.exists() and not force:
        raise InputError(f"{path}: exists already; give --force to overwrite it")
    return path


@contextmanager
def display() -> Iterator[Progress]:
    """What shows the work: a display when stderr is a terminal, nothing otherwise."""
    progress = Progress()
    if sys.stderr.isatty():
        from nearsight.cli.display import TerminalProgress

        progress = TerminalProgress(Console(stderr=True))
    try:
        yield progress
    finally:
        progress.close()


def find_modules_in(folder: Path) -> None:
    """Let a parent "module:name" be a file in that folder.

    A program started by its name, other than ``python -m``, does not look in any such place.
    """
    sys.path.append(str(folder))


def printer() -> Console:
    """What prints results."""
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
        help='Parent method: emt, or any ASE calculator as "module:name".',
    ),
]
Arguments = Annotated[
    str,
    typer.Option(
        "--parent-arguments",
        metavar="JSON",
        help="Keyword arguments of the parent, as a JSON object.",
    ),
]
Database = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Database of parent calculations: what is in it is not calculated again.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of everything random.", min=0)]


def make_parent(calculator: str, arguments: str, database: Path | None) -> Parent:
    """The parent that the three options name."""
    from nearsight.parents import Parent

    find_modules_in(Path.cwd())
    try:
        keywords = json.loads(arguments)
    except ValueError:
        keywords = None
    if not isinstance(keywords, dict):
        raise InputError(f"--parent-arguments must be a JSON object, got {arguments!r}")
    return Parent(calculator, keywords, database)
