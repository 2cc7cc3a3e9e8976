"""The laws of routines.

Belongs here: what is due, where records belong, that callbacks are kept apart. Does not: the
callbacks' own laws (`callback_laws`).
Floor 10.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs
import torch
from hypothesis import strategies as st

from functorch_artifact import callbacks, folds, keys, trees
from functorch_artifact.routines import ArtifactRoutine, BatchRoutine, DataLoaderRoutine, Outcome
from functorch_artifact.testing.agreement import digest, disturb_generators, show
from functorch_artifact.testing.callback_laws import contracts
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect
from functorch_artifact.testing.values import batches as draw_batches

Routine = BatchRoutine[Any, Any] | DataLoaderRoutine[Any, Any] | ArtifactRoutine[Any]


@attrs.frozen(eq=False)
class RoutineCase(Case):
    """A routine, with the batches or the model that it is run on."""

    batches: st.SearchStrategy[Any]
    model: Any

    def run(self, stream: list[Any], epoch: int, step: int, routine: Any = None) -> Outcome:
        routine = self.subject if routine is None else routine
        if isinstance(routine, ArtifactRoutine):
            with torch.no_grad(), keys.seeded(0):
                return routine.run(self.model, epoch, step)
        if isinstance(routine, DataLoaderRoutine):
            return routine.run(stream, epoch, step)
        observations, failures = [], []
        for offset, result in enumerate(stream):
            seen, failed = routine.observe(result, epoch, step + offset)
            observations += seen
            failures += failed
        outcome = routine.finish(observations, epoch)
        return Outcome(outcome.records, (*failures, *outcome.failures))


ROUTINE: Family[RoutineCase] = Family("routine", "check_routine")


def check_routine(
    routine: Routine,
    *,
    batches: st.SearchStrategy[Any] | None = None,
    model: Any = None,
    strict: bool = True,
    without: Collection[str] = (),
) -> Report:
    """Hold a routine to the laws of routines.

    - `records_belong_to_their_epoch_and_step`, `nothing_fails`, `running_changes_nothing`
    - `the_same_run_gives_the_same_records`, `scores_are_declared`
    - for batch and data-loader routines: `only_what_is_due_runs`, `callbacks_are_kept_apart`,
      `a_callback_that_raises_stops_no_other`

    Args:
        routine: the routine.
        batches: the `BatchResult`s it is run on; by default drawn of the contracts its class names.
        model: the model that an artifact routine is run on.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.

    Example:
        >>> from functorch_artifact import BatchLossCallback, BatchRoutine
        >>> from functorch_artifact.testing import check_routine
        >>> "only_what_is_due_runs" in check_routine(BatchRoutine([BatchLossCallback(period=2)])).holding
        True
    """
    return routine_laws(routine, batches=batches, model=model).check(strict=strict, without=without)


def routine_laws(routine: Routine, *, batches: st.SearchStrategy[Any] | None = None, model: Any = None) -> Laws:
    """List the laws of a routine; the arguments are those of `check_routine`."""
    drawn = draw_batches(*contracts(routine)) if batches is None else batches
    options = {name: value for name, value in (("batches", batches), ("model", model)) if value is not None}
    return ROUTINE.bind(RoutineCase(routine, drawn, model, options=options))


def _streams(case: RoutineCase) -> st.SearchStrategy[list[Any]]:
    artifacts = isinstance(case.subject, ArtifactRoutine)
    return st.just([]) if artifacts else st.lists(case.batches, min_size=1, max_size=3)


def _has_callbacks(case: RoutineCase) -> bool:
    return not isinstance(case.subject, ArtifactRoutine)


_epochs = st.integers(1, 12)
_steps = st.integers(1, 30)


@ROUTINE.law(usual_cause="a callback or an artifact cannot take what it is given", stream=_streams, epoch=_epochs)
def nothing_fails(case: RoutineCase, stream: list[Any], epoch: int) -> None:
    """No callback and no artifact raises."""
    failures = case.run(stream, epoch, 1).failures
    expect(not failures, "no failure", "; ".join(f"{failure.where}: {failure.what}" for failure in failures))


@ROUTINE.law(
    usual_cause="epochs are counted from 0, or a split is left out",
    stream=_streams,
    epoch=_epochs,
    step=_steps,
)
def records_belong_to_their_epoch_and_step(case: RoutineCase, stream: list[Any], epoch: int, step: int) -> None:
    """Each record carries the epoch and the step it is of, and the routine's split."""
    per_batch = isinstance(case.subject, BatchRoutine)
    for record in case.run(stream, epoch, step).records:
        found = (record.epoch, record.split)
        expect(found == (epoch, case.subject.split), (epoch, case.subject.split), f"{found} of {record.name}")
        last = step + len(stream) - 1 if per_batch else step
        expect(step <= record.step <= last, f"a step from {step} to {last}", f"{record.step} of {record.name}")


