"""The settings of nearsighted force training, and what follows from them at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nearsight.nft.iteration import Iteration
from nearsight.settings import EnsembleSettings, NetworkSettings, NFTSettings, TrainingSettings

__all__ = ["Plan"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """How nearsighted force training goes on and when it ends.

    All randomness comes from ``seed``, the member and the iteration, so that a run that was
    stopped ends like one that was not.

    Attributes
    ----------
    settings : NFTSettings
    network, training, ensemble : settings of the networks, the loss and the members
    seed : int
    """

    settings: NFTSettings = field(default_factory=NFTSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    ensemble: EnsembleSettings = field(default_factory=EnsembleSettings)
    seed: int = 0

    def order(self, raw: Array) -> list[int]:
        """The uncertain atoms, most uncertain first.

        Parameters
        ----------
        raw : (N,) float64, eV/Å
            Raw uncertainties.
        """
        threshold = self.settings.threshold
        bound = float(np.quantile(raw, -threshold)) if threshold < 0 else threshold
        return [int(i) for i in np.argsort(-raw, kind="stable") if raw[i] >= bound]

    def choose(
        self, raw: Array, seen: Sequence[int], failed: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        """What the next iteration trains on, most uncertain first.

        Parameters
        ----------
        raw : (N,) float64, eV/Å
            Raw uncertainties.
        seen : sequence of int
            Atoms already in the training.
        failed : sequence of int
            Atoms whose chunks were given up.

        Returns
        -------
        new : list of int
            The most uncertain atoms not yet in the training.
        again : list of int
            Atoms in the training among the most uncertain ones of all (see `bootstrap`).
        """
        known = set(seen)
        order = [i for i in self.order(raw) if i not in set(failed)]
        new = [i for i in order if i not in known]
        most = self.settings.chunks_per_iteration
        return (
            new[: min(most, self.settings.max_chunks - len(seen))],
            [i for i in order[:most] if i in known],
        )

    def stop(
        self,
        history: Sequence[Iteration],
        raw: Array,
        chunks: int,
        new: int,
        started: bool = False,
    ) -> str:
        """Why training ends after an iteration with these uncertainties; empty if it goes on.

        Improvement counts from the first chunks on (see `State.best`), which a training that
        ``started`` from trained members knew before.
        """
        settings = self.settings
        values = [i.structure_uncertainty for i in history] + [float(raw.max())]
        first = 0 if started or len(values) == 1 else 1
        since_best = len(values) - 1 - first - int(np.argmin(values[first:]))
        if settings.stop_uncertainty > 0.0 and values[-1] <= settings.stop_uncertainty:
            return f"the uncertainty is at most {settings.stop_uncertainty:g} eV/Å"
        if chunks >= settings.max_chunks:
            return f"there are {chunks} chunks"
        if len(values) > settings.max_iterations:
            return f"there were {settings.max_iterations} iterations"
        if since_best >= settings.steps_not_improved:
            return f"the uncertainty did not improve in {since_best} iterations"
        if new == 0:
            return "no uncertain atom is left that is not in the training"
        return ""
