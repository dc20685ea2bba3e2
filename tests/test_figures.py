"""Figures of a report: their data, and values that vanish."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from helpers.report import DIFFERENCE, LOCALITY, RAW, TRUE, but
from nearsight.report import drawing, figures


def line(axes: Axes, label: str) -> np.ndarray:
    (found,) = [item for item in axes.get_lines() if str(item.get_label()).startswith(label)]
    return np.column_stack([found.get_xdata(), found.get_ydata()]).astype(float)


def test_locality_figure_of_one_atom() -> None:
    one = but(
        LOCALITY,
        indices=LOCALITY.indices[:1],
        n_atoms=LOCALITY.n_atoms[:, :1],
        forces=LOCALITY.forces[:, :1],
        true_forces=LOCALITY.true_forces[:1],
    )
    axes = figures.locality_figure(one, 8.0).axes[0]
    np.testing.assert_array_equal(line(axes, "x"), [[4, 1.3], [6, 1.005], [8, 1.0]])
    np.testing.assert_array_equal(line(axes, "z"), [[4, 0], [6, 0.012], [8, 0]])
    dashed = [item for item in axes.get_lines() if item.get_linestyle() == "--"]
    assert [item.get_ydata()[0] for item in dashed if len(item.get_ydata())] == [1.0, 0.0, 0.0]
    (top,) = axes.child_axes
    assert [tick.get_text() for tick in top.get_xticklabels()] == ["2", "3", "4"]


def test_locality_figure_of_several_atoms() -> None:
    axes = figures.locality_figure(LOCALITY).axes[0]
    assert axes.get_yscale() == "log"
    np.testing.assert_allclose(line(axes, "mean")[:, 1], [400, 9, 0], atol=1e-9)
    np.testing.assert_allclose(line(axes, "largest")[:, 1], [500, 13, 0], atol=1e-9)


def test_iterations_figure() -> None:
    uncertainty = np.array([9.3, 0.0194, 0.03])
    figure = figures.iterations_figure(uncertainty, np.array([0, 26, 51]), 1, 2 * uncertainty)
    left, right = figure.axes
    assert left.get_yscale() == "log"
    np.testing.assert_allclose(line(left, "structure uncertainty, raw")[:, 1], [9300, 19.4, 30])
    np.testing.assert_allclose(line(left, "structure uncertainty, cal")[:, 1], [18600, 38.8, 60])
    np.testing.assert_allclose(line(left, "kept"), [[1, 19.4]])
    assert [bar.get_height() for bar in right.patches] == [0, 26, 51]


def test_parity_figure() -> None:
    trained = np.array([True, False, False, True])
    figure = figures.parity_figure(TRUE + DIFFERENCE, TRUE, trained)
    upper, lower = figure.axes
    seen = line(upper, "2 atoms in the training: MAE 7.5 meV/Å")
    np.testing.assert_allclose(seen[0], [1.0, np.hypot(1.003, 0.004)])
    unseen = line(upper, "2 atoms not in the training: MAE 0.5 meV/Å")
    np.testing.assert_allclose(unseen, [[2.0, np.hypot(2.0, 0.001)], [3.0, 3.0]])
    errors = [item.get_ydata() for item in lower.get_lines()]
    np.testing.assert_allclose(np.concatenate(errors), [5, 10, 1, 0], atol=1e-9)


def test_uncertainty_figure() -> None:
    residuals = np.array([0.005, 0.001, 0.0, 0.010])
    axes = figures.uncertainty_figure(residuals, RAW, 1.24 * RAW).axes[0]
    raw = line(axes, "raw: 2 of 4 errors within it (50.0 %)")
    np.testing.assert_allclose(raw, [[4, 5], [2, 1], [1, 0], [8, 10]])
    assert len(line(axes, "calibrated: 2 of 4")) == 4
    np.testing.assert_allclose(line(axes, "outside"), [[4.96, 5], [9.92, 10]])
    diagonal = line(axes, "error = uncertainty")
    np.testing.assert_array_equal(diagonal[:, 0], diagonal[:, 1])


def test_relaxation_figures() -> None:
    ensemble, parent = np.array([10.0, 8.0, 7.25]), np.array([10.5, 8.25, 7.5, 7.0])
    upper, lower = figures.relaxation_energy_figure(ensemble, parent).axes
    np.testing.assert_array_equal(line(upper, "ensemble")[:, 1], [0, -2, -2.75])
    np.testing.assert_array_equal(line(upper, "parent")[:, 1], [0, -2.25, -3, -3.5])
    np.testing.assert_array_equal(lower.get_lines()[-1].get_ydata(), [0, 0.25, 0.25])
    assert len(figures.relaxation_energy_figure(ensemble).axes) == 1
    maximum, mean = np.array([0.01, 0.02]), np.array([0.005, 0.006])
    (axes,) = figures.relaxation_uncertainty_figure(maximum, mean, 0.05).axes
    np.testing.assert_allclose(line(axes, "largest")[:, 1], [10, 20])
    np.testing.assert_allclose(line(axes, "mean")[:, 1], [5, 6])
    np.testing.assert_allclose(line(axes, "criterion")[:, 1], [50, 50])


def test_learning_figure_leaves_out_what_is_null() -> None:
    figure = figures.learning_figure(
        np.array([0, 4]), np.array([9.0, 0.1]), np.array([2.0, 0.05]), [None, 0.003], [0.5, None]
    )
    (axes,) = figure.axes
    np.testing.assert_allclose(line(axes, "mean error, in")[:, 1], [np.nan, 3])
    np.testing.assert_allclose(line(axes, "mean error, not")[:, 1], [500, np.nan])
    np.testing.assert_allclose(line(axes, "largest"), [[0, 2000], [4, 50]])


def test_figures_of_vanishing_values_can_be_drawn() -> None:
    none = np.zeros((1, 3))
    zero = np.zeros(1)
    for figure in (
        figures.iterations_figure(zero, np.array([0]), 0, zero),
        figures.parity_figure(none, none, np.array([False])),
        figures.uncertainty_figure(zero, zero, zero),
        figures.learning_figure(np.array([0]), zero, zero, [None], [None]),
    ):
        assert drawing.png(figure).startswith(b"\x89PNG")


def test_relaxation_figures_of_several_targets() -> None:
    ensemble = [np.array([10.0, 8.0]), np.array([5.0, 4.5, 4.0]), np.array([1.0])]
    parent = [None, np.array([5.5, 5.0]), None]
    panels = figures.relaxation_energies_figure("abc", ensemble, parent).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["a", "b", "c"]
    assert [axes.get_xlabel() for axes in panels] == ["", "step", "step"]
    np.testing.assert_array_equal(line(panels[0], "ensemble")[:, 1], [0, -2])
    np.testing.assert_array_equal(line(panels[1], "ensemble")[:, 1], [0, -0.5, -1])
    np.testing.assert_array_equal(line(panels[1], "parent")[:, 1], [0, -0.5])
    maximum, mean = [np.array([0.01, 0.02])], [np.array([0.005, 0.006])]
    (axes,) = figures.relaxation_uncertainties_figure("a", maximum, mean, 0.05).axes
    np.testing.assert_allclose(line(axes, "largest")[:, 1], [10, 20])
    np.testing.assert_allclose(line(axes, "mean")[:, 1], [5, 6])
    np.testing.assert_allclose(line(axes, "criterion")[:, 1], [50, 50])
