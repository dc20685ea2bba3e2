"""Write the pages that follow from the code, and the figures that follow from a run.

    python docs/generate.py               configuration.md and command-line.md
    python docs/generate.py RUN_FOLDER    the figures as well, from a run of examples/pt260_emt.toml

A test fails when the pages are not up to date.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from PIL import Image
from pydantic import BaseModel

from nearsight.cli import app
from nearsight.config import Config
from nearsight.config.errors import section_model
from nearsight.files.atomic import write_bytes, write_text

DOCS = Path(__file__).parent
CONFIGURATION = """\
<!-- Made by docs/generate.py from the models in nearsight/config/; do not edit. -->

# The configuration file

A run is described by one TOML file. `nearsight new STRUCTURE` writes one with what it has chosen
for the structure (with `--full`, with every key); `nearsight run FILE` carries it out. Every key
but `target.structure` may be left out and then has the default given here. A key that does not
exist, or a value out of its range, is refused with its line before anything is calculated. File
names are relative to the configuration file.

Lengths are in Å, energies in eV, forces and uncertainties in eV/Å.

An editor with [taplo](https://taplo.tamasfe.dev) (VS Code: Even Better TOML) completes keys and
marks mistakes once the schema lies beside the file: `nearsight schema > nearsight.schema.json`. The
first line of what `nearsight new` writes, `#:schema nearsight.schema.json`, leads to it.

## At the top of the file"""
COMMAND_LINE = """\
<!-- Made by docs/generate.py from the commands in nearsight/cli/; do not edit. -->

# The command line

`nearsight COMMAND --help` says the same as this page; `nearsight --version` prints the version.
Every command checks what it is given before it begins, and that its results can be written, over
none of the files they are made of. `--traceback`, before or after the command, shows the traceback
of any error on the terminal.

| exit code | |
|---|---|
| 0 | The command is done; whether a potential is good enough is told by the verdict on it. |
| 1 | An error of the program, in one sentence; a traceback is in `run.log` of the work's folder. |
| 2 | A mistake in what was given, a parent that fails, an error of the system, in one sentence. |
| 3 | `relax`, `md STRUCTURE` or `lammps md` ended early, without the result that was asked for. |
| 130, 129, 143 | Stopped by Ctrl-C, by a terminal that was closed (SIGHUP), by SIGTERM. |

Code 3 is for a relaxation that has not converged, or has ended at the last frame that is known, and
for dynamics before their last step. What there is, is written; how it ended is in the output.

Results go to standard output. The display of the work goes to standard error: redrawn in place in a
terminal, else a line with the time for each step. Structures may be in any format that ASE reads;
`file@index` picks one of several.

Options that are keys of the [configuration file](configuration.md) may be left to such a file,
given with `--config FILE`: the command takes its sections from there, and options go over them."""
PARENT_AND_EXECUTOR = """\
## Parent and executor

`init`, `nft` and `locality` ask a parent, with these options. Tables are given in TOML, such as
`--parent-arguments '{ mode = "lcao", kpts = [2, 2, 2] }'`; JSON will do as well."""
SHARED = ("parent", "executor")
"""Sections whose options stand once on the page."""
FIGURES = {  # the report's figures that stand side by side in one picture
    "first-run.png": ("parity", "uncertainty"),
    "iterations.png": ("iterations",),
    "relaxation.png": ("relaxation-energy", "relaxation-uncertainty"),
    "locality.png": ("locality",),
}
WIDTH = 640
"""Width of one figure in a picture, in pixels."""


def configuration() -> str:
    """The page of all keys of a configuration file."""
    top, sections = [], []
    for name, field in Config.model_fields.items():
        model = section_model(field)
        if model is None:
            top.append(name)
        else:
            sections += _section(name, model, optional=field.get_default() is None)
    return "\n\n".join([CONFIGURATION, _table(Config, top), *sections]) + "\n"


def _section(name: str, model: type[BaseModel], optional: bool) -> Iterator[str]:
    yield f"## `[{name}]`"
    text = " ".join((model.__doc__ or "").split())
    if optional:
        text += f" Not done unless the file has a section `[{name}]`, which may be empty."
    only = getattr(model, "replaces_all", None)
    if only:
        text += f" With `{only}` no other key may stand in this section."
    yield text
    yield _table(model, list(model.model_fields))


def _table(model: type[BaseModel], keys: list[str]) -> str:
    schema = model.model_json_schema()
    rows = ["| key | default | values | meaning |", "|---|---|---|---|"]
    for key in keys:
        field = model.model_fields[key]
        default = "required" if field.is_required() else _default(field.get_default())
        values = _values(schema["properties"][key], schema)
        meaning = " ".join((field.description or "").split())
        rows.append("| " + " | ".join([f"`{key}`", default, values, _cell(meaning)]) + " |")
    return "\n".join(rows)


def _default(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, tuple) and len(value) > 8:
        return f"{len(value)} from {value[0]:g} to {value[-1]:g}, evenly spaced logarithms"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _values(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """What a key takes, in words, from its JSON schema."""
    if "$ref" in schema:
        return _values(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in schema:
        kinds = [each for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(_values(kind, whole) for kind in kinds)
    if "enum" in schema or "const" in schema:
        found = schema.get("enum", [schema.get("const")])
        return " or ".join(f"`{json.dumps(value)}`" for value in found)
    kind = schema.get("type")
    if kind == "array":
        items = _values(schema["items"], whole)
        return f"list of {re.sub(r'number(?!s)', 'numbers', items, count=1)}"
    words = {"integer": "whole number", "number": "number", "boolean": "true or false"}
    words |= {"object": "table", "string": "file" if schema.get("format") == "path" else "text"}
    if "minimum" in schema and "maximum" in schema:
        return f"{words[str(kind)]} {schema['minimum']:g} to {schema['maximum']:g}"
    bounds = [
        f"{sign} {schema[name]:g}"
        for name, sign in (
            ("exclusiveMinimum", ">"),
            ("minimum", "≥"),
        )
        if name in schema
    ]
    return " ".join([words[str(kind)], *bounds])


def command_line() -> str:
    """The page of all commands."""
    lines = [COMMAND_LINE]
    panel = ""
    for name, command in _commands(typer.main.get_command(app)):
        if command.rich_help_panel != panel:
            panel = command.rich_help_panel
            lines.append(f"## {panel}")
        lines += _command(name, command)
    lines.append(PARENT_AND_EXECUTOR)
    nft = typer.main.get_command(app).commands["nft"]  # type: ignore[attr-defined]
    for section in SHARED:
        lines.append(f"`[{section}]`")
        lines.append(_options(each for each in nft.params if _section_of(each) == section))
    return "\n\n".join(lines) + "\n"


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """All commands with their names, those of groups too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"### `nearsight {name}`"
    text = re.sub(r"\[/?(bold|cyan)\]", "**", command.help).replace("**nearsight new**", "`new`")
    text, _, example = text.partition("**Example:**")
    yield text.strip()
    example = example.replace("**", "").strip()
    yield f"```sh\n{example}\n```"
    shared = {_section_of(each) for each in command.params} & set(SHARED)
    yield _options(each for each in command.params if _section_of(each) not in SHARED)
    if shared:
        yield "And the options of the [parent and the executor](#parent-and-executor)."


def _section_of(option: Any) -> str:
    """The section of the configuration whose key an option is, if it is one."""
    return (getattr(option, "rich_help_panel", None) or "").partition("]")[0].lstrip("\\[")


def _options(options: Iterable[Any]) -> str:
    """A table of arguments and options, the arguments first."""
    rows = ["| | default | |", "|---|---|---|"]
    for each in sorted(options, key=lambda option: option.opts[0].startswith("-")):
        shown = each.metavar or each.name.upper()
        if each.opts[0].startswith("-"):
            flag = isinstance(each.default, bool)
            shown = ", ".join([*each.opts, *each.secondary_opts]) + ("" if flag else f" {shown}")
        help_text = each.help.replace("\\[", "[")
        rows.append(f"| `{_cell(shown)}` | {_option_default(each)} | {_cell(help_text)} |")
    return "\n".join(rows)


def _option_default(option: Any) -> str:
    if option.required:
        return "required"
    if isinstance(option.show_default, str):
        return option.show_default
    if option.default is None or isinstance(option.default, bool | list | tuple):
        return ""
    return f"`{option.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def pages() -> dict[Path, str]:
    """Every page that follows from the code, by its file."""
    return {
        DOCS / "configuration.md": configuration(),
        DOCS / "command-line.md": command_line(),
    }


def draw(run: Path) -> None:
    """The pictures of the pages, small, from the figures of a finished run."""
    for name, sources in FIGURES.items():
        parts = []
        for source in sources:
            part = Image.open(run / "figures" / f"{source}.png").convert("RGB")
            parts.append(part.resize((WIDTH, round(WIDTH * part.height / part.width))))
        whole = Image.new("RGB", (WIDTH * len(parts), max(p.height for p in parts)), "white")
        for number, part in enumerate(parts):
            whole.paste(part, (number * WIDTH, 0))
        buffer = io.BytesIO()
        whole.quantize(64).save(buffer, format="png", optimize=True)
        write_bytes(DOCS / "figures" / name, buffer.getvalue())


if __name__ == "__main__":
    for path, text in pages().items():
        write_text(path, text)
    if len(sys.argv) > 1:
        draw(Path(sys.argv[1]))
