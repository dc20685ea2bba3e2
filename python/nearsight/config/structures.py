"""Settings of structures and features: target, initial cells, symmetry functions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from nearsight.config.fields import (
    Count,
    CutoffRadius,
    Different,
    Element,
    InputFile,
    NotNegative,
    Positive,
    Possible,
    Settings,
    Zeta,
)

__all__ = ["FeatureSettings", "ImageSettings", "InitialSettings", "TargetSettings"]


class TargetSettings(Settings):
    """The structure the potential is for."""

    structure: InputFile = Field(examples=["target.xyz"])
    """The large structure: any file ASE reads; the last structure in it, or file@index."""
    others: tuple[InputFile, ...] = Field(default=(), examples=[["frames.traj@:"]], strict=False)
    """More structures that the same potential is for: other sizes and shapes, frames of a
    trajectory; chunks are chosen over all of them. Every structure in each file, or file@index."""
    format: str | None = Field(default=None, examples=["lammps-data"])
    """Format of these files, by its name in ASE, where ASE cannot tell it from the file."""


class InitialSettings(Settings):
    """The small structures the first networks learn from."""

    recipe: Literal["crystals", "clusters"] = "crystals"
    """"crystals": bulk cells, relaxed and rattled (the paper; it needs stresses of the parent, and
    crystals that suit the elements); "clusters": small free clusters cut from the target, squeezed,
    stretched and rattled."""
    elements: Different[Element] | None = Field(default=None, examples=[["Pt"]])
    """Chemical elements of the cells; those of the target when left out."""
    a0: Annotated[float, Field(ge=0.5, le=100)] = 4.0
    """Lattice constant the crystals start from, in Å; their cells are then relaxed."""
    space_groups: Different[Annotated[int, Field(ge=1, le=230)]] = (225, 79)
    """Numbers of the space groups of the crystals."""
    minsep: Positive = 2.65
    """Shortest distance between two atoms that a cell may have, in Å."""
    posamp: Annotated[float, Field(gt=0, le=10)] = 0.03
    """Standard deviation of the random displacements of the rattled cells, in Å."""
    n_rattled: Annotated[int, Field(ge=0, le=100_000)] = 10
    """Rattled cells of every crystal (space group and composition); in those of a mixture the
    elements are shuffled."""
    clusters: Count = 25
    """Clusters cut from the target, with recipe = "clusters"."""
    cluster_sizes: Different[Annotated[int, Field(ge=4)]] = (8, 13, 20, 30)
    """Atoms of the clusters, in turn; elements in the proportions of the target."""
    cluster_strains: Different[Annotated[float, Field(gt=-0.3, lt=0.3)]] = (
        -0.05,
        -0.02,
        0.0,
        0.03,
        0.06,
    )
    """Strains of the clusters, in turn: all distances change by this part."""
    prototype_cells: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rattled and strained cells of each prototype crystal of the target's stoichiometry (fcc, bcc,
    hcp, diamond; rock salt, CsCl, zinc blende; fluorite; mixtures on fcc, bcc and hcp sites), with
    the target's own distances, besides the clusters of recipe = "clusters"."""
    structures: InputFile | None = Field(default=None, examples=["images.extxyz"])
    """Structures of your own to start from, instead of the above; the parent labels those that
    come without energies and forces."""

    replaces_all: ClassVar[str | None] = "structures"


class ImageSettings(Settings):
    """The choice among the initial cells."""

    count: Count = 20
    """Cells kept of the initial ones, the farthest points among them."""


