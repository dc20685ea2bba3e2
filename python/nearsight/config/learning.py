"""Settings of training: networks, loss, ensemble, choice of chunks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nearsight.config.fields import (
    Count,
    CutoffRadius,
    Element,
    Listed,
    NotNegative,
    Positive,
    Settings,
    Timestep,
)

__all__ = [
    "BaselineSettings",
    "CapacitySettings",
    "EnsembleSettings",
    "GeometrySettings",
    "NFTSettings",
    "NetworkSettings",
    "TrainingSettings",
]


Layers = Listed[Annotated[int, Field(ge=1, le=1000)]]
Members = Annotated[int, Field(ge=2, le=1000)]
Charge = Annotated[float, Field(ge=-20, le=20)]


class NetworkSettings(Settings):
    """The neural network of every element."""

    hidden_layers: Layers = (10, 10)
    """Nodes of each hidden layer."""
    activation: Literal["tanh"] = "tanh"
    """Activation function of the hidden layers; the output is linear."""


class TrainingSettings(Settings):
    """The loss (SI eq. 3) and how far it is minimised."""

    force_coefficient: Positive = 0.4
    """α, weight of the forces against the energies in the loss (the paper: 0.04)."""
    l2: NotNegative = 1e-6
    """λ, weight of the squared network weights in the loss (the paper: 0.001, with which the
    errors of the forces here were ten times larger)."""
    initial_iterations: Count = 30
    """Levenberg–Marquardt iterations of every member from its random start."""
    iterations: Count = 12
    """Levenberg–Marquardt iterations of every member in every later NFT iteration."""
    tolerance: NotNegative = 0.01
    """A minimisation ends earlier when two iterations in a row lower the loss by less than this
    part of it; 0: never for this reason."""
    thinning: Count = 1
    """Of a structure of 60 forces or more, a member learns one in so many, each member others; they
    count as much as all. With many geometries of the target, 3 takes a third of the time."""


class EnsembleSettings(Settings):
    """The members whose spread is the uncertainty."""

    members: Members = 10
    """Networks in the ensemble, each trained on its own bootstrap sample."""


class BaselineSettings(Settings):
    """Pair terms known beforehand: subtracted from the labels before training, and added again to
    what the ensemble says.
    """

    repulsion: Literal["zbl"] | None = Field(default=None, examples=["zbl"])
    """Repulsion of atoms that come closer than any label: "zbl", the universal potential of
    Ziegler, Biersack and Littmark; none when left out."""
    repulsion_range: Annotated[float, Field(gt=0, le=2)] = 0.8
    """Distance at which the repulsion has ended, in sums of the covalent radii of two atoms; half
    as far it is whole; at most 2. Bonds should be longer."""
    charges: Literal["fitted"] | dict[Element, Charge] | None = Field(
        default=None, examples=["fitted"]
    )
    """Point charges in e: "fitted", to the labelled forces and neutral in the target, or by
    element, e.g. { Mg = 1.2, O = -1.2 }, of both signs, at most 20; none when left out."""
    charge_damping: NotNegative = 0.2
    """Damping of the charges' interaction, in 1/Å."""
    charge_cutoff: CutoffRadius = 10.0
    """Distance at which the charges' interaction ends, in Å; at most 30."""


class CapacitySettings(Settings):
    """Candidates for the model, tried one change at a time and told apart by their errors on the
    validation chunks and on those of the training that a member was not shown (the mean of the
    two), with the first chunks and whenever the former stands still.
    """

    hidden_layers: tuple[Layers, ...] = Field(
        default=((5, 5), (10, 10), (15, 15), (20, 20)), strict=False
    )
    """Hidden layers to try, beside those of [network]."""
    l2: tuple[NotNegative, ...] = Field(default=(1e-6, 1e-2), strict=False)
    """λ to try, beside that of [training]."""
    force_decay: tuple[Positive, ...] = Field(default=(2.0,), strict=False)
    """Values of nft.force_decay to try, in Å, beside none."""
    cutoff: tuple[CutoffRadius, ...] = Field(default=(), strict=False, examples=[(5.5,)])
    """Cutoff radii to try, in Å, beside that of [features], each with symmetry functions chosen as
    those of [features] are. A shorter one is taken when it is no worse: it takes less time."""
    members: Members = 3
    """Networks in the ensemble of a candidate."""
    iterations: Count = 20
    """Levenberg–Marquardt iterations of a candidate from random starts, on a quarter of the forces;
    those of [training] follow, on all."""


