"""Artifacts: named functions of what a domain judges, choices of them, and what those give.

Belongs here: the names of the family. Does not: any artifact (the domains' folders), when they are
due in training (`routines`).
Floor 3.
"""

from functorch_artifact.artifacts.artifact import (
    MODALITIES,
    Artifact,
    ArtifactType,
    Choice,
    Chosen,
    Noise,
    ResourceT,
    Toolkit,
    choose,
)
from functorch_artifact.artifacts.plan import N_RESAMPLES, ArtifactPlan
from functorch_artifact.artifacts.report import Finding, Report
from functorch_artifact.artifacts.settings import SettingsWarning

__all__ = [
    "MODALITIES",
    "N_RESAMPLES",
    "Artifact",
    "ArtifactPlan",
    "ArtifactType",
    "Choice",
    "Chosen",
    "Finding",
    "Noise",
    "Report",
    "ResourceT",
    "SettingsWarning",
    "Toolkit",
    "choose",
]
