"""The TOML file of a whole run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field, PrivateAttr, ValidationError

from nearsight.config.errors import describe_mistakes
from nearsight.config.fields import Settings
from nearsight.config.labels import ExecutorSettings, ParentSettings
from nearsight.config.learning import (
    EnsembleSettings,
    NetworkSettings,
    NFTSettings,
    TrainingSettings,
)
from nearsight.config.results import LocalitySettings, RelaxationSettings, ReportSettings
from nearsight.config.simulation import DynamicsSettings, RetrainingSettings
from nearsight.config.structures import (
    FeatureSettings,
    ImageSettings,
    InitialSettings,
    TargetSettings,
)
from nearsight.config.template import to_toml
from nearsight.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Config"]


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
    executor: ExecutorSettings = ExecutorSettings()
    initial: InitialSettings = InitialSettings()
    images: ImageSettings = ImageSettings()
    features: FeatureSettings = FeatureSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    nft: NFTSettings = NFTSettings()
    locality: LocalitySettings | None = None
    relaxation: RelaxationSettings | None = None
    retraining: RetrainingSettings | None = None
    dynamics: DynamicsSettings | None = None
    report: ReportSettings = ReportSettings()

    _source: str = PrivateAttr("")

    @property
    def source(self) -> str:
        """The TOML text."""
        return self._source or to_toml(self)

    def same_results(self, other: Config) -> bool:
        """Whether two configurations ask for the same; how it is carried out may differ."""
        mine, others = self.model_dump(), other.model_dump()
        for content in (mine, others):
            del content["executor"]
            for key in ("timeout", "retries", "max_force"):
                del content["parent"][key]
        return mine == others

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
