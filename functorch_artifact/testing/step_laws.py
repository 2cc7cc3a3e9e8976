"""The laws of training steps.

Belongs here: that a step is a function, what it counts, that its modes agree. Does not: the end of
an epoch (`program_laws`).
Floor 10.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import attrs
import torch
from hypothesis import strategies as st

from functorch_artifact import compiling, keys, purity, trees
from functorch_artifact.compiling import CompiledStep
from functorch_artifact.errors import LossError
from functorch_artifact.losses import with_loss
from functorch_artifact.model import Variables
from functorch_artifact.optimizers import apply_updates
from functorch_artifact.step import TrainState, TrainStep
from functorch_artifact.testing.agreement import digest, disturb_generators, show, through_a_checkpoint
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect, suppose


@attrs.frozen(eq=False)
class StepCase(Case):
    """A step, the state it begins with, and batches."""

    state: TrainState
    batches: st.SearchStrategy[Any]
    captured: TrainStep | CompiledStep

    @property
    def plain(self) -> TrainStep:
        """The step as it is before compiling."""
        step: TrainStep = self.subject.step if isinstance(self.subject, CompiledStep) else self.subject
        return step

    def go(self, batches: list[Any], state: TrainState | None = None) -> TrainState:
        reached = self.state if state is None else state
        for batch in batches:
            reached, _ = self.subject(reached, batch)
        return reached


STEP: Family[StepCase] = Family("step", "check_step")


def check_step(
    step: TrainStep | CompiledStep,
    state: TrainState,
    batches: st.SearchStrategy[Any],
    *,
    strict: bool = True,
    without: Collection[str] = (),
) -> Report:
    """Hold a training step to the laws of steps.

    - `a_step_is_pure`, `randomness_depends_on_seed_and_step_alone`, `runs_do_not_disturb_each_other`
    - `a_step_counts_once`, `the_state_keeps_its_structure`, `what_is_frozen_stays`
    - `a_step_is_the_gradient_then_the_update` (in fp32), `the_output_is_detached`
    - `a_loss_that_is_not_finite_does_what_was_said`
    - `a_state_that_is_saved_goes_on_the_same`, `captured_has_the_bits_of_eager`

    Args:
        step: what `train_step` or `compile` made.
        state: the state it begins with.
        batches: the batches it is given.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.

    Example:
        >>> import torch
        >>> import functorch_artifact as fa
        >>> from functorch_artifact import optimizers
        >>> from functorch_artifact.testing import check_step, strategies as fas
        >>> net, tx = torch.nn.Linear(3, 1), optimizers.sgd(0.1)
        >>> step = fa.train_step(net, tx, loss=lambda out, batch: out.square().mean())
        >>> report = check_step(step, fa.init(net, tx), fas.tensors(shapes=(4, 3)))
        >>> "a_step_counts_once" in report.holding
        True
    """
    return step_laws(step, state=state, batches=batches).check(strict=strict, without=without)


def step_laws(step: TrainStep | CompiledStep, *, state: TrainState, batches: st.SearchStrategy[Any]) -> Laws:
    """List the laws of a step; the arguments are those of `check_step`."""
    captured = compiling.compile(step) if isinstance(step, TrainStep) else step
    return STEP.bind(StepCase(step, state, batches, captured, options={"state": state, "batches": batches}))


def _batch(case: StepCase) -> st.SearchStrategy[Any]:
    return case.batches


def _run(case: StepCase) -> st.SearchStrategy[list[Any]]:
    return st.lists(case.batches, max_size=3)


@STEP.law(
    usual_cause="a module or an optimizer writes into the tensors it is given; clone them, or return new ones",
    batch=_batch,
)
def a_step_is_pure(case: StepCase, batch: Any) -> None:
    """A step changes neither state nor batch, leaves the global generators, and touches no clock or file."""
    with purity.checking():
        purity.call("the step", case.plain.__call__, case.state, batch)


@STEP.law(
    usual_cause="noise is drawn from a generator of one's own, or from the clock; torch's global generator, as "
    "dropout uses it, runs from the key of (seed, step)",
    batch=_batch,
)
def randomness_depends_on_seed_and_step_alone(case: StepCase, batch: Any) -> None:
    """The same state and batch give the same bits, wherever the global generators stand."""
    results = []
    for seed in (0, 1):
        disturb_generators(seed)
        results.append(case.subject(case.state, batch))
    expect(digest(results[0]) == digest(results[1]), show(results[0][1]), show(results[1][1]))


@STEP.law(usual_cause="the module or the optimizer remembers the last call on self", run=_run, other=_run)
def runs_do_not_disturb_each_other(case: StepCase, run: list[Any], other: list[Any]) -> None:
    """A run that is stepped in turns with another one ends in the bits it ends in alone."""
    alone = digest(case.go(run))
    state, second = case.state, case.state
    for index, batch in enumerate(run):
        second = case.go(other[index : index + 1], second)
        state = case.go([batch], state)
    expect(digest(state) == alone, "the state of the run alone", show(state.params))


@STEP.law(usual_cause="a count is moved where it is not meant to, or twice", batch=_batch)
def a_step_counts_once(case: StepCase, batch: Any) -> None:
    """A step moves the counts of steps and batches by one, and no other count; the seed stays."""
    following, _ = case.subject(case.state, batch)
    for name, by in (("step", 1), ("batch", 1), ("epoch", 0), ("seed", 0)):
        before, after = int(getattr(case.state, name)), int(getattr(following, name))
        expect(after == before + by, f"{name} {before + by} after {name} {before}", after)
    for name in ("stopper", "tracker", "scores"):
        before, after = getattr(case.state, name), getattr(following, name)
        expect(digest(before) == digest(after), f"{name} as it was", show(after))


@STEP.law(usual_cause="a buffer or a moment that appears, or changes its dtype, at the first step", run=_run)
def the_state_keeps_its_structure(case: StepCase, run: list[Any]) -> None:
    """The state has the same structure, shapes and dtypes after any number of steps."""
    lines = trees.differences(case.state, case.go(run), "state")
    expect(not lines, "the structure of the first state", "; ".join(lines))


@STEP.law(usual_cause="a parameter is written to in forward", batch=_batch)
def what_is_frozen_stays(case: StepCase, batch: Any) -> None:
    """Parameters that are not trained keep their bits."""
    following, _ = case.subject(case.state, batch)
    same = digest(following.frozen) == digest(case.state.frozen)
    expect(same, "frozen parameters as they were", show(following.frozen))


@STEP.law(
    usual_cause="the gradient is taken at other parameters, scaled or negated on its way to the optimizer",
    needs=lambda case: case.plain.precision == "fp32",
    batch=_batch,
)
def a_step_is_the_gradient_then_the_update(case: StepCase, batch: Any) -> None:
    """The new parameters are the optimizer's update of the loss's gradient; the loss is that before the step."""
    state, step = case.state, case.plain
    with keys.seeded(keys.derive(int(state.seed), "step", int(state.step))):
        leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in state.params.items()}
        raw, buffers = step.model.apply(Variables(leaves, state.frozen, state.buffers), batch, train=True)
        loss = with_loss(raw, batch, step.loss)["loss"]
    suppose(bool(torch.isfinite(loss)))
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        given = dict(zip(leaves, grads, strict=True))
        updates, opt_state = step.tx.update(given, state.opt_state, state.params)
        expected = apply_updates(state.params, updates)
    following, output = case.subject(state, batch)
    expect(digest(output["loss"]) == digest(loss.detach()), f"loss {loss.item()}", f"loss {output['loss'].item()}")
    expect(digest(following.params) == digest(expected), show(expected), show(following.params))
    expect(digest(following.opt_state) == digest(opt_state), show(opt_state), show(following.opt_state))
    expect(digest(following.buffers) == digest(buffers), f"buffers {show(buffers)}", show(following.buffers))


@STEP.law(
    usual_cause="the output is returned as the model gave it; it would keep each step's graph alive",
    batch=_batch,
)
def the_output_is_detached(case: StepCase, batch: Any) -> None:
    """The output holds a scalar loss, and nothing in state or output hangs on the autograd graph."""
    following, output = case.subject(case.state, batch)
    leaves = trees.named_leaves((following, output))
    hanging = [path for path, leaf in leaves.items() if getattr(leaf, "requires_grad", False)]
    expect(not hanging, "tensors that require no gradient", f"{hanging} that do")
    expect(output["loss"].ndim == 0, "a loss of shape []", trees.describe(output["loss"]))


@STEP.law(usual_cause="the loss is compared with NaN, or only some parts of the state are held back", batch=_batch)
def a_loss_that_is_not_finite_does_what_was_said(case: StepCase, batch: Any) -> None:
    """At a NaN loss, `raise` raises a LossError; `skip` and `stop` leave all but the counts as it was."""
    spoilt = trees.map_tensors(lambda t: torch.full_like(t, math.nan) if t.is_floating_point() else t, batch)
    try:
        following, output = case.subject(case.state, spoilt)
    except LossError as error:
        expect(case.plain.nonfinite == "raise", "no error, as the policy is not to raise", error)
        return
    suppose(not math.isfinite(output["loss"].item()))
    expect(case.plain.nonfinite != "raise", "a LossError", f"a loss of {output['loss'].item()}")
    suppose(case.plain.nonfinite in ("skip", "stop"))
    for name in ("params", "buffers", "opt_state"):
        before, after = getattr(case.state, name), getattr(following, name)
        expect(digest(before) == digest(after), f"{name} as they were", show(after))
    expect(int(following.step) == int(case.state.step) + 1, "the step counted", int(following.step))


@STEP.law(usual_cause="part of the run is outside the state", run=_run, cut=st.integers(0, 3))
def a_state_that_is_saved_goes_on_the_same(case: StepCase, run: list[Any], cut: int) -> None:
    """A state that goes through a checkpoint ends in the bits of one that was never saved."""
    half = through_a_checkpoint(case.go(run[:cut]))
    expect(digest(case.go(run[cut:], half)) == digest(case.go(run)), "the state of the whole run", "another one")


@STEP.law(
    usual_cause="the module reads a value, counts or draws in Python, which happens once while it is traced",
    needs=lambda case: not isinstance(case.subject, CompiledStep),
    run=_run,
)
def captured_has_the_bits_of_eager(case: StepCase, run: list[Any]) -> None:
    """A captured step takes every state to the bits to which the step itself takes it."""
    state = case.state
    for batch in run:
        eager, captured = case.subject(state, batch), case.captured(state, batch)
        expect(digest(captured) == digest(eager), show(eager[1]), show(captured[1]))
        state = eager[0]
