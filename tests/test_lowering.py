"""Graphs: what is traced, what is tidied away, what is written back, and code that outlives its process."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from functorch_artifact.compiling import lowering


def test_reading_a_value_cannot_be_captured():
    with pytest.raises(Exception, match="data-dependent"):
        lowering.capture(lambda x: [x if x.sum() > 0 else -x], [torch.ones(2)])
    with pytest.raises(TypeError, match="it has arguments that are not tensors"):
        lowering.capture(lambda x: [x], [1.0])


def test_what_autograd_left_behind_is_tidied_away():
    def function(x, y):
        x = x.detach().requires_grad_()
        (grad,) = torch.autograd.grad((x.t().t() @ y).square().sum(), x)
        return [grad]

    x, y = torch.randn(3, 4), torch.randn(4, 2)
    module = lowering.capture(function, [x, y])
    targets = [str(node.target) for node in module.graph.nodes]
    assert not any("detach" in target for target in targets)
    expected = function(x, y)
    assert lowering.n_operations(module) < 12
    assert not lowering.draws(module)
    assert torch.equal(lowering.replay(module)([x, y])[0], expected[0])


def test_a_graph_that_draws_is_known():
    assert lowering.draws(lowering.capture(lambda x: [torch.nn.functional.dropout(x, 0.5)], [torch.ones(3)]))


def test_replay_lets_go_of_its_arguments():
    run = lowering.replay(lowering.capture(lambda x, y: [x + 1, y], [torch.ones(2), torch.ones(3)]))
    arguments = [torch.zeros(2), torch.zeros(3)]
    results = run(arguments)
    assert arguments == []
    assert torch.equal(results[0], torch.ones(2))


def test_results_are_written_back_after_all_that_reads_the_old_ones():
    """Swap two arguments, view one, leave one, and return what shares memory with what is overwritten."""

    def function(a, b, c):
        return [b, a + 1, c, a.view(-1)[1:], b * 2]

    given = [torch.arange(3.0), torch.arange(3.0) * 10, torch.ones(2)]
    expected = [each.clone() for each in function(*given)]
    module = lowering.capture(function, given)
    written = lowering.replay(lowering.write_back(module, [0, 1, 2, None, None]))
    arguments = [each.clone() for each in given]
    returned = written(list(arguments))
    for found, wanted in zip([*arguments, *returned], expected, strict=True):
        assert torch.equal(found, wanted)


def test_generated_code_keeps_constants_and_draws_masks_in_the_order_of_their_memory():
    constant, parameter = torch.arange(4.0), torch.nn.Parameter(torch.ones(4))

    def function(x):
        mixed = (x @ x.transpose(1, 2)).transpose(0, 1) * constant * parameter.detach()
        return [torch.nn.functional.dropout(mixed, 0.5)]

    x = torch.randn(3, 4, 5, dtype=torch.float32)
    for _ in range(2):  # once made, and once more, when it might be found
        run, _ = lowering.generate(lowering.write_back(lowering.capture(function, [x]), [None]), [x])
        torch.manual_seed(2)
        (found,) = run([x])
        torch.manual_seed(2)
        torch.testing.assert_close(found, function(x)[0])


def test_kernels_for_other_devices_are_made_for_these_sizes_alone_and_found_again(monkeypatch, tmp_path):
    """They are launched from Python; here the CPU is the other device."""
    from torch._inductor.graph import GraphLowering

    sizes, generate = [], GraphLowering.codegen

    def codegen(graph):
        sizes.extend(size for each in graph.graph_inputs.values() for size in each.get_size())
        return generate(graph)

    monkeypatch.setattr(GraphLowering, "codegen", codegen)
    monkeypatch.setattr(lowering, "_package", lowering._artifact)
    monkeypatch.setattr(lowering, "_load_package", lowering._load_artifact)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    x, scale = torch.arange(12.0).view(3, 4), torch.arange(4.0)
    module = lowering.capture(lambda x, scale: [(x * scale).sin(), scale + 1], [x, scale])
    for number in range(2):
        run, found = lowering.generate(lowering.write_back(module, [None, 1]), [x, scale])
        assert found is (number == 1)
        (result, *_) = run([x, scale])
        torch.testing.assert_close(result, (x * (torch.arange(4.0) + number)).sin())
    assert sizes == [3, 4, 4]  # numbers, no symbols
    assert torch.equal(scale, torch.arange(4.0) + 2)


def test_a_mask_is_drawn_before_it_is_used_in_loops_that_are_laid_out_anew():
    """A flat loop over the products is fused with one over the mask's axes."""

    def function(x):
        hidden = (x @ x)[None].expand(2, 16, 16).relu()
        return [torch.nn.functional.dropout(hidden, 0.5) @ x, hidden]

    x = torch.randn(16, 16)
    run, _ = lowering.generate(lowering.write_back(lowering.capture(function, [x]), [None, None]), [x])
    torch.manual_seed(2)
    (found, *_) = run([x])
    torch.manual_seed(2)
    torch.testing.assert_close(found, function(x)[0])


SCRIPT = """
import sys, torch
from functorch_artifact.compiling import lowering
torch.set_num_threads(1)
x = torch.arange(4.0)
module = lowering.capture(lambda x: [(x * 2.125).sin()], [x])
assert lowering.kept(module).exists() is {kept}
run, found = lowering.generate(module, [x])
assert found is {kept}
torch.testing.assert_close(run([x])[0], (x * 2.125).sin())
"""


