"""The training data of a model: its symmetry functions, fingerprints and baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ase import Atoms

from nearsight.files.records import Model
from nearsight.learning.capacity import apply_model
from nearsight.learning.exploration import first_copies
from nearsight.learning.state import Start, Training
from nearsight.learning.targets import Targets
from nearsight.model.baseline import Baseline
from nearsight.model.symmetry_functions import SymmetryFunctions
from nearsight.progress import Progress
from nearsight.selection.choose import choose_features
from nearsight.structures.images import Image
from nearsight.training.charges import make_baseline
from nearsight.training.dataset import TrainingData
from nearsight.training.fingerprints import Fingerprints
from nearsight.training.preparation import prepare

__all__ = ["ModelData"]


@dataclass(frozen=True)
class ModelData:
    """What makes training data of images.

    Attributes
    ----------
    nft : Training
    first : tuple of Image
        The labelled images that the training starts from. Scaling and intercepts are theirs.
    functions : SymmetryFunctions
        Of models that have no cutoff of their own.
    targets : Targets
        The scaling covers them too, and with ``labels = "target"`` displaced copies of them.
    start : Start or None
        Trained members keep their functions, scaling, intercepts and baseline.
    """

    nft: Training
    first: tuple[Image, ...]
    functions: SymmetryFunctions
    targets: Targets
    start: Start | None
    _chosen: dict[float, SymmetryFunctions] = field(default_factory=dict, init=False, repr=False)

    def functions_of(self, model: Model) -> SymmetryFunctions:
        """The symmetry functions of a model."""
        if model.cutoff is None or self.start is not None:
            return self.functions
        if model.cutoff not in self._chosen:
            self._chosen[model.cutoff] = self._choose(model.cutoff)
        return self._chosen[model.cutoff]

    def _choose(self, cutoff: float) -> SymmetryFunctions:
        features = self.nft.features
        angular = features.angular_cutoff
        cutoffs = {
            "cutoff": cutoff,
            "angular_cutoff": None if angular is None else min(angular, cutoff),
        }
        features = features.model_copy(update=cutoffs)
        targets = self.targets.structures if features.with_target else ()
        return choose_features(self.first, features, targets).symmetry_functions

    def baseline(self, images: Sequence[Image], progress: Progress) -> Baseline | None:
        """The pair terms that labels are without; charges are fitted to ``images``."""
        if self.start is not None:
            return self.start.ensemble.baseline
        found = make_baseline(self.nft.baseline, images, self.functions, self.targets.structures)
        if found is not None:
            progress.note(f"baseline: {found.summary}")
        return found

    def of(self, images: Sequence[Image], model: Model, baseline: Baseline | None) -> TrainingData:
        """The data of a model on ``images``, which begin with the first ones."""
        structures, network = [*self.targets.structures, *self._copies], self.nft.network
        functions = self.functions_of(model)
        data = prepare(self.first, functions, network, structures, baseline=baseline)
        data = apply_model(data, model)
        if self.start is not None:
            earlier = self.start.ensemble
            intercepts = {e: float(n.intercept) for e, n in earlier.members[0].items()}
            data = replace(data, scaling=earlier.scaling, intercepts=intercepts)
        return self.extended(data, images)

    @property
    def _copies(self) -> list[Atoms]:
        """What the scaling covers beside the targets.

        Where these take on many geometries, features go far beyond those of perfect cells and of
        one geometry, and networks that resolve no more learn them badly: with the scaling of cells
        and target alone, errors on rattles of Pt201 by CHGNet were 82 instead of 59 meV/Å.
        """
        if self.nft.settings.labels != "target" or self.start is not None:
            return []
        return first_copies(self.targets.structures, self.nft.geometries, self.nft.seed)

    @staticmethod
    def extended(data: TrainingData, images: Sequence[Image]) -> TrainingData:
        """The data with those of ``images`` that are not in it yet."""
        new = images[len(data.fingerprints) :]
        prints = [Fingerprints.of(each, data.functions, data.baseline) for each in new]
        return replace(data, fingerprints=[*data.fingerprints, *prints])
