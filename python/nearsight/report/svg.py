"""Figures as SVG inside the page: in its colours and its font, every point with its numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nearsight.report.drawing import (
    ATOMS,
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    LIGHT,
    ORANGE,
    PURPLE,
    lay_out,
)

__all__ = ["svg"]

NAMESPACE = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
COLORS = {
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PURPLE: "purple",
    INK: "ink",
    GREY: "grey",
    LIGHT: "light",
    GRID: "grid",
}
"""Colours of the figures, and their names in the style of the page."""
MOST_POINTS = 3000
"""Of a figure: above, they become a picture within it, which is smaller."""
SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "nearsight"}
NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def svg(figure: Figure, name: str, title: str) -> Markup:
    """The figure as an element of the page; the same data give the same text.

    A group of points says what a script needs to tell of each: ``data-label``, ``data-x`` and
    ``data-y`` (names of the axes), ``data-points`` (their values, one after the other) and, where
    they are atoms, ``data-atoms`` (their numbers).

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    name : str
        Different from those of the other figures of the page: its ids begin with it.
    title : str
        Says to those who do not see it what it is.
    """
    told = {f"points-{n}": each for n, each in enumerate(_lines(figure))}
    dense = sum(len(np.asarray(line.get_xdata())) for line in told.values()) > MOST_POINTS
    atoms = {}
    for key, line in told.items():
        atoms[key] = str(line.get_gid() or "")
        line.set_gid(key)
        line.set_rasterized(dense)
    lay_out(figure)
    buffer = io.StringIO()
    with rc_context(SETTINGS):
        figure.savefig(buffer, format="svg", transparent=True, metadata=NOTHING)
    for key, line in told.items():
        line.set_gid(atoms[key])
    root = ElementTree.fromstring(buffer.getvalue())
    for group in root.iter(f"{{{NAMESPACE}}}g"):
        key = group.get("id", "")
        if key in told and not dense:
            _tell(group, told[key], figure, atoms[key])
        _share_style(group)
    _adapt(root, name)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title}
    ElementTree.register_namespace("", NAMESPACE)
    text = ElementTree.tostring(root, encoding="unicode")
    text = text.replace(f' xmlns="{NAMESPACE}"', "")  # a page of HTML knows it
    return Markup(_colored(re.sub(r"\s+<|\n", lambda m: "<" if "<" in m[0] else " ", text)))


def _lines(figure: Figure) -> Iterator[Line2D]:
    """Lines whose points are marked."""
    for axes in figure.axes:
        for line in axes.get_lines():
            if line.get_marker() not in ("None", "none", "", " ", None) and len(
                np.asarray(line.get_xdata())
            ):
                yield line


def _tell(group: ElementTree.Element, line: Line2D, figure: Figure, atoms: str) -> None:
    values = np.column_stack([line.get_xdata(), line.get_ydata()]).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):  # zeros, on a logarithmic axis
        places = line.get_transform().transform(values)
    drawn: npt.NDArray[np.bool_] = np.isfinite(places).all(axis=1)
    if len(list(group.iter(f"{{{NAMESPACE}}}use"))) != drawn.sum():
        return  # with some of them, no one could say which
    axes = line.axes
    assert axes is not None
    label = str(line.get_label())
    group.set("data-label", "" if label.startswith("_") else label)
    named = [each for each in figure.axes if each.get_xlabel()]
    group.set("data-x", " ".join((axes.get_xlabel() or named[-1].get_xlabel()).split()))
    group.set("data-y", " ".join(axes.get_ylabel().split()))
    group.set("data-points", " ".join(f"{value:.4g}" for value in values[drawn].ravel()))
    if atoms.startswith(ATOMS):
        numbers = np.array(atoms.removeprefix(ATOMS).split())[drawn]
        group.set("data-atoms", " ".join(numbers))


def _share_style(group: ElementTree.Element) -> None:
    """Points of one look have it from their group, which is much shorter."""
    points = group.findall(f"{{{NAMESPACE}}}use")
    styles = {point.get("style", "") for point in points}
    if len(points) > 1 and len(styles) == 1:
        for point in points:
            del point.attrib["style"]
        group.set("style", styles.pop())


def _adapt(root: ElementTree.Element, name: str) -> None:
    """Ids of its own, coordinates in hundredths of a point, the font of the page."""
    used = set(re.findall(r"#([\w-]+)", ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        if LINK in element.attrib:
            element.set("href", element.attrib.pop(LINK))
        if "id" in element.attrib and element.get("id") not in used:
            del element.attrib["id"]
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == "href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif key == "clip-path":
                element.set(key, value.replace("(#", f"(#{name}-"))
            elif key in {"d", "x", "y", "transform", "width", "height"}:
                element.set(key, re.sub(r"-?\d+\.\d{3,}", _rounded, value))
            elif key == "style":
                value = re.sub(r"font: (?:[a-z0-9]+ )*([\d.]+px) [^;]*", r"font-size: \1", value)
                element.set(key, re.sub(r"font-family: [^;]*;? ?", "", value))
    for parent in list(root.iter()):
        for child in parent.findall(f"{{{NAMESPACE}}}style"):  # would hold for the whole page
            parent.remove(child)


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")


def _colored(text: str) -> str:
    """Colours by name, so that the page can change them with its theme."""
    for color, name in COLORS.items():
        text = text.replace(color.lower(), f"var(--{name})").replace(color, f"var(--{name})")
    return text
