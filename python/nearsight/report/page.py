"""The report of a run as one HTML page, with its figures and numbers beside it."""

from __future__ import annotations

import base64
import hashlib
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from nearsight.files.atomic import write_bytes, write_json, write_text
from nearsight.files.records import Verdict
from nearsight.progress import count_noun
from nearsight.report import figures, simulation_figures
from nearsight.report import format as text
from nearsight.report.atoms import BOND, parts_by_coordination, parts_by_element
from nearsight.report.checks import checks, limiting_label_error
from nearsight.report.data import RunData, report_json
from nearsight.report.drawing import png
from nearsight.report.svg import svg
from nearsight.report.verdict import judge, told
from nearsight.report.view import view_data

__all__ = [
    "draw_figures",
    "environment",
    "page_script",
    "write_figures",
    "write_numbers",
    "write_report",
]

FIGURES = (
    "iterations",
    "learning",
    "labels",
    "parity",
    "uncertainty",
    "relaxation-energy",
    "relaxation-uncertainty",
    "retraining",
    "parity-before",
    "uncertainty-before",
    "dynamics",
    "locality",
)
SCRIPTS = ("page.js", "view.js")


def write_report(folder: str | Path) -> Path:
    """Write ``report.html``, ``report.json``, ``verdict.json`` and ``figures/*.png`` of a run.

    The page holds its figures and its script itself, needs no network, and shows all numbers
    without the script too. The same data give the same bytes.

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
    drawn = write_figures(folder, draw_figures(data))
    for key in set(FIGURES) - drawn.keys():  # from an earlier report, which had these data
        (folder / "figures" / f"{key}.png").unlink(missing_ok=True)
    verdict = write_numbers(folder, data)
    page = folder / "report.html"
    write_text(page, _page(data, drawn, verdict, folder.absolute().name))
    return page


def _page(data: RunData, drawn: Mapping[str, Figure], verdict: Verdict, name: str) -> str:
    templates = environment(drawn)
    script, digest = page_script()
    symbols = [symbol for atoms in data.structures for symbol in atoms.symbols]
    return templates.get_template("template.html").render(
        data=data,
        run=data.run,
        best=data.best,
        checks=checks(data),
        verdict=verdict,
        name=name,
        place=shlex.quote(name),
        label_error=limiting_label_error(data),
        script=script,
        digest=digest,
        view=view_data(data),
        by_element=parts_by_element(data.best, symbols) if symbols else [],
        by_coordination=parts_by_coordination(data.best, data.coordination) if symbols else [],
        bond=BOND,
    )


def write_numbers(folder: Path, data: RunData) -> Verdict:
    """Write ``verdict.json`` and ``report.json``."""
    verdict = judge(data)
    verdict.save(folder / Verdict.FILE)
    name = folder.absolute().name  # the same wherever the folder is
    write_json(folder / "report.json", {**report_json(data), "verdict": told(verdict, name)})
    return verdict


def write_figures(folder: Path, figures: Iterable[tuple[str, Figure]]) -> dict[str, Figure]:
    """Write ``figures/*.png`` in the order in which figures are drawn; all of them by name."""
    (folder / "figures").mkdir(exist_ok=True)
    drawn = {}
    for key, figure in figures:
        write_bytes(folder / "figures" / f"{key}.png", png(figure))
        drawn[key] = figure
    return drawn


def page_script() -> tuple[Markup, str]:
    """The script of a page, and the digest by which its browser knows it."""
    script = "".join(
        (files("nearsight.report") / each).read_text(encoding="utf-8") for each in SCRIPTS
    )
    return Markup(script), base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def environment(drawn: Mapping[str, Figure] | None = None) -> Environment:
    """Jinja environment of the templates, with their filters, and the figures of a page."""
    environment = Environment(
        loader=PackageLoader("nearsight.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(text, name) for name in text.__all__}
    environment.filters |= {"count": count_noun, "python": repr}
    environment.globals |= {"drawn": drawn or {}, "svg": svg}
    environment.tests["finite"] = math.isfinite
    return environment


def draw_figures(data: RunData) -> Iterator[tuple[str, Figure]]:
    """The figures that the data of a run allow, with their names."""
    best, retraining = data.best, data.retraining
    chunks = np.array([it.chunks for it in data.iterations])
    raw = np.array([it.structure_uncertainty for it in data.iterations])
    calibrated = np.array([it.structure_uncertainty_calibrated for it in data.iterations])
    noun = best.record.noun
    yield (
        "iterations",
        figures.iterations_figure(raw, chunks, data.trained.iteration, calibrated, noun),
    )
    compared = data.comparison
    if compared is not None and len(compared.role):
        trained = compared.role == 0
        yield "labels", figures.parity_figure(compared.forces, compared.labels, trained, "forces")
    if best.true_forces is not None and best.residuals is not None:
        yield (
            "learning",
            figures.learning_figure(
                chunks,
                raw,
                np.array([it.max_residual for it in data.iterations]),
                [it.mae_train for it in data.iterations],
                [it.mae_test for it in data.iterations],
                noun,
            ),
        )
        yield "parity", figures.parity_figure(best.forces, best.true_forces, best.trained)
        yield (
            "uncertainty",
            figures.uncertainty_figure(best.residuals, best.uncertainty_raw, best.uncertainty),
        )
        before = data.trained
        if data.retrained is not None and before.residuals is not None:
            yield (
                "parity-before",
                figures.parity_figure(before.forces, best.true_forces, before.trained),
            )
            yield (
                "uncertainty-before",
                figures.uncertainty_figure(
                    before.residuals, before.uncertainty_raw, before.uncertainty
                ),
            )
    yield from _relaxation_figures(data)
    if retraining is not None:
        parent = None if data.relaxation is None else data.relaxation.parent
        energies = None if parent is None else parent.energies
        yield "retraining", simulation_figures.retraining_figure(retraining, energies)
    if data.dynamics is not None:
        yield "dynamics", simulation_figures.dynamics_figure(data.dynamics)
    if data.locality is not None:
        yield "locality", figures.locality_figure(data.locality, data.run.chunk_radius)


def _relaxation_figures(data: RunData) -> Iterator[tuple[str, Figure]]:
    found = [(target, target.relaxation) for target in data.targets if target.relaxation]
    if not found:
        return
    names = [f"{target.number}: {target.target.formula}" for target, _ in found]
    fmax = found[0][1].fmax
    paths = [relaxation.ensemble for _, relaxation in found]
    parents = [r.parent.energies if r.parent is not None else None for _, r in found]
    energies = [path.energies for path in paths]
    mean = [path.mean_uncertainty for path in paths]
    if len(data.targets) == 1:
        yield "relaxation-energy", figures.relaxation_energy_figure(energies[0], parents[0])
        bound = data.along(paths[0]) if data.is_stated else None
        uncertainty = figures.relaxation_uncertainty_figure(
            paths[0].max_uncertainty, mean[0], fmax, bound
        )
    else:
        yield (
            "relaxation-energy",
            figures.relaxation_energies_figure(names, energies, parents),
        )
        largest = [data.along(path) for path in paths]
        uncertainty = figures.relaxation_uncertainties_figure(
            names, largest, mean, fmax, data.is_stated
        )
    yield "relaxation-uncertainty", uncertainty
