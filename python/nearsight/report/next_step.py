"""What to type next, by the verdict on a run and what limits it."""

from __future__ import annotations

from shlex import quote
from typing import NamedTuple

import numpy as np

from nearsight.config import FeatureSettings, TrainingSettings
from nearsight.files.records import Use
from nearsight.files.records.verdict import RUN, USES
from nearsight.learning.policy import ALL_KNOWN
from nearsight.report.data import RunData

__all__ = ["STEPS_MORE", "Step", "next_step", "verify"]

OF_FIT = {"error", "fmax", "bound", "misfit", "energy"}
"""Findings that an ensemble has which does not fit its own training."""
UNFITTED_BY = "more chunks will not help: the %s to fit the training itself"
LARGER = "larger"
"""Ending of the name of a copy with more of something."""
STEPS_MORE = 2
"""By which a budget that was too small is multiplied."""
VALIDATING = 3
"""Validation chunks that are proposed where there are none."""
LEAST = 8
"""Chunks, or geometries, below which no budget is proposed."""
UNFITTED = 0.5
"""Part of the expected error that the training's own is, from which on more of the same labels do
not help: Pt260 (EMT) with one node 0.95, with three symmetry functions 1.2, with
two chunks 0.002."""
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


RELAX = Step(
    "relax the target, or any structure like it",
    f"nearsight relax {RUN}/best.json {RUN}/target.extxyz -o relaxed.extxyz",
)
MOVE = Step(
    "run dynamics; they stop, or label more, where the potential becomes uncertain",
    f"nearsight md {RUN} {RUN}/relaxed.extxyz",
)
MORE = Step(
    f"train on more: in the configuration ({RUN}.toml, or {RUN}/config.toml) set %s; what is done "
    "stays",
    f"nearsight run {RUN}",
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
        setting = f"iterations = {STEPS_MORE * TrainingSettings().iterations} under [training]"
        return _in_a_copy(data, "a member has not converged", "converged", setting)
    if limiting & OF_FIT and _is_unfitted(data):
        if data.run.features is not None and data.run.features.deviation > FEW:
            count = f"count = {_functions(data)} under [features]"
            return _in_a_copy(data, UNFITTED_BY % "symmetry functions are too few", LARGER, count)
        if _are_small(data, use) and not _sees_far(data):
            nodes = f"hidden_layers = {_nodes(data)} under [network]"
            return _in_a_copy(data, UNFITTED_BY % "networks are too small", LARGER, nodes)
        if use == USES[0] and not _sees_far(data):
            return verify(data.configuration.database())
    if "misfit" in limiting and use == USES[0] and not _sees_far(data):
        return verify(data.configuration.database())
    if "locality" in limiting or (limiting & OF_FIT and _sees_far(data)):
        radius = f"chunk_radius = {1.25 * data.run.chunk_radius:.1f} under [nft]"
        reason = "the chunks are too small for this parent"
        step = _in_a_copy(data, reason, LARGER, radius)
        also = '; where atoms carry charges, also charges = "fitted" under [baseline]'
        return step._replace(advice=step.advice + also)
    expected = data.best.record.expected
    if expected is None or ("calibration" in limiting and not _has_all(data)):
        reason = "what is never trained on tells the error"
        return _in_a_copy(data, reason, "validated", _validating(data))
    if limiting != {"relaxed"} and _is_starved(data):
        return MORE._replace(advice=MORE.advice % _budget(data))
    return RETRAIN


def verify(database: str) -> Step:
    """To look at the labels in a database."""
    return Step(
        "labels that cannot be fitted: have the parent calculate some of them again, to see "
        "whether they are what it gives, and its forces the slope of its energy; if so, nearsight "
        "locality tells whether it sees farther than chunks reach",
        f"nearsight labels verify {quote(database)} --again 3",
    )


def _in_a_copy(data: RunData, reason: str, name: str, setting: str) -> Step:
    """A run with another setting, which takes the labels that are there."""
    advice, file = data.configuration.copy_to(name, setting)
    return Step(f"{reason}; {advice}", f"nearsight run {file}")


def _is_unfitted(data: RunData) -> bool:
    """Whether the error is mostly one that the training has on its own labels.

    By those of chunks if they are learned whole, as forces in compressed cells are far larger; else
    by the median member, as that of one may not have converged.
    """
    record = data.best.record
    if record.expected is None:
        return False
    of_members = record.member_force_rmse
    misfit = NORM * (record.force_rmse if of_members is None else float(np.median(of_members)))
    if record.shells:
        forces = [shell.forces for shell in record.shells]
        misfit = float(np.average([shell.error for shell in record.shells], weights=forces))
    return misfit >= UNFITTED * record.expected.mean


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
