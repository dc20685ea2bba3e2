"""The settings of every stage, and the configuration file of a run.

The models are the settings objects that the library takes; a configuration file
(`Config`) is the same models as tables. Every default is that of the paper's EMT case
unless its reason is given.
"""

from nearsight.config.config import STOP_RULES, Config
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

__all__ = [
    "STOP_RULES",
    "BaselineSettings",
    "CapacitySettings",
    "Config",
    "DynamicsSettings",
    "EnsembleSettings",
    "ExecutorSettings",
    "FeatureSettings",
    "GeometrySettings",
    "ImageSettings",
    "InitialSettings",
    "LocalitySettings",
    "NFTSettings",
    "NetworkSettings",
    "ParentSettings",
    "RelaxationSettings",
    "ReportSettings",
    "RetrainingSettings",
    "TargetSettings",
    "TrainingSettings",
]
