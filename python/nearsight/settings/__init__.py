"""The settings of every stage.

The models are the settings objects that the library takes; a configuration file
(`nearsight.config`) is the same models as tables. Every default is that of the paper's EMT case
unless its reason is given.
"""

from nearsight.settings.labels import ExecutorSettings, ParentSettings
from nearsight.settings.learning import (
    EnsembleSettings,
    NetworkSettings,
    NFTSettings,
    TrainingSettings,
)
from nearsight.settings.results import LocalitySettings, RelaxationSettings, ReportSettings
from nearsight.settings.simulation import DynamicsSettings, RetrainingSettings
from nearsight.settings.structures import (
    FeatureSettings,
    ImageSettings,
    InitialSettings,
    TargetSettings,
)

__all__ = [
    "DynamicsSettings",
    "EnsembleSettings",
    "ExecutorSettings",
    "FeatureSettings",
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
