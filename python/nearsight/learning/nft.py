"""Nearsighted force training (SI 8.4): train, find the uncertain atoms, label chunks, repeat."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from nearsight.files.names import iteration_folder
from nearsight.learning.session import Session
from nearsight.learning.state import Start, State, Training
from nearsight.learning.targets import Targets
from nearsight.model.ensemble import Ensemble
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.parents import Parent
from nearsight.progress import Progress
from nearsight.structures.images import Image

__all__ = ["NFT"]


@dataclass(frozen=True)
class NFT(Training):
    """Nearsighted force training of one target or several; settings as those of `Training`."""

    def run(
        self,
        images: Sequence[Image],
        functions: SymmetryFunctions,
        target: Atoms | Sequence[Atoms],
        parent: Parent,
        folder: str | Path,
        progress: Progress | None = None,
        start: Start | None = None,
        executor: Executor | None = None,
    ) -> State:
        """Train until a bound of the settings is met, or go on from where ``folder`` stands.

        Parameters
        ----------
        images : sequence of Image
            The labelled images to start from.
        functions : SymmetryFunctions
        target : ase.Atoms or sequence of it
            With several structures the most uncertain atoms of all make the chunks; atoms are
            numbered through (see `Targets`). With ``labels = "target"`` each is calculated whole.
        parent : Parent
            Labels the chunks or geometries; with a database nothing is ever calculated twice.
        folder : path
            Gets ``iteration-NNN`` folders and ``best.json``, the best iteration's ensemble.
        progress : Progress, optional
        start : Start, optional
            Trained members to go on from, instead of random starts.
        executor : concurrent.futures.Executor, optional
            What the members are trained in; threads of this process when left out.

        Returns
        -------
        State
            After the last iteration.

        Raises
        ------
        InputError
            For images or a target that cannot be worked with, or a folder of other settings or
            inputs.
        ParentError
            If the parent fails on every chunk (or geometry) of an iteration; what was calculated is
            kept. One that it fails on is given up, and the next most uncertain takes its place.
        """
        progress = progress or Progress()
        folder = Path(folder)
        targets = Targets.of(target, parent.pass_info)
        targets.check(functions.elements, self.settings.within(functions.cutoff.radius))
        session = Session(
            self, tuple(images), functions, targets, parent, folder, progress, start, executor
        )
        state = session.restore()
        while state is None or not state.stop_reason:
            state = session.first() if state is None else session.step(state)
            progress.iteration(state.history[-1].summary(state.best is state.history[-1]))
        best = iteration_folder(folder, state.best.iteration) / "ensemble.json"
        Ensemble.load(best).save(folder / "best.json")
        return state
