"""Plans: a choice of a domain's artifacts, and its evaluation outside of training.

Belongs here: `ArtifactPlan`, the base of the domains' plans. Does not: artifacts (`artifacts`),
when they are due in training (`routines`), what a report looks like (`report`).
Floor 3.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final, Generic, Self

import attrs

from functorch_artifact.artifacts.artifact import Artifact, ArtifactType, Choice, Chosen, Formula, ResourceT, Toolkit
from functorch_artifact.artifacts.modules import import_modules
from functorch_artifact.artifacts.report import Finding, Report
from functorch_artifact.artifacts.settings import SettingsWarning, settings
from functorch_artifact.errors import ConfigurationError, UndefinedError
from functorch_artifact.records import (
    Array,
    ArrayCollection,
    Plot,
    PlotCollection,
    Score,
    ScoreCollection,
    Value,
)

N_RESAMPLES: Final = 5
"""Resamples that a noise floor is the mean over."""
N_BOOTSTRAPS: Final = 100
"""Resamples that a standard error is the deviation of."""


@attrs.frozen
class ArtifactPlan(Generic[ResourceT]):
    """Say which artifacts to compute: by the hooks of a subclass, or by value with `of`.

    A hook may return members of its enumeration, names of artifacts of one's own, artifacts, and
    any of them with parameters. What `.artifact-ml/<toolkit>.json` says of a member's parameters is
    taken where the plan says nothing, and modules that it names are imported (see
    `artifacts.settings`).

    Raises:
        ConfigurationError: an artifact is there twice, there is no such artifact, or a hook returns
            another hook's kind; or the settings cannot be read, or a module that they name
            cannot be imported.
    """

    toolkit: ClassVar[Toolkit[Any]]
    """The domain's artifacts; each domain's plan sets it."""
    standard: ClassVar[Sequence[type[ArtifactType]]] = ()
    """The enumerations whose members `all_scores` takes; without any, it takes the toolkit's scores."""

    artifacts: tuple[Artifact[ResourceT], ...] = attrs.Factory(lambda self: self._from_hooks(), takes_self=True)

    def _from_hooks(self) -> tuple[Artifact[ResourceT], ...]:
        hooks: Mapping[Any, Any] = {
            Score: self._get_score_types,
            Array: self._get_array_types,
            Plot: self._get_plot_types,
            ScoreCollection: self._get_score_collection_types,
            ArrayCollection: self._get_array_collection_types,
            PlotCollection: self._get_plot_collection_types,
        }
        found = []
        for modality, hook in hooks.items():
            for artifact in self._find(hook()):
                if artifact.modality is not modality:
                    raise ConfigurationError(
                        "returns an artifact of another kind",
                        where=f"{type(self).__name__}.{hook.__name__}",
                        expected=f"artifacts that compute a {modality.__name__}",
                        got=f"{artifact.name!r}, which computes a {artifact.modality.__name__}",
                    )
                found.append(artifact)
        return tuple(found)

    def __attrs_post_init__(self) -> None:
        names = [artifact.name for artifact in self.artifacts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(
                "names artifacts twice",
                where=type(self).__name__,
                got=twice,
                fix="name one of them otherwise: artifact.named(...)",
            )

    @classmethod
    def of(cls, *artifacts: Chosen, **options: Any) -> Self:
        """Make a plan by value, of members of the enumerations, names, and artifacts of your own.

        Raises:
            ConfigurationError: there is no such artifact, or it does not take the parameters.
        """
        return cls(cls._find(artifacts), **options)

    @classmethod
    def all_scores(cls) -> Self:
        """Plan what a domain computes if nothing is said: its scores, but for heavy ones."""
        known = [cls.toolkit.find(each) for kind in cls.standard for each in kind] or [
            each for each in cls.toolkit if each.modality is Score
        ]
        return cls.of(*(each.name for each in known if not each.heavy))

    @classmethod
    def _find(cls, chosen: Iterable[Chosen]) -> tuple[Artifact[ResourceT], ...]:
        preset = cls._preset()
        found = []
        for each in chosen:
            artifact = cls.toolkit.find(each)
            if not isinstance(each, Artifact) and artifact.name in preset:
                given = each.parameters if isinstance(each, Choice) else {}
                artifact = artifact(**{**preset[artifact.name], **given})
            found.append(artifact)
        return tuple(found)

    @classmethod
    def _preset(cls) -> Mapping[str, Mapping[str, Any]]:
        """Read the settings, import the artifacts of the user's own that they name, give the parameters."""
        found, toolkit = settings(cls.toolkit.name), cls.toolkit
        if found.folder is not None:
            modules = import_modules(found.folder, f"{found.path}, custom_artifacts_dir")
            if not any(artifact.module in modules for artifact in toolkit):
                warnings.warn(
                    f"{found.folder}, which {found.path} names, defines no artifact of {toolkit.name}: "
                    f"decorate functions there with @{toolkit.name}.score(...) and its like",
                    SettingsWarning,
                    stacklevel=4,
                )
        if unknown := sorted(found.parameters.keys() - {artifact.name for artifact in toolkit}):
            warnings.warn(
                f"{found.path} has parameters of {unknown}, which {toolkit.name} does not know",
                SettingsWarning,
                stacklevel=4,
            )
        return found.parameters

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores that the plan logs; a name ending in `/*` stands for a collection's."""
        return tuple(artifact.score_name for artifact in self.artifacts if artifact.score_name)

    def report(self, resource: ResourceT, *, noise: bool = True, title: str = "", about: Any = None) -> Report:
        """Compute everything; an artifact that raises is a failure in the report, and no more.

        Args:
            resource: what the artifacts are functions of.
            noise: whether to tell the scores' noise floors and standard errors as well.
            title: the report's headline.
            about: facts to state in the report, by name.
        """
        drawing = _Drawing(self.toolkit, resource)
        findings: list[Finding] = []
        failures: dict[str, Exception] = {}
        for artifact in self.artifacts:
            try:
                value = artifact.compute(resource)
            except Exception as error:
                failures[artifact.name] = error
                continue
            told = []
            for what, tell in (("noise floor", drawing.noise_floor), ("standard error", drawing.standard_error)):
                try:
                    told.append(tell(artifact) if noise else None)
                except Exception as error:
                    failures[f"{artifact.name}, {what}"] = error
                    told.append(None)
            findings.append(Finding(artifact.name, value, artifact.scale, *told))
        return Report(tuple(findings), failures, title or self.toolkit.name, about or {})

    @staticmethod
    def _get_score_types() -> Sequence[Chosen]:
        return []

    @staticmethod
    def _get_array_types() -> Sequence[Chosen]:
        return []

    @staticmethod
    def _get_plot_types() -> Sequence[Chosen]:
        return []

    @staticmethod
    def _get_score_collection_types() -> Sequence[Chosen]:
        return []

    @staticmethod
    def _get_array_collection_types() -> Sequence[Chosen]:
        return []

    @staticmethod
    def _get_plot_collection_types() -> Sequence[Chosen]:
        return []


@attrs.frozen(eq=False, slots=False)
class _Drawing:
    """What is told of scores beside their values, by formulas or from resources that are drawn for it."""

    toolkit: Toolkit[Any]
    resource: Any

    @cached_property
    def _resampled(self) -> list[Any]:
        return self._draw(self.toolkit.resample, N_RESAMPLES, "resample")

    @cached_property
    def _bootstrapped(self) -> list[Any]:
        return self._draw(self.toolkit.bootstrap, N_BOOTSTRAPS, "bootstrap")

    def noise_floor(self, artifact: Artifact[Any]) -> float | Mapping[str, float] | None:
        """Tell the noise floor of an artifact, if it has any."""
        if artifact.noise == "resample":
            return _summary([artifact.compute(each) for each in self._resampled], statistics.fmean)
        return self._formula(artifact, artifact.noise)

    def standard_error(self, artifact: Artifact[Any]) -> float | Mapping[str, float] | None:
        """Tell the standard error of an artifact, if it has any."""
        if artifact.error == "bootstrap":
            return _summary([artifact.compute(each) for each in self._bootstrapped], statistics.stdev)
        return self._formula(artifact, artifact.error)

    def _formula(self, artifact: Artifact[Any], formula: Formula | None) -> float | Mapping[str, float] | None:
        try:
            return None if formula is None else formula(self.resource, **artifact.parameters)
        except UndefinedError:
            return None

    def _draw(self, draw: Callable[[Any, int], Any] | None, n: int, what: str) -> list[Any]:
        if draw is None:
            raise ConfigurationError(
                f"cannot {what}", where=f"toolkit {self.toolkit.name}", fix=f"pass Toolkit(..., {what}=...)"
            )
        return [draw(self.resource, seed) for seed in range(n)]


def _summary(values: Sequence[Value], summarise: Callable[[list[float]], float]) -> float | Mapping[str, float] | None:
    def summary(numbers: list[float]) -> float:
        return math.nan if any(map(math.isnan, numbers)) else summarise(numbers)

    if isinstance(values[0], Score):
        return summary([value.value for value in values if isinstance(value, Score)])
    collections = [value.values for value in values if isinstance(value, ScoreCollection)]
    return {key: summary([each[key] for each in collections]) for key in collections[0]} if collections else None
