"""What an artifact is, and the toolkit that knows a domain's artifacts by name.

Belongs here: `Artifact`, `ArtifactType` (base of a domain's enumerations),
`Toolkit`. Does not: any artifact (the domains' folders), choosing some (`plans`).
Floor 3.

A domain has a *resource*, which its artifacts are pure functions of: a comparison of two tables,
predictions beside the truth. A function asks for parts of it by the names of its parameters; what
else it takes, by keyword and with a default, are the artifact's parameters.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import attrs

from functorch_artifact.errors import ConfigurationError
from functorch_artifact.records import (
    Array,
    ArrayCollection,
    Plot,
    PlotCollection,
    Scale,
    Score,
    ScoreCollection,
    Value,
)

ResourceT = TypeVar("ResourceT")
T = TypeVar("T")

MODALITIES: Final = (Score, Array, Plot, ScoreCollection, ArrayCollection, PlotCollection)
"""The kinds of value that an artifact can compute."""


Formula: TypeAlias = "Callable[..., float | Mapping[str, float]]"
Noise: TypeAlias = "Formula | Literal['resample'] | None"
Error: TypeAlias = "Formula | Literal['bootstrap'] | None"


@attrs.frozen
class Artifact(Generic[ResourceT]):
    """One named function of a resource, with its parameters.

    Call it with keyword arguments for the same artifact with other parameters; `compute` gives the
    record's value.

    Args:
        name: the record's name.
        modality: the class of value that it computes, one of `Score`, `Array`, `Plot` and their
            collections in `functorch_artifact.records`.
        function: a pure function of a resource (and of parameters, by keyword) to what
            `modality.of` takes, e.g. a number or a figure.
        parameters: keyword arguments for `function`.
        scale: how to read it, if it is a score.
        noise: what a perfect model would score at these sample sizes: "resample" estimates it from
            resamples of the real data, a function of the same arguments as `function` computes it.
        error: the score's standard error, how much it would differ on other examples of the same
            population: "bootstrap" estimates it from such, drawn with replacement, a function of the
            same arguments as `function` computes it.
        heavy: whether nobody should wait for it, although it is a score.

    Raises:
        ConfigurationError: the modality is none, or `function` does not take the parameters.

    Example:
        >>> from functorch_artifact.records import Score
        >>> total = Artifact("TOTAL", Score, lambda numbers, power=1: sum(n**power for n in numbers))
        >>> total.compute([1, 2]), total(power=2).compute([1, 2])
        (Score(value=3.0), Score(value=5.0))
    """

    name: str = attrs.field(converter=str)  # a plain one: an enumeration's member shows as one
    modality: Any
    function: Callable[..., Any]
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    scale: Scale | None = None
    noise: Noise = None
    error: Error = None
    heavy: bool = False

    def __attrs_post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ConfigurationError(
                "computes an unknown kind of value",
                where=f"artifact {self.name!r}",
                expected=[each.__name__ for each in MODALITIES],
                got=self.modality,
            )
        if self.parameters:
            accepted = _accepted(self.function)
            if accepted is not None and (unknown := sorted(set(self.parameters) - set(accepted))):
                raise ConfigurationError(
                    "does not take these parameters",
                    where=f"artifact {self.name!r}",
                    expected=sorted(accepted) or "none",
                    got=unknown,
                )

    def __call__(self, **parameters: Any) -> Artifact[ResourceT]:
        """Choose parameters.

        Raises:
            ConfigurationError: the function does not take them.
        """
        return attrs.evolve(self, parameters={**self.parameters, **parameters})

    def named(self, name: str) -> Artifact[ResourceT]:
        """Name it otherwise, so that one plan can hold it twice, with different parameters."""
        return attrs.evolve(self, name=name)

    @property
    def score_name(self) -> str | None:
        """The name of the scores it logs (`NAME/*` for a collection), `None` if it logs none."""
        return {Score: self.name, ScoreCollection: f"{self.name}/*"}.get(self.modality)

    @property
    def module(self) -> str | None:
        """The name of the module that defines its function."""
        return _origin(self.function)[0]

    @property
    def waits(self) -> bool:
        """Whether it can wait: whether it may be computed in the background, after its epoch."""
        return self.heavy or self.score_name is None

    def compute(self, resource: ResourceT) -> Value:
        """Compute the value; a score that is undefined (`UndefinedError`) is NaN, with the reason.

        Raises:
            RecordError: the function returned something else.
        """
        if self.modality is Score:
            return Score.attempt(lambda: self.function(resource, **self.parameters), self.name)
        value: Value = self.modality.of(self.function(resource, **self.parameters), self.name)
        return value


@attrs.frozen
class Choice:
    """A member of an enumeration, with parameters."""

    name: str
    parameters: Mapping[str, Any]


class ArtifactType(StrEnum):
    """Base of a domain's enumerations: one a modality, one member an artifact.

    A member stands for the artifact of its value's name; called with keyword arguments, for the
    artifact with these parameters.
    """

    def __call__(self, **parameters: Any) -> Choice:
        """Choose parameters: `TableComparisonScoreType.MEAN_JS_DISTANCE(categorical_only=True)`."""
        return Choice(self.value, parameters)


Chosen: TypeAlias = "str | Choice | Artifact[Any]"
"""What names an artifact in a plan: an enumeration's member, a name, either with parameters, or the artifact."""


