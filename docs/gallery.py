"""Draw the pictures of the gallery.

    python docs/gallery.py FOLDER

FOLDER holds the finished runs of examples/: pt260_emt, alloy_cuau, slab_pt111, grain_boundary_pt.
Of the cases that need a foundation model or DFT, structures are drawn from examples/, and errors
from the tables of their pages.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from pictures import Array, draw_atoms, evaluation, save

from nearsight import extract_chunk
from nearsight.files.atomic import read_json
from nearsight.report.drawing import BLUE, GREY, INK, LIGHT, ORANGE, log_scale, styled

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"
RUNS = {
    "particle": "pt260_emt",
    "alloy": "alloy_cuau",
    "slab": "slab_pt111",
    "grain-boundary": "grain_boundary_pt",
}
TURN = np.array([[0.82, 0.0, -0.57], [0.2, 0.94, 0.28], [0.54, -0.35, 0.77]])
"""From positions to a picture: to the right, up, and towards the viewer."""
LYING = np.array([[0.94, 0.34, 0.0], [-0.17, 0.47, 0.87], [0.3, -0.81, 0.5]])
"""The same for structures whose surface, or longest side, is to be seen from the side."""


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """Room for structures, and for a curve on their right."""
    figure = Figure(figsize=(8.4, 2.8), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)  # type: ignore[union-attr]
    axes = list(figure.subplots(1, count, width_ratios=[*(count - 1) * [1.0], 1.25]))
    for each in axes[:-1]:
        each.set_aspect("equal")
        each.set_axis_off()
    return figure, axes


def show(axes: Axes, atoms: Atoms, colors: Array, title: str, turn: Array = TURN) -> Array:
    """Draw a structure; its positions in the picture."""
    places = (atoms.positions - atoms.positions.mean(axis=0)) @ turn.T
    draw_atoms(axes, places, colors)
    axes.set_title(title, fontsize=9)
    low, high = places[:, :2].min(axis=0) - 2, places[:, :2].max(axis=0) + 2
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    return np.asarray(places)


def plain(atoms: Atoms) -> Array:
    """Colours of the elements."""
    return np.column_stack([jmol_colors[atoms.numbers], np.ones(len(atoms))])


def curve(axes: Axes, chunks: Array, errors: Array, bounds: Array, kind: str) -> None:
    """Errors, and the largest uncertainty of that kind, by number of chunks."""
    axes.plot(chunks, errors, "o-", color=ORANGE, label="mean error")
    axes.plot(chunks, bounds, "s--", color=BLUE, label=f"largest uncertainty, {kind}")
    log_scale(axes, np.concatenate([errors, bounds]))
    axes.set_xlabel("chunks")
    axes.set_ylabel("meV/Å")
    axes.legend(fontsize=7.5)


@styled
def of_run(name: str, run: Path) -> Figure:
    """The target before and after the training, by uncertainty, and the course of the errors."""
    target = ase.io.read(run / "target.extxyz")
    assert isinstance(target, Atoms)
    report = read_json(run / "report.json")
    best = int(report["best_iteration"])
    found = [np.array(evaluation(run, number)["uncertainty"]) for number in (0, best)]
    figure, axes = panels(3)
    everything = np.concatenate(found)
    mapped = ScalarMappable(LogNorm(everything.min(), everything.max()), "viridis")
    chunks = report["iterations"][best]["chunks"]
    turn = LYING if name in {"slab", "grain-boundary"} else TURN
    for each, values, title in zip(
        axes, found, ("before any chunk", f"after {chunks} chunks"), strict=False
    ):
        show(each, target, mapped.to_rgba(values), title, turn)
    bar = figure.colorbar(mapped, ax=axes[:2], shrink=0.9, aspect=22, pad=0.02, format="{x:g}")
    bar.set_label("uncertainty (eV/Å)")
    bar.outline.set_visible(False)
    steps = report["iterations"]
    curve(
        axes[2],
        np.array([each["chunks"] for each in steps]),
        1000 * np.array([each["mae"] for each in steps]),
        1000 * np.array([each["structure_uncertainty_calibrated"] for each in steps]),
        "99 %",
    )
    return figure


def table(page: str, first: str) -> list[list[str]]:
    """Cells of a table in a page, by its first header cell."""
    text = (DOCS / "how-to" / page).read_text(encoding="utf-8")
    lines = re.search(rf"^\| {first} \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    assert lines is not None, f"{page}: no such table"
    rows = [line.strip("|\n").split("|") for line in lines[0].splitlines()]
    return [[cell.strip() for cell in row] for row in rows if not row[0].startswith("--")]


@styled
def distillation() -> Figure:
    """Pt201, and the errors of the potential distilled from CHGNet."""
    atoms = ase.io.read(EXAMPLES / "pt201.extxyz")
    assert isinstance(atoms, Atoms)
    text = (DOCS / "how-to" / "distil.md").read_text(encoding="utf-8")
    section = text.split("## CHGNet on 201 platinum atoms")[1]
    rows = [line.strip("|\n").split("|") for line in section.splitlines() if line.startswith("|")]
    counts, _, given, met = (np.array([*map(_number, row[1:])]) for row in rows[:4])
    figure, axes = panels(2)
    show(axes[0], atoms, plain(atoms), "every atom is a label")
    axes[1].plot(counts, met, "o-", color=ORANGE, label="other rattles, never trained on")
    axes[1].plot(counts, given, "s--", color=GREY, label="the particle as given, in the training")
    axes[1].set_ylim(0, 60)
    axes[1].set_xticks(counts)
    axes[1].set_xlabel("geometries")
    axes[1].set_ylabel("mean error (meV/Å)")
    axes[1].legend(fontsize=7.5)
    return figure


def _number(cell: str) -> float:
    found = re.fullmatch(r"\s*(-?[\d.]+)\s*", cell)
    return float(found[1]) if found else np.nan


@styled
def dft() -> Figure:
    """Cu55, one of its chunks, and the errors of the potential trained on GPAW."""
    atoms = ase.io.read(EXAMPLES / "cu55.extxyz")
    assert isinstance(atoms, Atoms)
    rows = np.array([[_number(cell) for cell in row] for row in table("gpaw.md", "chunks")[1:]])
    figure, axes = panels(3)
    places = show(axes[0], atoms, plain(atoms), "55 copper atoms")
    center = int(np.argmax(places[:, 2]))
    radius = float(re.search(r"chunk_radius = ([\d.]+)", config("cu55_gpaw"))[1])  # type: ignore[index]
    held = np.linalg.norm(atoms.positions - atoms.positions[center], axis=1) <= radius
    assert held.sum() == len(extract_chunk(atoms, center, radius))
    show(axes[1], atoms, np.full((55, 4), 0.97), f"a chunk of {held.sum()}")
    axes[1].collections[0].set_edgecolor(LIGHT)
    colors = plain(atoms)
    colors[center] = [0.84, 0.37, 0.0, 1.0]
    draw_atoms(axes[1], places[held], colors[held], edge=INK)
    curve(axes[2], rows[:, 0], 1000 * rows[:, 2], 1000 * rows[:, 1], "raw")
    return figure


def config(name: str) -> str:
    """A configuration among the examples."""
    return (EXAMPLES / f"{name}.toml").read_text(encoding="utf-8")


if __name__ == "__main__":
    for name, run in RUNS.items():
        save(of_run(name, Path(sys.argv[1]) / run), f"gallery-{name}.png")
    save(distillation(), "gallery-distillation.png")
    save(dft(), "gallery-dft.png")
