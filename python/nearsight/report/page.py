"""The report of a run as one HTML page, with its figures and numbers beside it."""

from __future__ import annotations

import base64
import json
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from nearsight.files.atomic import write_bytes, write_json, write_text
from nearsight.report import format as text
from nearsight.report.checks import checks, verdict
from nearsight.report.data import RunData, report_json
from nearsight.report.drawing import png
from nearsight.report.plates import plates

__all__ = ["write_report"]

FIGURES = (
    "iterations",
    "learning",
    "parity",
    "uncertainty",
    "relaxation-energy",
    "relaxation-uncertainty",
    "retraining",
    "dynamics",
    "locality",
)


def write_report(folder: str | Path) -> Path:
    """Write ``report.html``, ``report.json`` and ``figures/*.png`` of a run.

    The page holds its figures itself and needs neither a network nor a script. The same data give
    the same bytes.

    Parameters
    ----------
    folder : path
        The folder of the run; it may still be at work.

    Returns
    -------
    path of the page

    Raises
    ------
    InputError
        See `RunData.load`.
    """
    folder = Path(folder)
    data = RunData.load(folder)
    drawn = plates(data)
    images = {name: png(plate.figure) for name, plate in drawn.items()}
    (folder / "figures").mkdir(exist_ok=True)
    for name in FIGURES:
        path = folder / "figures" / f"{name}.png"
        if name in images:
            write_bytes(path, images[name])
        else:
            path.unlink(missing_ok=True)  # of an earlier report, which had these data
    write_json(folder / "report.json", report_json(data))
    page = folder / "report.html"
    sources = {name: base64.b64encode(image).decode() for name, image in images.items()}
    content = (
        _environment()
        .from_string(_template())
        .render(
            data=data,
            run=data.run,
            best=data.best,
            plates=drawn,
            sources=sources,
            verdict=verdict(data),
            checks=checks(data),
            settings=_settings(data),
            failed_chunks=len(data.iterations[-1].failed_indices),
        )
    )
    write_text(page, content)
    return page


def _environment() -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for function in (
        text.core_time,
        text.duration,
        text.ev,
        text.formula,
        text.mev,
        text.number,
        text.percent,
    ):
        environment.filters[function.__name__] = function
    return environment


def _template() -> str:
    source = resources.files("nearsight.report").joinpath("template.html")
    return source.read_text(encoding="utf-8")


def _settings(data: RunData) -> list[tuple[str, str]]:
    """What the run was made with, as rows of a table."""
    run = data.run
    rows = [("Parent", data.parent_name)]
    rows += [
        (f"Parent: {key}", _plain(value))
        for key, value in run.parent.items()
        if key != "calculator"
    ]
    rows += [
        ("Parent calculations", str(run.parent_calculations)),
        ("Time of the parent", text.core_time(data.parent_core_seconds)),
        (
            "Target" if len(run.targets) == 1 else "Targets",
            f"{data.title}, {run.target.n_atoms} atoms",
        ),
        ("Seed", str(run.seed)),
        ("Chunk radius", f"{run.chunk_radius:g} Å"),
    ]
    if run.initial is not None:
        sizes = ", ".join(f"{count} of {size} atoms" for size, count in run.initial.counts.items())
        rows.append(
            ("Initial cells", f"{run.initial.selected} of {run.initial.cells} chosen: {sizes}")
        )
    if run.features is not None:
        chosen = f"{run.features.selected} of {run.features.candidates} by {run.features.method}"
        deviation = text.percent(run.features.deviation)
        rows.append(("Symmetry functions", f"{chosen}, relative norm deviation {deviation}"))
    rows += [(f"Version of {key}", _plain(value)) for key, value in run.versions.items()]
    return rows


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
