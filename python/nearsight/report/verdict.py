"""The verdict on a run, from its figures in parts of a typical force and of fmax.

Limits are those of experience with potentials for metals: forces good to 5 % give dynamics that
stay on the parent's surface, forces good to 10 % a minimum that is one of the parent's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nearsight.config import RelaxationSettings
from nearsight.files.records import Bounds, Finding, Iteration, Use, Verdict
from nearsight.files.records.verdict import USES, figure
from nearsight.progress import count_noun
from nearsight.report.data import RunData
from nearsight.report.next_step import next_step

__all__ = [
    "BOUND",
    "ERROR",
    "Limits",
    "allowed",
    "judge",
    "of_training",
    "part",
    "told",
    "typical_force",
    "uncalibrated",
]

Limits = tuple[float, float, float]

ERROR: Limits = (0.05, 0.10, 0.20)
"""Largest mean error for dynamics, relaxation and forces, in typical forces."""
BOUND: Limits = (0.3, 0.6, 1.0)
"""Largest stated uncertainty of an atom, likewise."""
MISFIT: Limits = (0.05, 0.10, 0.25)
"""Largest misfit (RMS) of the labels of the training, likewise."""
ENERGY: Limits = (0.02, 0.05, 0.2)
"""Largest misfit (RMS) of their energies, eV/atom."""
LABELS: Limits = (0.1, 0.2, 0.4)
"""Largest error of the force on a chunk's centre, likewise."""
OUTSIDE: Limits = (0.0, 0.02, 0.1)
"""Largest part of the atoms outside what there are labels of."""
ABOVE_FMAX = 1.5
"""Parent's largest force where the ensemble's relaxation ended, in fmax."""
APART = 3.0
"""RMS misfit of a member, in those of the median, above which it counts as not converged."""
WORTH = 0.01
"""And in typical forces: below, nothing depends on it."""


def judge(data: RunData) -> Verdict:
    """What the potential of a finished run is good for, and what to do next."""
    best = data.best
    findings = list(_findings(data))
    use = min((finding.allows for finding in findings), key=USES.index)
    advice, command = next_step(data, use, {f.key for f in findings if f.allows == use})
    bounds = best.record.bounds
    test = None if data.comparison is None else data.comparison.summary("test")
    return Verdict(
        use=use,
        findings=findings,
        expected=best.record.expected,
        true_error=best.mae,
        test_error=None if test is None else test["mean_error"],
        bound=None if bounds is None else bounds.forces,
        largest_bound=best.structure_uncertainty_calibrated,
        relaxed_bound=data.relaxed_bound,
        outside=best.outside,
        advice=advice,
        command=command,
    )


def told(verdict: Verdict, name: str) -> dict[str, Any]:
    """Content of ``report.json``: the record, with the advice for a folder of this name."""
    return {
        **verdict.model_dump(),
        "headline": verdict.headline,
        "advice": verdict.next_step(name),
        "command": verdict.next_command(name),
    }


def typical_force(data: RunData) -> float | None:
    """Mean length of the labelled forces, or of the true ones, eV/Å; None without any."""
    expected, true = data.best.record.expected, data.best.true_forces
    if expected is not None and expected.typical:
        return expected.typical
    return None if true is None else float(np.linalg.norm(true, axis=1).mean()) or None


def _findings(data: RunData) -> Iterator[Finding]:
    typical = typical_force(data)
    if typical is None:
        yield Finding(
            key="error",
            allows="none",
            value=0.0,
            sentence="no label that the members do not know tells the error of the forces",
        )
        return
    best, record = data.best, data.best.record
    error, how = best.mae, "true"
    if error is None and record.expected is not None:
        error, how = record.expected.mean, "expected"
    if error is not None:
        yield part("error", f"the {how} error of a force", error, typical, ERROR)
        yield from _below_fmax(data, error, how)
    yield from _certainty(data, typical)
    yield from of_training(record, typical)
    labels = data.label_error
    if labels is not None:
        name = (
            f"the error of the parent's force on the centre of a {data.run.chunk_radius:g} Å chunk"
        )
        yield part("locality", name, labels, typical, LABELS)
    yield from _relaxations(data, typical)


def part(key: str, name: str, value: float, typical: float, limits: Limits) -> Finding:
    """A finding on a force, eV/Å, compared with the typical one."""
    return Finding(
        key=key,
        allows=allowed(value / typical, limits),
        value=value,
        sentence=f"{name} is {figure(1000 * value)} meV/Å, {figure(100 * value / typical, 2)} % "
        f"of the typical force {typical:.3g} eV/Å (dynamics up to {100 * limits[0]:g} %, "
        f"relaxation {100 * limits[1]:g} %, forces {100 * limits[2]:g} %)",
    )