class NFTSettings(Settings):
    """Nearsighted force training: what is labelled, and when it ends."""

    labels: Literal["chunk", "center", "target"] = "chunk"
    """What the parent calculates and what is learned of it: "chunk", chunks, the forces on their
    atoms and their energy, learned in the chunk as cut; "center", chunks, the force on the centre
    alone (the paper); "target", the whole target in several geometries (see [geometries]), all
    forces and the energy, for parents that can afford it."""
    chunk_radius: Positive = 8.0
    """Atoms within this distance of an uncertain atom make its chunk, in Å."""
    core_radius: Positive | None = Field(default=None, examples=[5.2])
    """With labels = "chunk", forces count on atoms within this distance of the centre, in Å, in
    validation chunks too; on all when left out."""
    force_decay: Positive | None = Field(default=None, examples=[2.0])
    """With labels = "chunk", the force on an atom at the distance d from the centre has the weight
    exp(-d / force_decay) in the loss, in Å; all have the same weight when left out."""
    trim: Literal["stoichiometric"] | None = Field(default=None, examples=["stoichiometric"])
    """Leave out the outermost atoms of chunks: "stoichiometric", until elements stand in the
    proportion of the target, so that chunks of ions are neutral; none when left out."""
    vacuum: NotNegative = 5.0
    """Empty space around a chunk, in Å."""
    validation_chunks: Annotated[int, Field(ge=0)] = 3
    """Larger chunks around other atoms that are labelled and never trained on: with labels =
    "chunk", the error on them helps choose the model (see [capacity]) and calibrates the
    uncertainty."""
    validation_radius: Positive | None = Field(default=None, examples=[9.3])
    """Radius of the validation chunks, in Å; 1.16 times chunk_radius when left out."""
    first_chunks: Count = 8
    """Chunks added in the first iteration at most."""
    chunks_per_iteration: Count = 4
    """Chunks added in every later iteration at most."""
    environment: Literal["target", "chunk"] = "target"
    """With labels = "center", surroundings in which the network is asked for the force on a chunk's
    centre: those in the target, at no cost of the parent, or the chunk as cut (the paper)."""
    threshold: Annotated[float, Field(gt=-1)] = 0.0
    """Choice of uncertain atoms: 0, all; negative, those above that quantile of the uncertainty
    (-0.9, the paper: the upper tenth); positive, those above that uncertainty in eV/Å."""
    max_chunks: Count = 16
    """Chunks in all, after which training ends."""
    max_iterations: Count = 20
    """Iterations after which training ends."""
    accuracy: NotNegative = 0.0
    """Largest calibrated uncertainty of an atom at which training ends, in eV/Å; 0: never for this
    reason."""
    stop_uncertainty: NotNegative = 0.0
    """Structure uncertainty (raw) at which training ends, in eV/Å; 0: never for this reason."""
    steps_not_improved: Count = 3
    """Iterations without a lower structure uncertainty after which training ends."""

    @property
    def noun(self) -> str:
        """What the parent labels, in the plural."""
        return "geometries" if self.labels == "target" else "chunks"

    def within(self, cutoff: float) -> float:
        """Distance within which every atom must have a neighbour, in Å."""
        return cutoff if self.labels == "target" else min(cutoff, self.chunk_radius)

    @property
    def larger_radius(self) -> float:
        """Radius of the validation chunks, in Å."""
        return self.validation_radius or 1.16 * self.chunk_radius


class GeometrySettings(Settings):
    """With nft.labels = "target": the geometries of the target that the parent calculates. The
    target as given is the first; most come from relaxations and short dynamics of the ensemble.
    """

    max_geometries: Count = 24
    """Geometries in all, after which training ends. Each costs one calculation of the target."""
    first: Count = 8
    """Geometries of the first iteration: the target as given, and copies whose atoms are displaced
    at random by a half or a quarter of what melts a crystal."""
    per_iteration: Count = 8
    """Geometries added in a later iteration at most: half of them frames that are uncertain
    and unlike the known, half copies displaced from where the ensemble relaxes the target to."""
    validation: Annotated[int, Field(ge=0)] = 3
    """Geometries of dynamics of their own that are labelled and never trained on: the error on them
    chooses the model (see [capacity]) and calibrates the uncertainty."""
    temperature: Positive = 600.0
    """Temperature of the dynamics, in K: that of the intended use, or somewhat above."""
    timestep: Timestep = 2.0
    """Length of a step of the dynamics, in fs."""
    steps: Count = 300
    """Steps of the dynamics of an iteration."""
