"""Files of a run: one record for each kind, the only place where it is written and read."""

from __future__ import annotations

from nearsight.files.records.base import Part, Record
from nearsight.files.records.run import (
    FailedStructure,
    Failure,
    FailuresRecord,
    FeatureSummary,
    InitialCells,
    Reference,
    RunRecord,
    Stage,
    Stages,
    Status,
    Target,
)
from nearsight.files.records.simulation import (
    DynamicsFrames,
    DynamicsRecord,
    DynamicsRound,
    DynamicsState,
    EnsemblePath,
    Harvest,
    HarvestSummary,
    Relaxation,
    RelaxationPath,
    RetrainingRecord,
    RetrainingRound,
    RoundRecord,
)
from nearsight.files.records.training import (
    Candidate,
    ForceLocality,
    Iteration,
    Model,
    best_of,
)

__all__ = [
    "Candidate",
    "DynamicsFrames",
    "DynamicsRecord",
    "DynamicsRound",
    "DynamicsState",
    "EnsemblePath",
    "FailedStructure",
    "Failure",
    "FailuresRecord",
    "FeatureSummary",
    "ForceLocality",
    "Harvest",
    "HarvestSummary",
    "InitialCells",
    "Iteration",
    "Model",
    "Part",
    "Record",
    "Reference",
    "Relaxation",
    "RelaxationPath",
    "RetrainingRecord",
    "RetrainingRound",
    "RoundRecord",
    "RunRecord",
    "Stage",
    "Stages",
    "Status",
    "Target",
    "best_of",
]
