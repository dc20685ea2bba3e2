"""What a run's numbers say: the checks a reader would make before trusting the potential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nearsight.report.data import RunData
from nearsight.report.records import Relaxation
from nearsight.report.text import SPACE, ev, mev, number, percent

__all__ = ["COVERAGE", "Check", "checks", "verdict"]

COVERAGE = 0.95
"""Fraction of the atoms whose error the calibrated uncertainty must cover."""
UNSEEN = 2.0
"""How much larger the mean error may be on atoms the training has not seen."""
RISE = 1.5
"""How far the uncertainty may rise after the kept iteration: less is its usual scatter."""
LABELS = 0.5
"""How much of the mean error the chunks' own labels may account for."""
PATH = 2.0
"""How far the uncertainty may rise above its start during a relaxation."""

MEV = f"{SPACE}meV/\N{WORD JOINER}Å"
EV = f"{SPACE}eV/\N{WORD JOINER}Å"


@dataclass(frozen=True)
class Check:
    """One check: met, asking for attention, or open because its numbers were not asked for."""

    status: Literal["met", "attention", "open"]
    title: str
    text: str


def checks(data: RunData) -> list[Check]:
    """All checks of a run, in the order of the report's sections."""
    found = [_training(data)]
    if data.has_reference:
        found += [_coverage(data), _unseen(data)]
    else:
        found.append(
            Check(
                "open",
                "Errors on the target",
                "The parent’s true forces on the target were not asked for, so the errors are not "
                "known; the uncertainty is the ensemble’s own estimate of them.",
            )
        )
    found.append(_chunk_radius(data))
    if data.relaxation is None:
        text = "No relaxation was asked for."
        return [*found, Check("open", "Relaxation", text)]
    return [
        *found,
        _converged(data.relaxation),
        _minimum(data.relaxation),
        _certainty(data.relaxation),
    ]


def verdict(data: RunData) -> list[str]:
    """The result of a run in a few sentences."""
    best = data.best
    kept = f"The potential kept is that of iteration {best.iteration}, trained with "
    sentences = [kept + f"{_count(best.chunks, 'chunk')}."]
    if best.mae is None:
        sentences.append(
            "How far its forces are from the parent’s is not known: the parent’s true forces on "
            "the target were not asked for. The largest uncertainty it gives for an atom of the "
            f"target is {mev(best.structure_uncertainty_calibrated)}{MEV} (calibrated)."
        )
    else:
        sentences.append(
            f"On the target its forces differ from the parent’s by {mev(best.mae)}{MEV} on "
            f"average and by {mev(best.max_residual)}{MEV} at most."
        )
    results = checks(data)
    attention = [check.title.lower() for check in results if check.status == "attention"]
    unmade = sum(check.status == "open" for check in results)
    made = len(results) - unmade
    result = f"{_count(made, 'check')} {'was' if made == 1 else 'were'} made; "
    if attention:
        verb = "asks" if len(attention) == 1 else "ask"
        result += f"{len(attention)} {verb} for attention ({', '.join(attention)})"
    else:
        result += "none asks for attention"
    if unmade:
        result += f"; {unmade} could not be made, for want of numbers that were not asked for"
    return [*sentences, f"{result}."]


def _training(data: RunData) -> Check:
    title = "End of the training"
    best, last = data.best, data.iterations[-1]
    reason = f"Reason for the stop: {data.run.stop_reason.rstrip('.')}."
    if len(data.iterations) == 1:
        text = f"Only the initial training was made, without any chunk. {reason}"
        return Check("attention", title, text)
    if best is last:
        text = (
            "The last iteration is the best: the uncertainty was still falling when the run "
            f"ended, and more chunks may lower it further. {reason}"
        )
        return Check("attention", title, text)
    after = last.iteration - best.iteration
    if last.structure_uncertainty > RISE * best.structure_uncertainty:
        text = (
            f"The uncertainty rose from {mev(best.structure_uncertainty)} to "
            f"{mev(last.structure_uncertainty)}{MEV} in the {_count(after, 'iteration')} after "
            f"the kept one: the training is not steady. {reason}"
        )
        return Check("attention", title, text)
    text = f"{_count(after, 'iteration')} after the kept one brought no lower uncertainty. {reason}"
    return Check("met", title, text)


def _coverage(data: RunData) -> Check:
    best = data.best
    coverage = best.coverage or 0.0
    n_atoms = data.run.target.n_atoms
    text = (
        f"{round(coverage * n_atoms)} of {n_atoms} atoms ({percent(coverage)}) have an error no "
        f"larger than their calibrated uncertainty; {COVERAGE:.0%} are expected. With the raw "
        f"uncertainty it is {percent(best.coverage_raw)}."
    ).replace("95%", f"95{SPACE}%")
    if coverage < COVERAGE:
        text += " The uncertainty is too small: do not take it for a bound."
    return Check("met" if coverage >= COVERAGE else "attention", "Errors within uncertainty", text)


