"""Strategies for data: tensors, arrays, batches, parameters, score histories.

Belongs here: what flows through a run. Does not: configurations (`configurations`).
Floor 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, cast, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor

from functorch_artifact.contracts import BatchResult
from functorch_artifact.errors import ConfigurationError

Shape = tuple[int, ...]
_VIEWED: Final = {torch.bfloat16: torch.float32}  # dtypes NumPy lacks, and what stands in for them


def arrays(
    *,
    shapes: Shape | st.SearchStrategy[Shape] | None = None,
    dtypes: Any = np.float32,
    elements: st.SearchStrategy[Any] | None = None,
) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Draw NumPy arrays: float32, of at most 2 dimensions of at most 4, from -10 to 10.

    Args:
        shapes: one shape, or a strategy.
        dtypes: a dtype, or a strategy.
        elements: what they hold; by default moderate numbers for floats, anything for others.

    Example:
        >>> from functorch_artifact.testing import strategies as fas
        >>> fas.arrays(shapes=(2, 3)).example().shape  # doctest: +SKIP
        (2, 3)
    """
    if shapes is None:
        shapes = npst.array_shapes(min_dims=0, max_dims=2, max_side=4)
    if elements is None and not isinstance(dtypes, st.SearchStrategy) and np.dtype(dtypes).kind == "f":
        elements = numbers(width=min(64, np.dtype(dtypes).itemsize * 8))
    return npst.arrays(dtypes, shapes, elements=elements)


def numbers(*, width: int = 32, bound: float = 10.0) -> st.SearchStrategy[float]:
    """Draw moderate floats that survive a float of `width` bits; small whole ones often."""
    return st.floats(-bound, bound, width=cast(Literal[16, 32, 64], width), allow_subnormal=False)


def tensors(
    *,
    shapes: Shape | st.SearchStrategy[Shape] | None = None,
    dtypes: torch.dtype | st.SearchStrategy[torch.dtype] = torch.float32,
    elements: st.SearchStrategy[Any] | None = None,
    layouts: Sequence[str] = ("contiguous",),
) -> st.SearchStrategy[Tensor]:
    """Draw small dense tensors on the CPU: float32, at most 2 dimensions of at most 4, -10 to 10.

    Args:
        shapes: one shape, or a strategy.
        dtypes: a dtype, or a strategy of dtypes.
        elements: what they hold; by default moderate numbers for floats, anything for others.
        layouts: how they lie in memory: `contiguous`, `transposed`, `sliced` (every second element
            of a larger tensor) or `expanded` (one element behind all of the first dimension).

    Raises:
        ConfigurationError: a layout is unknown.
    """
    if unknown := sorted(set(layouts) - set(_LAYOUTS)):
        raise ConfigurationError(
            "is not a layout", where=f"tensors(layouts={unknown})", expected=f"among {', '.join(_LAYOUTS)}"
        )
    if isinstance(dtypes, torch.dtype):
        drawn = _of_dtype(dtypes, shapes, elements)
    else:
        drawn = dtypes.flatmap(lambda dtype: _of_dtype(dtype, shapes, elements))
    if tuple(layouts) == ("contiguous",):
        return drawn
    return st.tuples(drawn, st.sampled_from(list(layouts))).map(lambda pair: _LAYOUTS[pair[1]](pair[0]))


def _of_dtype(
    dtype: torch.dtype, shapes: Shape | st.SearchStrategy[Shape] | None, elements: st.SearchStrategy[Any] | None
) -> st.SearchStrategy[Tensor]:
    numpys = torch.empty(0, dtype=_VIEWED.get(dtype, dtype)).numpy().dtype
    return arrays(shapes=shapes, dtypes=numpys, elements=elements).map(
        lambda array: torch.from_numpy(np.array(array)).to(dtype)
    )


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.mT.contiguous().mT if tensor.ndim >= 2 else tensor


def _sliced(tensor: Tensor) -> Tensor:
    return tensor.repeat_interleave(2, -1)[..., ::2] if tensor.ndim else tensor


def _expanded(tensor: Tensor) -> Tensor:
    return tensor[:1].expand(tensor.shape) if tensor.ndim and len(tensor) else tensor


_LAYOUTS: Final[dict[str, Any]] = {
    "contiguous": lambda tensor: tensor,
    "transposed": _transposed,
    "sliced": _sliced,
    "expanded": _expanded,
}


def batches(
    inputs: type,
    outputs: type | None = None,
    *,
    shapes: Mapping[str, tuple[str | int, ...]] | None = None,
    min_size: int = 1,
    max_size: int = 4,
    elements: st.SearchStrategy[Any] | None = None,
) -> st.SearchStrategy[Any]:
    """Draw batches of a TypedDict: dicts, or with `outputs` the `BatchResult`s that callbacks see.

    A field's shape stands in its annotation, `Annotated[Tensor, "n 8"]` or `"int64 n"`, or in
    `shapes`, `{"x": ("n", 8)}`. A number is a size, `n` the batch's, any other word a size drawn
    once a batch. A tensor without a shape is `[n, 3]`; `loss` is `[]`.

    Args:
        inputs: the model's input contract.
        outputs: its output contract.
        shapes: the shapes of fields whose annotation has none.
        min_size: the fewest examples.
        max_size: the most examples.
        elements: what the floating-point fields hold.

    Raises:
        ConfigurationError: not a TypedDict, or a field that is no tensor, array, number or text.
    """
    shapes = shapes or {}
    fields = {"input": _fields(inputs)} | ({} if outputs is None else {"output": _fields(outputs)})

    @st.composite
    def drawn(draw: st.DrawFn) -> Any:
        sizes = {"n": draw(st.integers(min_size, max_size))}

        def value(name: str, hint: Any) -> Any:
            return draw(_field(name, hint, shapes.get(name), sizes, draw, elements))

        made = {side: {name: value(name, hint) for name, hint in each.items()} for side, each in fields.items()}
        if outputs is None:
            return made["input"]
        return BatchResult(cast(Any, made["input"]), cast(Any, made["output"]), sizes["n"])

    return drawn()


