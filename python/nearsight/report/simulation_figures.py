"""Figures of retraining and dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nearsight.files.records import DynamicsRecord, RetrainingRecord
from nearsight.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PURPLE,
    legend,
    log_scale,
    new_figure,
    step_axis,
    styled,
)
from nearsight.report.work import Learned, Series

__all__ = ["dynamics_figure", "frames_figure", "learned_figure", "retraining_figure"]

Array = npt.NDArray[np.float64]


@styled
def retraining_figure(retraining: RetrainingRecord, parent: Array | None = None) -> Figure:
    """Energy and largest uncertainty along the relaxation, before and after every round.

    Parameters
    ----------
    retraining : RetrainingRecord
        Of several targets the first is shown.
    parent : (S + 1,) float, eV, optional
        Energy along the relaxation with the parent.
    """
    rounds = retraining.rounds
    if parent is None:
        figure = Figure(figsize=(5.0, 5.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        panels = [upper, lower]
    else:
        figure = Figure(figsize=(5.0, 6.8), layout="constrained")
        upper, middle, lower = figure.subplots(3, 1, sharex=True, height_ratios=(1.2, 1, 1.3))
        panels = [upper, middle, lower]
        upper.plot(
            parent - parent[0],
            "o",
            color=ORANGE,
            markerfacecolor="none",
            markersize=5.5,
            label="parent",
        )
        middle.axhline(0, color=GREY, linewidth=0.8)
        middle.set_ylabel("ensemble −\nparent (eV)")
    if len(rounds) > 1 and rounds[1].harvest is not None and rounds[1].harvest.high is not None:
        window = (1000 * rounds[1].harvest.low, 1000 * rounds[1].harvest.high)
        lower.axhspan(*window, color=LIGHT, alpha=0.6, linewidth=0, label="window of round 1")
    shades = colormaps["viridis_r"](np.linspace(0.15, 0.7, max(len(rounds) - 1, 1)))
    everything = []
    for number, each in enumerate(rounds):
        path = each.paths[0]
        before = number == 0
        label = "before" if before else f"after round {number}"
        if number == retraining.best and len(rounds) > 1:
            label += " (kept)"
        color = PURPLE if before else shades[number - 1]
        form = "s--" if before else ".-"
        energies = path.energies - path.energies[0]
        upper.plot(energies, form, color=color, markersize=3.5)
        if parent is not None:
            common = min(len(parent), len(energies))
            difference = energies[:common] - (parent - parent[0])[:common]
            middle.plot(difference, form, color=color, markersize=3.5)
        lower.plot(1000 * path.max_uncertainty, form, color=color, markersize=3.5, label=label)
        everything.append(1000 * path.max_uncertainty)
    upper.set_ylabel("energy relative to\nthe start (eV)")
    lower.set_ylabel("largest uncertainty,\nraw (meV/Å)")
    log_scale(lower, np.concatenate(everything))
    step_axis(lower)
    figure.align_ylabels(panels)
    legend(figure, upper, lower, columns=3)
    return figure


@styled
def dynamics_figure(dynamics: DynamicsRecord) -> Figure:
    """Temperature, potential energy and uncertainty over time, with every retraining."""
    figure = Figure(figsize=(5.0, 6.4), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1, 1.3))
    temperature, energy, uncertainty = panels
    frames, bath = dynamics.frames, dynamics.bath
    for time in dynamics.round_times:
        for axes in panels:
            axes.axvline(time, color=ORANGE, linewidth=0.7, alpha=0.6)
    temperature.plot(frames.time, frames.temperature, color=BLUE, linewidth=0.8)
    if bath is not None:
        temperature.plot(frames.time, bath, "--", color=GREY, linewidth=1.2, label="heat bath")
    temperature.set_ylabel("temperature (K)")
    per_atom = (frames.potential_energy - frames.potential_energy[0]) / dynamics.n_atoms
    energy.plot(frames.time, per_atom, color=BLUE, linewidth=0.8)
    energy.set_ylabel("potential energy,\nrelative (eV/atom)")
    uncertainty.plot(
        frames.time,
        1000 * frames.max_uncertainty,
        color=BLUE,
        linewidth=0.7,
        label="largest of the atoms",
    )
    uncertainty.plot(
        frames.time,
        1000 * frames.mean_uncertainty,
        color=GREEN,
        linewidth=0.9,
        label="mean over the atoms",
    )
    threshold = 1000 * dynamics.threshold
    uncertainty.axhline(threshold, color=GREY, linestyle="--", linewidth=1.0, label="trusted below")
    bound = dynamics.window * threshold
    uncertainty.axhline(bound, color=GREY, linestyle=":", linewidth=1.0, label="stopped above")
    if dynamics.rounds:
        uncertainty.plot([], [], color=ORANGE, linewidth=0.9, label="retraining")
    uncertainty.set_ylabel("uncertainty, raw (meV/Å)")
    drawn = (1000 * frames.max_uncertainty, 1000 * frames.mean_uncertainty, [threshold, bound])
    log_scale(uncertainty, np.concatenate(drawn))
    uncertainty.set_xlabel("time (ps)")
    figure.align_ylabels(list(panels))
    legend(figure, temperature, uncertainty, columns=3)
    return figure


@styled
def frames_figure(
    before: Series,
    after: Series | None = None,
    time: Array | None = None,
    retrained: Sequence[float] = (),
) -> Figure:
    """Largest uncertainty and extrapolation grade of an atom, frame by frame.

    Parameters
    ----------
    before : Series
        The frames as they were met, or before any retraining.
    after : Series, optional
        After it, of the same frames or of another relaxation.
    time : (n,) float, ps, optional
        Of the frames; their numbers when left out.
    retrained : sequence of float, ps
        When the ensemble was retrained.
    """
    known = before.extrapolation is not None
    figure = Figure(figsize=(5.0, 4.8 if known else 3.2), layout="constrained")
    panels = figure.subplots(2 if known else 1, 1, sharex=True, squeeze=False)[:, 0].tolist()
    drawn = [(before, PURPLE, "s", "before" if after is not None else "largest of the atoms")]
    if after is not None:
        drawn.append((after, BLUE, "o", "after retraining"))
    grades = [np.ones(1)]
    for series, color, marker, label in drawn:
        x = np.arange(len(series.uncertainty)) if time is None else time
        form: dict[str, Any] = {"color": color, "linewidth": 0.9}
        if time is None:
            form |= {"marker": marker, "markersize": 3.0}
        panels[0].plot(x, 1000 * series.uncertainty, label=label, **form)
        if known and series.extrapolation is not None:
            panels[1].plot(x, series.extrapolation, **form)
            grades.append(series.extrapolation)
    for axes in panels:
        for moment in retrained:
            axes.axvline(moment, color=ORANGE, linewidth=0.7, alpha=0.6)
    if len(retrained):
        panels[0].plot([], [], color=ORANGE, linewidth=0.9, label="retraining")
    kind = "99 %" if before.stated else "raw"
    panels[0].set_ylabel(f"largest uncertainty,\n{kind} (meV/Å)")
    log_scale(panels[0], 1000 * np.concatenate([each.uncertainty for each, *_ in drawn]))
    if known:
        panels[1].axhline(1.0, color=GREY, linestyle="--", linewidth=1.0, label="outside above")
        panels[1].set_ylabel("largest\nextrapolation grade")
        if max(map(np.max, grades)) > 3.0:
            log_scale(panels[1], np.concatenate(grades))
    panels[-1].set_xlabel("frame" if time is None else "time (ps)")
    if time is None:
        panels[-1].xaxis.set_major_locator(MaxNLocator(10, integer=True))
    figure.align_ylabels(panels)
    legend(figure, *panels, columns=3)
    return figure


@styled
def learned_figure(learned: Sequence[Learned]) -> Figure:
    """Errors of the labelled forces by their length, before they were learned and after."""
    figure, axes = new_figure()
    lengths = np.concatenate([each.lengths for each in learned])
    known = [each for each in learned if each.before is not None]
    drawn = [(lengths, np.concatenate([each.after for each in learned]), BLUE, "o", "now")]
    if known:
        before = np.concatenate([each.before for each in known if each.before is not None])
        of_known = np.concatenate([each.lengths for each in known])
        drawn.insert(0, (of_known, before, ORANGE, "^", "before"))
    for x, errors, color, marker, label in drawn:
        named = f"{label}: mean {1000 * errors.mean():.3g} meV/Å"
        axes.plot(
            x, 1000 * errors, linestyle="none", color=color, marker=marker, markersize=3.2,
            alpha=0.7, label=named,
        )  # fmt: skip
    log_scale(axes, 1000 * np.concatenate([errors for _, errors, *_ in drawn]))
    axes.set_xlabel("|F|, parent (eV/Å)")
    axes.set_ylabel("error (meV/Å)")
    legend(figure, axes, columns=1)
    return figure
