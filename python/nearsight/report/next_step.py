"""What to type next, by the verdict on a run and what limits it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nearsight.config import FeatureSettings, TrainingSettings
from nearsight.files.records import Use
from nearsight.files.records.verdict import RUN, USES
from nearsight.learning.policy import ALL_KNOWN
from nearsight.report.data import RunData

__all__ = ["STEPS_MORE", "VERIFY", "Step", "next_step"]

OF_FIT = {"error", "fmax", "bound", "misfit", "energy"}
"""Findings that an ensemble has which does not fit its own training."""
STEPS_MORE = 2
"""By which a budget that was too small is multiplied."""
VALIDATING = 3
"""Validation chunks that are proposed where there are none."""
LEAST = 8
"""Chunks, or geometries, below which no budget is proposed."""
UNFITTED = 0.5
"""Part of the expected error that the training's own is, from which on more of the same labels do
not help: Pt260 (EMT) with two nodes 1.02, with three symmetry functions 1.2, with
two chunks 0.01."""
NORM = 1.6
"""Mean length of vectors whose components have the root mean square 1, normally distributed."""
FEW = 0.01
"""Relative norm deviation of the symmetry functions above which they leave out what the candidates
tell: three of 78 for Pt260 2.8 %, eight 0.12 %; six of 174 for CuAu 44 %, 40 0.5 %."""
SMALLEST, PROPOSED = (5, 5), (10, 10)
"""Hidden layers below which networks are never proposed, and which are where they were."""


class Step(NamedTuple):
    """What to do next; `RUN` stands for the folder of the run."""

    advice: str
    command: str

    def of(self, *values: object) -> Step:
        """The step with values in its advice."""
        return self._replace(advice=self.advice % values)


RELAX = Step(
    "relax the target, or any structure like it",
    f"nearsight relax {RUN}/best.json {RUN}/target.extxyz -o relaxed.extxyz",
)
MOVE = Step(
    "run dynamics; they stop, or label more, where the potential becomes uncertain",
    f"nearsight md {RUN} {RUN}/relaxed.extxyz",
)
VERIFY = Step(
    "labels that cannot be fitted: have the parent calculate some of them again, to see whether "
    "they are what it gives, and its forces the slope of its energy",
    f"nearsight labels verify {RUN}/parent.db --again 3",
)
LARGER = Step(
    "the chunks are too small for this parent: in a copy of the configuration, larger.toml beside "
    "it, set chunk_radius = %.1f under [nft]; where atoms carry charges, also "
    'charges = "fitted" under [baseline]',
    "nearsight run larger.toml",
)
UNFITTED_BY = Step(
    "more chunks will not help: the %s to fit the training itself; in a copy of the configuration, "
    f'larger.toml beside it, set %s, and database = "{RUN}/parent.db" under [parent], so that no '
    "label is calculated twice",
    "nearsight run larger.toml",
)
MORE = Step(
    f"train on more: in the configuration ({RUN}.toml, or {RUN}/config.toml) set %s; what is done "
    "stays",
    f"nearsight run {RUN}",
)
VALIDATE = Step(
    "in a copy of the configuration, validated.toml beside it, set %s: what is never trained on "
    "tells the error",
    "nearsight run validated.toml",
)
CONVERGE = Step(
    "a member has not converged: in a copy of the configuration, converged.toml beside it, set "
    f'iterations = %d under [training], and database = "{RUN}/parent.db" under [parent], so that '
    "no label is calculated twice",
    "nearsight run converged.toml",
)
RETRAIN = Step(
    "let it learn from its own relaxation: the parent labels what it is uncertain of on the way",
    f"nearsight retrain {RUN}",
)


def next_step(data: RunData, use: Use, limiting: set[str]) -> Step:
    """What to do with a run whose verdict is ``use``, for the findings that limit it."""
    if use == USES[-1]:
        return MOVE if data.relaxed else RELAX
    if limiting == {"members"}:
        return CONVERGE.of(STEPS_MORE * TrainingSettings().iterations)
    if limiting & OF_FIT and _is_unfitted(data):
        if data.run.features is not None and data.run.features.deviation > FEW:
            count = f"count = {_functions(data)} under [features]"
            return UNFITTED_BY.of("symmetry functions are too few", count)
        if _are_small(data, use):
            nodes = f"hidden_layers = {_nodes(data)} under [network]"
            return UNFITTED_BY.of("networks are too small", nodes)
        if use == USES[0] and not _sees_far(data):
            return VERIFY
    if "misfit" in limiting and use == USES[0] and not _sees_far(data):
        return VERIFY
    if "locality" in limiting or (limiting & OF_FIT and _sees_far(data)):
        return LARGER.of(1.25 * data.run.chunk_radius)
    expected = data.best.record.expected
    if expected is None or ("calibration" in limiting and not _has_all(data)):
        return VALIDATE.of(_validating(data))
    if limiting != {"relaxed"} and _is_starved(data):
        return MORE.of(_budget(data))
    return RETRAIN


def _is_unfitted(data: RunData) -> bool:
    """Whether the error is mostly one that the training has on its own labels.

    By the median member: the sample of some may lack what there are few of.
    """
    record = data.best.record
    if record.expected is None:
        return False
    of_members = record.member_force_rmse
    misfit = record.force_rmse if of_members is None else float(np.median(of_members))
    return NORM * misfit >= UNFITTED * record.expected.mean


def _sees_far(data: RunData) -> bool:
    """Whether the parent's forces on the centres of chunks tell of what is beyond them."""
    labels, expected = data.label_error, data.best.record.expected
    return labels is not None and expected is not None and labels >= UNFITTED * expected.mean