@ROUTINE.law(
    usual_cause="a callback writes into the batch, or an artifact into the model",
    stream=_streams,
    epoch=_epochs,
)
def running_changes_nothing(case: RoutineCase, stream: list[Any], epoch: int) -> None:
    """Batches and model are to the bit what they were."""
    held = dict(case.model.state_dict()) if hasattr(case.model, "state_dict") else case.model
    before = trees.digest((stream, held))
    case.run(stream, epoch, 1)
    expect(trees.digest((stream, held)) == before, "batches and model as they were", "other ones")


@ROUTINE.law(usual_cause="a random number or the time takes part", stream=_streams, epoch=_epochs)
def the_same_run_gives_the_same_records(case: RoutineCase, stream: list[Any], epoch: int) -> None:
    """The same batches or model give the same records, to the bit."""
    runs = []
    for seed in (0, 1):
        disturb_generators(seed)
        runs.append([(record.name, record.value) for record in case.run(stream, epoch, 1).records])
    expect(digest(runs[0]) == digest(runs[1]), show(runs[0]), show(runs[1]))


@ROUTINE.law(
    usual_cause="score_names is not kept up with the artifacts, so a stopper that reads one is refused",
    needs=lambda case: hasattr(case.subject, "score_names"),
    stream=_streams,
    epoch=_epochs,
)
def scores_are_declared(case: RoutineCase, stream: list[Any], epoch: int) -> None:
    """Every score that is recorded is among score_names, by its name or by its collection's."""
    declared = case.subject.score_names
    for name in case.run(stream, epoch, 1).scores:
        known = name in declared or any(each.endswith("/*") and name.startswith(each[:-1]) for each in declared)
        expect(known, f"one of {declared}", name)


@ROUTINE.law(
    usual_cause="due is asked of a count from 0, or of epochs where steps are meant",
    needs=_has_callbacks,
    stream=_streams,
    epoch=_epochs,
    step=_steps,
)
def only_what_is_due_runs(case: RoutineCase, stream: list[Any], epoch: int, step: int) -> None:
    """There is one record for each callback and each step, or epoch, at which it is due."""
    batchwise = isinstance(case.subject, BatchRoutine)
    counts = range(step, step + len(stream)) if batchwise else [epoch]
    places = [(each.name, n if batchwise else step) for n in counts for each in case.subject.callbacks if each.due(n)]
    found = [(record.name, record.step) for record in case.run(stream, epoch, step).records]
    expect(sorted(found) == sorted(places), sorted(places), sorted(found))


@ROUTINE.law(
    usual_cause="callbacks share an accumulator or an iterator", needs=_has_callbacks, stream=_streams, epoch=_epochs
)
def callbacks_are_kept_apart(case: RoutineCase, stream: list[Any], epoch: int) -> None:
    """Each callback records what it records in a routine of its own."""
    together = {(r.name, r.step): digest(r.value) for r in case.run(stream, epoch, 1).records}
    for callback in case.subject.callbacks:
        alone = case.run(stream, epoch, 1, attrs.evolve(case.subject, callbacks=(callback,)))
        for record in alone.records:
            same = together.get((record.name, record.step)) == digest(record.value)
            expect(same, f"{show(record.value)} of {record.name}", "another value beside the other callbacks")


def _fail(result: Any) -> Any:
    raise ArithmeticError("on purpose")


@ROUTINE.law(usual_cause="the first error ends the sweep", needs=_has_callbacks, stream=_streams, epoch=_epochs)
def a_callback_that_raises_stops_no_other(case: RoutineCase, stream: list[Any], epoch: int) -> None:
    """Beside a callback that raises, the others record what they did; the failure names it, epoch and split."""
    raising = callbacks.score("RAISING", folds.sum(_fail))
    beside = case.run(stream, epoch, 1, attrs.evolve(case.subject, callbacks=(raising, *case.subject.callbacks)))
    expected = case.run(stream, epoch, 1)
    left, right = ([(r.name, r.step, r.value) for r in outcome.records] for outcome in (expected, beside))
    expect(digest(left) == digest(right), show(left), show(right))
    found = [(each.callback, each.epoch, each.split) for each in beside.failures]
    place = ("RAISING", epoch, case.subject.split)
    expect(place in found, f"a failure at {place}", found)
