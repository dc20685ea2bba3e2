"""The choice of the next atoms, and the end of nearsighted force training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from nearsight.config import NFTSettings
from nearsight.files.records import Iteration, best_iteration, best_of

__all__ = ["ALL_KNOWN", "choose_atoms", "decide_again", "rank_uncertain", "stop_reason"]

ALL_KNOWN = "every environment of the target is in the training"
"""Beginning of the reason to end where there is nothing else to ask for."""

Array = npt.NDArray[np.float64]
StandIns = Callable[[Iterable[int], Sequence[int]], Iterable[int]]
"""Ranked atoms and known ones → for each of the former the one that stands for it; see `Alike`."""


def rank_uncertain(settings: NFTSettings, raw: Array) -> list[int]:
    """Rank the uncertain atoms, most uncertain first.

    Parameters
    ----------
    settings : NFTSettings
    raw : (N,) float64, eV/Å
        Raw uncertainties.
    """
    threshold = settings.threshold
    bound = float(np.quantile(raw, -threshold)) if threshold < 0 else threshold
    return [int(i) for i in np.argsort(-raw, kind="stable") if raw[i] >= bound]


def choose_atoms(
    settings: NFTSettings,
    ranked: Iterable[int],
    seen: Sequence[int],
    failed: Sequence[int] = (),
    first: bool = False,
    stand_ins: StandIns = lambda ranked, known: ranked,
) -> tuple[list[int], list[int]]:
    """Choose the atoms of the next iteration, most uncertain first.

    One atom stands for all whose chunks are like its own.

    Parameters
    ----------
    settings : NFTSettings
    ranked : iterable of int
        The uncertain atoms; see `rank_uncertain`.
    seen : sequence of int
        Atoms already in the training.
    failed : sequence of int
        Atoms whose chunks were given up.
    first : bool
        Whether these are the first chunks of the training.
    stand_ins : callable
        By default every atom stands for itself.

    Returns
    -------
    new : list of int
        The most uncertain atoms not yet in the training.
    again : list of int
        Atoms in the training among the most uncertain ones of all (see `bootstrap`).
    """
    known, given_up = set(seen), set(failed)
    most = settings.first_chunks if first else settings.chunks_per_iteration
    wanted = min(most, settings.max_chunks - len(seen))
    met: dict[int, None] = {}  # in order
    new: list[int] = []
    for number in stand_ins(ranked, [*seen, *failed]):
        if number not in given_up and number not in met:
            met[number] = None
            new += [number] if number not in known else []
        if len(met) >= most and len(new) >= wanted:
            break
    return new[: max(wanted, 0)], [i for i in list(met)[:most] if i in known]


def stop_reason(
    settings: NFTSettings,
    history: Sequence[Iteration],
    last: Iteration,
    new: int,
    most: int,
    started: bool = False,
    again: int = 0,
) -> str:
    """Reason to end the training after the iteration ``last``; empty to go on.

    Improvement counts as in `best_of`, by the error on validation images or the uncertainty.

    Parameters
    ----------
    settings : NFTSettings
    history : sequence of Iteration
        Those before.
    last : Iteration
    new : int
        Chunks (or geometries) that the next one would add.
    most : int
        Those allowed in all.
    started : bool
        Whether the members were trained before the first iteration.
    again : int
        Chunks that the next one would draw once more. Where no new one is left, as of a symmetric
        target, these alone are drawn as long as that helps: some members lack one of the few.
    """
    uncertainty, noun, score = last.structure_uncertainty, settings.noun, last.validation_error
    values = [*(i.score for i in history), last.score]
    if score is None:
        since_best = len(values) - 1 - best_of(values, started)
    else:
        earlier = [i.validation_error for i in (history if started else history[1:])]
        since_best = _since_improvement([*(e for e in earlier if e is not None), score])
    if settings.stop_uncertainty > 0.0 and uncertainty <= settings.stop_uncertainty:
        return f"the uncertainty is at most {settings.stop_uncertainty:g} eV/Å"
    # of the ensemble that is kept, which need not be the last one
    kept = (*history, last)[best_iteration((*history, last), started)]
    calibrated = kept.structure_uncertainty_calibrated
    if kept.chunks and settings.accuracy > 0.0 and calibrated <= settings.accuracy:
        return f"the calibrated uncertainty is at most {settings.accuracy:g} eV/Å"
    if last.chunks >= most:
        return f"there are {last.chunks} {noun}"
    if len(values) > settings.max_iterations:
        return f"there were {settings.max_iterations} iterations"
    if since_best >= settings.steps_not_improved:
        what = "uncertainty" if score is None else f"error on the validation {noun}"
        return f"the {what} did not improve in {since_best} iterations"
    if new == 0 and noun != "chunks":
        return "no geometry met is left that is not in the training"
    if new == 0 and settings.threshold != 0.0:
        return "no uncertain atom is left whose environment is not in the training"
    if new == 0 and (again == 0 or started or since_best > 0):
        return ALL_KNOWN + (" or was given up" if last.failed_indices else "")
    return ""


Choose = Callable[[Iteration], tuple[list[int], list[int]]]


def decide_again(
    settings: NFTSettings,
    history: Sequence[Iteration],
    choose: Choose,
    most: int,
    started: bool = False,
) -> Iteration:
    """The last iteration; if it was the end under other stop rules and is none now, gone on with.

    Parameters
    ----------
    settings, most, started
        See `stop_reason`.
    history : sequence of Iteration
        The last one included.
    choose : callable
        What follows an iteration: new ones and those to draw once more.
    """
    last = history[-1]
    if not last.stop_reason:
        return last
    new, again = choose(last)
    if stop_reason(settings, history[:-1], last, len(new), most, started, len(again)):
        return last
    changes = {"stop_reason": "", "new_indices": new, "again_indices": again}
    return last.model_copy(update=changes)


CHANCE = 0.05
"""What the error on the validation chunks, a mean over some hundred forces, has to fall by."""


def _since_improvement(errors: Sequence[float]) -> int:
    """Iterations since an error fell by more than `CHANCE`."""
    lowest, since = errors[0], 0
    for error in errors[1:]:
        since += 1
        if error < lowest / (1.0 + CHANCE):
            lowest, since = error, 0
    return since