def allowed(value: float, limits: Limits) -> Use:
    """The most demanding use whose limit is no smaller."""
    return USES[sum(value <= limit for limit in limits)]


def of_training(record: Iteration, typical: float) -> Iterator[Finding]:
    """Findings on how well an ensemble fits the labels it was trained on."""
    name = "the misfit (RMS) of the training's own labels"
    yield part("misfit", name, record.misfit, typical, MISFIT)
    energy = record.energy_rmse
    yield Finding(
        key="energy",
        allows=allowed(energy, ENERGY),
        value=energy,
        sentence=f"the misfit (RMS) of the labelled energies is {figure(1000 * energy)} meV/atom "
        f"(dynamics up to {1000 * ENERGY[0]:g}, relaxation {1000 * ENERGY[1]:g}, forces "
        f"{1000 * ENERGY[2]:g})",
    )
    yield from _members(record.member_force_rmse, typical)


def uncalibrated(bounds: Bounds | None) -> Finding:
    """What is found where the uncertainty does not rest on enough."""
    return Finding(
        key="calibration",
        allows="forces",
        value=0.0 if bounds is None else bounds.forces.labels,
        sentence="the uncertainty is not calibrated yet: too few labels that the members do not "
        "know",
    )


def _below_fmax(data: RunData, error: float, how: str) -> Iterator[Finding]:
    fmax = data.relaxation.fmax if data.relaxation else RelaxationSettings().fmax
    if error > fmax:
        yield Finding(
            key="fmax",
            allows="forces",
            value=error,
            sentence=f"the {how} error {figure(1000 * error)} meV/Å is above fmax = "
            f"{1000 * fmax:g} meV/Å, to which a relaxation would go",
        )


def _certainty(data: RunData, typical: float) -> Iterator[Finding]:
    best, bounds = data.best, data.best.record.bounds
    if bounds is None or not best.record.is_calibrated:
        yield uncalibrated(bounds)
    else:
        largest = best.structure_uncertainty_calibrated
        name = "the uncertainty (99 %) of the most uncertain atom"
        yield part("bound", name, largest, typical, BOUND)
    if best.outside is not None:
        atoms = len(best.forces)
        yield Finding(
            key="outside",
            allows=allowed(best.outside / atoms, OUTSIDE),
            value=best.outside,
            sentence=f"{best.outside} of {count_noun(atoms, 'atom')} are outside what there are "
            f"labels of (relaxation up to {100 * OUTSIDE[1]:g} %, forces {100 * OUTSIDE[2]:g} %)",
        )


def _members(rmse: npt.NDArray[np.float64] | None, typical: float) -> Iterator[Finding]:
    if rmse is None:
        return
    median, worst = float(np.median(rmse)), float(np.max(rmse))
    apart = worst > APART * median and worst > WORTH * typical
    ending = ": it is not converged" if apart else ""
    yield Finding(
        key="members",
        allows="relaxation" if apart else "dynamics",
        value=worst,
        sentence=f"member {int(np.argmax(rmse))} fits its labels to {figure(1000 * worst)} meV/Å "
        f"(RMS), the median member to {figure(1000 * median)}{ending}",
    )


def _relaxations(data: RunData, typical: float) -> Iterator[Finding]:
    relaxed = [target.relaxation for target in data.targets if target.relaxation is not None]
    stuck = sum(not relaxation.ensemble.converged for relaxation in relaxed)
    if stuck:
        yield Finding(
            key="convergence",
            allows="forces",
            value=stuck,
            sentence=f"{stuck} of {count_noun(len(relaxed), 'relaxation')} did not converge",
        )
    if data.relaxed_bound is not None:
        name = "the uncertainty (99 %) of the most uncertain atom where the relaxation ended"
        yield part("relaxed", name, data.relaxed_bound, typical, BOUND)
    forces = [
        (relaxation.parent_fmax_at_minimum, relaxation.fmax)
        for relaxation in relaxed
        if relaxation.parent_fmax_at_minimum is not None
    ]
    if not forces:
        return
    force, fmax = max(forces)
    yield Finding(
        key="minimum",
        allows="dynamics" if force <= ABOVE_FMAX * fmax else "forces",
        value=force,
        sentence=f"the parent's largest force where the relaxation ended is {figure(1000 * force)} "
        f"meV/Å, with fmax = {1000 * fmax:g} meV/Å (up to {ABOVE_FMAX:g} times that)",
    )
