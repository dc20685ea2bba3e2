"""The settings of every stage, and the TOML file that holds them.

The models are the settings objects that the library takes; a configuration file is the same
models as tables. Every default is that of the paper's EMT case unless its reason is given.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    Strict,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from nearsight.config_errors import describe_mistakes
from nearsight.config_template import to_toml
from nearsight.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "Config",
    "EnsembleSettings",
    "FeatureSettings",
    "ImageSettings",
    "InitialSettings",
    "LocalitySettings",
    "NFTSettings",
    "NetworkSettings",
    "ParentSettings",
    "RelaxationSettings",
    "ReportSettings",
    "TargetSettings",
    "TrainingSettings",
]


def _in_folder(path: Path, info: ValidationInfo) -> Path:
    """The path as seen from the folder of the configuration file, checked to exist there."""
    folder = (info.context or {}).get("folder")
    if folder is None:
        return path
    path = folder / path.expanduser()
    file = Path(str(path).partition("@")[0])  # ASE's file.db@id=3, file.traj@-1
    if not file.is_file():
        raise ValueError(f"must be an existing file; there is no {file}")
    return path


def _known_element(symbol: str) -> str:
    from ase.data import chemical_symbols  # reading a configuration needs it only when it is asked

    if symbol not in chemical_symbols[1:]:
        raise ValueError(f"must be the symbol of a chemical element, got {symbol!r}")
    return symbol


def _all_different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("must not name anything twice")
    return values


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Element = Annotated[str, AfterValidator(_known_element)]
InputFile = Annotated[Path, Strict(False), AfterValidator(_in_folder)]
Item = TypeVar("Item")
# TOML arrays come as lists, which strict mode would not take for tuples
Listed = Annotated[tuple[Item, ...], Strict(False), Field(min_length=1)]
Different = Annotated[Listed[Item], AfterValidator(_all_different)]


SettingsType = TypeVar("SettingsType", bound="Settings")


class Settings(BaseModel):
    """Settings that are checked when made and never change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    replaces_all: ClassVar[str | None] = None
    """A key that stands for all other keys of its section."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self: SettingsType) -> SettingsType:
        key = self.replaces_all
        others = sorted(self.model_fields_set - {key})
        if key and others and getattr(self, key) is not None:
            raise ValueError(f"{key} stands for all other keys here; leave out {', '.join(others)}")
        return self


class TargetSettings(Settings):
    """The structure the potential is for."""

    structure: InputFile = Field(examples=["target.xyz"])
    """The large structure: any file ASE reads; the last structure in it, or file@index."""


class ParentSettings(Settings):
    """The method that labels the training structures."""

    calculator: str = Field(default="emt", min_length=1)
    """Parent method: "emt", or any ASE calculator as "module:name", e.g. "gpaw:GPAW"; the module
    may be a file of your own beside this one."""
    arguments: dict[str, JsonValue] = {}
    """Keyword arguments of the calculator, e.g. { mode = "lcao" }."""


class InitialSettings(Settings):
    """The small bulk cells the first networks learn from."""

    elements: Different[Element] | None = Field(default=None, examples=[["Pt"]])
    """Chemical elements of the cells; those of the target when left out."""
    a0: Positive = 4.0
    """Lattice constant the crystals start from, in Å; their cells are then relaxed."""
    space_groups: Different[Annotated[int, Field(ge=1, le=230)]] = (225, 79)
    """Numbers of the space groups of the crystals."""
    minsep: Positive = 2.65
    """Shortest distance between two atoms that a cell may have, in Å."""
    posamp: Positive = 0.03
    """Standard deviation of the random displacements of the rattled cells, in Å."""
    n_rattled: Annotated[int, Field(ge=0)] = 10
    """Rattled cells per space group."""
    structures: InputFile | None = Field(default=None, examples=["images.extxyz"])
    """Labelled structures of your own to start from (energies and forces), instead of the above."""

    replaces_all: ClassVar[str | None] = "structures"


class ImageSettings(Settings):
    """How many of the initial cells are kept."""

    count: Count = 20
    """Cells kept of the initial ones, the farthest points among them."""


class FeatureSettings(Settings):
    """The symmetry functions: the candidates, and how the best of them are chosen."""

    count: Count | dict[Element, Count] = 21
    """Symmetry functions kept per element: one number, or a table with one for each element."""
    method: Literal["cur", "force-correlation"] = "cur"
    """What ranks the candidates: CUR decomposition, or correlation with the forces."""
    cutoff: Positive = 6.5
    """Cutoff radius of the symmetry functions, in Å."""
    cutoff_function: Literal["cosine", "polynomial"] = "cosine"
    """Form of the cutoff."""
    gamma: Annotated[float, Field(ge=2)] | None = Field(default=None, examples=[4.0])
    """Steepness of the polynomial cutoff; only with cutoff_function = "polynomial"."""
    g2_eta: Different[NotNegative] = tuple(10.0 ** (i * (5 / 19) - 3) for i in range(20))
    """η of the radial candidates G2 (without unit: distances are divided by the cutoff)."""
    g2_r_s: Different[NotNegative] = (0.0, 2.0, 4.0)
    """Centres R_s of the radial candidates G2, in Å."""
    g4_eta: Different[NotNegative] = (0.005, 0.1, 1.0)
    """η of the angular candidates G4 (without unit)."""
    g4_zeta: Different[Annotated[float, Field(ge=1)]] = (1.0, 4.0, 16.0)
    """ζ of the angular candidates G4."""
    g4_gamma: Different[Annotated[float, Field(ge=-1, le=1)]] = (1.0, -1.0)
    """γ of the angular candidates G4."""
    symmetry_functions: InputFile | None = Field(default=None, examples=["symmetry_functions.json"])
    """Symmetry functions chosen before (a file of select-features), instead of all the above."""

    replaces_all: ClassVar[str | None] = "symmetry_functions"

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSettings:
        if self.cutoff_function == "polynomial" and self.gamma is None:
            raise ValueError('cutoff_function = "polynomial" needs gamma, e.g. gamma = 4.0')
        if self.cutoff_function == "cosine" and self.gamma is not None:
            raise ValueError('gamma belongs to cutoff_function = "polynomial" only')
        beyond = [r_s for r_s in self.g2_r_s if r_s >= self.cutoff]
        if beyond:
            raise ValueError(f"g2_r_s must stay below the cutoff {self.cutoff:g} Å, got {beyond}")
        return self


class NetworkSettings(Settings):
    """The neural network of every element."""

    hidden_layers: Listed[Count] = (10, 10)
    """Nodes of each hidden layer."""
    activation: Literal["tanh"] = "tanh"
    """Activation function of the hidden layers; the output is linear."""


class TrainingSettings(Settings):
    """The loss (SI eq. 3) and how far it is minimised."""

    force_coefficient: Positive = 0.4
    """α, weight of the forces against the energies in the loss (the paper: 0.04)."""
    l2: NotNegative = 1e-6
    """λ, weight of the squared network weights in the loss (the paper: 0.001, with which the
    errors of the forces here were seven times larger)."""
    initial_iterations: Count = 60
    """Levenberg–Marquardt iterations of every member from its random start."""
    iterations: Count = 25
    """Levenberg–Marquardt iterations of every member in every later NFT iteration."""


class EnsembleSettings(Settings):
    """The members whose spread is the uncertainty."""

    members: Annotated[int, Field(ge=2)] = 10
    """Networks in the ensemble, each trained on its own bootstrap sample."""


class NFTSettings(Settings):
    """Nearsighted force training: which chunks are labelled, and when it ends."""

    chunk_radius: Positive = 8.0
    """Atoms within this distance of an uncertain atom make its chunk, in Å."""
    vacuum: NotNegative = 5.0
    """Empty space around a chunk, in Å."""
    chunks_per_iteration: Count = 15
    """Chunks added per iteration at most."""
    environment: Literal["target", "chunk"] = "target"
    """Where the network is asked for the force on a chunk's centre: in its surroundings in the
    target, which cost no parent calculation, or in the chunk as cut (the paper)."""
    threshold: Annotated[float, Field(gt=-1)] = 0.0
    """Which atoms are uncertain: 0, all; negative, those above that quantile of the uncertainty
    (-0.9, the paper: the upper tenth); positive, those above that uncertainty in eV/Å."""
    max_chunks: Count = 75
    """Chunks in all, after which training ends."""
    max_iterations: Count = 20
    """Iterations after which training ends."""
    stop_uncertainty: NotNegative = 0.0
    """Structure uncertainty (raw) at which training ends, in eV/Å; 0: never for this reason."""
    steps_not_improved: Count = 3
    """Iterations without a lower structure uncertainty after which training ends."""


class LocalitySettings(Settings):
    """The locality scan: force on the centre of a chunk by chunk radius."""

    radii: Different[Positive] = (3.5, 4.5, 5.5, 6.5, 7.5, 8.5)
    """Chunk radii to compare, in Å."""
    atoms: Different[Annotated[int, Field(ge=0)]] | Literal["all"] = (29,)
    """Indices of the atoms to look at (the first is 0), or "all"."""


class RelaxationSettings(Settings):
    """The relaxation of the target with the best ensemble."""

    optimizer: Literal["auto", "BFGS", "LBFGS", "FIRE", "BFGSLineSearch"] = "auto"
    """Optimiser, by its name in ASE; auto: BFGS up to 300 atoms, LBFGS above, where the dense
    matrix of BFGS would take more time than the forces."""
    fmax: Positive = 0.05
    """Largest force at which the structure counts as relaxed, in eV/Å."""
    max_steps: Count = 500
    """Steps after which the relaxation ends in any case."""
    with_parent: bool = False
    """Relax with the parent as well, to compare (dear: the whole target at every step)."""


class ReportSettings(Settings):
    """What the report compares."""

    true_forces: bool = False
    """Ask the parent for the forces of the whole target, to report true errors (dear)."""


class Config(Settings):
    """A whole run.

    `load` reads one from a file. ``source`` is the text of that file; for a configuration made in
    Python it is written.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the bootstrap samples and the starting weights; the same seed gives the same run.
    (The initial cells are the same for all seeds.)"""
    target: TargetSettings
    parent: ParentSettings = ParentSettings()
    initial: InitialSettings = InitialSettings()
    images: ImageSettings = ImageSettings()
    features: FeatureSettings = FeatureSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    nft: NFTSettings = NFTSettings()
    locality: LocalitySettings | None = None
    relaxation: RelaxationSettings | None = None
    report: ReportSettings = ReportSettings()

    _source: str = PrivateAttr("")

    @property
    def source(self) -> str:
        """The TOML text."""
        return self._source or to_toml(self)

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Read and check a configuration file; file names in it are relative to its folder.

        Raises
        ------
        InputError
            With one line for every mistake in the file.
        """
        path = Path(path)
        try:
            source = path.read_bytes().decode()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: must be UTF-8 text ({error})") from error
        return cls.parse(source, name=str(path), folder=path.absolute().parent)

    @classmethod
    def parse(cls, source: str, name: str = "configuration", folder: Path | None = None) -> Config:
        """Check the text of a configuration file.

        Parameters
        ----------
        source : str
            TOML.
        name : str
            What the messages call it.
        folder : Path, optional
            Where its file names start from and must exist; not looked at when left out.

        Raises
        ------
        InputError
            With one line for every mistake.
        """
        try:
            content = tomllib.loads(source)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{name}: not valid TOML: {error}") from error
        try:
            config = cls.model_validate(content, context={"folder": folder})
        except ValidationError as error:
            raise InputError(
                "\n".join(describe_mistakes(error, cls, content, source, name))
            ) from error
        config._source = source
        return config
