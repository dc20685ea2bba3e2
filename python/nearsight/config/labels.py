"""Settings of labels: the parent, and the executor of its calculations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from nearsight.config.fields import Count, Hours, Place, Positive, Settings

__all__ = ["ExecutorSettings", "ParentSettings"]

Arguments = dict[str, JsonValue]


class ParentSettings(Settings):
    """The method that labels the training structures, and what happens when it fails."""

    calculator: str = Field(default="emt", min_length=1)
    """Parent method: a code by its name ("emt", "gpaw", "espresso", "vasp", ...), or any ASE
    calculator as "module:name"; the module may be a file of your own beside this one."""
    preset: str | None = Field(default=None, examples=["lcao"])
    """Arguments that come ready under a name (see docs/how-to/parents.md); those below go over
    them."""
    arguments: Arguments = Field(default={})
    """Keyword arguments of the calculator, e.g. { mode = "lcao" }."""
    chunks: Arguments = Field(default={})
    """Arguments for structures that are not periodic (chunks, particles), over those above."""
    bulk: Arguments = Field(default={})
    """Arguments for periodic structures (initial cells, slabs), over those above."""
    pass_info: tuple[str, ...] = Field(default=(), examples=[["external_field"]], strict=False)
    """Properties of the structures (keys of the comment line in extended XYZ) that the parent is
    given, in the target and in its chunks. ``charge`` and ``spin`` it is always given, but those of
    the target are not its chunks'."""
    max_force: Positive = 100.0
    """Largest believable force, in eV/Å; a calculation with a larger one has failed."""
    timeout: Positive | None = Field(default=None, examples=[3600.0])
    """Seconds after which a calculation is stopped and has failed; with engine = "local"."""
    retries: tuple[Arguments, ...] = Field(default=(), examples=[[{"maxiter": 500}]], strict=False)
    """Further attempts when a calculation has failed: arguments to change, a table per attempt;
    {} tries the same again. When the last one fails too, the structure is given up."""
    cost_exponent: Annotated[float, Field(gt=0, le=20)] = 3.0
    """Power of the number of atoms that the cost of a calculation grows with, for the comparison
    with one calculation of the whole target (3: DFT, 1: linear scaling)."""
    keep_files: Literal["failed", "all", "none"] = "failed"
    """Files of calculations to keep, each in a folder of its own in ``parent`` in the folder of the
    run: those of failed ones, all, or none."""
    database: Place | None = Field(default=None, examples=["postgresql://user@host/parents"])
    """Database of calculations, to be shared by several runs: a file, or the URL of a PostgreSQL
    database; parent.db in the folder of the run (or of nft) when left out."""


class ExecutorSettings(Settings):
    """Executor of parent calculations (and trainings)."""

    engine: Literal["inline", "local", "slurm"] = "inline"
    """inline: one after the other in the program itself, for quick parents; local: processes on
    this machine, side by side; slurm: jobs in a queue."""
    workers: Annotated[int, Field(ge=1, le=100_000)] = 2
    """Calculations side by side: processes of engine = "local", or jobs that may be in the queue
    at the same time."""
    threads: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Threads of each calculation (OMP_NUM_THREADS)."""
    trainings: bool = False
    """Train the members of the ensemble there too, instead of in the program."""
    patience: Hours = 72.0
    """Hours to wait without any job coming back before giving up waiting (not the jobs: the same
    command goes on waiting for them)."""
    resubmissions: Annotated[int, Field(ge=0, le=1_000_000)] = 3
    """Repetitions of a calculation whose process or job vanished (killed, cancelled, out of time),
    before that counts as a failure."""
    per_job: Count = 1
    """Calculations in one job; more than 1 where they are short against the wait in the queue."""
    partition: str | None = Field(default=None, examples=["batch"])
    """Partition of the jobs."""
    cores: Count = 1
    """Processes (MPI ranks) of one calculation."""
    time_limit: Hours = 24.0
    """Time limit of a job, in hours."""
    memory: Annotated[float, Field(gt=0, le=1e6)] = 2.0
    """Memory of a job, in GB."""
    header: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), examples=[["#SBATCH --account=my-group"]]
    )
    """Lines to put below the #SBATCH lines of the job script that follow from the keys above."""
    setup: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), examples=[["module load gcc"]]
    )
    """Shell commands of the job script before the work, e.g. to load modules or a venv."""
