"""headstart: a folder of photos in, a judged image classifier out.

    >>> import headstart
    >>> run = headstart.train("photos")                        # doctest: +SKIP
    >>> run.classifier().predict(["new.jpg"])[0].classes       # doctest: +SKIP

Everything here is loaded when it is first used; `import headstart` itself loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.audit import Audit
    from headstart.backbones import Backbone, list_backbones, load_backbone
    from headstart.classifier import Classifier
    from headstart.config import AuditConfig, ExtractConfig, ProbeConfig, TrainConfig
    from headstart.datasets import ImageDataset, load_dataset
    from headstart.errors import HeadstartError
    from headstart.estimator import HeadstartClassifier
    from headstart.features import (
        Extraction,
        Features,
        FeatureStore,
        FeatureTable,
        extract_features,
        read_features,
        write_features,
    )
    from headstart.jobs import (
        Evaluation,
        LearningCurve,
        Probe,
        audit_images,
        evaluate,
        extract,
        extract_bottleneck,
        learning_curve,
        probe,
        train,
    )
    from headstart.prediction import Prediction
    from headstart.runs import Run, load_run
    from headstart.study import Ranking, rank_backbones
    from headstart.study.compare import compare
    from headstart.study.leaderboard import LeaderBoard
    from headstart.training import FittedHead, fit_head

_HOMES = {
    "Audit": "audit",
    "AuditConfig": "config",
    "Backbone": "backbones",
    "Classifier": "classifier",
    "Evaluation": "jobs",
    "ExtractConfig": "config",
    "Extraction": "features",
    "FeatureStore": "features",
    "FeatureTable": "features",
    "Features": "features",
    "FittedHead": "training",
    "HeadstartClassifier": "estimator",
    "HeadstartError": "errors",
    "ImageDataset": "datasets",
    "LeaderBoard": "study.leaderboard",
    "LearningCurve": "jobs",
    "Prediction": "prediction",
    "Probe": "jobs",
    "ProbeConfig": "config",
    "Ranking": "study",
    "Run": "runs",
    "TrainConfig": "config",
    "audit_images": "jobs",
    "compare": "study.compare",
    "evaluate": "jobs",
    "extract": "jobs",
    "extract_bottleneck": "jobs",
    "extract_features": "features",
    "fit_head": "training",
    "learning_curve": "jobs",
    "list_backbones": "backbones",
    "load_backbone": "backbones",
    "load_dataset": "datasets",
    "load_run": "runs",
    "probe": "jobs",
    "rank_backbones": "study",
    "read_features": "features",
    "train": "jobs",
    "write_features": "features",
}

__all__ = [
    "Audit",
    "AuditConfig",
    "Backbone",
    "Classifier",
    "Evaluation",
    "ExtractConfig",
    "Extraction",
    "FeatureStore",
    "FeatureTable",
    "Features",
    "FittedHead",
    "HeadstartClassifier",
    "HeadstartError",
    "ImageDataset",
    "LeaderBoard",
    "LearningCurve",
    "Prediction",
    "Probe",
    "ProbeConfig",
    "Ranking",
    "Run",
    "TrainConfig",
    "audit_images",
    "compare",
    "evaluate",
    "extract",
    "extract_bottleneck",
    "extract_features",
    "fit_head",
    "learning_curve",
    "list_backbones",
    "load_backbone",
    "load_dataset",
    "load_run",
    "probe",
    "rank_backbones",
    "read_features",
    "train",
    "write_features",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headstart' has no attribute {name!r}")
    return getattr(import_module(f"headstart.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
