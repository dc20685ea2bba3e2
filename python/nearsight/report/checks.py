"""Checks of a run that a reader would make before trusting the potential; sentences: prose.html."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nearsight.files.records import ForceLocality, Relaxation, RelaxationPath
from nearsight.files.records.bounds import STATED
from nearsight.report.data import RunData, TargetData

__all__ = ["Check", "checks", "limiting_label_error"]

LEAST_COVERAGE = 0.95
"""Smallest part of the errors within the stated uncertainty that is no alarm."""
MAX_UNSEEN = 2.0
"""Largest ratio of the mean errors on atoms not in the training and on those in it."""
MAX_RISE = 1.5
"""Largest rise of the uncertainty after the kept iteration: its usual scatter."""
MAX_LABELS = 0.5
"""Largest part of the mean error that the chunks' own labels may account for."""
MAX_ALONG_PATH = 2.0
"""Largest rise of the uncertainty above its start during a relaxation, where it exceeds fmax."""

Status = Literal["met", "attention", "open"]


@dataclass(frozen=True)
class Check:
    """One check with its numbers, eV and eV/Å.

    Attributes
    ----------
    key : str
        Name of the macro in ``prose.html`` that says it.
    status : str
        ``open``: not evaluated, since its data are missing.
    numbers : dict
    """

    key: str
    status: Status
    numbers: dict[str, Any]


def checks(data: RunData) -> list[Check]:
    """All checks of a run, in the order of the report's sections."""
    found = [_training(data), *_known(data)]
    if data.noun == "geometry":
        return [*found, _held_out(data), _explored(data), *_of_relaxations(data)]
    if data.has_reference:
        found += [_coverage(data), _unseen(data)]
    else:
        found.append(Check("errors", "open", {}))
    return [*found, _chunk_radius(data), *_of_relaxations(data)]


def _of_relaxations(data: RunData) -> list[Check]:
    relaxed = [(t, t.relaxation) for t in data.targets if t.relaxation is not None]
    if not relaxed:
        return [Check("relaxation", "open", {})]
    return [_converged(relaxed), _minimum(relaxed), _certainty(data, relaxed)]


def limiting_label_error(data: RunData) -> float | None:
    """Error of the labels where it limits the accuracy, eV/Å; else None."""
    labels = data.label_error
    return labels if labels is not None and _limits(data, labels) else None


def _training(data: RunData) -> Check:
    best, last = data.trained, data.iterations[-1]
    numbers = {
        "after": last.iteration - best.iteration,
        "best": best.structure_uncertainty,
        "last": last.structure_uncertainty,
        "rose": last.structure_uncertainty > MAX_RISE * best.structure_uncertainty,
    }
    return Check("training", "attention" if numbers["rose"] else "met", numbers)


def _held_out(data: RunData) -> Check:
    """Error on geometries never trained on, against that on those in the training."""
    error, seen = data.best.record.validation_error, data.best.mae
    numbers = {"error": error, "seen": seen, "worse": False}
    if error is None:
        return Check("held_out", "open", numbers)
    numbers["worse"] = seen is not None and error > MAX_UNSEEN * seen
    return Check("held_out", "attention" if numbers["worse"] else "met", numbers)


def _explored(data: RunData) -> Check:
    explored = data.best.record.exploration
    if explored is None or explored.largest_uncertainty is None:
        return Check("explored", "open", {"frames": 0})
    largest = data.best.structure_uncertainty_calibrated
    numbers = {"frames": explored.frames, "broken": explored.broken, "largest": largest}
    return Check("explored", "attention" if explored.broken else "met", numbers)


def _known(data: RunData) -> list[Check]:
    """Atoms outside what there are labels of, where that is known."""
    grade = data.best.extrapolation
    if grade is None:
        return []
    numbers = {
        "atoms": len(grade),
        "outside": data.best.outside,
        "largest": float(grade.max()),
        "first": None if data.iterations[0] is data.best else data.iterations[0].outside,
    }
    return [Check("known", "attention" if numbers["outside"] else "met", numbers)]


def _coverage(data: RunData) -> Check:
    coverage, n_atoms = data.best.coverage or 0.0, data.run.target.n_atoms
    numbers = {
        "covered": round(coverage * n_atoms),
        "atoms": n_atoms,
        "coverage": coverage,
        "coverage_raw": data.best.coverage_raw,
        "expected": STATED,
        "labels": limiting_label_error(data),
        "small": coverage < LEAST_COVERAGE,
    }
    return Check("coverage", "attention" if numbers["small"] else "met", numbers)


