"""The laws of gradient transformations.

Belongs here: what every optimizer keeps, and agreement with a torch optimizer. Does not: our own
optimizers.
Floor 10.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import Optimizer

from functorch_artifact import purity, trees
from functorch_artifact.optimizers import GradientTransformation, apply_updates
from functorch_artifact.testing.agreement import close, digest, disturb_generators, show, through_a_checkpoint
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect, expect_instance

Params = dict[str, Tensor]
MakeOptimizer = Callable[[list[Tensor]], Optimizer]


@attrs.frozen(eq=False)
class TransformationCase(Case):
    """A gradient transformation, the parameters it moves, and the torch optimizer it should follow."""

    shapes: dict[str, tuple[int, ...]]
    dtype: torch.dtype
    like: MakeOptimizer | None
    rtol: float
    n_steps: int

    def tensors(self, seed: int) -> Params:
        """Make parameters, or gradients, of a seed; their size differs from seed to seed."""
        generator = torch.Generator().manual_seed(seed)
        scale = (0.0 if seed % 11 == 10 else 1.0) * 10.0 ** (seed % 4 - 2)
        return {
            name: (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(self.dtype)
            for name, shape in self.shapes.items()
        }

    def begin(self, seed: int) -> tuple[Params, Any]:
        params = self.tensors(seed)
        return params, purity.call("init", self.subject.init, params)

    def go(self, params: Params, state: Any, seeds: range, epoch_every: int = 3) -> tuple[Params, Any]:
        """Take a step a seed, and end an epoch every so many."""
        for seed in seeds:
            updates, state = purity.call("update", self.subject.update, self.tensors(seed), state, params)
            params = apply_updates(params, updates)
            if epoch_every and seed % epoch_every == 0:
                scores = {"VAL_LOSS": float(seed % 3), "TRAIN_LOSS": 1.0}
                state = purity.call("on_epoch", self.subject.on_epoch, state, scores)
        return params, state


TRANSFORMATION: Family[TransformationCase] = Family("transformation", "check_transformation")
_seeds = st.integers(0, 10_000)
_lengths = st.integers(0, 5)


def check_transformation(
    transformation: GradientTransformation,
    *,
    shapes: dict[str, tuple[int, ...]] | None = None,
    dtype: torch.dtype = torch.float32,
    like: MakeOptimizer | None = None,
    rtol: float = 0.0,
    n_steps: int = 8,
    strict: bool = True,
    without: Collection[str] = (),
) -> Report:
    """Hold an optimizer, or a stage of one, to the laws of gradient transformations.

    - `functions_are_pure`, `a_step_depends_on_its_arguments_alone`
    - `updates_fit_the_parameters`, `the_state_keeps_its_structure`
    - `a_state_that_is_saved_goes_on_the_same`
    - with `like`: `it_follows_torch`

    Args:
        transformation: the optimizer.
        shapes: the parameters it is tried on, by name; by default a matrix, a vector and a scalar.
        dtype: their dtype.
        like: makes the torch optimizer it should agree with, of a list of parameters.
        rtol: how far from torch's parameters it may be, relatively; 0 means the same bits.
        n_steps: for how many steps to compare with torch.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.

    Example:
        >>> import torch
        >>> from functorch_artifact import optimizers
        >>> from functorch_artifact.testing import check_transformation
        >>> report = check_transformation(
        ...     optimizers.adam(0.1), like=lambda params: torch.optim.Adam(params, lr=0.1, foreach=False)
        ... )
        >>> "it_follows_torch" in report.holding
        True
    """
    laws = transformation_laws(transformation, shapes=shapes, dtype=dtype, like=like, rtol=rtol, n_steps=n_steps)
    return laws.check(strict=strict, without=without)


def transformation_laws(
    transformation: GradientTransformation,
    *,
    shapes: dict[str, tuple[int, ...]] | None = None,
    dtype: torch.dtype = torch.float32,
    like: MakeOptimizer | None = None,
    rtol: float = 0.0,
    n_steps: int = 8,
) -> Laws:
    """List the laws of an optimizer; the arguments are those of `check_transformation`."""
    expect_instance(transformation, GradientTransformation, "check_transformation")
    options = {"shapes": shapes, "like": like, **({} if dtype is torch.float32 else {"dtype": dtype})}
    return TRANSFORMATION.bind(
        TransformationCase(
            transformation,
            shapes=shapes or {"w": (2, 3), "b": (3,), "scale": ()},
            dtype=dtype,
            like=like,
            rtol=rtol,
            n_steps=n_steps,
            options={name: value for name, value in options.items() if value is not None},
        )
    )


@TRANSFORMATION.law(usual_cause="moments or gradients are updated in place; use the functional form", seed=_seeds)
def functions_are_pure(case: TransformationCase, seed: int) -> None:
    """init, update and on_epoch change nothing, draw nothing, and touch neither clock nor files."""
    with purity.checking():
        case.go(*case.begin(seed), range(seed + 1, seed + 4))


@TRANSFORMATION.law(
    usual_cause="moments or counts are kept outside the state", seed=_seeds, other=_seeds, length=_lengths
)
def a_step_depends_on_its_arguments_alone(case: TransformationCase, seed: int, other: int, length: int) -> None:
    """The same gradients lead to the same bits, whatever other runs do meanwhile."""
    disturb_generators(0)
    alone = case.go(*case.begin(seed), range(seed + 1, seed + 1 + length))
    disturb_generators(1)
    mixed, second = case.begin(seed), case.begin(other)
    for step in range(1, length + 1):
        second = case.go(*second, range(other + step, other + step + 1))
        mixed = case.go(*mixed, range(seed + step, seed + step + 1))
    expect(digest(mixed) == digest(alone), show(alone), show(mixed))


@TRANSFORMATION.law(usual_cause="arithmetic with float64 scalars that are not 0-d, or a sum over a leaf", seed=_seeds)
def updates_fit_the_parameters(case: TransformationCase, seed: int) -> None:
    """Updated parameters have the structure, shapes and dtypes of the parameters."""
    params, state = case.begin(seed)
    lines = trees.differences(params, case.go(params, state, range(seed + 1, seed + 2))[0], "params")
    expect(not lines, "parameters as they were", "; ".join(lines))


@TRANSFORMATION.law(
    usual_cause="a slot appears at the first step, or a count begins as an int", seed=_seeds, length=_lengths
)
def the_state_keeps_its_structure(case: TransformationCase, seed: int, length: int) -> None:
    """The state has the same structure, shapes and dtypes before and after any step and epoch."""
    params, state = case.begin(seed)
    lines = trees.differences(state, case.go(params, state, range(seed + 1, seed + 1 + length))[1], "state")
    expect(not lines, "the structure of init()", "; ".join(lines))


@TRANSFORMATION.law(usual_cause="part of the memory is outside the state", seed=_seeds, length=_lengths)
def a_state_that_is_saved_goes_on_the_same(case: TransformationCase, seed: int, length: int) -> None:
    """Parameters and state that go through a checkpoint end where those do that were never saved."""
    half = case.go(*case.begin(seed), range(seed + 1, seed + 1 + length))
    rest = range(seed + 1 + length, seed + 4 + length)
    params, state = through_a_checkpoint({"params": half[0], "state": half[1]}).values()
    whole, parts = case.go(*half, rest), case.go(params, state, rest)
    expect(digest(whole) == digest(parts), show(whole), show(parts))


@TRANSFORMATION.law(
    usual_cause="a count that is off by one in the bias correction, or decay and momentum in another order",
    needs=lambda case: case.like is not None,
    seed=_seeds,
)
def it_follows_torch(case: TransformationCase, seed: int) -> None:
    """Its parameters are those of the torch optimizer after each step; to the bit, if rtol is 0."""
    if case.like is None:
        return
    params, state = case.begin(seed)
    theirs = {name: param.clone().requires_grad_() for name, param in params.items()}
    optimizer = case.like(list(theirs.values()))
    for step in range(1, case.n_steps + 1):
        for name, grad in case.tensors(seed + step).items():
            theirs[name].grad = grad
        optimizer.step()
        params, state = case.go(params, state, range(seed + step, seed + step + 1), epoch_every=0)
        expected = {name: param.detach() for name, param in theirs.items()}
        same = close(expected, params, rtol=case.rtol, atol=0.0) if case.rtol else digest(expected) == digest(params)
        expect(same, f"{show(expected)} after step {step}", show(params))
