"""Modules as pure functions: `functional` takes a module apart, `bind` puts it together again.

Belongs here: `Variables`, `FunctionalModel`, applying and binding. Does not: losses and
gradients (`step`).
Floor 2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

import attrs
import torch
from torch import Tensor, nn
from torch.func import functional_call

from functorch_artifact import trees
from functorch_artifact.errors import BatchError, ConfigurationError, StateError
from functorch_artifact.trees import node

ModuleT_co = TypeVar("ModuleT_co", bound=nn.Module, covariant=True)
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@node
@attrs.frozen(eq=False, repr=False)
class Variables:
    """Every tensor that a module holds, by its dotted name; tied weights once."""

    params: dict[str, Tensor]  # floating point, differentiated and optimised
    frozen: dict[str, Tensor]  # parameters with requires_grad=False
    buffers: dict[str, Tensor]  # e.g. BatchNorm's running statistics

    def __repr__(self) -> str:
        return f"Variables(params={shown(self.params)}, frozen={shown(self.frozen)}, buffers={shown(self.buffers)})"


@attrs.frozen(eq=False)
class _Skeleton(Generic[ModuleT_co]):
    """A module that serves as code: its tensors are put in for a call, and taken out again."""

    module: ModuleT_co
    places: tuple[tuple[dict[str, Any], str, str], ...] = attrs.field(repr=False)  # a module's dict, its key, the name

    @classmethod
    def of(cls, module: ModuleT) -> _Skeleton[ModuleT]:
        """Note every place of every tensor; a tied one has several, and one name."""
        names = {id(p): name for name, p in (*module.named_buffers(), *module.named_parameters())}
        return _Skeleton(
            module,
            tuple(
                (held, key, names[id(tensor)])
                for each in module.modules()
                for held in (each._parameters, each._buffers)
                for key, tensor in held.items()
                if tensor is not None
            ),
        )

    def call(self, tensors: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        """Call the module on these tensors; a buffer that it replaced is replaced in `tensors` as well.

        As `torch.func.functional_call`, which looks for every place at each call.
        """
        if torch.compiler.is_compiling():  # which Dynamo knows
            return functional_call(self.module, tensors, arguments)
        own = [held[key] for held, key, _ in self.places]
        try:
            for held, key, name in self.places:
                held[key] = tensors[name]
            return self.module(*arguments)
        finally:
            for (held, key, name), tensor in zip(self.places, own, strict=True):
                tensors[name] = held[key]
                held[key] = tensor

    def expect(self, given: set[str], error: Exception) -> None:
        """Look for the cause of an error in tensors that are not this module's.

        Raises:
            StateError: one that it needs is not among them.
        """
        needed = {name for _, _, name in self.places}
        if missing := sorted(needed - given):
            raise StateError(
                "are those of another model",
                where=f"the variables given to {type(self.module).__name__}",
                expected=f"tensors named {sorted(needed)}",
                got=f"none named {missing}",
                fix="make the state with init(model, tx) of the model that the step was made of",
            ) from error


@attrs.frozen(eq=False, repr=False)
class FunctionalModel(Generic[ModuleT_co]):
    """A module's computation as a pure function of its variables.

    `variables` are the module's own initial values (sharing its memory, never written to).
    """

    variables: Variables
    inputs: Callable[[Any], Any] | None
    _train: _Skeleton[ModuleT_co]
    _eval: _Skeleton[ModuleT_co]

    def __repr__(self) -> str:
        return f"functional({self.name}(...))"

    @property
    def name(self) -> str:
        """The name of the module's class."""
        return type(self._eval.module).__name__

    def apply(self, variables: Variables, batch: Any, *, train: bool) -> tuple[Any, dict[str, Tensor]]:
        """Compute the module's output and its buffers after the call; nothing is written to.

        Args:
            variables: the tensors to compute with.
            batch: given to `forward` whole, or through `inputs`.
            train: whether the module is in training mode.

        Raises:
            BatchError: the batch lacks a key that it is asked for, or `forward` does not take it whole.
            StateError: the variables are another model's.
        """
        # BatchNorm writes into the buffers it is given; other modules replace theirs, and the
        # replacement is put into this dict.
        tensors = {name: buffer.clone() for name, buffer in variables.buffers.items()}
        tensors |= variables.params
        tensors |= variables.frozen
        skeleton = self._train if train else self._eval
        where = "inputs"
        try:
            arguments = batch if self.inputs is None else self.inputs(batch)
            if self.inputs is None or not isinstance(arguments, tuple):
                arguments = (arguments,)
            where = f"{self.name}.forward"
            output = skeleton.call(tensors, arguments)
        except Exception as error:
            skeleton.expect({*variables.params, *variables.frozen, *variables.buffers}, error)
            if isinstance(error, TypeError) and self.inputs is None and not isinstance(batch, Tensor):
                raise BatchError(
                    "fails on the whole batch as its one argument",
                    where=where,
                    got=f"{shown(batch)}; {error}",
                    fix="mend it, or say what it takes of a batch: functional(module, inputs=lambda batch: ...)",
                ) from error
            tell(error, where, batch)
            raise
        return output, {name: tensors[name].detach() for name in variables.buffers}

    def bind(self, variables: Variables) -> ModuleT_co:
        """Build an ordinary module, in eval mode, that owns copies of `variables`."""
        # A deep copy that meets an old tensor takes the new one instead, so ties stay tied.
        own, mine, skeleton = variables, self.variables, self._eval.module
        replaced: dict[int, Any] = {}
        tensors = dict(skeleton.named_parameters()) | dict(skeleton.named_buffers())
        for name in mine.params:
            replaced[id(tensors[name])] = nn.Parameter(own.params[name].detach().clone())
        for name in mine.frozen:
            replaced[id(tensors[name])] = nn.Parameter(own.frozen[name].detach().clone(), requires_grad=False)
        for name in mine.buffers:
            replaced[id(tensors[name])] = own.buffers[name].detach().clone()
        return copy.deepcopy(skeleton, replaced)


