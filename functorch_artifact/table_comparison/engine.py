"""artifact-core as an engine: the reference's own numbers and pictures.

Belongs here: handing a comparison to the package `artifact-core` through its public engine. Does
not: any computation.
Floor 6. It needs the extra `artifact-core`, which brings pandas 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from functorch_artifact.artifacts import Artifact, ArtifactType
from functorch_artifact.artifacts.settings import settings
from functorch_artifact.errors import ConfigurationError, MissingExtraError
from functorch_artifact.table_comparison.artifacts import (
    TableComparisonArrayCollectionType,
    TableComparisonPlotCollectionType,
    TableComparisonPlotType,
    TableComparisonScoreCollectionType,
    TableComparisonScoreType,
    toolkit,
)
from functorch_artifact.table_comparison.comparison import Comparison

Engine: TypeAlias = Literal["own", "artifact-core"]

_KINDS: Final[dict[type[ArtifactType], str]] = {
    TableComparisonScoreType: "score",
    TableComparisonPlotType: "plot",
    TableComparisonScoreCollectionType: "score_collection",
    TableComparisonArrayCollectionType: "array_collection",
    TableComparisonPlotCollectionType: "plot_collection",
}


def by_artifact_core(artifacts: Iterable[Artifact[Comparison]]) -> tuple[Artifact[Comparison], ...]:
    """Let artifact-core compute the built-in artifacts among these; one's own are left as they are.

    Raises:
        MissingExtraError: artifact-core is not installed.
        ConfigurationError: artifact-core has no such artifact, or parameters are given, which it
            reads from its own file only.
    """
    try:
        from artifact_core import table_comparison as package  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("artifact-core", extra="artifact-core", purpose='engine="artifact-core"') from error
    members = {toolkit.find(member).function: member for kind in _KINDS for member in kind}
    return tuple(
        _handed_over(each, members[each.function], cast(Any, package)) if each.function in members else each
        for each in artifacts
    )


@attrs.frozen
class _Produce:
    """Compute one member of one of the package's enumerations."""

    method: str
    kind: str
    member: str

    def __call__(self, comparison: Comparison, **_: Any) -> Any:
        from artifact_core import table_comparison as package  # pyright: ignore[reportMissingImports]

        real, synthetic = comparison.real.frame, comparison.synthetic.frame
        spec = package.TabularDataSpec.from_df(
            real, cts_features=list(comparison.spec.numeric), cat_features=list(comparison.spec.categorical)
        )
        produce = getattr(package.TableComparisonEngine.build(resource_spec=spec), self.method)
        return produce(getattr(getattr(package, self.kind), self.member), real, synthetic)


def _handed_over(artifact: Artifact[Comparison], member: ArtifactType, package: Any) -> Artifact[Comparison]:
    kind = type(member)
    known = getattr(package, kind.__name__).__members__
    if member.name not in known:
        raise ConfigurationError(
            "is not an artifact of artifact-core",
            where=f"artifact {artifact.name!r}",
            expected=f"one of {sorted(known)}",
            fix='compute it in a plan of its own, without engine="artifact-core"',
        )
    if artifact.parameters != settings(toolkit.name).parameters.get(str(member), {}):
        raise ConfigurationError(
            "is given parameters, which artifact-core takes from its file only",
            where=f"artifact {artifact.name!r}",
            got=dict(artifact.parameters),
            fix=f"write them to .artifact-ml/{toolkit.name}.json",
        )
    made = _Produce(f"produce_dataset_comparison_{_KINDS[kind]}", kind.__name__, member.name)
    return attrs.evolve(artifact, function=made, scale=None, noise=None, error=None)
