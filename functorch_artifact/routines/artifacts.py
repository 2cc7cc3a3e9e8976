"""Artifacts of a whole model: what is computed now, and what nobody has to wait for.

Belongs here: the domain-free `ArtifactRoutine`, and `PlanRoutine`, which the domains' routines
extend. Does not: any domain, generating (the domains), running the background (`background`).
Floor 4.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, final

from functorch_artifact.artifacts import ArtifactPlan, ResourceT
from functorch_artifact.callbacks import check_period
from functorch_artifact.contracts import ModelTContr
from functorch_artifact.errors import ConfigurationError
from functorch_artifact.records import Table, TrackingClient, Value
from functorch_artifact.routines.outcomes import Background, Failure, Outcome, Task

if TYPE_CHECKING:
    import pandas as pd


class ArtifactRoutine(ABC, Generic[ModelTContr]):
    """Validate a whole model by artifacts: base of the domain toolkits' routines.

    Args:
        period: run every so many epochs.
        split: the records' split.
        tracking_client: where the records go; by default, where the run's records go.

    Raises:
        ConfigurationError: `period` is below 1.
    """

    def __init__(
        self, *, period: int = 1, split: str | None = None, tracking_client: TrackingClient | None = None
    ) -> None:
        check_period(period, type(self).__name__)
        self.period = period
        self.split = split
        self.tracking_client = tracking_client

    @property
    @abstractmethod
    def score_names(self) -> tuple[str, ...]:
        """The scores it logs; a name ending in `/*` stands for a collection's."""

    @abstractmethod
    def artifacts(self, model: ModelTContr, epoch: int) -> Iterable[tuple[str, Callable[[], Value]]]:
        """Name the artifacts of a model, each with the function that computes it.

        Work that all of them need, such as generation, is done here, once. `model` is in eval
        mode and holds the weights of the end of `epoch`; torch's global generators run from a
        key of their own.
        """

    @property
    def waiting(self) -> frozenset[str]:
        """The artifacts that can wait: they are computed in the background, if there is one.

        Their functions must be self-contained: they are sent to another process.
        """
        return frozenset()

    @property
    def shared(self) -> tuple[object, ...]:
        """What the functions of each epoch have in common, such as real data: sent to a worker once."""
        return ()

    @final
    def due(self, epoch: int) -> bool:
        """Say whether the routine runs at the end of an epoch."""
        return epoch % self.period == 0

    @final
    def run(
        self,
        model: ModelTContr,
        epoch: int,
        step: int,
        *,
        executor: Background | None = None,
        needed: Collection[str] = (),
    ) -> Outcome:
        """Compute all artifacts; one that raises does not keep the others from being computed.

        Args:
            model: what to validate.
            epoch: the epoch that the records belong to.
            step: the step that the records belong to.
            executor: who computes what can wait; by default nobody, so that all is computed now.
            needed: names of scores that somebody decides by at this epoch: these cannot wait.
        """
        try:
            named = list(self.artifacts(model, epoch))
        except Exception as error:
            return Outcome((), (Failure(type(self).__name__, epoch, self.split, error),))
        later = self.waiting - {name.partition("/")[0] for name in needed} if executor is not None else frozenset()
        now = Task(tuple(each for each in named if each[0] not in later), epoch, step, self.split)
        then = Task(tuple(each for each in named if each[0] in later), epoch, step, self.split)
        pending = (executor.submit(then, self.shared),) if executor is not None and then.artifacts else ()
        outcome = now()
        return Outcome(outcome.records, outcome.failures, pending)


class PlanRoutine(ArtifactRoutine[ModelTContr], Generic[ModelTContr, ResourceT]):
    """Validate a model by a plan: scores now, plots and heavy scores in the background.

    A domain's routine sets `plan_type` and `export_name`, and says in `produce` how a model is
    asked and what its answer is judged as. Hooks of the user's give what `build` makes it of.

    Args:
        plan: what to compute; by default all scores.
        period: run every so many epochs.
        export_period: log what the model made as a table every so many epochs, a multiple of
            `period`; by default never.
        split: the records' split.
        tracking_client: where the records go; by default, where the run's records go.

    Raises:
        ConfigurationError: a period is below 1, `export_period` is no multiple of `period`, or the
            plan is another domain's.
    """

    plan_type: ClassVar[type[ArtifactPlan[Any]]]
    """The plans of the domain."""
    export_name: ClassVar[str]
    """The name of the records that hold what the model made."""

    def __init__(
        self,
        plan: ArtifactPlan[ResourceT] | None = None,
        *,
        period: int = 1,
        export_period: int | None = None,
        split: str | None = "VALIDATION",
        tracking_client: TrackingClient | None = None,
    ) -> None:
        super().__init__(period=period, split=split, tracking_client=tracking_client)
        if export_period is not None and (export_period < 1 or export_period % period):
            raise ConfigurationError(
                "falls on epochs without a result",
                where=f"{type(self).__name__}.export_period",
                expected=f"a multiple of the period, {period}",
                got=export_period,
            )
        self.plan: ArtifactPlan[ResourceT] = self.plan_type.all_scores() if plan is None else plan
        if self.plan.toolkit is not self.plan_type.toolkit:
            raise ConfigurationError(
                "is a plan of another domain",
                where=f"{type(self).__name__}.plan",
                expected=f"a {self.plan_type.__name__}",
                got=type(plan).__name__,
            )
        self.export_period = export_period

    @abstractmethod
    def produce(self, model: ModelTContr) -> tuple[ResourceT, pd.DataFrame]:
        """Ask the model, once: the resource of the plan's artifacts, and what to export of it."""

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores it logs; a name ending in `/*` stands for a collection's."""
        return self.plan.score_names

    @property
    def waiting(self) -> frozenset[str]:
        """Plots, arrays and heavy scores."""
        return frozenset(artifact.name for artifact in self.plan.artifacts if artifact.waits)

    def artifacts(self, model: ModelTContr, epoch: int) -> Iterator[tuple[str, Callable[[], Value]]]:
        """Produce once and name the plan's artifacts."""
        resource, made = self.produce(model)
        for artifact in self.plan.artifacts:
            yield artifact.name, partial(artifact.compute, resource)
        if self.export_period is not None and epoch % self.export_period == 0:
            yield self.export_name, partial(Table, made.copy())

    @classmethod
    def _from_hooks(cls) -> dict[str, Any]:
        """Give the arguments that the hooks declare, for a domain's `build`."""
        return {
            "plan": cls._get_artifact_plan(),
            "period": cls._get_period(),
            "export_period": cls._get_export_period(),
        }

    @staticmethod
    def _get_artifact_plan() -> ArtifactPlan[Any] | None:
        return None

    @staticmethod
    def _get_period() -> int:
        return 1

    @staticmethod
    def _get_export_period() -> int | None:
        return None


def unfilled(hook: str, method: str) -> ConfigurationError:
    """Make the error of a hook that has no default: it gives the parameters of a model's `method`."""
    return ConfigurationError(
        "is not filled in",
        where=hook,
        expected=f"the parameters for the model's {method}",
        fix="override the hook, or make the routine by value, by calling its class",
    )
