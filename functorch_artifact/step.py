"""Steps: the pure functions that training consists of, and the state they map.

Belongs here: `TrainState`, `train_step`, `eval_step`, and `advance`, which ends an epoch. Does
not: loops, loaders, records.
Floor 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import attrs
import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from functorch_artifact import allocation, deferral, keys, purity, trees
from functorch_artifact import precision as precisions
from functorch_artifact.errors import (
    ConfigurationError,
    FunctorchArtifactError,
    OptimizerError,
    StateError,
    TreeError,
)
from functorch_artifact.finiteness import all_finite, nonfinite_loss
from functorch_artifact.losses import LossFunction, gradient, transformed, with_loss
from functorch_artifact.model import FunctionalModel, Variables, functional, shown
from functorch_artifact.model_tracking import ModelSnapshot, ModelTracker
from functorch_artifact.optimizers import GradientTransformation, apply_updates
from functorch_artifact.optimizers.transformation import check_transformation
from functorch_artifact.precision import LossScale, Precision
from functorch_artifact.scores import ScoreCache
from functorch_artifact.stoppers import EarlyStopper

T = TypeVar("T")

NonfinitePolicy = Literal["raise", "skip", "stop", "record"]
"""What happens at a loss or a gradient that is NaN or infinite."""


@trees.node
@attrs.frozen(eq=False, repr=False)
class TrainState:
    """Everything that changes while training, as one immutable pytree.

    Counters and the seed stay on the CPU whatever the parameters' device, so that reading them
    never synchronises.
    """

    params: dict[str, Tensor]  # floating point, trained
    frozen: dict[str, Tensor]  # parameters that are not trained
    buffers: dict[str, Tensor]  # e.g. BatchNorm's running statistics
    opt_state: Any  # the optimizer's tree
    seed: Tensor  # int64 []
    step: Tensor  # int64 [], optimizer steps completed
    epoch: Tensor  # int64 [], epochs completed
    batch: Tensor  # int64 [], batches completed of the epoch in progress
    stopper: Any = ()  # the early stopper's tree
    tracker: Any = ()  # the model tracker's tree
    scores: ScoreCache = attrs.field(factory=ScoreCache.empty)
    loss_scale: Any = ()  # a `LossScale` in fp16

    @property
    def variables(self) -> Variables:
        """The model's part of the state."""
        return Variables(self.params, self.frozen, self.buffers)

    if not TYPE_CHECKING:  # which would take it to have every attribute
        __getattr__ = deferral.look_up  # what a CUDA graph has computed stays in its buffers until it is read

    def __repr__(self) -> str:
        held = sum(tensor.numel() for tensor in self.params.values())
        return f"TrainState(epoch {self.epoch}, step {self.step}, {held} parameters in {len(self.params)} tensors)"


class HasVariables(Protocol):
    """A `TrainState`, `Variables`, or anything else with a model's tensors."""

    @property
    def params(self) -> dict[str, Tensor]: ...
    @property
    def frozen(self) -> dict[str, Tensor]: ...
    @property
    def buffers(self) -> dict[str, Tensor]: ...


def init(
    model: nn.Module | FunctionalModel[Any],
    tx: GradientTransformation,
    *,
    seed: int = 0,
    stopper: EarlyStopper[Any, Any] | None = None,
    tracker: ModelTracker[Any] | None = None,
    precision: Precision = "fp32",
) -> TrainState:
    """Make the state before the first step, on the device of the model's parameters.

    Args:
        model: the module, or what `functional` made of it; it is copied, never written to.
        tx: the optimizer.
        seed: the source of all randomness of the run, a signed 64-bit integer.
        stopper: the early stopper, if `advance` is to consult one.
        tracker: the model tracker, if `advance` is to keep a best model.
        precision: that of the step; `fp16` keeps a loss scale in the state.

    Raises:
        ConfigurationError: the model has no trainable parameter, the seed is out of range, or the
            precision is unknown.
    """
    check_transformation(tx, "the optimizer")
    variables = functional(model).variables
    if not variables.params:
        raise ConfigurationError(
            "has no trainable parameter",
            where="the model",
            got=f"{len(variables.frozen)} frozen ones",
            fix="set requires_grad on what is to be trained",
        )
    if not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise ConfigurationError("is out of range", where="seed", expected="a signed 64-bit integer", got=repr(seed))
    precisions.check(precision, "precision")
    allocation.keep_freed_memory()
    own = trees.snapshot(variables)
    return TrainState(
        params=own.params,
        frozen=own.frozen,
        buffers=own.buffers,
        # The optimizer sees the module's own tensors: one lifted from torch finds its groups by them.
        opt_state=trees.snapshot(tx.init(variables.params)),
        seed=torch.tensor(seed, dtype=torch.int64),
        step=torch.tensor(0),
        epoch=torch.tensor(0),
        batch=torch.tensor(0),
        stopper=() if stopper is None else stopper.init(),
        tracker=() if tracker is None else tracker.init(),
        loss_scale=precisions.initial(precision, device_of(variables)),
    )


