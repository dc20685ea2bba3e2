"""Uncertain frames of dynamics: the reason to stop for them, and what is learned from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ase import Atoms

from nearsight.config import DynamicsSettings
from nearsight.files.records import TrustedState
from nearsight.files.trajectory import read_frames
from nearsight.learning.harvest import Harvest, doubt_of, harvest, load_harvest, save_harvest
from nearsight.model.ensemble import Ensemble
from nearsight.progress import Progress, count_noun
from nearsight.simulation.known import MAX_UNCERTAIN_IN_A_ROW, Limits, why_unknown

__all__ = [
    "UncertainFrames",
    "choose",
    "count_retrainings",
    "tell_isolated",
    "why_no_retraining",
]

Array = npt.NDArray[np.float64]


@dataclass
class UncertainFrames:
    """Uncertain frames since the last trusted one, and the reason to stop for them."""

    limits: Limits
    frames: list[Atoms] = field(default_factory=list)
    raw: list[Array] = field(default_factory=list)
    beyond: tuple[Atoms, Array] | None = None
    in_a_row: int = 0
    reason: str = ""

    def look(self, atoms: Atoms, step: int, raw: Array, grade: Array | None) -> float:
        """Take down a frame that is not trusted, and whether to stop for it.

        Parameters
        ----------
        atoms : ase.Atoms
            A copy is kept.
        step : int
        raw : (N,) float64, eV/Å
            Raw uncertainty.
        grade : (N,) float64 or None
            Extrapolation grades.

        Returns
        -------
        float, eV/Å
            The largest `doubt`.
        """
        limits = self.limits
        doubts = limits.doubt(raw, grade)
        largest = float(doubts.max())
        if limits.low <= largest <= limits.high:
            self.frames.append(atoms.copy())
            self.raw.append(doubts)
        self.in_a_row = 0 if largest < limits.threshold else self.in_a_row + 1
        if largest > limits.high:
            self.beyond = (atoms.copy(), doubts)
            reason = why_unknown(atoms, raw, grade, limits.high, limits.most)
            self.reason = f"at step {step} {reason}"
        elif self.in_a_row >= MAX_UNCERTAIN_IN_A_ROW:
            self.reason = (
                f"the last {MAX_UNCERTAIN_IN_A_ROW} frames up to step {step} were all uncertain"
            )
        return largest


def choose(
    folder: Path,
    ensemble: Ensemble,
    trajectory: Path,
    state: TrustedState,
    uncertain: UncertainFrames,
    count: int,
) -> Harvest | None:
    """Choose from the uncertain frames since the last retraining, and keep the choice.

    Where there is none, since one step led from a trusted frame out of the window, that one is
    used: no force beyond the window has led to it.

    Parameters
    ----------
    folder : Path
        Of the retraining; what was chosen there already stays.
    ensemble : Ensemble
    trajectory : Path
        Its frames since the last retraining are used, too, where they are of interest.
    state : TrustedState
        At the last trusted frame.
    uncertain : UncertainFrames
    count : int
        Atoms to choose at most.

    Returns
    -------
    Harvest or None
        None if there is no frame to choose from.
    """
    known = load_harvest(folder)
    if known is not None:
        return known[0]
    limits = uncertain.limits
    frames, raw = [], []
    since = max(state.learned_at, state.frames - MAX_UNCERTAIN_IN_A_ROW)
    for atoms in read_frames(trajectory, since, state.frames):
        doubts = doubt_of(ensemble, atoms, limits.threshold, limits.most)
        if limits.low <= doubts.max() <= limits.high:
            frames.append(atoms)
            raw.append(doubts)
    frames, raw = frames + uncertain.frames, raw + uncertain.raw
    top: float | None = limits.high
    if not frames and uncertain.beyond is not None:
        frames, raw, top = [uncertain.beyond[0]], [uncertain.beyond[1]], None
    if not frames:
        return None
    chosen = harvest(ensemble, frames, raw, limits.low, top, count)
    save_harvest(folder, chosen, frames)
    return chosen


def why_no_retraining(settings: DynamicsSettings, state: TrustedState, can_learn: bool) -> str:
    """Reason why there is no further retraining; empty if there is one."""
    if not can_learn or settings.max_rounds == 0:
        return "there is no retraining"
    if len(state.rounds) >= settings.max_rounds:
        return _there_were(settings.max_rounds, "retraining")
    return _there_were(state.chunks, "chunk") if state.chunks >= settings.max_chunks else ""


def _there_were(count: int, noun: str) -> str:
    return f"there {'was' if count == 1 else 'were'} {count_noun(count, noun)}"


def count_retrainings(state: TrustedState) -> str:
    """The end of a sentence on dynamics with their retrainings."""
    if not state.rounds:
        return ""
    learned = count_noun(state.chunks, "chunk")
    return f"; {count_noun(len(state.rounds), 'retraining')} with {learned}"


def tell_isolated(
    isolated: npt.NDArray[np.bool_], known: set[int], step: int, progress: Progress
) -> set[int]:
    """Say once which atoms have left the others.

    Parameters
    ----------
    isolated : (N,) bool
        Whether an atom has no neighbour.
    known : set of int
        The atoms that had none before.
    step : int
    progress : Progress

    Returns
    -------
    set of int
        The atoms that have none now.
    """
    found = [int(n) for n in np.flatnonzero(isolated)]
    new = [n for n in found if n not in known]
    if new:
        progress.note(
            f"step {step}: no neighbour within the cutoff of atom {', '.join(map(str, new))}; "
            "such atoms have no force"
        )
    return set(found)
