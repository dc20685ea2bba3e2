"""Settings of results: locality, relaxation, report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nearsight.config.fields import Count, Different, Positive, Settings

__all__ = ["LocalitySettings", "RelaxationSettings", "ReportSettings"]


class LocalitySettings(Settings):
    """The locality scan: force on the centre of a chunk by chunk radius."""

    radii: Different[Positive] = (3.5, 4.5, 5.5, 6.5, 7.5, 8.5)
    """Chunk radii to compare, in Å."""
    atoms: Different[Annotated[int, Field(ge=0)]] | Literal["all"] = (29,)
    """Indices of the atoms to look at (the first is 0), or "all"."""


class RelaxationSettings(Settings):
    """The relaxation of the target with the best ensemble."""

    optimizer: Literal["auto", "BFGS", "LBFGS", "FIRE", "BFGSLineSearch"] = "auto"
    """Optimiser, by its name in ASE; auto: BFGS up to 50 atoms, LBFGS above, where the dense
    matrix of BFGS takes more time than the forces, for the same steps."""
    fmax: Positive = 0.05
    """Largest force at which the structure counts as relaxed, in eV/Å."""
    max_steps: Count = 500
    """Steps after which the relaxation ends in any case."""
    on_uncertain: Literal["stop", "retrain", "warn"] = "retrain"
    """What follows on a frame that is not known, with an atom whose uncertainty is above
    max_uncertainty or whose extrapolation grade is above 1: "retrain", the parent labels such
    atoms, the ensemble learns them, and the structure is relaxed again (as many chunks as
    [retraining] allows; without a parent as "stop"); "stop", the relaxation ends at the last frame
    that is known; "warn", it goes on."""
    max_uncertainty: Positive = 0.2
    """Largest uncertainty (calibrated) of an atom with which a frame is known, in eV/Å. On the way
    forces are ten times that: 0.7 to 5 eV/Å in the first ten steps of Pt260."""
    # not in the repr, by which a retraining knows its settings: it follows every step
    write_every: Count = Field(default=1, repr=False)
    """Steps from one frame of relaxation.traj to the next, each 14 MB for 100,000 atoms; the first
    and the last are always written, and relaxation.json has the figures of every step."""
    with_parent: bool = False
    """Relax with the parent as well, to compare (expensive: the whole target at every step)."""


class ReportSettings(Settings):
    """Comparisons of the report."""

    true_forces: bool = False
    """Ask the parent for the forces of the whole target, to report true errors (expensive)."""
    test_chunks: Annotated[int, Field(ge=0)] = 0
    """Larger chunks around random atoms that are labelled at the end and neither trained on nor
    used in any other way: an independent test of error and uncertainty."""
