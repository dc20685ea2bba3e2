"""Draw the pictures of the README, from finished runs of two examples.

python docs/pictures.py examples/pt260_emt examples/pt260_center
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import numpy.typing as npt
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import NullFormatter
from PIL import Image

from nearsight import extract_chunk
from nearsight.files.atomic import read_json, write_bytes
from nearsight.report.drawing import BLUE, INK, LIGHT, ORANGE, new_figure, png, styled

FIGURES = Path(__file__).parent / "figures"
RADIUS = 8.0
"""Chunk radius of both runs, in Å."""
ATOM = 1.35
"""Radius of an atom in the pictures, in Å."""
SCALE = LogNorm(3e-4, 1.0)
"""Colours of the uncertainty, raw, in eV/Å."""
PAPER = (1.2, 3.74)
"""The paper's 144 chunks, taken to be of average size: calculations of the target; mean error."""

Array = npt.NDArray[Any]


def evaluation(run: Path, iteration: int) -> dict[str, Any]:
    """What the ensemble of an iteration says of the target."""
    return dict(read_json(run / f"iteration-{iteration:03}" / "evaluation.json"))


def seen_from(atoms: Atoms, index: int) -> Array:
    """Positions in a picture, (N, 3): to the right, up, and towards the viewer.

    An atom of the surface comes to the front, a little to the left of the middle and above it.
    """
    positions = atoms.positions - atoms.positions.mean(axis=0)
    front = positions[index] / np.linalg.norm(positions[index])
    right = np.cross([0.0, 0.0, 1.0], front)
    right /= np.linalg.norm(right)
    axes = np.array([right, np.cross(front, right), front])
    turned, tilted = np.radians([-30.0, 25.0])
    about_up = [
        [np.cos(turned), 0, np.sin(turned)],
        [0, 1, 0],
        [-np.sin(turned), 0, np.cos(turned)],
    ]
    about_right = [
        [1, 0, 0],
        [0, np.cos(tilted), np.sin(tilted)],
        [0, -np.sin(tilted), np.cos(tilted)],
    ]
    return positions @ axes.T @ np.transpose(about_up) @ np.transpose(about_right)


def draw_atoms(axes: Axes, positions: Array, colors: Array, edge: str = INK) -> None:
    """Atoms as discs, those in front over those behind, which are paler."""
    depth = positions[:, 2]
    paler = 0.35 * (depth.max() - depth) / np.ptp(depth)
    colors = colors[:, :3] + (1.0 - colors[:, :3]) * paler[:, None]
    order = np.argsort(depth)
    discs = [Circle((x, y), ATOM) for x, y, _ in positions[order]]
    axes.add_collection(
        PatchCollection(discs, facecolors=colors[order], edgecolors=edge, linewidths=0.35)
    )


@styled
def idea(run: Path) -> Figure:
    """The particle before any chunk, one of the chunks, and the particle after all of them."""
    target = ase.io.read(run / "target.extxyz")
    assert isinstance(target, Atoms)
    best = int(read_json(run / "report.json")["best_iteration"])
    first, last = evaluation(run, 0), evaluation(run, best)
    outward = np.linalg.norm(target.positions - target.positions.mean(axis=0), axis=1)
    center = max(first["new_indices"], key=lambda index: outward[index])
    positions = seen_from(target, center)

    figure = Figure(figsize=(8.4, 2.8), layout="constrained")
    panels = list(figure.subplots(1, 3))
    mapped = ScalarMappable(SCALE, "viridis")
    number = len(last["chunk_indices"])
    titles = ("before any chunk", f"one of {number} chunks", f"after {number} chunks")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_aspect("equal")
        axes.set_axis_off()
        reach = np.abs(positions[:, :2]).max() + 2 * ATOM
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
    for axes, found in ((panels[0], first), (panels[2], last)):
        draw_atoms(axes, positions, mapped.to_rgba(found["uncertainty_raw"]))
    chunk = np.linalg.norm(target.positions - target.positions[center], axis=1) <= RADIUS
    assert chunk.sum() == len(extract_chunk(target, center, radius=RADIUS))
    ghosts = np.full((len(target), 3), 0.97)
    draw_atoms(panels[1], positions, ghosts, edge=LIGHT)
    colors = np.array([mapped.cmap(0.35)[:3]] * len(target))
    colors[center] = [0.84, 0.37, 0.0]
    draw_atoms(panels[1], positions[chunk], colors[chunk])
    bar = figure.colorbar(mapped, ax=panels, shrink=0.85, aspect=25, pad=0.01, format="{x:g}")
    bar.set_label("uncertainty of the force (eV/Å)")
    bar.outline.set_visible(False)
    return figure


def course(run: Path) -> tuple[Array, Array]:
    """Of every iteration with chunks: their cost in calculations of the target, the mean error."""
    target = ase.io.read(run / "target.extxyz")
    report = read_json(run / "report.json")
    costs, errors = [], []
    for found in report["iterations"][1:]:
        indices = evaluation(run, found["iteration"])["chunk_indices"]
        parts = [
            len(extract_chunk(target, index, radius=RADIUS)) / len(target) for index in indices
        ]
        costs.append(sum(part ** report["cost"]["exponent"] for part in parts))
        errors.append(1000 * found["mae"])
    assert np.isclose(costs[-1], report["cost"]["chunks"])
    return np.array(costs), np.array(errors)


@styled
def error_and_cost(whole: Path, centers: Path) -> Figure:
    """Mean error of a force against the cost of the labels, beside the paper's."""
    figure, axes = new_figure(height=3.3)
    axes.plot(*PAPER, "s", color=INK, markersize=7)
    axes.annotate("the paper,\n144 chunks", PAPER, (7, 0), textcoords="offset points", va="center")
    for run, color, name, place in (
        (centers, ORANGE, "force on the centre of each\nchunk only, 15 to 75 chunks", (8, 4)),
        (whole, BLUE, "all forces of each chunk (default), 8 to 16 chunks", (0, -16)),
    ):
        costs, errors = course(run)
        axes.plot(costs, errors, "o-", color=color)
        axes.annotate(name, (costs[0], errors[0]), place, textcoords="offset points", color=color)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.1, 4.0)
    axes.set_ylim(0.15, 50.0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("cost of the labels (calculations of the whole particle)")
    axes.set_ylabel("mean error of a force (meV/Å)")
    return figure


def save(figure: Figure, name: str) -> None:
    """Write a picture in few colours, which makes it small."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png(figure))).convert("RGB").quantize(256).save(
        buffer, format="png", optimize=True
    )
    write_bytes(FIGURES / name, buffer.getvalue())


if __name__ == "__main__":
    emt, center = map(Path, sys.argv[1:])
    save(idea(emt), "idea.png")
    save(error_and_cost(emt, center), "error-and-cost.png")