def _functions(data: RunData) -> int:
    """Symmetry functions of an element to propose."""
    features = data.run.features
    assert features is not None  # else nothing is known of them
    enough = FeatureSettings().count
    assert isinstance(enough, int)  # the default
    return min(max(STEPS_MORE * features.selected, enough), features.candidates)


def _are_small(data: RunData, use: Use) -> bool:
    """Whether larger networks are worth a try: none was tried, and labels are not the suspects."""
    record = data.best.record
    if record.model is None:
        return False
    size = sum(record.model.hidden_layers)
    if use == USES[0]:
        return size < sum(SMALLEST)
    tried = [each for it in data.choices for each in it.record.candidates]
    return size >= max((sum(each.model.hidden_layers) for each in tried), default=0)


def _nodes(data: RunData) -> list[int]:
    """Hidden layers to propose."""
    model = data.best.record.model
    assert model is not None  # else they are not known
    doubled = [STEPS_MORE * nodes for nodes in model.hidden_layers]
    return doubled if sum(doubled) > sum(PROPOSED) else list(PROPOSED)


def _validating(data: RunData) -> str:
    record, expected = data.best.record, data.best.record.expected
    given = expected is not None and expected.source == "validation"
    number = STEPS_MORE * expected.images if given and expected is not None else VALIDATING
    if record.noun == "chunks":
        return f"validation_chunks = {number} under [nft]"
    return f"validation = {number} under [geometries]"


def _budget(data: RunData) -> str:
    record = data.best.record
    most = max(STEPS_MORE * record.chunks, LEAST)
    if record.noun == "chunks":
        return f"max_chunks = {most} under [nft]"
    return f"max_geometries = {most} under [geometries]"


def _has_all(data: RunData) -> bool:
    """Whether the target has no further chunks, to be learned or to validate."""
    return data.run.stop_reason.startswith(ALL_KNOWN)


def _is_starved(data: RunData) -> bool:
    """Whether training ended with its best iteration because nothing more was allowed."""
    last = data.iterations[-1]
    return data.run.stop_reason.startswith("there are") and data.trained is last