def test_a_number_that_loops_read_is_computed_once():
    """Inductor would compute the power for each element anew; as a result of the graph it is computed before."""

    def function(x, n):
        power = 0.5 ** n.double()
        return [x / power.float(), n + 1]

    x, n = torch.ones(300), torch.tensor(3)
    module = lowering.write_back(lowering.capture(function, [x, n]), [0, 1])
    assert [node.meta["val"].dtype for node in module.graph.output_node().args[0]] == [torch.float32]
    run, _ = lowering.generate(module, [x, n])
    run([x, n])
    assert torch.equal(x, torch.full((300,), 8.0))
    assert int(n) == 4


def test_so_is_a_number_of_each_member():
    def function(x, n):
        return [x / (0.5 ** n.double()).float()[:, None], n + 1]

    module = lowering.write_back(lowering.capture(function, [torch.ones(3, 100), torch.arange(3)]), [0, 1])
    assert [node.meta["val"].shape for node in module.graph.output_node().args[0]] == [(3,)]
    module = lowering.write_back(lowering.capture(function, [torch.ones(3, 4), torch.arange(3)]), [0, 1])
    assert module.graph.output_node().args[0] == []  # read by too few to be worth it


def test_a_number_that_operations_on_lists_read_is_computed_once():
    def function(x, n):
        (root,) = torch._foreach_sqrt([x])
        torch._foreach_div_([root], (0.5 ** n.double()).float())
        (scaled,) = torch._foreach_mul([root], 1 - 0.9 ** n.double())
        return [scaled]

    module = lowering.write_back(lowering.capture(function, [torch.ones(300), torch.tensor(3)]), [None])
    _, *numbers = lowering.results(module)
    assert [str(number.meta["val"].dtype) for number in numbers] == ["torch.float32", "torch.float64"]


def test_small_tensors_of_lists_with_large_ones_are_no_such_numbers():
    def function(few, many, root):
        small, large = torch._foreach_mul([few.exp(), many.exp()], 2.0)
        scaled = torch._foreach_div([small, large, large], [root.sqrt(), many, root.exp()])
        return [*scaled, small @ large.view(4, 100)]

    leaves = [torch.ones(4), torch.ones(400), torch.tensor(4.0)]
    module = lowering.write_back(lowering.capture(function, leaves), [None] * 4)
    numbers = lowering.results(module)[4:]
    assert [str(number.target) for number in numbers] == ["aten.exp.default"]  # which a large one is divided by
    assert numbers[0].args[0] is module.graph.find_nodes(op="placeholder")[2]
    run, _ = lowering.generate(module, leaves)
    for found, expected in zip(run(leaves), function(*leaves), strict=False):
        torch.testing.assert_close(found, expected)


def test_what_is_returned_twice_is_returned_twice():
    run, _ = lowering.generate(lowering.capture(lambda x: [x.sum(), x * x.sum(), x], [torch.ones(3)]), [torch.ones(3)])
    total, product, same = run([torch.ones(3)])
    assert (float(total), product.tolist(), same.tolist()) == (3, [3, 3, 3], [1, 1, 1])


def test_compiled_code_is_found_again_by_another_process():
    x = torch.arange(4.0)
    module = lowering.capture(lambda x: [(x * 2.125).sin()], [x])
    path = lowering.kept(module)
    path.unlink(missing_ok=True)
    for kept in (False, True):
        subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT.format(kept=kept)], check=True)
    path.write_bytes(path.read_bytes()[:100])
    assert lowering.generate(module, [x])[1] is False  # damaged: made again
    assert lowering.generate(module, [x])[1] is True
    assert lowering.kept(lowering.capture(lambda x: [(x * 2.25).sin()], [x])) != path


def test_torch_compile_steps_in_where_inductor_makes_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch._inductor.package", None)
    x = torch.arange(4.0)
    module = lowering.capture(lambda x: [x.cos() + 1], [x])
    lowering.kept(module).unlink(missing_ok=True)
    run, found = lowering.generate(module, [x])
    assert not found
    torch.testing.assert_close(run([x])[0], x.cos() + 1)


@pytest.mark.parametrize("constant", [torch.ones(4), 1.0])
def test_kernels_called_from_python_are_made_and_loaded_as_elsewhere_than_on_the_cpu(tmp_path, constant):
    x = torch.arange(4.0)
    module = lowering.capture(lambda x: [(x * 2.5 + constant).cos()], [x])
    given = x.clone()
    with lowering._quiet():
        lowering._artifact(lowering.write_back(module, [0]), [x], tmp_path / "made")([given])
    torch.testing.assert_close(given, (x * 2.5 + constant).cos())
    keepable = not isinstance(constant, torch.Tensor)  # what is loaded has lost its constants
    assert (tmp_path / "made").exists() is keepable
    if keepable:
        given = x.clone()
        with lowering._quiet():
            lowering._load_artifact(tmp_path / "made")([given])
        torch.testing.assert_close(given, (x * 2.5 + constant).cos())


@pytest.mark.parametrize(
    "loss",
    [
        nn.functional.mse_loss,
        nn.functional.l1_loss,
        nn.functional.huber_loss,
        nn.functional.smooth_l1_loss,
        nn.functional.soft_margin_loss,
        nn.functional.binary_cross_entropy,
        nn.functional.binary_cross_entropy_with_logits,
        nn.functional.kl_div,
    ],
)
@pytest.mark.filterwarnings("ignore:reduction")
def test_losses_are_replayed_with_the_reduction_that_was_left_to_its_default(loss):
    leaves = [torch.rand(5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    run = lowering.replay(lowering.capture(lambda given, target: [loss(given, target)], leaves))
    (value,) = run(list(leaves))
    assert torch.equal(value, loss(*leaves))
