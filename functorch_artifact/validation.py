"""Validating a program's model: its loaders and artifacts, each in the order and noise of always.

Belongs here: running routines on a model's variables, and `evaluate`. Does not: what becomes of the
records (`driver`).
Floor 8.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, cast

import torch

from functorch_artifact import feeding, keys, trees
from functorch_artifact.contracts import BatchResult, Loader
from functorch_artifact.data import DataLoader, placing
from functorch_artifact.model import Variables
from functorch_artifact.program import Program
from functorch_artifact.records import TrackingClient
from functorch_artifact.routines import Background, Outcome
from functorch_artifact.step import HasVariables, device_of


def evaluate(program: Program, variables: HasVariables) -> Outcome:
    """Run all of a program's validation on a model, whatever is due.

    Loaders, order and randomness are those of training, so a model that was tracked as the best
    gets the very score it was tracked for: `evaluate(program, result.best.model).scores`. Records
    are marked as of epoch and step 0.
    """
    held = Variables(variables.params, variables.frozen, variables.buffers)
    program = program.with_loaders(placing(device_of(held)))
    outcomes = [outcome for _, _, outcome in validate(program, held, 0, 0, only_due=False)]
    return Outcome(
        tuple(record for outcome in outcomes for record in outcome.records),
        tuple(failure for outcome in outcomes for failure in outcome.failures),
    )


def validate(
    program: Program,
    variables: Variables,
    epoch: int,
    step: int,
    *,
    only_due: bool = True,
    executor: Background | None = None,
    needed: Collection[str] = (),
) -> Iterator[tuple[str, TrackingClient | None, Outcome]]:
    """Run a program's loader and artifact routines on a model.

    Args:
        program: what to run.
        variables: the model.
        epoch: the epoch that the records belong to.
        step: the step that the records belong to.
        only_due: whether to leave out what is not due at the epoch.
        executor: who computes what can wait, which then is pending in the outcomes; by default
            nothing waits.
        needed: scores that cannot wait, for somebody decides by them.

    Yields:
        The name of an artifact routine, `artifacts:INDEX` (empty for loader routines), the client
        that the routine's records are for, and its outcome.
    """
    for routine in program.loader_routines:
        if not only_due or routine.due(epoch):
            results = _evaluated(program, variables, routine.data_loader)
            yield "", routine.tracking_client, routine.run(results, epoch, step, only_due=only_due)
    due = [i for i, routine in enumerate(program.artifact_routines) if not only_due or routine.due(epoch)]
    yield from validate_artifacts(program, variables, epoch, step, due, executor=executor, needed=needed)


def validate_artifacts(
    program: Program,
    variables: Variables,
    epoch: int,
    step: int,
    indices: Sequence[int],
    *,
    executor: Background | None = None,
    needed: Collection[str] = (),
) -> Iterator[tuple[str, TrackingClient | None, Outcome]]:
    """Run the artifact routines at some indices on a model; see `validate`."""
    if not indices:
        return
    model = program.model.bind(variables)
    for index in indices:
        routine = program.artifact_routines[index]
        # The same key at every epoch: scores of different epochs differ by the model alone.
        with torch.no_grad(), keys.seeded(keys.derive(program.seed, "generate"), device_of(variables)):
            yield (
                f"artifacts:{index}",
                routine.tracking_client,
                routine.run(model, epoch, step, executor=executor, needed=needed),
            )


def _evaluated(program: Program, variables: Variables, loader: Loader[Any]) -> Iterator[BatchResult[Any, Any]]:
    device, evaluated = device_of(variables), program.eval_step
    # Always the order of epoch 1: a score must not depend on when it is computed.
    for batch in batches_on(device, loader, 1, program.seed):
        yield BatchResult(batch, cast(Any, evaluated(variables, batch)), trees.n_examples(batch))


def batches_on(device: torch.device, loader: Loader[Any], epoch: int, seed: int, start: int = 0) -> Iterator[Any]:
    """Iterate over an epoch's batches from the `start`-th on, on a device; none is prepared or moved in vain."""
    if isinstance(loader, DataLoader):
        batches, placed = loader.batches(epoch, seed, start), loader.placed
    else:
        batches, placed = islice(loader.batches(epoch, seed), start, None), None
    return batches if placed == device else feeding.on_device(batches, device)
