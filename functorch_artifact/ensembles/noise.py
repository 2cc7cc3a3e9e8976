"""Noise of several members in one vmapped computation: for each the very draws it would make alone.

Belongs here: recording what one member draws, making those draws for each member from its own key,
and handing them to the computation of all. Does not: what is computed with them (`ensembles.vectorized`).
Floor 10.

What a key gives depends on the order, the shapes and the memory layouts of the draws, and under
`vmap` layouts differ. So one member is run alone and its draws are recorded; each member then
makes them, as it would alone, and below `vmap(..., randomness="different")`, where a random
operation appears once with the members' axis in front, the stacked results take its place. Draws
whose distribution depends on computed values (`torch.multinomial`, `torch.poisson`) cannot be made
beforehand: `live` runs them member by member, in their turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
import torch
import torch.utils._pytree as torch_pytree
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from functorch_artifact.errors import FunctorchArtifactError

_aten: Final = torch.ops.aten
# Operations that only transform what they draw, taken apart so that the draw is free of values.
_NORMAL: Final = {_aten.normal.Tensor_Tensor, _aten.normal.Tensor_float, _aten.normal.float_Tensor}
_COIN: Final = {_aten.bernoulli.default}
# Of these only a first argument may be a tensor, and only its layout counts.
_SHAPED: Final = {
    "bernoulli", "rand_like", "randn_like", "randint_like", "normal", "normal_functional", "uniform", "exponential",
    "cauchy", "log_normal", "geometric", "random",
}  # fmt: skip


class NoiseError(FunctorchArtifactError, RuntimeError):
    """Draws under `vmap` that are not those of a member alone."""


@attrs.frozen(eq=False)
class Draw:
    """One random operation as a member alone makes it."""

    operation: Any
    arguments: tuple[Any, ...]  # tensors among them have the layout that counts, and no values
    options: dict[str, Any]
    free: bool  # of computed values

    def __call__(self) -> Tensor:
        """Draw from the global generators as they stand."""
        made: Tensor = self.operation(*self.arguments, **self.options)
        return made.clone() if self.operation._schema.is_mutable else made


def draw(draws: Sequence[Draw], keys: Sequence[int], device: torch.device) -> list[Tensor]:
    """Make all draws for all members: for each draw a tensor [members, ...].

    The global generators are left at some member's place: call it where they are restored.
    """
    found = []
    for key in keys:
        for generator in _generators(device):
            generator.manual_seed(key)
        found.append([each() for each in draws])
    return [torch.stack(parts) for parts in zip(*found, strict=True)]


class _Caught(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Put what `catch` gives in the place of every random operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.orders: Tensor | None = None  # of all members, while `vmap` asks for one after the other
        self.asked = 0

    def catch(self, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        raise NoiseError("has no source of noise")

    def permutation(self, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        # The one operation that vmap runs once for each member.
        orders: Tensor = self.catch(operation, arguments, options) if self.orders is None else self.orders
        order, self.asked = orders[self.asked], self.asked + 1
        self.orders = orders
        if self.asked == len(orders):
            self.orders, self.asked = None, 0
        return order

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **options)
        if func._schema.name == "aten::randperm":
            return self.permutation(func, args, options)
        if func in _NORMAL:
            mean, std = args[0], args[1]
            like = mean if isinstance(mean, Tensor) else std
            return self.catch(_aten.randn_like.default, (like,), {}) * std + mean
        if func in _COIN:  # as torch compares, in the precision that it draws in
            uniform = self.catch(_aten.rand_like.default, (args[0],), {"dtype": torch.float64})
            return (uniform < args[0]).to(args[0].dtype)
        return self.catch(func, args, options)


class Recorded(_Caught):  # type: ignore[no-untyped-call]
    """Note what a member alone draws, and let it draw."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[Draw] = []

    def catch(self, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        name = operation._schema.name.removeprefix("aten::").removesuffix("_")
        values = arguments[1:] if name in _SHAPED else arguments
        free = not any(isinstance(each, Tensor) for each in values)
        layouts = tuple(torch.empty_like(each) if isinstance(each, Tensor) else each for each in arguments)
        self.draws.append(Draw(operation, layouts, dict(options), free))
        return operation(*arguments, **options)

    def permutation(self, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        return torch.as_tensor(self.catch(operation, arguments, options))


class _Given(_Caught):  # type: ignore[no-untyped-call]
    def __init__(self, noise: Sequence[Tensor]) -> None:
        super().__init__()
        self.noise = iter(noise)

    def catch(self, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        noise = next(self.noise, None)
        expected = arguments[0].shape if arguments and isinstance(arguments[0], Tensor) else None
        if noise is None or (expected is not None and expected != noise.shape):
            raise _differ(operation, expected, None if noise is None else noise.shape)
        # A copy, for dropout scales its mask in place, and what was drawn may be used again.
        return arguments[0].copy_(noise) if operation._schema.is_mutable else noise.clone()


def given(noise: Sequence[Tensor]) -> TorchDispatchMode:
    """Use what was drawn before, in its order; enter it outside `vmap`."""
    return _Given(noise)


class _Live(_Caught):  # type: ignore[no-untyped-call]
    def __init__(self, draws: Sequence[Draw], keys: Sequence[int], device: torch.device) -> None:
        super().__init__()
        self.draws, self.n, self.generators = iter(draws), len(keys), _generators(device)
        self.states: list[list[Tensor]] = []
        for key in keys:
            for generator in self.generators:
                generator.manual_seed(key)
            self.states.append([generator.get_state() for generator in self.generators])

    def catch(self, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        alone = next(self.draws, None)
        if alone is None:
            raise _differ(operation, "a draw", None)
        parts: list[Any] = []
        for member, states in enumerate(self.states):
            for generator, state in zip(self.generators, states, strict=True):
                generator.set_state(state)
            if alone.free:
                parts.append(alone())
            else:
                own = tuple(self._of_member(each, member) for each in arguments)
                parts.append(operation(*own, **options))
            self.states[member] = [generator.get_state() for generator in self.generators]
        joined = _join(parts, arguments)
        return arguments[0].copy_(joined) if operation._schema.is_mutable else joined

    def _of_member(self, argument: Any, member: int) -> Any:
        if not isinstance(argument, Tensor) or argument.ndim == 0:
            return argument
        # multinomial's rule folds the members into the rows
        return argument[member] if len(argument) == self.n else torch.unflatten(argument, 0, (self.n, -1))[member]


def live(draws: Sequence[Draw], keys: Sequence[int], device: torch.device) -> TorchDispatchMode:
    """Draw for each member in its turn; enter it outside `vmap`, where the generators are restored."""
    return _Live(draws, keys, device)


class _Batched(TorchFunctionMode):
    def __init__(self, member: Tensor) -> None:
        super().__init__()
        self.member = member

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and not options.keys() & {"out", "names"}:
            size = options.pop("size", args)
            size = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
            dtype, device = options.get("dtype") or torch.get_default_dtype(), options.get("device") or "cpu"
            return self.member.new_empty(tuple(size), dtype=dtype, device=device)
        if func is torch.nn.functional.batch_norm and args[0].dtype in (torch.bfloat16, torch.float16):
            # Its rule for vmap splits the call so that statistics and input must be of one dtype.
            return func(args[0].float(), *args[1:], **options).to(args[0].dtype)
        return func(*args, **options)


def batched(member: Tensor) -> TorchFunctionMode:
    """Give `torch.empty` the members' axis, so that what is drawn into it can differ among them.

    Enter it inside `vmap`; `member` is any tensor that differs among the members.
    """
    return _Batched(member)


class _Shared(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        given = torch_pytree.tree_leaves((args, options))
        if any(isinstance(each, Tensor) and is_functorch_wrapped_tensor(each) for each in given):
            return func(*args, **options)
        with temporarily_clear_interpreter_stack(), _disable_current_modes():
            return func(*args, **options)


def shared() -> TorchFunctionMode:
    """Compute what does not depend on a member as if there was no `vmap`, and no tracing, around it.

    So a model can be made inside, for its code: its initial values are drawn once, for nobody.
    """
    return _Shared()


def _join(parts: list[Any], arguments: tuple[Any, ...]) -> Any:
    if not isinstance(parts[0], Tensor):
        return type(parts[0])(_join(list(found), arguments) for found in zip(*parts, strict=True))
    joined = torch.stack(parts)
    folded = any(isinstance(each, Tensor) and each.ndim > 0 and len(each) != len(parts) for each in arguments)
    return joined.flatten(0, 1) if folded else joined


def _generators(device: torch.device) -> list[torch.Generator]:
    if device.type != "cuda":
        return [torch.default_generator]
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[index]]


def _differ(operation: Any, expected: Any, got: Any) -> NoiseError:
    return NoiseError(
        "the members together do not draw what one draws alone",
        where=str(operation),
        expected=expected,
        got=got,
        fix="draw as often, and in the same shapes, whatever the data",
    )
