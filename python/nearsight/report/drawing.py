"""What all figures of a report share: colours, style, panels, axes, and how they become a picture.

Colours are those of Okabe and Ito, distinguishable with any colour vision; legends stand outside
the axes. Figures are drawn without pyplot.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

__all__ = [
    "ATOMS",
    "BLUE",
    "GREEN",
    "GREY",
    "GRID",
    "INK",
    "LIGHT",
    "ORANGE",
    "PURPLE",
    "TALL",
    "lay_out",
    "legend",
    "log_scale",
    "name_atoms",
    "new_figure",
    "png",
    "small_multiples",
    "spaced",
    "step_axis",
    "styled",
    "two_panels",
]

Array = npt.NDArray[np.float64]
P = ParamSpec("P")
R = TypeVar("R")

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4499"
INK, GREY, LIGHT, GRID = "#24292f", "#7d858e", "#d5dae0", "#eaecef"
TALL = 4.8
ATOMS = "atoms "
"""How the gid of a line begins that says which atoms its points are."""

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 200,
    "font.size": 9.0,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "text.color": INK,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """A function that draws, in our style."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with style.context(["default", STYLE]):  # a user's matplotlibrc changes nothing here
            return function(*args, **kwargs)

    return wrapped


@styled
def png(figure: Figure) -> bytes:
    """The figure as PNG; the same data give the same bytes with the same matplotlib."""
    lay_out(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def lay_out(figure: Figure) -> None:
    """Lay a figure out once, without the trial drawing that Matplotlib makes for every picture."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def new_figure(height: float = 3.7) -> tuple[Figure, Axes]:
    """A figure with one panel; the height in inches."""
    figure = Figure(figsize=(5.0, height), layout="constrained")
    return figure, figure.subplots()


def small_multiples(names: Sequence[str], label: str) -> tuple[Figure, list[Axes]]:
    """A small panel with steps on the x axis for each name."""
    rows = -(-len(names) // 2)
    figure = Figure(figsize=(5.0, 0.7 + 1.65 * rows), layout="constrained")
    panels = list(figure.subplots(rows, 2, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        axes.set_title(name, fontsize=8.5, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for axes in panels[len(names) :]:
        axes.remove()
    for axes in panels[max(len(names) - 2, 0) : len(names)]:
        axes.set_xlabel("step")
    figure.supylabel(label, fontsize=9.0)
    return figure, panels[: len(names)]


def two_panels() -> tuple[Figure, Axes, Axes]:
    """A large panel over a small one with the same x axis."""
    figure = Figure(figsize=(5.0, TALL), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1.0))
    return figure, upper, lower


def legend(figure: Figure, *axes: Axes, columns: int | None = None) -> None:
    """One legend for some panels, below the figure."""
    pairs = [ax.get_legend_handles_labels() for ax in axes]
    handles = [handle for found, _ in pairs for handle in found]
    labels = [label for _, found in pairs for label in found]
    figure.legend(handles, labels, loc="outside lower center", ncols=columns or len(labels))


def name_atoms(line: Line2D, numbers: npt.NDArray[np.int64]) -> None:
    """Note which atoms the points of a line are; the page tells it of each point."""
    line.set_gid(ATOMS + " ".join(map(str, numbers.tolist())))


def step_axis(axes: Axes) -> None:
    """An x axis of steps."""
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))


def log_scale(axes: Axes, values: Array) -> None:
    """A logarithmic y axis over ``values`` with plain numbers at few, round places."""
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (positive.min() / 1.6, positive.max() * 1.6) if len(positive) else (0.1, 10.0)
    axes.set_ylim(low, high)  # first: a logarithmic axis warns of data it would have to scale to
    axes.set_yscale("log")
    decades = np.log10(high / low)
    subs = (1.0,) if decades > 4.5 else (1.0, 3.0) if decades > 1.8 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def spaced(places: Array) -> list[int]:
    """Indices of sorted ``places`` whose labels do not run into each other."""
    gap = 0.06 * (places[-1] - places[0])
    shown = [0]
    for index in range(1, len(places)):
        if places[index] - places[shown[-1]] >= gap:
            shown.append(index)
    return shown
