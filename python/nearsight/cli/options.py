"""The options of commands, made of the settings models.

A command function declares its settings as parameters named after their sections of the
configuration file, e.g. ``nft: NFTSettings``. Each becomes a group of options, one per key, with
the key's type, default and description; ``--config FILE`` takes the sections from a file, over
which the options go.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import rich.markup
import typer
from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from nearsight.cli.app import app, find_modules_in, translate_errors
from nearsight.config import Config, TargetSettings
from nearsight.config.config import parse_toml
from nearsight.config.errors import list_mistakes
from nearsight.errors import InputError

__all__ = ["command", "revise"]

Model = TypeVar("Model", bound=BaseModel)
Function = TypeVar("Function", bound=Callable[..., Any])

NAMES = {"parent.calculator": ("--parent", "-p"), "parent.database": ("--database",)}
"""Options that are not named after their keys; the others of [parent] begin with ``--parent-``."""

Sections: type[Config] = create_model(
    "Sections", __base__=Config, target=(TargetSettings | None, None)
)
"""A configuration file whose target may be left out."""


class _Option(NamedTuple):
    """A key of a section as an option: its names, and the key's value from the option's."""

    key: str
    names: tuple[str, ...]
    parse: Callable[[Any], Any]
    parameter: inspect.Parameter


def command(
    name: str,
    panel: str,
    summary: str,
    takes: str,
    gives: str,
    example: str,
    without: Sequence[str] = (),
    group: typer.Typer = app,
) -> Callable[[Function], Function]:
    """Add a command whose help says what goes in, what comes out, and gives an example.

    Parameters
    ----------
    name, panel, summary, takes, gives, example : str
    without : sequence of str
        Keys of its sections that are no options of the command.
    group : typer.Typer
        The application, or a group of its commands.
    """
    text = (
        f"{summary}\n\n[bold]In:[/bold] {takes}\n\n[bold]Out:[/bold] {gives}\n\n"
        f"[bold]Example:[/bold]\n\n  [cyan]{example}[/cyan]"
    )
    add = group.command(name, help=text, short_help=summary, rich_help_panel=panel)

    def register(function: Function) -> Function:
        add(_with_options(function, without))
        return function

    return register


def revise(settings: Model, *, options: bool = False, **changes: Any) -> Model:
    """Settings with some keys changed by arguments, or options, of these names, checked again.

    Raises
    ------
    InputError
        With one sentence for every value that is wrong.
    """
    names = {k: f"--{k.replace('_', '-')}" if options else k.upper() for k in changes}
    return _check(type(settings), _given_in(settings) | changes, names)


def _check(model: type[Model], values: Mapping[str, Any], names: Mapping[str, str]) -> Model:
    """The settings with these values; ``names`` are those of their options, for the messages."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        sentences = []
        for key, sentence in list_mistakes(error, model, values):
            name = str(key[0]) if key else ""
            sentences.append(names.get(name, name) + sentence.removeprefix(name))
        raise InputError("\n".join(sentences)) from None


