"""Reusing memory: what is written over, what is not, and that the bits stay."""

import pytest
import torch

from functorch_artifact.compiling import lowering, reusing

X, Y = torch.arange(6.0).reshape(2, 3), torch.ones(2, 3)


def reused(function, leaves, donated):
    """Capture, reuse, run on copies; give the places written to, the operations, and whether the arguments are so."""
    expected = [each.clone() for each in function(*[leaf.clone() for leaf in leaves])]
    module = lowering.capture(function, leaves)
    written = reusing.reuse(module, donated)
    names = [node.target._schema.name for node in module.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    run = lowering.replay(module)
    arguments = [leaf.clone() for leaf in leaves]
    given = list(arguments)
    for found, wanted in zip(run(given), expected, strict=True):
        assert torch.equal(found, wanted)
    changed = [
        place for place, (old, new) in enumerate(zip(leaves, arguments, strict=True)) if not torch.equal(old, new)
    ]
    assert set(changed) <= set(written) <= set(donated)
    return written, names


def test_a_donated_argument_is_written_over_by_what_reads_it_last():
    assert reused(lambda x, y: [x * y + 1, y], [X, Y], [0]) == ([0], ["aten::mul_", "aten::add_"])


def test_one_that_is_kept_is_not_and_values_in_between_are():
    assert reused(lambda x, y: [x * y + 1], [X, Y], []) == ([], ["aten::mul", "aten::add_"])


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: [x + 1, x * 2],  # read again
        lambda x, y: [x + 1, x],  # returned
        lambda x, y: [x + 1, x.t()],  # seen through a view that is returned
        lambda x, y: [(x > 2), x.double() + 1],  # of another dtype
        lambda x, y: [x[0] + y],  # of another shape
        lambda x, y: [torch.add(y[:1, :1].expand(2, 3), x) - y],  # which overlaps itself
    ],
)
def test_what_is_read_again_or_of_another_form_is_not_written_over_too_early(function):
    reused(function, [X, Y], [0, 1])


def test_an_operation_that_reads_what_it_writes_elsewhere_is_left_alone():
    square = torch.arange(9.0).reshape(3, 3)
    assert reused(lambda x: [x + x.t()], [square], [0])[0] == []
    assert reused(lambda x: [x * x], [square], [0])[0] == [0]


def test_lists_are_written_over_together_and_copies_are_left_out():
    def function(a, b, c):
        moved = torch._foreach_lerp([a, b], [c, c], 0.5)
        copy = c.clone()
        copy += 1
        return [*moved, copy]

    written, names = reused(function, [X, X + 1, Y], [0, 1, 2])
    assert written == [0, 1, 2]
    assert names == ["aten::_foreach_lerp_", "aten::add_"]
    assert reused(function, [X, X + 1, Y], [0, 2])[1] == ["aten::_foreach_lerp", "aten::add_"]


def test_noise_is_drawn_as_before():
    module = lowering.capture(lambda x: [torch.bernoulli(x)], [torch.full((50,), 0.5)])
    assert reusing.reuse(module, [0]) == []


def test_lists_are_worked_on_as_soon_as_their_tensors_are_there():
    def function(x, y):
        one, other = x @ y.t(), y @ x.t()
        number = torch.full((), 3.0) + 1  # which both take
        halves = torch._foreach_mul([one], number), torch._foreach_mul([other], number)
        torch._foreach_add_(halves[0], 1.0)
        return [halves[0][0], halves[1][0]]

    names = reused(function, [X, Y], [])[1]
    work = [name.removeprefix("aten::") for name in names if "mm" in name or "foreach" in name]
    assert work == ["mm", "_foreach_mul_", "_foreach_add_", "mm", "_foreach_mul_"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: list(torch._foreach_mul([x @ y.t(), y @ x.t()], torch.stack([x.sum(), y.sum()]).sum())),
        lambda x, y: list(torch._foreach_mul([x + y], torch.stack(torch._foreach_norm([x + 1, x * y])).norm())),
        lambda x, y: [(z := x * y).add_(1), *torch._foreach_mul([z.add_(y)], 2.0), z.sub_(1)],
        lambda x, y: [*(z := torch._foreach_mul([x * y], 2.0)), z[0].add_(1).sum() + torch._foreach_norm(z)[0]],
        lambda x, y: [*torch._foreach_mul([x[0], x[1]], (x * y).sum()), *torch._foreach_add([x.sum(), x + y], 1.0)],
    ],
)
def test_and_no_sooner(function):
    reused(function, [X, Y], [])
    reused(function, [X, Y], [0, 1])
