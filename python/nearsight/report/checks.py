"""What a run's numbers say: the checks a reader would make before trusting the potential."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np

from nearsight.model.ensemble import COVERAGE
from nearsight.report.data import RunData, TargetData
from nearsight.report.format import SPACE, ev, mev, number, percent
from nearsight.report.records import Trajectory

__all__ = ["Check", "checks", "verdict"]

UNSEEN = 2.0
"""How much larger the mean error may be on atoms the training has not seen."""
RISE = 1.5
"""How far the uncertainty may rise after the kept iteration: less is its usual scatter."""
LABELS = 0.5
"""How much of the mean error the chunks' own labels may account for."""
PATH = 2.0
"""How far the uncertainty may rise above its start during a relaxation."""
FEW = 2
"""Up to so many targets are spoken of one by one."""

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
        text = (
            f"{_upper(data.why_no_errors)}, so the errors are not known; the uncertainty is the "
            "ensemble’s own estimate of them."
        )
        found.append(Check("open", f"Errors on {data.the_target}", text))
    found.append(_chunk_radius(data))
    if not data.relaxed:
        text = "No relaxation was asked for."
        return [*found, Check("open", "Relaxation", text)]
    return [*found, _converged(data), _minimum(data), _certainty(data)]


def verdict(data: RunData) -> list[str]:
    """The result of a run in a few sentences."""
    best = data.best
    kept = f"The potential kept is that of iteration {best.iteration}, trained with "
    sentences = [kept + f"{_count(best.chunks, 'chunk')}."]
    if data.retraining is not None and data.retraining.best:
        text = (
            f"Training ended with the potential of iteration {best.iteration}, which knew "
            f"{_count(best.chunks, 'chunk')}; the one kept was then retrained in "
            f"{_count(data.retraining.best, 'round')} on what the relaxation ran into. What "
            "follows is about the former."
        )
        sentences = [text]
    if best.mae is None:
        sentences.append(
            f"How far its forces are from the parent’s is not known: {data.why_no_errors}. The "
            f"largest uncertainty it gives for an atom of {data.the_target} is "
            f"{mev(best.structure_uncertainty_calibrated)}{MEV} (calibrated)."
        )
    else:
        sentences.append(
            f"On {data.the_target} its forces differ from the parent’s by {mev(best.mae)}{MEV} on "
            f"average and by {mev(best.max_residual)}{MEV} at most."
        )
    labels = _error_of_labels(data)
    if labels is not None and _limits(data, labels):
        sentences.append(
            "What bounds the accuracy is the size of the chunks: the locality scan finds the "
            f"parent’s own force on their centres off by {mev(labels)}{MEV}."
        )
    failures = data.run.failures
    if failures:
        sentences.append(
            f"The parent failed on {_count(len(failures), 'structure')}, "
            f"{'which was' if len(failures) == 1 else 'which were'} left out."
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
        result += f"; {unmade} could not be made, for want of numbers"
        result += "" if data.reference_failed else " that were not asked for"
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
        labels = _error_of_labels(data)
        if labels is not None and _limits(data, labels):
            text += " It knows nothing of the error of the chunks’ labels, which is large here."
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


def _error_of_labels(data: RunData) -> float | None:
    """Mean error of the force on a chunk's centre at the radius used, eV/Å; None if not known."""
    index = None if data.locality is None else data.locality.at(data.run.chunk_radius)
    if data.locality is None or index is None:
        return None
    error = float(data.locality.mean_errors[index])
    return error if isfinite(error) else None


def _limits(data: RunData, labels: float) -> bool:
    """Whether the error of the labels is what bounds the accuracy."""
    return labels > LABELS * _scale(data)[0]


def _scale(data: RunData) -> tuple[float, str]:
    """What the error of the labels is compared with."""
    if data.best.mae is not None:
        return data.best.mae, "the mean error of the potential"
    return float(data.best.uncertainty.mean()), "the mean uncertainty"


def _chunk_radius(data: RunData) -> Check:
    title = "Chunk radius"
    radius, locality, labels = data.run.chunk_radius, data.locality, _error_of_labels(data)
    if locality is None:
        text = (
            f"The locality of the parent was not scanned, so the error of the labels of "
            f"{radius:g}{SPACE}Å chunks is not known."
        )
        return Check("open", title, text)
    index = locality.at(radius)
    if index is None:
        text = f"The locality scan has no radius up to the {radius:g}{SPACE}Å used."
        return Check("open", title, text)
    scanned = locality.radii[index]
    if labels is None:
        text = (
            f"The parent failed in the locality scan, so the error of the labels at "
            f"{scanned:g}{SPACE}Å is not known."
        )
        return Check("open", title, text)
    scale, name = _scale(data)
    text = f"At {scanned:g}{SPACE}Å, "
    text += "the radius used" if scanned == radius else f"the nearest scanned below {radius:g}"
    text += (
        f", the force on a chunk’s centre differs from that in the whole target by "
        f"{mev(labels)}{MEV}"
    )
    if len(locality.indices) == 1:
        text += f" (atom {locality.indices[0]})"
    else:
        most = mev(float(locality.max_errors[index]))
        text += f" on average over {len(locality.indices)} atoms and by {most} at most"
    text += f"; {name} is {mev(scale)}{MEV}."
    if not _limits(data, labels):
        return Check("met", title, text)
    text += f" The labels themselves limit the accuracy. {_larger(data, labels)}"
    return Check("attention", title, text)


def _larger(data: RunData, labels: float) -> str:
    """Whether chunks with a larger radius would have better labels."""
    locality = data.locality
    assert locality is not None  # else there is no error of the labels
    known = locality.mean_errors < np.inf  # not those of failed calculations
    beyond = known & (locality.radii > data.run.chunk_radius)
    if not beyond.any():
        return "The scan holds no larger radius to say whether one would help."
    better = np.flatnonzero(beyond & (locality.mean_errors < LABELS * labels))
    if len(better):
        index = better[np.argmin(locality.radii[better])]
        text = "A larger radius would help: with"
    else:
        index = np.flatnonzero(beyond)[np.argmax(locality.radii[beyond])]
        text = "No radius of the scan halves that: with"
    error = mev(float(locality.mean_errors[index]))
    return f"{text} {locality.radii[index]:g}{SPACE}Å it is {error}{MEV}."


def _converged(data: RunData) -> Check:
    targets = [(t, t.relaxation) for t in data.targets if t.relaxation is not None]
    first = targets[0][1]
    paths: list[tuple[str, TargetData, Trajectory]]
    paths = [("ensemble", t, relaxation.ensemble) for t, relaxation in targets]
    paths += [("parent", t, r.parent) for t, r in targets if r.parent is not None]
    text = f"With {first.optimizer} to {first.fmax:g}{EV}, "
    text += "; ".join(
        f"the {name} {'converged' if path.converged else 'did not converge'}"
        f"{_of(data, target)} ({_count(path.steps, 'step')}, {ev(path.energy_change)}{SPACE}eV)"
        for name, target, path in paths
        if len(targets) <= FEW or not path.converged
    )
    lost = sum(not path.converged for *_, path in paths)
    if len(targets) > FEW:
        converged = f"{len(paths) - lost} of {len(paths)} relaxations converged"
        text += f"; {converged}" if lost else converged
    text += "."
    if len(paths) == len(targets):
        text += " There is none with the parent to compare with."
    return Check("attention" if lost else "met", "Relaxation", text)


def _minimum(data: RunData) -> Check:
    title = "The parent at the minimum"
    forces = [
        (relaxation.parent_fmax_at_minimum, relaxation.fmax, target)
        for target in data.targets
        if (relaxation := target.relaxation) is not None
        and relaxation.parent_fmax_at_minimum is not None
    ]
    if not forces:
        text = "The parent’s forces at the ensemble’s minimum are not known."
        return Check("open", title, text)
    force, fmax, target = max(forces, key=lambda found: found[0])
    text = (
        f"At the structure the ensemble relaxed to, the parent’s largest force is "
        f"{number(force, 2)}{EV}{_of(data, target)}; the criterion was {fmax:g}{EV}."
    )
    if force > fmax:
        text += " The parent would go on from there."
        return Check("attention", title, text)
    return Check("met", title, text)


def _certainty(data: RunData) -> Check:
    found = [
        (relaxation.ensemble.max_uncertainty, relaxation.fmax, target)
        for target in data.targets
        if (relaxation := target.relaxation) is not None
    ]
    path, fmax, target = max(found, key=lambda each: each[0].max())
    step = int(path.argmax())
    text = (
        f"The raw uncertainty{_of(data, target)} starts at {mev(path[0])}{MEV}, is largest at "
        f"step {step} with {mev(path[step])}, and ends at {mev(path[-1])}."
    )
    attention = False
    if any(path[-1] > fmax for path, *_ in found):
        text += (
            f" The forces at the minimum are less certain than the criterion of "
            f"{mev(fmax)}{MEV} asks for."
        )
        attention = True
    if any(path.max() > PATH * path[0] for path, *_ in found):
        text += " The way leads through structures the training does not know well: retrain."
        attention = True
    return Check("attention" if attention else "met", "Certainty on the way", text)


def _of(data: RunData, target: TargetData) -> str:
    """Which target, where there are several."""
    return "" if len(data.targets) == 1 else f" on target {data.targets.index(target)}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count(value: int, noun: str) -> str:
    return f"{value} {noun}" if value == 1 else f"{value} {noun}s"
