"""Settings of work with a trained ensemble: retraining, dynamics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nearsight.config.fields import Count, Positive, Settings, Timestep

__all__ = ["DynamicsSettings", "RetrainingSettings"]


class RetrainingSettings(Settings):
    """Retraining along a relaxation or dynamics (SI 3)."""

    threshold: Positive | None = Field(default=None, examples=[0.1])
    """Raw uncertainty from which on a frame, and an atom in it, is uncertain, in eV/Å; when left
    out, that of the target before retraining."""
    window: Annotated[float, Field(gt=1)] = 1.5
    """Frames are used up to this many times the threshold; what lies beyond is not believed.
    Without a threshold the window may move up, to the most uncertain frame that the relaxation
    knows."""
    chunks: Count = 10
    """Chunks chosen per round from the uncertain atoms of all used frames, by CUR."""
    target_chunks: Annotated[int, Field(ge=0, le=1_000_000_000)] = 15
    """Chunks of the target itself that the training of a round may add."""
    max_chunks: Count = 30
    """Chunks of frames that all rounds may learn, after which retraining ends."""
    steps_not_improved: Count = 2
    """Rounds without a lower uncertainty along the relaxation after which retraining ends."""
    max_rounds: Count = 10
    """Rounds after which retraining ends in any case."""


class DynamicsSettings(Settings):
    """Molecular dynamics with the ensemble, its uncertainty watched."""

    conditions: Literal["NVE", "NVT", "NPT"] = "NVT"
    """Statistical ensemble: NVE (ASE's VelocityVerlet), NVT (Langevin), NPT (LangevinBAOAB, for
    structures periodic in all directions; the cell changes its size, not its shape)."""
    temperature: Positive = 300.0
    """Temperature of the first velocities and of the heat bath, in K."""
    final_temperature: Positive | None = Field(default=None, examples=[1500.0])
    """Temperature of the heat bath at the last step, in K: it changes evenly until then."""
    timestep: Timestep = 2.0
    """Length of a step, in fs."""
    steps: Count = 1000
    """Number of steps."""
    friction: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """Coupling to the heat bath, in 1/ps; with NVT and NPT."""
    pressure: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0
    """Pressure, in GPa; with NPT."""
    pressure_time: Annotated[float, Field(ge=1, le=1e6)] = 1000.0
    """Time in which the cell follows the pressure, in fs; with NPT."""
    write_every: Count = 10
    """Steps from one frame of the trajectory, and line of the log, to the next."""
    watch_every: Count = 1
    """Steps from one look at the uncertainty to the next; steps without cost a fraction."""
    threshold: Positive | None = Field(default=None, examples=[0.1])
    """Raw uncertainty below which a frame is trusted, in eV/Å. When left out, 0.1 eV/Å (thermal
    forces are ten times that), or twice the uncertainty of the first frame if that is more."""
    max_extrapolation: Positive = 1.0
    """Extrapolation grade of an atom up to which a frame is trusted; above 1 the atom is outside
    what the ensemble has labels of."""
    max_rounds: Annotated[int, Field(ge=0, le=1_000_000_000)] = 20
    """Retrainings after which it ends; 0: it ends when the uncertainty is above its bound."""
    max_chunks: Count = 300
    """Chunks chosen from its frames after which it ends."""
    max_hours: Positive | None = Field(default=None, examples=[24.0])
    """Hours of work after which it ends."""

    @model_validator(mode="after")
    def _consistent(self) -> DynamicsSettings:
        if self.conditions == "NVE" and self.final_temperature is not None:
            raise ValueError('final_temperature needs a heat bath: conditions = "NVT" or "NPT"')
        if self.conditions != "NPT" and self.pressure != 0.0:
            raise ValueError('pressure needs conditions = "NPT"')
        return self