def _fields(contract: type) -> dict[str, Any]:
    if not is_typeddict(contract):
        raise ConfigurationError(
            "is not a contract", where=repr(contract), expected="a TypedDict, such as a subclass of ModelInput"
        )
    try:
        return get_type_hints(contract, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            "has annotations that cannot be resolved", where=contract.__qualname__, got=str(error),
            fix="define it at the top of a module, where its annotations' names are",
        ) from error  # fmt: skip


def _field(
    name: str,
    hint: Any,
    shape: tuple[str | int, ...] | None,
    sizes: dict[str, int],
    draw: st.DrawFn,
    elements: st.SearchStrategy[Any] | None,
) -> st.SearchStrategy[Any]:
    dtype = torch.float32
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        words = next((note.split() for note in notes if isinstance(note, str)), [])
        if words and isinstance(getattr(torch, words[0], None), torch.dtype):
            dtype = getattr(torch, words.pop(0))
        shape = tuple(words) if shape is None else shape
    if shape is None:
        shape = () if name == "loss" else ("n", 3)
    plain = {int: st.integers(0, 5), float: numbers(), str: st.text("abc", max_size=3), bool: st.booleans()}
    if hint in plain:
        return plain[hint]
    found: list[int] = []
    for word in shape:
        if isinstance(word, str) and not word.isdigit() and word not in sizes:
            sizes[word] = draw(st.integers(1, 3))
        found.append(sizes[word] if word in sizes else int(word))
    if dtype is torch.int64 and elements is None:
        elements = st.integers(0, 3)
    if hint is Tensor:
        return tensors(shapes=tuple(found), dtypes=dtype, elements=elements)
    if hint is np.ndarray or get_origin(hint) is np.ndarray:
        return arrays(shapes=tuple(found), elements=elements)
    raise ConfigurationError(
        "has no strategy", where=f"field {name!r}", expected="a Tensor, an array, a number or text", got=hint,
        fix="draw the batches yourself, e.g. with hypothesis.strategies.fixed_dictionaries",
    )  # fmt: skip


def params(
    *, min_leaves: int = 1, max_leaves: int = 3, dtypes: torch.dtype | st.SearchStrategy[torch.dtype] = torch.float32
) -> st.SearchStrategy[dict[str, Tensor]]:
    """Draw parameters as models name them, such as `{"0.weight": ..., "0.bias": ...}`."""
    names = ["0.weight", "0.bias", "head.weight", "head.bias", "scale"]

    @st.composite
    def drawn(draw: st.DrawFn) -> dict[str, Tensor]:
        chosen = names[: draw(st.integers(min_leaves, min(max_leaves, len(names))))]
        return {name: draw(tensors(dtypes=dtypes)) for name in chosen}

    return drawn()


def score_histories(
    names: Sequence[str] = ("VAL_LOSS",),
    *,
    min_size: int = 0,
    max_size: int = 20,
    allow_nan: bool = True,
    allow_infinity: bool = True,
    allow_missing: bool = True,
    elements: st.SearchStrategy[float] | None = None,
) -> st.SearchStrategy[list[dict[str, float]]]:
    """Draw what the epochs of a run report, with ties, plateaus and what else goes wrong.

    Args:
        names: the scores.
        min_size: the fewest epochs.
        max_size: the most epochs.
        allow_nan: whether a score may be NaN.
        allow_infinity: whether a score may be infinite.
        allow_missing: whether an epoch may leave a score out.
        elements: the finite scores; by default from -2 to 2, few values often, so that ties occur.

    Example:
        >>> from hypothesis import given, settings
        >>> from functorch_artifact.testing import strategies as fas
        >>> @settings(deadline=None)
        ... @given(fas.score_histories(["LOSS"], max_size=3))
        ... def test(history):
        ...     assert len(history) <= 3
        >>> test()
    """
    odd = [math.nan] * allow_nan + [math.inf, -math.inf] * allow_infinity
    finite = st.sampled_from([0.0, 1.0, 0.25, 0.5]) | st.floats(-2, 2, width=16) if elements is None else elements
    score = st.one_of(finite, st.sampled_from(odd)) if odd else finite
    if allow_missing:
        row = st.fixed_dictionaries({}, optional=dict.fromkeys(names, score))
    else:
        row = st.fixed_dictionaries(dict.fromkeys(names, score))
    plateaus = st.tuples(row, st.sampled_from([1, 1, 1, 2, 4]))
    return st.lists(plateaus, min_size=min_size, max_size=max_size).map(
        lambda drawn: [dict(each) for each, times in drawn for _ in range(times)][: max(max_size, min_size)]
    )