class FeatureSettings(Settings):
    """The symmetry functions: the candidates, and how the best of them are chosen."""

    count: Count | dict[Element, Count] = 21
    """Symmetry functions kept per element: one number, or a table with one for each element.
    Fewer where the cells tell fewer apart."""
    angular_count: Count | dict[Element, Count] | None = Field(default=None, examples=[10])
    """So many of them angular (G4, G5), chosen after the radial ones (G2) by what those do not
    tell; with method = "cur". When left out, all candidates are ranked together."""
    method: Literal["cur", "force-correlation"] = "cur"
    """Ranking of the candidates: by CUR decomposition, or by correlation with the forces."""
    by_cost: bool = False
    """Divide the rank of a candidate by what it adds to the time of a force call; with
    method = "cur". Cheap functions come first, and G4, which needs all pairs of neighbours, only
    where it tells much more."""
    with_target: bool = False
    """Let the atoms of the target count too when the candidates are ranked, which needs no
    labels; with method = "cur". (The paper ranks them on the cells alone.)"""
    cutoff: CutoffRadius = 6.5
    """Cutoff radius of the symmetry functions, in Å."""
    angular_cutoff: CutoffRadius | None = Field(default=None, examples=[5.0])
    """Cutoff radius of the angular functions G4 and G5, in Å, no larger than cutoff; the same when
    left out. Pairs of neighbours, nearly all of the cost of G4, grow with its sixth power: 5.5 for
    6.5 Å halves the time of a force call. 1.6 times the distance of nearest neighbours was enough
    (docs: Choose symmetry functions)."""
    cutoff_function: Literal["cosine", "polynomial"] = "cosine"
    """Form of the cutoff."""
    gamma: Annotated[float, Field(ge=2)] | None = Field(default=None, examples=[4.0])
    """Steepness of the polynomial cutoff; only with cutoff_function = "polynomial"."""
    g2_eta: Different[NotNegative] = tuple(10.0 ** (i * (5 / 19) - 3) for i in range(20))
    """η of the radial candidates G2 (without unit: distances are divided by the cutoff)."""
    g2_r_s: Different[NotNegative] = (0.0, 2.0, 4.0)
    """Centres R_s of the radial candidates G2, in Å."""
    g4_eta: Possible[NotNegative] = (0.005, 0.1, 1.0)
    """η of the angular candidates G4 (without unit); without any there is no G4."""
    g4_zeta: Different[Zeta] = (1.0, 4.0, 16.0)
    """ζ of the angular candidates G4."""
    g4_gamma: Different[Annotated[float, Field(ge=-1, le=1)]] = (1.0, -1.0)
    """γ of the angular candidates G4."""
    g4_r_s: Different[NotNegative] = Field(default=(0.0,), examples=[[2.5, 2.8, 3.1]])
    """Shifts R_s of the angular candidates G4, in Å: with a large η, only triangles whose sides are
    all about so long count."""
    g5_eta: Possible[NotNegative] = Field(default=(), examples=[[0.005, 1.0]])
    """η of the angular candidates G5; without any there is no G5. With ζ = 1, 2, 3, 4 and η ≤ 4
    they need no pairs of neighbours and cost little more than G2."""
    g5_zeta: Different[Zeta] = (1.0, 2.0, 4.0)
    """ζ of the angular candidates G5."""
    g5_gamma: Different[Annotated[float, Field(ge=-1, le=1)]] = (1.0, -1.0)
    """γ of the angular candidates G5."""
    g5_r_s: Different[NotNegative] = Field(default=(0.0,), examples=[[2.5, 2.8, 3.1]])
    """Shifts R_s of the angular candidates G5, in Å: with a large η, only angles between bonds that
    are both about so long count. With ζ = 1, 2, 3, 4 they need no pairs, whatever η."""
    symmetry_functions: InputFile | None = Field(default=None, examples=["symmetry_functions.json"])
    """Symmetry functions chosen before (a file of select-features), instead of all the above."""

    replaces_all: ClassVar[str | None] = "symmetry_functions"

    @property
    def grid(self) -> dict[str, tuple[float, ...]]:
        """The parameters of the candidates."""
        angular = ("eta", "zeta", "gamma", "r_s")
        names = [f"{kind}_{name}" for kind in ("g4", "g5") for name in angular]
        return {name: getattr(self, name) for name in ("g2_eta", "g2_r_s", *names)}

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSettings:
        if self.cutoff_function == "polynomial" and self.gamma is None:
            raise ValueError('cutoff_function = "polynomial" needs gamma, e.g. gamma = 4.0')
        if self.cutoff_function == "cosine" and self.gamma is not None:
            raise ValueError('gamma belongs to cutoff_function = "polynomial" only')
        if self.with_target and self.method != "cur":
            raise ValueError('with_target needs method = "cur": forces on the target are not known')
        if self.angular_cutoff is not None and self.angular_cutoff > self.cutoff:
            raise ValueError(
                f"angular_cutoff must not be larger than the cutoff {self.cutoff:g} Å, got "
                f"{self.angular_cutoff:g}"
            )
        if self.by_cost and self.method != "cur":
            raise ValueError('by_cost needs method = "cur"')
        if self.angular_count is not None:
            if self.method != "cur":
                raise ValueError('angular_count needs method = "cur"')
            if self.by_cost:
                raise ValueError("angular_count and by_cost exclude each other")
        inner = self.cutoff if self.angular_cutoff is None else self.angular_cutoff
        for name, end in (("g2_r_s", self.cutoff), ("g4_r_s", inner), ("g5_r_s", inner)):
            beyond = [r_s for r_s in getattr(self, name) if r_s >= end]
            if beyond:
                raise ValueError(f"{name} must stay below the cutoff {end:g} Å, got {beyond}")
        return self
