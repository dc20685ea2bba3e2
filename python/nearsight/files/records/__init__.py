"""Files of a run: one record for each kind, the only place where it is written and read."""

from __future__ import annotations

from nearsight.files.records.base import Part, Record
from nearsight.files.records.bounds import Bound, Bounds, ExpectedError
from nearsight.files.records.comparison import Comparison
from nearsight.files.records.dynamics import (
    DynamicsFrames,
    DynamicsRecord,
    DynamicsRound,
    DynamicsState,
    LammpsState,
    TrustedState,
)
from nearsight.files.records.locality import ForceLocality
from nearsight.files.records.parent import FinishedCalculation
from nearsight.files.records.potential import EnsembleRecord, FunctionsRecord
from nearsight.files.records.run import (
    BegunRecord,
    Cost,
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
    EnsemblePath,
    Harvest,
    HarvestSummary,
    Relaxation,
    RelaxationPath,
    RetrainingRecord,
    RetrainingRound,
    RoundRecord,
    steps_written,
)
from nearsight.files.records.source import Source, Work
from nearsight.files.records.training import (
    SLACK,
    Candidate,
    Exploration,
    Iteration,
    Model,
    Shell,
    best_iteration,
    best_of,
)
from nearsight.files.records.verdict import Finding, Use, Verdict

__all__ = [
    "SLACK",
    "BegunRecord",
    "Bound",
    "Bounds",
    "Candidate",
    "Comparison",
    "Cost",
    "DynamicsFrames",
    "DynamicsRecord",
    "DynamicsRound",
    "DynamicsState",
    "EnsemblePath",
    "EnsembleRecord",
    "ExpectedError",
    "Exploration",
    "FailedStructure",
    "Failure",
    "FailuresRecord",
    "FeatureSummary",
    "Finding",
    "FinishedCalculation",
    "ForceLocality",
    "FunctionsRecord",
    "Harvest",
    "HarvestSummary",
    "InitialCells",
    "Iteration",
    "LammpsState",
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
    "Shell",
    "Source",
    "Stage",
    "Stages",
    "Status",
    "Target",
    "TrustedState",
    "Use",
    "Verdict",
    "Work",
    "best_iteration",
    "best_of",
    "steps_written",
]