def _with_options(function: Callable[..., Any], without: Sequence[str]) -> Callable[..., None]:
    """The function as typer takes it: with an option for every key of its settings."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())
    sections = [each for each in own if _is_settings(each.annotation)]
    own = [each for each in own if each not in sections]
    taken = {*without, *(each.name for each in own)}
    options = {
        each.name: [option for option in _options(each) if option.key not in taken]
        for each in sections
    }

    @functools.wraps(function)
    def perform(context: typer.Context, config_file: Path | None = None, **values: Any) -> None:
        with translate_errors():
            given = {name for name in values if _is_given(context, name)}
            file = None if config_file is None else Sections.load(config_file)
            if config_file is not None:
                find_modules_in(config_file.absolute().parent)
            if file is not None and "seed" in file.model_fields_set - given and "seed" in values:
                values["seed"] = file.seed
            arguments = {each.name: values[each.name] for each in own}
            for each in sections:
                mine = options[each.name]
                arguments[each.name] = _check(
                    each.annotation,
                    _given_in(each.default)
                    | _given_in(getattr(file, each.name, None))
                    | {o.key: o.parse(values[o.key]) for o in mine if o.key in given},
                    {o.key: o.names[0] for o in mine},
                )
            function(**arguments)

    extra = [CONFIG_OPTION, *(o.parameter for mine in options.values() for o in mine)]
    perform.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for each in [CONTEXT, *own, *(extra if sections else [])]
        ]
    )
    return perform


def _is_settings(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _given_in(settings: Any) -> dict[str, Any]:
    """The keys of settings that do not merely have their defaults."""
    return settings.model_dump(exclude_unset=True) if isinstance(settings, BaseModel) else {}


def _options(section: inspect.Parameter) -> Iterator[_Option]:
    """An option for every key of a section."""
    model: type[BaseModel] = section.annotation
    defaults = model() if section.default is section.empty else section.default
    panel = f"[{section.name}] {' '.join((model.__doc__ or '').split())}".removesuffix(".")
    if len(panel) > 72:  # a title has one line of 80 columns
        panel = re.split("[,:]", panel)[0]
    for key, field in model.model_fields.items():
        prefix = "--parent-" if section.name == "parent" else "--"
        flag = prefix + key.replace("_", "-")
        names = NAMES.get(f"{section.name}.{key}", (flag,))
        annotation, metavar, parse = _kind(field, names[0])
        default = getattr(defaults, key)
        description = " ".join((field.description or "").split())
        if get_origin(field.annotation) is Literal:
            description += f" One of: {', '.join(get_args(field.annotation))}."
        if annotation == list[str]:
            description += " May be given several times."
        option = typer.Option(
            *([f"{flag}/--no-{flag[2:]}"] if annotation is bool else names),
            help=rich.markup.escape(description),
            metavar=metavar or None,
            rich_help_panel=rich.markup.escape(panel),
        )
        yield _Option(
            key,
            names,
            parse,
            inspect.Parameter(
                key,
                inspect.Parameter.KEYWORD_ONLY,
                default=default if annotation is not str else _shown(default),
                annotation=Annotated[annotation | None if default is None else annotation, option],
            ),
        )


def _kind(field: FieldInfo, name: str) -> tuple[Any, str, Callable[[Any], Any]]:
    """Type and metavar of the option of a key, and what makes the key's value of the option's."""
    kinds = [each for each in _alternatives(field.annotation) if each is not type(None)]
    kind = kinds[0]
    words = [word for each in kinds if get_origin(each) is Literal for word in get_args(each)]
    if len(kinds) == 1:
        if kind in (bool, int, float, Path):
            return kind, {bool: "", int: "N", float: "X", Path: "FILE"}[kind], lambda value: value
        if kind is str or words:
            return str, "NAME", lambda value: value
    if get_origin(kind) is tuple:
        item, _ = get_args(kind)
        item = get_args(item)[0] if get_origin(item) is Annotated else item
        if item is str:
            return list[str], "TEXT", tuple
        if item in (int, float):
            metavar = ",".join(2 * ("N" if item is int else "X")) + ",..."
            return (
                str,
                "|".join([metavar, *words]),
                lambda text: text if text in words else _numbers(text, item, name),
            )
    metavar = "N|TOML" if kind is int else "|".join([*words, "TOML"])
    return str, metavar, lambda text: text if text in words else _value(text, name)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    found = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return tuple(get_args(each)[0] if get_origin(each) is Annotated else each for each in found)


def _numbers(text: str, kind: Callable[[str], Any], name: str) -> tuple[Any, ...]:
    """The numbers of an option like ``3.5,4.5``."""
    try:
        return tuple(kind(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise InputError(f"{name} must be numbers with commas between, got {text!r}") from None


def _value(text: str, name: str) -> Any:
    """The value that a text is in TOML, or else in JSON."""
    try:
        return parse_toml(f"value = {text}", name)["value"]
    except InputError:
        try:
            return json.loads(text)
        except ValueError:
            raise InputError(
                f'{name} must be TOML like {{ mode = "lcao", kpts = [2, 2, 2] }}, got {text!r}'
            ) from None


def _shown(default: Any) -> str | None:
    """A default as it stands in the help; it never becomes a value."""
    if not isinstance(default, tuple | dict):
        return None if default is None else str(default)
    if isinstance(default, dict) or not default:
        return None if not default else json.dumps(default)
    if len(default) > 8:
        return f"{len(default)} from {default[0]:g} to {default[-1]:g}"
    return ",".join(f"{each:g}" for each in default)


CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
CONFIG_OPTION = inspect.Parameter(
    "config_file",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="A configuration (TOML) whose sections give the settings below; options go over "
            "them.",
        ),
    ],
)