def _unseen(data: RunData) -> Check:
    seen, unseen = data.best.mae_train, data.best.mae_test
    numbers = {"seen": seen, "unseen": unseen, "worse": False}
    if seen is None or unseen is None:
        return Check("unseen", "open", numbers)
    numbers["worse"] = unseen > MAX_UNSEEN * seen
    return Check("unseen", "attention" if numbers["worse"] else "met", numbers)


def _scale(data: RunData) -> float:
    """Mean error of the potential, or mean uncertainty where that is not known, eV/Å."""
    return float(data.best.uncertainty.mean()) if data.best.mae is None else data.best.mae


def _limits(data: RunData, labels: float) -> bool:
    # forces of chunks learned whole are exact for what they are learned in
    return not data.best.record.shells and labels > MAX_LABELS * _scale(data)


def _chunk_radius(data: RunData) -> Check:
    radius, locality, labels = data.run.chunk_radius, data.locality, data.label_error
    index = None if locality is None else locality.at(radius)
    numbers: dict[str, Any] = {"radius": radius, "scanned": None, "labels": labels}
    if locality is None or index is None:
        return Check("chunk_radius", "open", numbers)
    numbers["scanned"] = float(locality.radii[index])
    if labels is None:
        return Check("chunk_radius", "open", numbers)
    limits = _limits(data, labels)
    numbers |= {
        "atoms": locality.indices.tolist(),
        "largest": float(locality.max_errors[index]),
        "scale": _scale(data),
        "limits": limits,
        "larger": _larger(locality, radius, labels) if limits else None,
    }
    return Check("chunk_radius", "attention" if limits else "met", numbers)


def _larger(locality: ForceLocality, used: float, labels: float) -> dict[str, Any] | None:
    """Larger radius and its error: the smallest with much better labels, else the largest."""
    known = locality.mean_errors < np.inf  # not those of failed calculations
    beyond = known & (locality.radii > used)
    if not beyond.any():
        return None
    better = np.flatnonzero(beyond & (locality.mean_errors < MAX_LABELS * labels))
    if len(better):
        index = better[np.argmin(locality.radii[better])]
    else:
        index = np.flatnonzero(beyond)[np.argmax(locality.radii[beyond])]
    return {
        "helps": len(better) > 0,
        "radius": float(locality.radii[index]),
        "error": float(locality.mean_errors[index]),
    }


Relaxed = list[tuple[TargetData, Relaxation]]


def _converged(relaxed: Relaxed) -> Check:
    paths: list[tuple[str, int, RelaxationPath]]
    paths = [("ensemble", target.number, relaxation.ensemble) for target, relaxation in relaxed]
    paths += [
        ("parent", target.number, relaxation.parent)
        for target, relaxation in relaxed
        if relaxation.parent is not None
    ]
    first = relaxed[0][1]
    numbers = {
        "optimizer": first.optimizer,
        "fmax": first.fmax,
        "targets": len(relaxed),
        "paths": [
            {
                "name": name,
                "target": number,
                "converged": path.converged,
                "steps": path.steps,
                "energy_change": path.energy_change,
            }
            for name, number, path in paths
        ],
        "converged": sum(path.converged for *_, path in paths),
    }
    met = numbers["converged"] == len(paths)
    return Check("relaxation", "met" if met else "attention", numbers)


def _minimum(relaxed: Relaxed) -> Check:
    forces = [
        (relaxation.parent_fmax_at_minimum, relaxation.fmax, target.number)
        for target, relaxation in relaxed
        if relaxation.parent_fmax_at_minimum is not None
    ]
    if not forces:
        return Check("minimum", "open", {})
    force, fmax, target = max(forces, key=lambda each: each[0])
    status: Status = "attention" if force > fmax else "met"
    return Check("minimum", status, {"force": force, "fmax": fmax, "target": target})


def _certainty(data: RunData, relaxed: Relaxed) -> Check:
    """By what the verdict counts: the bounds, where there are any."""
    paths = [(data.along(r.ensemble), r.fmax, target.number) for target, r in relaxed]
    path, fmax, target = max(paths, key=lambda each: each[0].max())
    numbers = {
        "target": target,
        "stated": data.is_stated,
        "start": float(path[0]),
        "step": int(path.argmax()),
        "largest": float(path.max()),
        "end": float(path[-1]),
        "fmax": fmax,
        "uncertain_end": any(path[-1] > fmax for path, fmax, _ in paths),
        "uncertain_path": any(p.max() > max(MAX_ALONG_PATH * p[0], fmax) for p, fmax, _ in paths),
    }
    attention = numbers["uncertain_end"] or numbers["uncertain_path"]
    return Check("certainty", "attention" if attention else "met", numbers)