def choose(chosen: Iterable[T], known: Collection[T], parameter: str) -> tuple[T, ...]:
    """Check a parameter that chooses among names.

    Raises:
        ConfigurationError: one is not among the known ones.

    Example:
        >>> choose(["Q1", "MAX"], ("Q1", "Q3", "MAX"), "stat_types")
        ('Q1', 'MAX')
    """
    found = tuple(chosen)
    if unknown := [each for each in found if each not in known]:
        raise ConfigurationError("is no choice", where=parameter, expected=f"some of {list(known)}", got=unknown)
    return found


class Toolkit(Generic[ResourceT]):
    """A domain's artifacts by name, and how to add one's own.

    Args:
        name: the domain's name, e.g. "table_comparison".
        parts: the parts of a resource that functions may ask for, by the parameter's name.
        resample: what a resource would look like if both of its sides came from one population,
            by seed; noise floors are estimated from it.
        bootstrap: a resource of as many examples, drawn with replacement from a resource's, by
            seed; standard errors are estimated from it.

    Example:
        >>> numbers = Toolkit("numbers", {"real": lambda pair: pair[0], "synthetic": lambda pair: pair[1]})
        >>> @numbers.score("GAP", low=0.0, better="lower")
        ... def gap(real, synthetic, scale=1.0):
        ...     return scale * abs(real - synthetic)
        >>> numbers.find("GAP").compute((1, 3)), gap(scale=10.0).compute((1, 3))
        (Score(value=2.0), Score(value=20.0))
    """

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Callable[[ResourceT], Any]],
        resample: Callable[[ResourceT, int], ResourceT] | None = None,
        bootstrap: Callable[[ResourceT, int], ResourceT] | None = None,
    ) -> None:
        self.name = name
        self.parts = dict(parts)
        self.resample = resample
        self.bootstrap = bootstrap
        self._artifacts: dict[str, Artifact[ResourceT]] = {}

    def __iter__(self) -> Iterator[Artifact[ResourceT]]:
        return iter(tuple(self._artifacts.values()))

    def find(self, chosen: Chosen) -> Artifact[ResourceT]:
        """Look up what a plan names.

        Raises:
            ConfigurationError: no artifact has that name, or it does not take the parameters.
        """
        if isinstance(chosen, Artifact):
            return chosen
        name = chosen.name if isinstance(chosen, Choice) else str(chosen)
        if name not in self._artifacts:
            near = difflib.get_close_matches(name, self._artifacts, n=1)
            raise ConfigurationError(
                "is not an artifact",
                where=f"{self.name}, {name!r}",
                expected=f"one of {sorted(self._artifacts)}",
                fix=f'write "{near[0]}"' if near else f'define it: @{self.name}.score("{name}")',
            )
        found = self._artifacts[name]
        return found(**chosen.parameters) if isinstance(chosen, Choice) else found

    def score(
        self,
        name: str,
        *,
        low: float = -float("inf"),
        high: float = float("inf"),
        better: Literal["lower", "higher"] | None = None,
        noise: Noise = None,
        error: Error = None,
        heavy: bool = False,
    ) -> Callable[[Callable[..., Any]], Artifact[ResourceT]]:
        """Make the decorated function, which gives a number, the score `name`.

        Args:
            name: the record's name.
            low: the least value there can be.
            high: the greatest value there can be.
            better: which end is the better one.
            noise: as for `Artifact`.
            error: as for `Artifact`.
            heavy: as for `Artifact`.

        Raises:
            ConfigurationError: the function asks for what the toolkit does not have, or another
                function has that name.
        """
        return self._adding(name, Score, Scale(low, high, better), noise=noise, error=error, heavy=heavy)

    def score_collection(
        self,
        name: str,
        *,
        low: float = -float("inf"),
        high: float = float("inf"),
        better: Literal["lower", "higher"] | None = None,
        noise: Noise = None,
        error: Error = None,
        heavy: bool = False,
    ) -> Callable[[Callable[..., Any]], Artifact[ResourceT]]:
        """Make the decorated function, which gives numbers by name, the score collection `name`."""
        return self._adding(name, ScoreCollection, Scale(low, high, better), noise=noise, error=error, heavy=heavy)

    def array(self, name: str) -> Callable[[Callable[..., Any]], Artifact[ResourceT]]:
        """Make the decorated function, which gives an array, the array `name`."""
        return self._adding(name, Array)

    def array_collection(self, name: str) -> Callable[[Callable[..., Any]], Artifact[ResourceT]]:
        """Make the decorated function, which gives arrays by name, the array collection `name`."""
        return self._adding(name, ArrayCollection)

    def plot(self, name: str) -> Callable[[Callable[..., Any]], Artifact[ResourceT]]:
        """Make the decorated function, which gives a matplotlib `Figure`, the plot `name`."""
        return self._adding(name, Plot)

    def plot_collection(self, name: str) -> Callable[[Callable[..., Any]], Artifact[ResourceT]]:
        """Make the decorated function, which gives figures by name, the plot collection `name`."""
        return self._adding(name, PlotCollection)

    def _adding(
        self,
        name: str,
        modality: Any,
        scale: Scale | None = None,
        *,
        noise: Noise = None,
        error: Error = None,
        heavy: bool = False,
    ) -> Callable[[Callable[..., Any]], Artifact[ResourceT]]:
        def asking(function: Any) -> Any:
            return self._asking(function, name) if callable(function) else function

        def add(function: Callable[..., Any]) -> Artifact[ResourceT]:
            artifact = Artifact[ResourceT](
                name, modality, asking(function), scale=scale, noise=asking(noise), error=asking(error), heavy=heavy
            )
            known = self._artifacts.get(name)
            if known is not None and not _same(known.function, artifact.function):
                raise ConfigurationError(
                    "is there already", where=f"{self.name}, artifact {name!r}", fix="choose another name"
                )
            self._artifacts[artifact.name] = artifact
            return artifact

        return add

    def _asking(self, function: Callable[..., Any], name: str) -> _Asking:
        signature = inspect.signature(function).parameters.values()
        required = [each.name for each in signature if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
        if unknown := [each for each in required if each not in self.parts]:
            raise ConfigurationError(
                "asks for what there is not",
                where=f"{self.name}, artifact {name!r}",
                expected=f"parameters named {', '.join(self.parts)}, and others with a default",
                got=unknown,
            )
        return _Asking(function, {each: self.parts[each] for each in required})


@attrs.frozen(eq=False)
class _Asking:
    """A function that is given the parts of a resource that its parameters name."""

    function: Callable[..., Any]
    parts: Mapping[str, Callable[[Any], Any]]

    def __call__(self, resource: Any, **parameters: Any) -> Any:
        return self.function(**{name: part(resource) for name, part in self.parts.items()}, **parameters)


def _accepted(function: Callable[..., Any]) -> list[str] | None:
    """Name the parameters a function takes by keyword beside the resource; `None` if it takes any."""
    taken = list(inspect.signature(_inner(function)).parameters.values())
    if any(each.kind is each.VAR_KEYWORD for each in taken):
        return None
    if isinstance(function, _Asking):
        return [each.name for each in taken if each.name not in function.parts]
    return [each.name for each in taken[1:]]


def _same(known: Callable[..., Any], new: Callable[..., Any]) -> bool:
    """Say whether one function defines another again: a cell that ran again, a file under another name."""
    (module, file, name), (new_module, new_file, new_name) = _origin(known), _origin(new)
    return name == new_name and (module == new_module or file == new_file is not None)


def _origin(function: Callable[..., Any]) -> tuple[str | None, str | None, str | None]:
    inner = _inner(function)
    file = getattr(getattr(inner, "__code__", None), "co_filename", None)
    return getattr(inner, "__module__", None), file, getattr(inner, "__qualname__", None)


def _inner(function: Callable[..., Any]) -> Callable[..., Any]:
    return function.function if isinstance(function, _Asking) else function
