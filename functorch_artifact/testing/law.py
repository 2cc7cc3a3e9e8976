"""Laws as data, and the search for what breaks them.

Belongs here: `Law`, families of laws, how one is searched, replayed and reported. Does not: any
law (one file a family).
Floor 10.

A law is a function of a case (what is checked, with what the family has found out about it) and of
drawn values. It raises `Broken` with what was expected and got; whatever else a checked object
raises breaks the law as well.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import attrs
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from functorch_artifact.errors import ConfigurationError, LawViolation, PurityError
from functorch_artifact.testing.source import Source

C = TypeVar("C", bound="Case")
F = TypeVar("F", bound=Callable[..., None])
Draw: TypeAlias = st.SearchStrategy[Any] | Callable[[Any], st.SearchStrategy[Any]]


_RAISED: Final = "an example like this one, which a run may give it, was not thought of; if it was: "


class Broken(Exception):  # noqa: N818  # an answer, not a fault of the program
    """What a law expected, and what it got instead."""

    def __init__(self, expected: object, got: object) -> None:
        super().__init__(expected, got)
        self.expected, self.got = str(expected), str(got)


class Undecided(Exception):  # noqa: N818
    """An example that a law says nothing about."""


def suppose(holds: bool) -> None:
    """Go on if the law has something to say of this example.

    Raises:
        Undecided: it has not.
    """
    if not holds:
        raise Undecided


def expect(holds: bool, expected: object, got: object) -> None:
    """Go on if it holds.

    Raises:
        Broken: it does not.
    """
    if not holds:
        raise Broken(expected, got)


def expect_instance(subject: object, kind: type, checker: str) -> None:
    """Refuse what a checker does not check.

    Raises:
        ConfigurationError: it is of another kind.
    """
    if not isinstance(subject, kind):
        is_class = isinstance(subject, type) and issubclass(subject, kind)
        raise ConfigurationError(
            "cannot be checked",
            where=checker,
            expected=f"an instance of {kind.__name__}",
            got=f"the class {subject.__name__}" if isinstance(subject, type) else type(subject).__name__,
            fix=f"make an instance: {subject.__name__}(...)" if is_class else None,  # type: ignore[attr-defined]
        )


@attrs.frozen(eq=False)
class Case:
    """What is checked; families extend it with what their laws need to know."""

    subject: Any
    options: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    """The checker's options as they were given, to be repeated in a counterexample."""


@attrs.frozen(eq=False)
class Law:
    """One law: a statement and the check of it.

    Attributes:
        name: an identifier.
        statement: one sentence.
        check: `check(case, **drawn)`; raises `Broken`.
        usual_cause: what most often breaks it.
        draws: for each argument of `check` a strategy, or a function from the case to one.
        needs: says of a case whether the law has a meaning for it.
        cost: how many ordinary examples one example of it costs.
    """

    name: str
    statement: str
    check: Callable[..., None]
    usual_cause: str
    draws: Mapping[str, Draw]
    needs: Callable[[Any], bool]
    cost: int = 1


@attrs.frozen(eq=False)
class Family(Generic[C]):
    """The laws of one kind of object."""

    subject: str  # what a counterexample calls the object, e.g. "stopper"
    checker: str  # e.g. "check_stopper"
    laws: dict[str, Law] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        FAMILIES[self.checker] = self

    def law(
        self, *, usual_cause: str, needs: Callable[[C], bool] = lambda case: True, cost: int = 1, **draws: Draw
    ) -> Callable[[F], F]:
        """Make a law of a function: its name, and the first paragraph of its docstring."""

        def declare(check: F) -> F:
            statement = " ".join(inspect.cleandoc(check.__doc__ or "").split("\n\n")[0].split())
            name = check.__name__
            self.laws[name] = Law(name, statement, check, usual_cause, draws, needs, cost)
            return check

        return declare

    def adopt(self, law: Law) -> None:
        """Take over a law of another family, whose case this family's extends."""
        self.laws[law.name] = law

    def bind(self, case: C) -> Laws:
        """Apply the laws to a case."""
        return Laws(self, case, self.laws)


FAMILIES: Final[dict[str, Family[Any]]] = {}
"""Every family, by its checker."""


