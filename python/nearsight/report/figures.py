"""Figures of a report: functions of arrays that return a matplotlib ``Figure``.

Forces are in eV/Å, their errors and uncertainties are drawn in meV/Å.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nearsight.files.records import ForceLocality
from nearsight.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LIGHT,
    ORANGE,
    PURPLE,
    TALL,
    legend,
    log_scale,
    name_atoms,
    new_figure,
    small_multiples,
    spaced,
    step_axis,
    styled,
    two_panels,
)

__all__ = [
    "iterations_figure",
    "learning_figure",
    "locality_figure",
    "parity_figure",
    "relaxation_energies_figure",
    "relaxation_energy_figure",
    "relaxation_uncertainties_figure",
    "relaxation_uncertainty_figure",
    "uncertainty_figure",
]

Array = npt.NDArray[np.float64]


@styled
def locality_figure(locality: ForceLocality, chunk_radius: float | None = None) -> Figure:
    """Force on the centre of a chunk by chunk radius.

    Parameters
    ----------
    locality : ForceLocality
        For one atom the force components are drawn with the true ones dashed (SI, Fig. S7a), for
        several atoms the mean and the largest error on a logarithmic axis.
    chunk_radius : float, optional
        The radius the run used, Å: marked.
    """
    figure, axes = new_figure()
    order = np.argsort(locality.radii)
    radii = locality.radii[order]
    if len(locality.indices) == 1:
        for k, color in enumerate((BLUE, ORANGE, GREEN)):
            true = locality.true_forces[0, k]
            if np.isfinite(true):
                axes.axhline(true, color=color, linestyle="--", linewidth=1.0)
            axes.plot(radii, locality.forces[order, 0, k], "o-", color=color, label="xyz"[k])
        axes.plot([], [], "--", color=GREY, linewidth=1.0, label="whole structure")
        axes.set_ylabel(f"force on atom {locality.indices[0]} (eV/Å)")
    else:
        errors = 1000 * locality.errors[order]
        most, mean = 1000 * locality.max_errors[order], 1000 * locality.mean_errors[order]
        axes.plot(radii, most, "o-", color=ORANGE, label="largest error")
        axes.plot(radii, mean, "s-", color=BLUE, label="mean error")
        axes.set_ylabel("error of the chunk's force (meV/Å)")
        # below a thousandth of a meV/Å the error is rounding of the parent code, not physics
        log_scale(axes, np.maximum(errors[most > 0], 1e-3))
    if chunk_radius is not None:
        axes.axvline(chunk_radius, color=GREY, linestyle=":", label="radius used")
    axes.set_xlabel("chunk radius (Å)")
    top = axes.secondary_xaxis("top")
    shown = spaced(radii)
    counts = locality.n_atoms[order].mean(axis=1)
    top.set_xticks(radii[shown], labels=[f"{count:.0f}" for count in counts[shown]])
    top.tick_params(length=0, labelsize=8, labelcolor=GREY)
    top.set_xlabel("atoms in the chunk", fontsize=8, color=GREY)
    top.spines["top"].set_visible(False)
    legend(figure, axes)
    return figure


@styled
def iterations_figure(
    uncertainty: Array,
    chunks: npt.NDArray[np.int64],
    best: int,
    calibrated: Array | None = None,
    noun: str = "chunks",
) -> Figure:
    """Structure uncertainty and number of chunks by iteration (SI, Fig. S7b).

    Parameters
    ----------
    uncertainty, calibrated : (n,) float, eV/Å
        Largest uncertainty of an atom of the target, raw and calibrated.
    chunks : (n,) int
    best : int
        The iteration whose ensemble was kept: marked with a star.
    noun : str
        What was labelled, in the plural.
    """
    figure, axes = new_figure()
    steps = np.arange(len(uncertainty))
    count = axes.twinx()
    count.bar(steps, chunks, width=0.62, color=LIGHT, label=f"{noun} in the training")
    count.set_ylim(0, 1.6 * max(int(chunks.max()), 1))
    count.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    count.set_ylabel(noun, color=GREY)
    count.tick_params(labelcolor=GREY)
    count.spines["right"].set_visible(True)
    count.grid(visible=False)
    axes.set_zorder(count.get_zorder() + 1)  # the lines over the bars
    axes.patch.set_visible(False)
    curves = [uncertainty] if calibrated is None else [uncertainty, calibrated]
    if calibrated is not None:
        axes.plot(
            steps,
            1000 * calibrated,
            "s--",
            color=ORANGE,
            markersize=3.5,
            linewidth=1.0,
            label="structure uncertainty, calibrated",
        )
    axes.plot(steps, 1000 * uncertainty, "o-", color=BLUE, label="structure uncertainty, raw")
    axes.plot(
        best,
        1000 * uncertainty[best],
        "*",
        color="#E69F00",
        markeredgecolor=INK,
        markeredgewidth=0.6,
        markersize=13,
        linestyle="none",
        label="kept iteration",
    )
    axes.set_xlabel("iteration")
    axes.set_xlim(-0.6, len(steps) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, steps=[1, 2, 5, 10]))
    axes.set_ylabel("structure uncertainty (meV/Å)")
    log_scale(axes, 1000 * np.concatenate(curves))
    legend(figure, axes, count, columns=2)
    return figure


@styled
def parity_figure(
    forces: Array, true_forces: Array, trained: npt.NDArray[np.bool_], noun: str = "atoms"
) -> Figure:
    """Magnitudes of the ensemble's forces against the parent's, and the errors (SI, Fig. S7c).

    Parameters
    ----------
    forces, true_forces : (N, 3) float, eV/Å
    trained : (N,) bool
        The atoms whose forces the training has seen.
    noun : str
        What they are, in the legend.
    """
    figure, upper, lower = two_panels()
    predicted = np.linalg.norm(forces, axis=1)
    true = np.linalg.norm(true_forces, axis=1)
    errors = 1000 * np.linalg.norm(forces - true_forces, axis=1)
    end = 1.04 * max(predicted.max(), true.max(), 1e-3)
    upper.plot([0, end], [0, end], color=GREY, linewidth=0.8)
    for mask, color, marker, name in (
        (trained, BLUE, "o", "in the training"),
        (~trained, ORANGE, "^", "not in the training"),
    ):
        if not mask.any():
            continue
        label = f"{mask.sum()} {noun} {name}: MAE {errors[mask].mean():.3g} meV/Å"
        dots: dict[str, Any] = {"color": color, "marker": marker, "markersize": 3.4, "alpha": 0.75}
        lines = upper.plot(true[mask], predicted[mask], linestyle="none", label=label, **dots)
        lines += lower.plot(true[mask], errors[mask], linestyle="none", **dots)
        for line in lines if noun == "atoms" else ():
            name_atoms(line, np.flatnonzero(mask))
    upper.set_xlim(0, end)
    upper.set_ylim(0, end)
    upper.set_ylabel("|F|, ensemble (eV/Å)")
    lower.set_ylim(0, 1.08 * max(errors.max(), 1e-6))
    lower.set_ylabel("error (meV/Å)")
    lower.set_xlabel("|F|, parent (eV/Å)")
    figure.align_ylabels([upper, lower])
    legend(figure, upper, columns=1)
    return figure


@styled
def uncertainty_figure(residuals: Array, raw: Array, calibrated: Array) -> Figure:
    """Error of every atom's force against its uncertainty, raw and calibrated (SI, Fig. S7d).

    Parameters
    ----------
    residuals, raw, calibrated : (N,) float, eV/Å
    """
    figure, axes = new_figure(TALL)
    errors = 1000 * residuals
    open_dots: dict[str, Any] = {"color": GREY, "markerfacecolor": "none", "markeredgewidth": 0.7}
    full_dots: dict[str, Any] = {"color": BLUE, "alpha": 0.75}
    for values, dots, name in ((raw, open_dots, "raw"), (calibrated, full_dots, "calibrated")):
        covered = int((residuals <= values).sum())
        share = 100 * covered / len(errors)
        label = f"{name}: {covered} of {len(errors)} errors within it ({share:.1f} %)"
        (line,) = axes.plot(1000 * values, errors, "o", markersize=3.4, label=label, **dots)
        name_atoms(line, np.arange(len(errors)))
    outside = residuals > calibrated
    if outside.any():
        label = "outside the calibrated uncertainty"
        (line,) = axes.plot(
            1000 * calibrated[outside], errors[outside], "o", color=ORANGE, label=label
        )
        name_atoms(line, np.flatnonzero(outside))
    right = 1050 * max(raw.max(), calibrated.max(), 1e-9)
    axes.plot([0, right], [0, right], color=INK, linewidth=0.8, label="error = uncertainty")
    axes.set_xlim(0, right)
    axes.set_ylim(0, 1.08 * max(errors.max(), 1e-6))
    axes.set_xlabel("uncertainty (meV/Å)")
    axes.set_ylabel("error of the force (meV/Å)")
    legend(figure, axes, columns=1)
    return figure


@styled
def relaxation_energy_figure(ensemble: Array, parent: Array | None = None) -> Figure:
    """Energy relative to the start by step, for the ensemble and the parent (SI, Fig. S8a).

    Parameters
    ----------
    ensemble, parent : (S + 1,) float, eV
    """
    relative = ensemble - ensemble[0]
    if parent is None:
        figure, axes = new_figure(TALL)
        bottom = axes
    else:
        figure, axes, bottom = two_panels()
        own = parent - parent[0]
        axes.plot(
            own,
            "o-",
            color=ORANGE,
            markerfacecolor="none",
            markersize=5.5,
            linewidth=0.8,
            label="parent",
        )
        common = min(len(own), len(relative))
        bottom.axhline(0, color=GREY, linewidth=0.8)
        bottom.plot(relative[:common] - own[:common], ".-", color=BLUE)
        bottom.set_ylabel("ensemble −\nparent (eV)")
        figure.align_ylabels([axes, bottom])
    axes.plot(relative, ".-", color=BLUE, label="ensemble")
    axes.set_ylabel("energy relative to the start (eV)")
    step_axis(bottom)
    legend(figure, axes)
    return figure


@styled
def relaxation_uncertainty_figure(
    maximum: Array, mean: Array, fmax: float | None = None, bound: Array | None = None
) -> Figure:
    """Largest and mean raw uncertainty of the atoms by relaxation step (SI, Fig. S8b).

    Parameters
    ----------
    maximum, mean : (S + 1,) float, eV/Å
    fmax : float, optional
        The criterion of the relaxation, eV/Å: drawn as a line.
    bound : (S + 1,) float, eV/Å, optional
        The largest stated uncertainty.
    """
    figure, axes = new_figure(TALL)
    if bound is not None:
        axes.plot(1000 * bound, "^-", color=ORANGE, markersize=4.0, label="largest, 99 %")
    axes.plot(
        1000 * maximum, "o-", color=BLUE, label="largest" if bound is None else "largest, raw"
    )
    axes.plot(1000 * mean, "s-", color=GREEN, markersize=3.5, label="mean over the atoms")
    if fmax is not None:
        axes.axhline(
            1000 * fmax, color=GREY, linestyle="--", linewidth=1.0, label="criterion, fmax"
        )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("uncertainty, raw (meV/Å)" if bound is None else "uncertainty (meV/Å)")
    step_axis(axes)
    legend(figure, axes)
    return figure


@styled
def relaxation_energies_figure(
    names: Sequence[str], ensemble: Sequence[Array], parent: Sequence[Array | None]
) -> Figure:
    """Energy relative to the start by step, a panel for each of several targets.

    Parameters
    ----------
    names : sequence of str
    ensemble, parent : sequences of (S + 1,) float, eV
        None for a target that was not relaxed with the parent.
    """
    figure, panels = small_multiples(names, "energy relative to the start (eV)")
    for axes, ours, theirs in zip(panels, ensemble, parent, strict=True):
        if theirs is not None:
            dots: dict[str, Any] = {"markerfacecolor": "none", "markersize": 4.5, "linewidth": 0.8}
            axes.plot(theirs - theirs[0], "o-", color=ORANGE, label="parent", **dots)
        axes.plot(ours - ours[0], ".-", color=BLUE, label="ensemble")
    both = [axes for axes, theirs in zip(panels, parent, strict=True) if theirs is not None]
    legend(figure, (both or panels)[0])
    return figure


@styled
def relaxation_uncertainties_figure(
    names: Sequence[str],
    maximum: Sequence[Array],
    mean: Sequence[Array],
    fmax: float,
    stated: bool = False,
) -> Figure:
    """Largest and mean uncertainty by step, a panel for each of several targets.

    Parameters
    ----------
    names : sequence of str
    maximum, mean : sequences of (S + 1,) float, eV/Å
    fmax : float
        The criterion of the relaxations, eV/Å: drawn as a line.
    stated : bool
        Whether the largest ones are bounds; else they are raw, as the means always are.
    """
    kinds = (", 99 %", ", raw") if stated else ("", "")
    figure, panels = small_multiples(names, f"uncertainty{'' if stated else ', raw'} (meV/Å)")
    for axes, largest, average in zip(panels, maximum, mean, strict=True):
        axes.plot(1000 * largest, ".-", color=BLUE, label=f"largest{kinds[0]}")
        axes.plot(1000 * average, ".-", color=GREEN, label=f"mean over the atoms{kinds[1]}")
        axes.axhline(1000 * fmax, color=GREY, linestyle="--", linewidth=1.0, label="criterion")
        axes.set_ylim(bottom=0)
    legend(figure, panels[0])
    return figure


@styled
def learning_figure(
    chunks: npt.NDArray[np.int64],
    uncertainty: Array,
    max_residual: Array,
    mae_train: Sequence[float | None],
    mae_test: Sequence[float | None],
    noun: str = "chunks",
) -> Figure:
    """Errors on the target and structure uncertainty by number of chunks.

    Parameters
    ----------
    chunks : (n,) int
    uncertainty : (n,) float, eV/Å
        Raw structure uncertainty.
    max_residual : (n,) float, eV/Å
    mae_train, mae_test : n floats, eV/Å, None where there is no such atom
    noun : str
        What was labelled, in the plural.
    """
    figure, axes = new_figure()
    curves = [
        (uncertainty, "o-", BLUE, "structure uncertainty, raw"),
        (max_residual, "d-", PURPLE, "largest error"),
        (np.array(mae_test, dtype=float), "^-", ORANGE, "mean error, not in the training"),
        (np.array(mae_train, dtype=float), "s-", GREEN, "mean error, in the training"),
    ]
    for values, form, color, label in curves:
        axes.plot(chunks, 1000 * values, form, color=color, label=label)
    axes.set_xlabel(f"{noun} in the training")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_ylabel("error or uncertainty (meV/Å)")
    log_scale(axes, 1000 * np.concatenate([values for values, *_ in curves]))
    legend(figure, axes, columns=2)
    return figure
