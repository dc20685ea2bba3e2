"""The TOML file of a whole run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError

from nearsight.config.errors import describe_mistakes
from nearsight.config.fields import Settings
from nearsight.config.labels import ExecutorSettings, ParentSettings
from nearsight.config.learning import (
    BaselineSettings,
    CapacitySettings,
    EnsembleSettings,
    GeometrySettings,
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
from nearsight.reading import read_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Config", "parse_toml"]

CARRIED_OUT = tuple(
    f"parent.{key}" for key in ("timeout", "retries", "max_force", "keep_files", "cost_exponent")
)
"""Keys that change no result."""

STOP_RULES = {
    "nft": ("max_chunks", "max_iterations", "accuracy", "stop_uncertainty", "steps_not_improved"),
    "geometries": ("max_geometries",),
}
"""Keys, by section, that say when training ends: a run goes on under others."""

ADDED = ("locality", "relaxation", "retraining", "dynamics")
"""Sections that a run can be given later."""


class Config(Settings):
    """A whole run.

    `load` reads one from a file. ``source`` is the text of that file; for a configuration made in
    Python it is written.
    """

    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    """Seed of the bootstrap samples and the starting weights; the same seed gives the same run.
    (The initial cells are the same for all seeds.)"""
    target: TargetSettings
    parent: ParentSettings = ParentSettings()
    executor: ExecutorSettings = ExecutorSettings()
    initial: InitialSettings = InitialSettings()
    images: ImageSettings = ImageSettings()
    features: FeatureSettings = FeatureSettings()
    baseline: BaselineSettings = BaselineSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    nft: NFTSettings = NFTSettings()
    geometries: GeometrySettings = GeometrySettings()
    capacity: CapacitySettings = CapacitySettings()
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

    @property
    def most(self) -> int:
        """Chunks or geometries that the training may have in all."""
        if self.nft.labels == "target":
            return self.geometries.max_geometries
        return self.nft.max_chunks

    @property
    def retrains(self) -> bool:
        """Whether training goes on where relaxations lead: asked for, or as far as they need it."""
        relaxation = self.relaxation
        wanted = relaxation is not None and relaxation.on_uncertain == "retrain"
        return self.retraining is not None or wanted

    @property
    def retrained_chunks(self) -> int:
        """Chunks of frames that a retraining may add in all."""
        return (self.retraining or RetrainingSettings()).max_chunks if self.retrains else 0

    def differences(self, other: Config) -> list[tuple[str, Any, Any]]:
        """Keys by which two configurations ask for different results, with both values.

        A section that one of them lacks counts as one key. Keys that say how it is carried out
        (``[executor]``, timeout, retries) do not count, nor what a run can go on under: stop
        rules, as long as no fewer chunks are allowed, sections of further stages that ``other``
        adds, and ``[report]``; nor ``nft.labels``, of chunks by other labels of which a run is
        trained anew.
        """
        found = []
        for name in type(self).model_fields:
            mine, others = (
                value.model_dump() if isinstance(value, Settings) else value
                for value in (getattr(self, name), getattr(other, name))
            )
            if name in ("executor", "report") or mine == others:
                continue
            if name in ADDED and mine is None:
                continue
            if mine is None or others is None or not isinstance(mine, dict):
                found.append((name, mine, others))
                continue
            found += [
                (f"{name}.{key}", value, others[key])
                for key, value in mine.items()
                if value != others[key]
                and f"{name}.{key}" not in CARRIED_OUT
                and not _goes_on(name, key, value, others[key])
            ]
        return found

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema of configuration files."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **cls.model_json_schema(),
            "title": "nearsight configuration",
        }

    @classmethod
    def load(
        cls, path: str | Path, folder: Path | None = None, begun: Path | None = None
    ) -> Config:
        """Read and check a configuration file.

        Parameters
        ----------
        path : path
        folder : Path, optional
            Where its file names start from; its own folder when left out.
        begun : Path, optional
            For a run that has begun: where input files are looked for. They need not exist any
            more.

        Raises
        ------
        InputError
            With one line for every mistake in the file.
        """
        path = Path(path)
        try:
            source = read_file(path).decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: must be UTF-8 text ({error})") from error
        return cls.parse(source, str(path), folder or path.absolute().parent, begun)

    @classmethod
    def parse(
        cls,
        source: str,
        name: str = "configuration",
        folder: Path | None = None,
        begun: Path | None = None,
    ) -> Config:
        """Check the text of a configuration file.

        Parameters
        ----------
        source : str
            TOML.
        name : str
            Its name in the messages.
        folder : Path, optional
            Where its file names start from and must exist; not looked at when left out.
        begun : Path, optional
            See `load`.

        Raises
        ------
        InputError
            With one line for every mistake.
        """
        content = parse_toml(source, name)
        try:
            config = cls.model_validate(content, context={"folder": folder, "begun": begun})
        except ValidationError as error:
            raise InputError(
                "\n".join(describe_mistakes(error, cls, content, source, name))
            ) from error
        config._source = source
        return config


def parse_toml(source: str, name: str) -> dict[str, Any]:
    """The content of TOML.

    Raises
    ------
    InputError
        With the line of the first mistake; ``name`` is that of the file.
    """
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        hint = ""
        at = re.search(r"line (\d+)", str(error))
        line = source.splitlines()[int(at[1]) - 1 :][:1] if at else []
        if line and re.search(r"=\s*(True|False)\b", line[0]):
            hint = "; true and false are written in small letters"
        raise InputError(f"{name}: not valid TOML: {error}{hint}") from error
    except (RecursionError, ValueError) as error:  # ValueError: thousands of digits
        reason = "too many levels of brackets" if isinstance(error, RecursionError) else error
        raise InputError(f"{name}: not valid TOML: {reason}") from error


def _goes_on(section: str, key: str, old: Any, new: Any) -> bool:
    if (section, key) == ("nft", "labels"):
        return "target" not in (old, new)
    fewer = key in ("max_chunks", "max_geometries") and new < old
    return key in STOP_RULES.get(section, ()) and not fewer
