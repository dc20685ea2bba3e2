"""What to type next, by the verdict on a run and what limits it."""

from __future__ import annotations

from typing import NamedTuple

from nearsight.files.records import Use
from nearsight.files.records.verdict import RUN, USES
from nearsight.report.data import RunData

__all__ = ["STEPS_MORE", "VERIFY", "Step", "next_step"]

STEPS_MORE = 2
"""By which a budget that was too small is multiplied."""
VALIDATING = 3
"""Validation chunks that are proposed where there are none."""
LEAST = 8
"""Chunks, or geometries, below which no budget is proposed."""


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
VERIFY = Step(
    "labels that cannot be fitted: have the parent calculate some of them again, to see whether "
    "they are what it gives",
    f"nearsight labels verify {RUN}/parent.db --again 3",
)
LARGER = Step(
    "the chunks are too small for this parent: in a copy of the configuration, larger.toml beside "
    "it, set chunk_radius = %.1f under [nft]",
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
RETRAIN = Step(
    "let it learn from its own relaxation: the parent labels what it is uncertain of on the way",
    f"nearsight retrain {RUN}",
)


def next_step(data: RunData, use: Use, limiting: set[str]) -> Step:
    """What to do with a run whose verdict is ``use``, for the findings that limit it."""
    if use == USES[-1]:
        return MOVE if data.relaxed else RELAX
    if "misfit" in limiting and use == USES[0]:
        return VERIFY
    if "locality" in limiting:
        return LARGER._replace(advice=LARGER.advice % (1.25 * data.run.chunk_radius))
    if "calibration" in limiting or data.best.record.expected is None:
        return VALIDATE._replace(advice=VALIDATE.advice % _validating(data))
    if _is_starved(data):
        return MORE._replace(advice=MORE.advice % _budget(data))
    return RETRAIN


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


def _is_starved(data: RunData) -> bool:
    """Whether training ended with its best iteration because nothing more was allowed."""
    last = data.iterations[-1]
    return data.run.stop_reason.startswith("there are") and data.trained is last