def _unseen(data: RunData) -> Check:
    title = "Atoms not in the training"
    seen, unseen = data.best.mae_train, data.best.mae_test
    if seen is None or unseen is None:
        missing = "no atom" if seen is None else "every atom"
        text = f"There is nothing to compare: {missing} of the target is in the training."
        return Check("open", title, text)
    text = (
        f"The mean error is {mev(unseen)}{MEV} on atoms whose forces the training has not seen, "
        f"{mev(seen)}{MEV} on the others."
    )
    if unseen > UNSEEN * seen:
        text += " The potential knows its training better than the rest: more chunks may help."
        return Check("attention", title, text)
    return Check("met", title, text)


def _chunk_radius(data: RunData) -> Check:
    title = "Chunk radius"
    radius = data.run.chunk_radius
    if data.locality is None:
        text = (
            f"The locality of the parent was not scanned, so the error of the labels of "
            f"{radius:g}{SPACE}Å chunks is not known."
        )
        return Check("open", title, text)
    index = data.locality.at(radius)
    if index is None:
        text = f"The locality scan has no radius up to the {radius:g}{SPACE}Å used."
        return Check("open", title, text)
    errors = data.locality.errors[index]
    scale, name = data.best.mae, "the mean error of the potential"
    if scale is None:
        scale, name = float(data.best.uncertainty.mean()), "the mean uncertainty"
    scanned = data.locality.radii[index]
    text = f"At {scanned:g}{SPACE}Å, "
    text += "the radius used" if scanned == radius else f"the nearest scanned below {radius:g}"
    text += (
        ", the force on a chunk’s centre differs from that in the whole target by "
        f"{mev(float(errors.mean()))}{MEV}"
    )
    if len(errors) == 1:
        text += f" (atom {data.locality.indices[0]})"
    else:
        text += f" on average over {len(errors)} atoms and by {mev(float(errors.max()))} at most"
    text += f"; {name} is {mev(scale)}{MEV}."
    if errors.mean() > LABELS * scale:
        text += " The labels themselves limit the accuracy: a larger radius would help."
        return Check("attention", title, text)
    return Check("met", title, text)


def _converged(relaxation: Relaxation) -> Check:
    ensemble, parent = relaxation.ensemble, relaxation.parent
    pairs = (
        [("ensemble", ensemble)] if parent is None else [("ensemble", ensemble), ("parent", parent)]
    )
    text = (
        "; ".join(
            f"the {name} {'converged' if path.converged else 'did not converge'} "
            f"({_count(path.steps, 'step')}, {ev(path.energy_change)}{SPACE}eV)"
            for name, path in pairs
        )
        + "."
    )
    text = f"With {relaxation.optimizer} to {relaxation.fmax:g}{EV}, {text}"
    if parent is None:
        text += " No relaxation with the parent was asked for."
    met = all(path.converged for _, path in pairs)
    return Check("met" if met else "attention", "Relaxation", text)


def _minimum(relaxation: Relaxation) -> Check:
    title = "The parent at the minimum"
    force = relaxation.parent_fmax_at_minimum
    if force is None:
        text = "The parent’s forces at the ensemble’s minimum were not asked for."
        return Check("open", title, text)
    text = (
        f"At the structure the ensemble relaxed to, the parent’s largest force is "
        f"{number(force, 2)}{EV}; the criterion was {relaxation.fmax:g}{EV}."
    )
    if force > relaxation.fmax:
        text += " The parent would go on from there."
        return Check("attention", title, text)
    return Check("met", title, text)


def _certainty(relaxation: Relaxation) -> Check:
    path = relaxation.ensemble.max_uncertainty
    step = int(path.argmax())
    text = (
        f"The raw uncertainty starts at {mev(path[0])}{MEV}, is largest at step {step} with "
        f"{mev(path[step])}, and ends at {mev(path[-1])}."
    )
    attention = False
    if path[-1] > relaxation.fmax:
        text += (
            f" The forces at the minimum are less certain than the criterion of "
            f"{mev(relaxation.fmax)}{MEV} asks for."
        )
        attention = True
    if path[step] > PATH * path[0]:
        text += " The way leads through structures the training does not know well: retrain."
        attention = True
    return Check("attention" if attention else "met", "Certainty on the way", text)


def _count(value: int, noun: str) -> str:
    return f"{value} {noun}" if value == 1 else f"{value} {noun}s"
