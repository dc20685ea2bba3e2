"""Which figures a run has, and what each caption says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from nearsight.report import figures, simulation_figures
from nearsight.report.data import RunData
from nearsight.report.format import mev, number

__all__ = ["Plate", "plates"]


@dataclass(frozen=True)
class Plate:
    """A figure with its file name, what it shows in a line, and its caption."""

    name: str
    title: str
    caption: str
    figure: Figure


def plates(data: RunData) -> dict[str, Plate]:
    """The figures that the data of a run allow, by name."""
    parts = (
        _training(data),
        _forces(data),
        _relaxation(data),
        _follow_up(data),
        _locality(data),
    )
    return {plate.name: plate for part in parts for plate in part}


def _training(data: RunData) -> Iterator[Plate]:
    chunks = np.array([it.chunks for it in data.iterations])
    raw = np.array([it.structure_uncertainty for it in data.iterations])
    calibrated = np.array([it.structure_uncertainty_calibrated for it in data.iterations])
    yield Plate(
        "iterations",
        "Uncertainty by iteration",
        f"The largest uncertainty of an atom of {data.the_target} should fall and level off. The "
        "kept iteration is the one with the lowest raw value; a minimum over noisy values is a "
        "little too good, so its neighbours tell as much.",
        figures.iterations_figure(raw, chunks, data.best.iteration, calibrated),
    )
    if data.has_reference:
        yield Plate(
            "learning",
            "Errors by number of chunks",
            "Both mean errors should fall together; a gap between them says that the potential "
            "knows its training better than the rest. The largest error should stay below the "
            "structure uncertainty.",
            figures.learning_figure(
                chunks,
                raw,
                np.array([it.max_residual for it in data.iterations]),
                [it.mae_train for it in data.iterations],
                [it.mae_test for it in data.iterations],
            ),
        )


def _forces(data: RunData) -> Iterator[Plate]:
    best = data.best
    if best.true_forces is None or best.residuals is None:
        return
    yield Plate(
        "parity",
        "Forces of the ensemble and the parent",
        "Magnitudes above, and below the error: the length of the difference vector. Points "
        "should lie on the line, and the error should depend neither on the size of the force nor "
        "on whether the training has seen the atom.",
        figures.parity_figure(best.forces, best.true_forces, best.trained),
    )
    rank = best.rank_correlation
    yield Plate(
        "uncertainty",
        "Errors and uncertainties",
        "Points under the line have an error smaller than their uncertainty. The uncertainty is "
        "meant as a bound, not as a ranking: "
        + (
            "one of the two is the same for all atoms."
            if rank is None
            else f"its rank correlation with the error is {number(rank, 2)} here "
            "(1: larger uncertainty always means larger error; 0: no relation)."
        ),
        figures.uncertainty_figure(best.residuals, best.uncertainty_raw, best.uncertainty),
    )


def _relaxation(data: RunData) -> Iterator[Plate]:
    if len(data.targets) > 1:
        yield from _relaxations(data)
        return
    if data.relaxation is None:
        return
    ensemble, parent = data.relaxation.ensemble, data.relaxation.parent
    caption = (
        "The energy of the relaxation with the ensemble; it was not repeated with the parent."
        if parent is None
        else "The two relaxations, each on its own path, should fall on each other. The lower "
        "panel shows their difference at the same step; it includes the difference of the paths."
    )
    yield Plate(
        "relaxation-energy",
        "Energy during the relaxation",
        caption,
        figures.relaxation_energy_figure(
            ensemble.energies, None if parent is None else parent.energies
        ),
    )
    yield Plate(
        "relaxation-uncertainty",
        "Uncertainty during the relaxation",
        "Where it rises, the relaxation passes through structures unlike those of the training. "
        "At the end it should lie below the criterion of the relaxation, fmax.",
        figures.relaxation_uncertainty_figure(
            ensemble.max_uncertainty, ensemble.mean_uncertainty, data.relaxation.fmax
        ),
    )


def _relaxations(data: RunData) -> Iterator[Plate]:
    """The same for several targets."""
    found = [
        (f"{number}: {target.formula}", target.relaxation)
        for number, target in enumerate(data.targets)
        if target.relaxation is not None
    ]
    if not found:
        return
    names = [name for name, _ in found]
    yield Plate(
        "relaxation-energy",
        "Energy during the relaxations",
        "A panel for each target. Where it was relaxed with the parent too, the two should fall on "
        "each other.",
        figures.relaxation_energies_figure(
            names,
            [relaxation.ensemble.energies for _, relaxation in found],
            [None if r.parent is None else r.parent.energies for _, r in found],
        ),
    )
    yield Plate(
        "relaxation-uncertainty",
        "Uncertainty during the relaxations",
        "Where it rises, the relaxation passes through structures unlike those of the training. "
        "At the end it should lie below the criterion of the relaxation, fmax.",
        figures.relaxation_uncertainties_figure(
            names,
            [relaxation.ensemble.max_uncertainty for _, relaxation in found],
            [relaxation.ensemble.mean_uncertainty for _, relaxation in found],
            found[0][1].fmax,
        ),
    )


def _follow_up(data: RunData) -> Iterator[Plate]:
    if data.retraining is not None:
        parent = None if data.relaxation is None else data.relaxation.parent
        several = " of the first target" if len(data.targets) > 1 else ""
        yield Plate(
            "retraining",
            "Relaxation before and after retraining",
            f"Each relaxation{several} is made with the ensemble of that round, on a path of its "
            "own. After the kept round its largest uncertainty should be no larger than that of "
            "the structure the training was for.",
            simulation_figures.retraining_figure(
                data.retraining, None if parent is None else parent.energies
            ),
        )
    if data.dynamics is not None:
        caption = (
            "The frames of the trajectory. At a retraining the dynamics went back to the last "
            "trusted frame and on with an ensemble that had learned the uncertain atoms met since."
            if data.dynamics.rounds
            else "The frames of the trajectory. There was no retraining on the way."
        )
        yield Plate(
            "dynamics",
            "Molecular dynamics",
            caption,
            simulation_figures.dynamics_figure(data.dynamics),
        )


def _locality(data: RunData) -> Iterator[Plate]:
    locality = data.locality
    if locality is None:
        return
    radius = data.run.chunk_radius
    if len(locality.indices) == 1:
        caption = (
            "Force on the chunk’s centre, cut out of the target with a growing radius. At the "
            "radius used the curves should have reached the dashed lines, the force in the whole "
            "target."
        )
    else:
        caption = (
            f"Error of the force on the chunk’s centre, over {len(locality.indices)} atoms; values "
            "below 0.001 meV/Å are not drawn."
        )
    index = locality.at(radius)
    if index is not None and np.isfinite(locality.mean_errors[index]):
        mean, most = locality.mean_errors[index], locality.max_errors[index]
        caption += (
            f" At {locality.radii[index]:g} Å the error is {mev(float(mean))} meV/Å"
            + (f" on average, {mev(float(most))} at most" if len(locality.indices) > 1 else "")
            + ": the scale of the error that a potential trained on such chunks can reach."
        )
    yield Plate(
        "locality", "Locality of the parent", caption, figures.locality_figure(locality, radius)
    )