@attrs.frozen(eq=False)
class TrainStep:
    """The pure function `(TrainState, batch) -> (TrainState, output)`; made by `train_step`."""

    model: FunctionalModel[Any]
    tx: GradientTransformation
    loss: LossFunction | None = None
    nonfinite: NonfinitePolicy = "raise"
    precision: Precision = "fp32"

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
        """Take one optimizer step.

        Returns:
            The next state, and the model's output, detached, as a dict that holds `loss`. An
            output that is not a mapping stands under `output`.

        Raises:
            LossError: the loss is missing, not a floating-point scalar, or does not depend on
                the parameters; or it is not finite and the policy is `raise` (checked here on
                the CPU; elsewhere it would synchronise, and `fit` checks once an epoch).
            BatchError: the batch lacks a key that the model asks for.
            StateError: the state is one of another model or optimizer.
            ConfigurationError: the first argument is no state, or one under `vmap`; or the step is one
                in fp16 and the state has no loss scale.
        """
        with surroundings(state, self.precision):
            following, output = self.kernel(state, batch)
        check_loss(self.nonfinite, following, output)
        return following, output

    def kernel(self, state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
        """Take the step as tensor operations alone, for `torch.compile`, `torch.func` and `make_fx`.

        Randomness is drawn from torch's global generators as they are: the caller seeds them. Under
        `torch.func.grad` the next state, not the output, is differentiable in the state's parameters.
        """

        scale = state.loss_scale
        if self.precision == "fp16" and not isinstance(scale, LossScale):
            raise ConfigurationError(
                "has no loss scale",
                where="the state of a step in fp16",
                fix="make it with init(..., precision='fp16')",
            )

        def objective(params: dict[str, Tensor]) -> tuple[Tensor, tuple[Any, dict[str, Tensor]]]:
            variables = Variables(params, state.frozen, state.buffers)
            with precisions.autocast(self.precision, device_of(state)):
                raw, buffers = self.model.apply(variables, batch, train=True)
                output = with_loss(raw, batch, self.loss)
            loss = output["loss"]
            return (loss * scale.scale if isinstance(scale, LossScale) else loss), (output, buffers)

        grads, output, buffers = gradient(objective, state.params)
        unspoilt: Tensor | None = None
        with _unrecorded(state.params):
            if isinstance(scale, LossScale):
                grads, unspoilt = precisions.unscaled(grads, scale)
                scale = precisions.updated(scale, unspoilt)
            params, opt_state = self._moved(grads, state)
            if unspoilt is not None:
                params, opt_state = _choose(unspoilt, (params, opt_state), (state.params, state.opt_state))
            if self.nonfinite in ("skip", "stop"):
                finite = torch.isfinite(output["loss"])
                if unspoilt is None:  # with a loss scale, gradients overflow now and then
                    finite = all_finite(grads, finite)
                output["held_back"] = ~finite
                params, buffers, opt_state = _choose(
                    finite, (params, buffers, opt_state), (state.params, state.buffers, state.opt_state)
                )
            following = attrs.evolve(
                state,
                params=params,
                buffers=buffers,
                opt_state=opt_state,
                step=state.step + 1,
                batch=state.batch + 1,
                loss_scale=scale,
            )
        return following, output

    def _moved(self, grads: dict[str, Tensor], state: TrainState) -> tuple[dict[str, Tensor], Any]:
        """Apply the optimizer: the next parameters, and what it remembers."""
        try:
            moved = self.tx.update(grads, state.opt_state, state.params)
        except FunctorchArtifactError:
            raise
        except Exception as error:
            expected = self.tx.init(self.model.variables.params)
            if lines := trees.differences(expected, state.opt_state, "opt_state"):
                raise StateError(
                    "is that of another optimizer",
                    where="the state",
                    expected=f"what init(model, tx) makes for {self.tx.description}",
                    got="\n    ".join(lines[:5]),
                    fix="make the state with the tx that the step was made of",
                ) from error
            raise
        if not isinstance(moved, tuple) or len(moved) != 2:
            raise OptimizerError(
                "does not return a pair",
                where=f"the update of the optimizer ({self.tx.description})",
                expected="(updates, state)",
                got=shown(moved),
            )
        updates, opt_state = moved
        return apply_updates(state.params, updates), opt_state


def train_step(
    model: nn.Module | FunctionalModel[Any],
    tx: GradientTransformation,
    loss: LossFunction | None = None,
    *,
    nonfinite: NonfinitePolicy = "raise",
    precision: Precision = "fp32",
) -> TrainStep:
    """Make the pure function `(TrainState, batch) -> (TrainState, output)`.

    Args:
        model: the module, or what `functional` made of it.
        tx: the optimizer.
        loss: `loss(output, batch)`; by default the output's own `loss`.
        nonfinite: at a loss that is NaN or infinite, `raise`; leave parameters, buffers and
            optimizer as they were and go on (`skip`), or end the run (`stop`, which `fit` carries
            out); or take the step and go on (`record`). `skip` and `stop` look at the gradients
            too, and the output says whether the step was `held_back`: bool [].
        precision: what the model is computed in: `fp32`, or `tf32`, `bf16`, `fp16`, with parameters
            and optimizer as they are; see `functorch_artifact.precision`. In fp16 a step whose
            gradients overflow changes nothing but the loss scale.

    Raises:
        ConfigurationError: the precision is unknown, or the optimizer is none of ours.

    Example:
        >>> import torch
        >>> import functorch_artifact as fa
        >>> from functorch_artifact import optimizers
        >>> net = torch.nn.Linear(3, 1)
        >>> model, tx = fa.functional(net, inputs=lambda batch: batch[0]), optimizers.adam(1e-2)
        >>> step = fa.train_step(model, tx, loss=lambda out, batch: (out - batch[1]).square().mean())
        >>> state, output = step(fa.init(model, tx, seed=0), (torch.ones(8, 3), torch.zeros(8, 1)))
        >>> int(state.step), sorted(output)
        (1, ['loss', 'output'])
    """
    precisions.check(precision, "precision")
    check_transformation(tx, "the optimizer")
    return TrainStep(functional(model), tx, loss, nonfinite, precision)


def surroundings(
    state: TrainState, precision: Precision, *, seeded: bool = True, ahead: int = 0
) -> AbstractContextManager[None]:
    """Run a step's kernel inside, in its precision; `seeded` by (seed, step) if it draws anything.

    `ahead` counts the steps between the state and the kernel's.
    """
    key = key_of(state, ahead) if seeded else None
    device = device_of(state)
    kernels = precisions.kernels(precision, device)
    if key is None:
        return kernels
    noise = keys.seeded(key, device)
    return _both(noise, kernels) if precision == "tf32" else noise


def key_of(state: TrainState, ahead: int = 0) -> int:
    """Derive the key of the noise of a state's next step, or of one so much ahead of that.

    Raises:
        ConfigurationError: it is no state, or one under `vmap`, which has many seeds.
    """
    try:
        return keys.derive(int(state.seed), "step", int(state.step) + ahead)
    except (AttributeError, RuntimeError) as error:
        if not isinstance(state, TrainState):
            got, fix = type(state).__name__, "call it as step(state, batch)"
        elif is_functorch_wrapped_tensor(state.seed):
            got, fix = "a state under torch.func", "transform step.kernel, or train members with fa.ensemble"
        else:
            raise
        raise ConfigurationError(
            "is not one", where="the state of a step", expected="a TrainState, as init makes it", got=got, fix=fix
        ) from error


@contextmanager
def _both(one: AbstractContextManager[None], other: AbstractContextManager[None]) -> Iterator[None]:
    with one, other:
        yield


def check_loss(nonfinite: NonfinitePolicy, following: TrainState, output: Mapping[str, Any], ahead: int = 0) -> None:
    """Look at the loss of the step that led to `following`, or of one that was so much ahead (negative).

    Raises:
        LossError: it is on the CPU and not finite, and the policy is `raise`.
    """
    loss = output["loss"]
    if nonfinite == "raise" and loss.device.type == "cpu" and not math.isfinite(loss.item()):
        step, batch = int(following.step) + ahead, int(following.batch) + ahead
        raise nonfinite_loss(step, int(following.epoch) + 1, batch, loss.item())


@attrs.frozen(eq=False)
class EvalStep:
    """The pure function `(variables, batch) -> output` in eval mode; made by `eval_step`."""

    model: FunctionalModel[Any]
    loss: LossFunction | None = None
    seed: int = 0
    precision: Precision = "fp32"

    def __call__(self, variables: HasVariables, batch: Any) -> dict[str, Any]:
        """Evaluate a `TrainState` or `Variables` on one batch, without gradients.

        A model that samples in eval mode draws the same noise at each call, so that scores of
        different epochs can be compared and a best score can be reproduced.
        """
        held = Variables(variables.params, variables.frozen, variables.buffers)
        device = device_of(held)
        with (
            torch.no_grad(),
            keys.seeded(keys.derive(self.seed, "eval"), device),
            precisions.kernels(self.precision, device),
            precisions.autocast(self.precision, device),
        ):
            raw, _ = self.model.apply(held, batch, train=False)
            return trees.detach(with_loss(raw, batch, self.loss, required=False))


def eval_step(
    model: nn.Module | FunctionalModel[Any],
    loss: LossFunction | None = None,
    *,
    seed: int = 0,
    precision: Precision = "fp32",
) -> EvalStep:
    """Make the pure function `(variables, batch) -> output` in eval mode; see `train_step`."""
    precisions.check(precision, "precision")
    return EvalStep(functional(model), loss, seed, precision)


def advance(
    state: TrainState,
    scores: Mapping[str, float],
    *,
    tx: GradientTransformation | None = None,
    tracker: ModelTracker[Any] | None = None,
    criterion: Callable[[TrainState], Any] | None = None,
    candidate: Callable[[TrainState], Variables] | None = None,
    stopper: EarlyStopper[Any, Any] | None = None,
    stopper_data: Callable[[TrainState], Any] | None = None,
) -> TrainState:
    """End an epoch: count it, cache its scores, then tell optimizer, tracker and stopper.

    `criterion` and `stopper_data` see the state with the epoch counted and its scores cached. A
    criterion of `None` leaves the tracker as it is. `candidate` gives the model to track, by default
    the state's own.
    """
    epoch = int(state.epoch) + 1
    state = attrs.evolve(
        state,
        epoch=state.epoch + 1,
        batch=torch.zeros_like(state.batch),
        scores=state.scores.append(epoch, scores),
    )
    if tx is not None:
        told = purity.call("the optimizer's on_epoch", tx.on_epoch, state.opt_state, scores)
        state = attrs.evolve(state, opt_state=told)
    if tracker is not None and criterion is not None and (found := criterion(state)) is not None:
        model = state.variables if candidate is None else candidate(state)
        offered = ModelSnapshot(model, state.epoch)
        kept = purity.call(f"{type(tracker).__name__}.update", tracker.update, state.tracker, found, offered)
        state = attrs.evolve(state, tracker=kept)
    if stopper is not None and stopper_data is not None:
        seen = purity.call(f"{type(stopper).__name__}.update", stopper.update, state.stopper, stopper_data(state))
        if seen is None and state.stopper is not None:
            raise ConfigurationError(
                "returned None",
                where=f"{type(stopper).__name__}.update",
                expected="the stopper's next state",
                fix="end each branch of it in a return",
            )
        state = attrs.evolve(state, stopper=seen)
    return state


def device_of(variables: HasVariables) -> torch.device:
    """Find the device that a model's parameters are on."""
    return next((leaf.device for leaf in variables.params.values()), torch.device("cpu"))


def _choose(condition: Tensor, new: T, old: T) -> T:
    try:
        return trees.select(condition, new, old)
    except TreeError as error:
        raise OptimizerError(
            "cannot be held back at a loss that is not finite",
            where="the optimizer",
            expected="a state of tensors whose structure stays",
            fix="pass nonfinite='raise', or use an optimizer that is not run as it is (see optimizers.from_torch)",
        ) from error


def _unrecorded(params: Mapping[str, Tensor]) -> AbstractContextManager[Any]:
    """Record no gradients of what is done inside, unless `torch.func` may be asked for those of the step."""
    return torch.no_grad() if torch.compiler.is_compiling() or not transformed(params) else nullcontext()
