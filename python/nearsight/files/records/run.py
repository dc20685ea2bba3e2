"""Records of a run as a whole: stages, status, failures, and the facts for the report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import FiniteFloat, NonNegativeInt, PlainSerializer, PositiveInt, model_validator

from nearsight.files.records.base import Part, Record, Seconds, Vector, Vectors
from nearsight.progress import Tally, count_noun

__all__ = [
    "BegunRecord",
    "FailedStructure",
    "Failure",
    "FailuresRecord",
    "FeatureSummary",
    "InitialCells",
    "Reference",
    "RunRecord",
    "Stage",
    "Stages",
    "Status",
    "Target",
]

Time = Annotated[datetime, PlainSerializer(lambda t: t.isoformat().replace("+00:00", "Z"))]


class Stage(Part):
    """A finished stage.

    Attributes
    ----------
    name : str
    seconds : float
    summary : str
    file, sha256 : str or None
        File of the stage and its checksum, times left out; None for a stage without one.
    others : dict of str to str, or None
        Its other files, with their checksums; None in files of earlier versions.
    follows : str or None
        Digest of the ensemble that it follows from, if it follows from one.
    """

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("file", "sha256", "others", "follows")

    name: str
    seconds: Seconds
    summary: str
    file: str | None = None
    sha256: str | None = None
    others: dict[str, str] | None = None
    follows: str | None = None


class Stages(Record):
    """Finished stages by name (``stages.json``)."""

    FORMAT: ClassVar[str] = "nearsight-stages"
    FILE: ClassVar[str] = "stages.json"
    IS_DIGESTED: ClassVar[bool] = True

    stages: dict[str, Stage]


class Status(Record):
    """Work of a run at the last writing (``status.json``).

    Attributes
    ----------
    began, updated : datetime
        Of this process.
    host, process : str, int
    stage, detail : str
    stage_began : datetime or None
    step : (done, total, what) or None
        Of the stage.
    calculations : Tally or None
        Parent calculations under way; ``structures`` names them.
    chunks, chunk_seconds : int, float
        Chunks (or geometries) whose labels this process has had, those read back included, and
        the wall time of their calculations; without those of ``calculations``.
    ended : bool
    error : str
        Error the process ended with; empty if all went well.
    """

    FORMAT: ClassVar[str] = "nearsight-status"
    FILE: ClassVar[str] = "status.json"

    began: Time
    updated: Time
    host: str
    process: int
    stage: str = ""
    detail: str = ""
    stage_began: Time | None = None
    step: tuple[int, int | None, str] | None = None
    calculations: Tally | None = None
    structures: str = ""
    chunks: NonNegativeInt = 0
    chunk_seconds: Seconds = 0.0
    ended: bool = False
    error: str = ""


class FailedStructure(Part):
    """Failed attempts on a structure.

    Attributes
    ----------
    structure : str
        Formula and number of atoms.
    failed : list of str
        Reason of each failed attempt.
    lost : list of str
        Cause of each loss of a process or job at work on it.
    given_up : bool
    """

    structure: str
    failed: list[str]
    lost: list[str]
    given_up: bool

    @model_validator(mode="after")
    def _check(self) -> FailedStructure:
        if self.given_up and not self.reasons:
            raise ValueError("no reason is given")
        return self

    @property
    def reasons(self) -> list[str]:
        """Reasons of the failures; of the losses where there is none."""
        return self.failed or self.lost


class FailuresRecord(Record):
    """Failed attempts by the fingerprint of the structure (``failures.json``)."""

    FORMAT: ClassVar[str] = "nearsight-failures"
    FILE: ClassVar[str] = "failures.json"
    IS_DIGESTED: ClassVar[bool] = True

    structures: dict[str, FailedStructure]


class BegunRecord(Record):
    """The calculation that this very process has begun and not ended (``begun.json``).

    Attributes
    ----------
    key : str
        Fingerprint of the structure.
    times : int
        How often in a row it was begun, and the process ended in it.
    mark : str
        In the environment of all that it has started; see `nearsight.executors.processes.marked`.
    """

    FORMAT: ClassVar[str] = "nearsight-begun"
    FILE: ClassVar[str] = "begun.json"

    key: str
    times: int
    mark: str = ""


@dataclass(frozen=True)
class Failure:
    """A structure without a result: no further attempt is made.

    Attributes
    ----------
    structure : str
        Formula and number of atoms.
    reasons : tuple of str
        Reason of each attempt's failure.
    """

    structure: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.structure}: {self.reasons[-1]}" + (
            f" (given up after {len(self.reasons)} attempts)" if len(self.reasons) > 1 else ""
        )

    @property
    def explained(self) -> str:
        """Number of attempts, structure and last reason, to end a sentence."""
        attempts = count_noun(len(self.reasons), "failed attempt")
        return f"after {attempts} ({self.structure}: {self.reasons[-1]})"


class Target(Part):
    """A structure the training is for."""

    n_atoms: PositiveInt
    formula: str


class InitialCells(Part):
    """Number of bulk cells, number of those chosen, and the chosen by number of atoms."""

    cells: NonNegativeInt
    selected: NonNegativeInt
    counts: dict[str, NonNegativeInt]


class FeatureSummary(Part):
    """Choice of the symmetry functions; see `FeatureChoice`."""

    method: str
    candidates: NonNegativeInt
    selected: NonNegativeInt
    deviation: FiniteFloat


class Reference(Record):
    """True forces of the parent on all targets (``reference.json``).

    Attributes
    ----------
    energies : (targets,) float64, eV, or None
    forces : (N, 3) float64, eV/Å, or None
        None if the parent failed on one of the targets.
    """

    FORMAT: ClassVar[str] = "nearsight-reference"
    FILE: ClassVar[str] = "reference.json"

    energies: Vector | None
    forces: Vectors | None


class Cost(Part):
    """Cost of the parent's calculations, in calculations of the whole target.

    Attributes
    ----------
    chunks, validation, initial : float
        Of the chunks (or geometries; of a retraining, too), those of validation and the first
        structures, each atom
        number to the power ``exponent`` against that of the target (the sum of the targets).
    exponent : float
    """

    chunks: FiniteFloat
    validation: FiniteFloat
    initial: FiniteFloat
    exponent: FiniteFloat

    @property
    def total(self) -> float:
        """All together."""
        return self.chunks + self.validation + self.initial


class RunRecord(Record):
    """Facts of a finished run (``run.json``).

    Attributes
    ----------
    seed : int
    parent : dict
        Calculator and its arguments.
    target : Target
        All targets together.
    targets : list of Target
    best_iteration : int
    stop_reason : str
        Reason for the end of the training.
    seconds_total : float
    stages : list of Stage
    chunk_radius : float, Å
    initial : InitialCells
    parent_calculations : int
    seconds_parent : float
        Wall time of the parent's calculations, each on ``parent_cores``.
    failures : list of Failure
    versions : dict
    features : FeatureSummary or None
        None where the symmetry functions were given.
    cost : Cost or None
        None in files of earlier versions.
    """

    FORMAT: ClassVar[str] = "nearsight-run"
    FILE: ClassVar[str] = "run.json"
    LEFT_OUT: ClassVar[tuple[str, ...]] = ("features", "cost")

    seed: int
    parent: dict[str, Any]
    target: Target
    targets: list[Target]
    best_iteration: NonNegativeInt
    stop_reason: str
    seconds_total: Seconds
    stages: list[Stage]
    chunk_radius: FiniteFloat
    initial: InitialCells
    parent_calculations: NonNegativeInt
    seconds_parent: Seconds
    parent_cores: PositiveInt
    failures: list[Failure]
    versions: dict[str, Any]
    features: FeatureSummary | None = None
    cost: Cost | None = None