@attrs.frozen(eq=False)
class BoundLaw:
    """A law of one object: call it to search for a counterexample, or with one to replay it."""

    family: Family[Any]
    law: Law
    case: Case

    @property
    def __name__(self) -> str:
        return self.law.name

    @property
    def applies(self) -> bool:
        """Whether the law has a meaning for this object."""
        return self.law.needs(self.case)

    def __call__(self, **example: Any) -> None:
        """Search, under hypothesis' current settings; given the law's arguments, try those alone.

        Raises:
            LawViolation: the law is broken; of all examples found, by the smallest.
        """
        replayed = bool(example) or not self.law.draws
        violation = self.try_example(example) if replayed else self._search()
        if violation is not None:
            raise violation

    def try_example(self, example: Mapping[str, Any]) -> LawViolation | None:
        """Find out whether one example breaks the law."""
        try:
            self.law.check(self.case, **example)
        except Broken as broken:
            return self._violation(example, broken.expected, broken.got)
        except PurityError as error:
            got = "\n    ".join(error.impurities)
            where = str(error).split(": is not pure")[0]
            return self._violation(example, f"{where} leaves everything as it is", got)
        except Undecided:
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            at = f" ({place.filename.rsplit('/')[-1]}:{place.lineno}, in {place.name})"
            return self._violation(example, "no error", f"{type(error).__name__}: {error}{at}", raised=True)
        return None

    def _search(self) -> LawViolation | None:
        found: list[LawViolation] = []
        strategies = {
            name: draw if isinstance(draw, st.SearchStrategy) else draw(self.case)
            for name, draw in self.law.draws.items()
        }

        @_settings(self.law.cost)
        @given(st.fixed_dictionaries(strategies))
        def attempt(example: dict[str, Any]) -> None:
            try:
                violation = self.try_example(example)
            except Undecided:
                reject()
            if violation is not None:
                found.append(violation)
                raise violation

        try:
            attempt()
        except LawViolation as violation:
            violation.__notes__ = []  # hypothesis says there what the message says already
            return violation.with_traceback(None)
        except Flaky:
            # It broke the law once, and not when the same was tried again.
            return found[-1]
        return None

    def _violation(self, example: Mapping[str, Any], expected: str, got: str, *, raised: bool = False) -> LawViolation:
        subject = self.case.subject
        label = subject.__name__ if isinstance(subject, type) else type(subject).__name__
        return LawViolation(
            label,
            self.law.name,
            self.law.statement,
            self._script(example),
            expected=expected,
            got=got,
            usual_cause=(_RAISED if raised else "") + self.law.usual_cause,
        )

    def _script(self, example: Mapping[str, Any]) -> str:
        """Write a counterexample as Python that replays it."""
        source, name = Source(), self.family.subject
        source.need("functorch_artifact.testing", "laws")
        lines = []
        for variable, value in {name: self.case.subject, **self.case.options, **example}.items():
            trial = Source()
            trial.of(value)
            if trial.complete or variable != name:
                lines.append(f"{variable} = {source.of(value)}")
            else:
                lines.append(f"{name} = ...  # the {type(value).__name__} that is checked")
        options = "".join(f", {option}={option}" for option in self.case.options)
        arguments = ", ".join(f"{each}={each}" for each in example)
        return "\n".join([*source.imports, *lines, f"laws({name}{options})[{self.law.name!r}]({arguments})"])


@attrs.frozen(eq=False)
class Laws(Collection[BoundLaw]):
    """The laws of one object: iterate for `pytest.mark.parametrize`, look one up by its name.

    Only laws that have a meaning for the object are listed.
    """

    family: Family[Any]
    case: Case
    listed: Mapping[str, Law]

    def __iter__(self) -> Iterator[BoundLaw]:
        bound = (BoundLaw(self.family, law, self.case) for law in self.listed.values())
        return (each for each in bound if each.applies)

    def __contains__(self, name: object) -> bool:
        return any(bound.law.name == name for bound in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> BoundLaw:
        if name not in self.listed:
            raise ConfigurationError(
                "is not a law", where=repr(name), expected=f"one of {', '.join(self.listed)}", fix="check the name"
            )
        return BoundLaw(self.family, self.listed[name], self.case)

    def check(self, *, strict: bool = True, without: Collection[str] = ()) -> Report:
        """Try every law.

        Raises:
            LawViolation: one is broken and `strict` is true; the others that are broken are named
                in its notes.
            ConfigurationError: `without` names something that is not a law.
        """
        for name in without:
            _ = self[name]
        violations: dict[str, LawViolation | None] = {}
        for bound in self:
            if bound.law.name not in without:
                try:
                    bound()
                    violations[bound.law.name] = None
                except LawViolation as violation:
                    violations[bound.law.name] = violation
        report = Report(self.family, violations)
        if strict and report.broken:
            first, *others = report.broken.values()
            if others:
                first.add_note(f"broken as well: {', '.join(each.law for each in others)}")
            raise first
        return report


@attrs.frozen(eq=False)
class Report:
    """Which laws hold, and which do not; print it."""

    family: Family[Any]
    _violations: Mapping[str, LawViolation | None]

    @property
    def holding(self) -> tuple[str, ...]:
        """The laws no example broke."""
        return tuple(name for name, violation in self._violations.items() if violation is None)

    @property
    def broken(self) -> dict[str, LawViolation]:
        """The laws that are broken, each with its counterexample."""
        return {name: violation for name, violation in self._violations.items() if violation is not None}

    def __bool__(self) -> bool:
        """Say whether all hold."""
        return not self.broken

    def __repr__(self) -> str:
        lines = [
            f"{'holds ' if violation is None else 'BROKEN'}  {name}: {self.family.laws[name].statement}"
            for name, violation in self._violations.items()
        ]
        return "\n".join([*lines, *(f"\n{violation}" for violation in self.broken.values())])


def _settings(cost: int) -> settings:
    """Take the user's profile, without what would fail a correct object or print a thing twice."""
    return settings(
        max_examples=max(1, settings().max_examples // cost),
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(cast(Any, HealthCheck)),
        phases=[Phase.generate, Phase.shrink],
    )