def functional(
    module: ModuleT | FunctionalModel[ModuleT], inputs: Callable[[Any], Any] | None = None
) -> FunctionalModel[ModuleT]:
    """Take a module apart into a pure function and its initial variables.

    Works for any `torch.nn.Module`: BatchNorm, dropout, tied weights, frozen parameters. The
    module itself is never changed and can go on being used; modes of its submodules are kept in
    training if the module is in training mode, so a BatchNorm put to `eval()` stays there.

    Args:
        module: the module; of a `FunctionalModel`, the same with other `inputs`, if they are given.
        inputs: what `forward` takes of a batch: one argument, or a tuple of several. By default
            the whole batch is the one argument.

    Raises:
        ConfigurationError: the module cannot be copied, or has parameters that are not
            initialised yet (lazy modules).

    Example:
        >>> import torch
        >>> import functorch_artifact as fa
        >>> model = fa.functional(torch.nn.Linear(2, 1), inputs=lambda batch: batch["x"])
        >>> output, _ = model.apply(model.variables, {"x": torch.ones(3, 2)}, train=True)
        >>> output.shape
        torch.Size([3, 1])
    """
    if isinstance(module, FunctionalModel):
        return module if inputs is None else attrs.evolve(module, inputs=inputs)
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ConfigurationError(
                "is not initialised yet",
                where=f"parameter {name!r}",
                fix="run the lazy module once on a batch before making it functional",
            )
    variables = Variables(
        params={name: p.detach() for name, p in module.named_parameters() if p.requires_grad},
        frozen={name: p.detach() for name, p in module.named_parameters() if not p.requires_grad},
        buffers={name: b.detach() for name, b in module.named_buffers()},
    )
    train = _copied(module)
    if not module.training:
        train.train()
    return FunctionalModel(variables, inputs, _Skeleton.of(train), _Skeleton.of(_copied(module).eval()))


def tell(error: Exception, where: str, batch: Any, given: str = "") -> None:
    """Say of an error which function made it, and of what batch, or what else it was `given`.

    Raises:
        BatchError: the batch lacks the key that the error is about.
    """
    if isinstance(error, KeyError) and isinstance(batch, Mapping) and error.args and error.args[0] not in batch:
        raise BatchError(
            f"asks the batch for the key {error.args[0]!r}, which it does not have",
            where=where,
            expected=f"a batch with {error.args[0]!r}",
            got=f"the keys {sorted(map(str, batch))}",
            fix="make the loader's batches match what is asked for",
        ) from error
    error.add_note(f"{where} was given {given}the batch {shown(batch)}")


def shown(tree: Any) -> str:
    """Write a tree with dtypes and shapes for its tensors, e.g. `{'x': float32[3, 2]}`."""
    return str(trees.map(_Shown, tree))


@attrs.frozen
class _Shown:
    leaf: Any

    def __repr__(self) -> str:
        return trees.describe(self.leaf)


def _copied(module: ModuleT) -> ModuleT:
    # The copy shares the tensors: it serves as code with a mode of its own.
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    try:
        return copy.deepcopy(module, cast(Any, shared))
    except Exception as error:
        raise ConfigurationError(
            "cannot be copied",
            where=type(module).__name__,
            expected="a module that copy.deepcopy takes",
            got=f"{type(error).__name__}: {error}",
            fix="keep tensors as parameters or buffers, and open files or locks outside the module",
        ) from error
