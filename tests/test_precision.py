"""Precision: torch's autocast and GradScaler as pure steps, captured, resumed, with every policy."""

import math

import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, precision, trees
from functorch_artifact.checkpoint import Checkpoints
from functorch_artifact.errors import ConfigurationError, LossError

torch.set_num_threads(1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def loss(out, batch):
    return nn.functional.cross_entropy(out, batch["y"]) * batch["weight"]


def batches(n, weights=()):
    generator = torch.Generator().manual_seed(1)
    made = []
    for i in range(n):
        x = torch.randn(16, 3, generator=generator)
        made.append({"x": x, "y": (x.sum(1) > 0).long(), "weight": torch.tensor(weights[i] if weights else 1.0)})
    return made


def steps(name, tx=None, **options):
    model = fa.functional(network(), inputs=lambda batch: batch["x"])
    tx = tx or optimizers.sgd(0.1, momentum=0.9)
    step = fa.train_step(model, tx, loss, precision=name, **options)
    return step, fa.compile(step), fa.init(model, tx, seed=5, precision=name)


# In float32 the weighted loss stays finite; its gradient, times the scale of 65536, does not.
OVERFLOWING = [1.0, 1e36, 1.0, 1e37, 1e36, 1.0, 1.0, 1e36, 1.0]


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_step_is_torchs_autocast_and_grad_scaler(name, dtype):
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, foreach=False)
    scaler = torch.amp.GradScaler("cpu", enabled=name == "fp16")
    step, _, state = steps(name)
    with torch.random.fork_rng():
        for batch in batches(len(OVERFLOWING), OVERFLOWING if name == "fp16" else ()):
            torch.manual_seed(fa.keys.derive(5, "step", int(state.step)))
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype):
                found = loss(net(batch["x"]), batch)
            scaler.scale(found).backward()
            scaler.step(optimizer)
            scaler.update()
            state, output = step(state, batch)
            assert torch.equal(output["loss"], found.detach())
            assert output["output"].dtype == dtype
            assert name != "fp16" or float(state.loss_scale.scale) == scaler.get_scale()
    expected = {key: tensor.detach() for key, tensor in net.named_parameters()}
    assert trees.digest(state.params) == trees.digest(expected)
    assert trees.digest(state.buffers) == trees.digest(dict(net.named_buffers()))
    assert all(tensor.dtype == torch.float32 for tensor in state.params.values())
    assert (state.loss_scale == ()) == (name == "bf16")


def test_the_scale_follows_torchs_rule_on_a_drawn_sequence():
    draws = torch.rand(5000, generator=torch.Generator().manual_seed(0)) < 0.02
    ours = precision.initial("fp16", torch.device("cpu"))
    scale, tracker = torch.full((1,), 65536.0), torch.zeros(1, dtype=torch.int32)
    for overflow in draws:
        ours = precision.updated(ours, ~overflow, interval=40)
        torch._amp_update_scale_(scale, tracker, overflow.float().reshape(1), 2.0, 0.5, 40)
        assert (float(ours.scale), int(ours.streak)) == (float(scale), int(tracker))


def test_the_scale_doubles_after_two_thousand_steps_and_never_becomes_infinite():
    state = precision.LossScale(torch.tensor(2.0**127), torch.tensor(1998, dtype=torch.int32))
    state = precision.updated(state, torch.tensor(True))
    assert (float(state.scale), int(state.streak)) == (2.0**127, 1999)
    state = precision.updated(state, torch.tensor(True))
    assert (float(state.scale), int(state.streak)) == (2.0**127, 0)
    half = precision.LossScale(torch.tensor(8.0), torch.tensor(1999, dtype=torch.int32))
    assert float(precision.updated(half, torch.tensor(True)).scale) == 16.0


@pytest.mark.parametrize("name", ["bf16", "fp16", "tf32"])
@pytest.mark.parametrize("nonfinite", ["raise", "skip"])
def test_captured_steps_have_the_same_bits(name, nonfinite):
    tx = optimizers.chain(optimizers.clip_by_global_norm(1.0), optimizers.adamw(1e-2))
    step, fast, eager = steps(name, optimizers.ema(optimizers.accumulate(tx, steps=2), 0.9), nonfinite=nonfinite)
    captured = eager
    for batch in batches(9, OVERFLOWING):
        eager, expected = step(eager, batch)
        captured, output = fast(captured, batch)
        assert trees.digest(output) == trees.digest(expected)
    assert trees.digest(captured) == trees.digest(eager)


def test_an_overflow_holds_parameters_and_optimizer_and_lets_the_step_count():
    step, _, state = steps("fp16")
    after, output = step(state, batches(1, [1e37])[0])
    assert math.isfinite(output["loss"])
    assert trees.digest((after.params, after.opt_state)) == trees.digest((state.params, state.opt_state))
    assert (int(after.step), float(after.loss_scale.scale)) == (1, 32768.0)


def test_a_loss_that_is_not_finite_is_the_policys_to_judge():
    (bad,) = batches(1, [math.inf])
    step, _, state = steps("fp16")
    with pytest.raises(LossError, match="the loss is inf"):
        step(state, bad)
    skip, _, state = steps("fp16", nonfinite="skip")
    after, _ = skip(state, bad)
    assert trees.digest(after.variables) == trees.digest(state.variables)
    assert float(after.loss_scale.scale) == 32768.0


def test_tf32_changes_nothing_on_a_cpu():
    (batch,) = batches(1)
    (fp32, _, one), (tf32, _, other) = steps("fp32"), steps("tf32")
    assert trees.digest(tf32(other, batch)) == trees.digest(fp32(one, batch))


def test_tf32_is_torchs_flag_while_a_step_runs_and_no_longer():
    flag = torch.backends.cuda.matmul
    before = flag.fp32_precision
    with precision.kernels("tf32", torch.device("cuda")):
        assert flag.fp32_precision == "tf32"
    assert flag.fp32_precision == before
    with precision.kernels("fp32", torch.device("cuda")):
        assert flag.fp32_precision == before


def test_evaluation_runs_in_the_precision():
    model = fa.functional(network(), inputs=lambda batch: batch["x"])
    (batch,) = batches(1)
    output = fa.eval_step(model, loss, precision="bf16")(model.variables, batch)
    assert output["output"].dtype == torch.bfloat16
    assert output["loss"].dtype == torch.float32


def program(mode="eager"):
    (data,) = batches(1)
    rows = {name: data[name].repeat(5, *[1] * (data[name].ndim - 1)) for name in ("x", "y")}
    loader = fa.DataLoader(fa.ResidentDataset(rows | {"weight": torch.full((80,), 1e33)}), batch_size=16, shuffle=True)
    return fa.Program(
        model=fa.functional(network(), inputs=lambda batch: batch["x"]),
        optimizer=optimizers.sgd(1e-35),
        loss=lambda out, batch: nn.functional.cross_entropy(out, batch["y"]) * batch["weight"].mean(),
        train_loader=loader,
        stopper=fa.EpochBoundStopper(3),
        loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
        precision="fp16",
        mode=mode,
    )


def test_a_program_in_fp16_finds_its_scale_and_resumes_with_it(tmp_path):
    result = fa.fit(program(), progress=False)
    scale = result.state.loss_scale
    assert float(scale.scale) < 65536.0
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(3, result.state)
    _, state = checkpoints.latest(program().init(), free=(".scores", ".stopper"))
    assert trees.digest(state) == trees.digest(result.state)
    captured = fa.fit(program("captured"), progress=False)
    assert trees.digest(captured.state) == trees.digest(result.state)


def test_what_cannot_work_is_refused():
    net, tx = nn.Linear(3, 1), optimizers.sgd(0.1)
    with pytest.raises(
        ConfigurationError, match=r"precision: is unknown\n  expected: one of .*'bf16'.*\n  got: 'half'"
    ):
        fa.train_step(net, tx, precision="half")
    with pytest.raises(ConfigurationError, match=r"do this: make it with init\(..., precision='fp16'\)"):
        fa.train_step(net, tx, precision="fp16")(fa.init(net, tx), torch.ones(2, 3))


def test_whichever_of_torchs_flags_is_set_products_precision_is_told():
    flag = torch.backends.cuda.matmul
    assert precision.of_products() == "highest"
    before, flag.fp32_precision = flag.fp32_precision, "tf32"  # now torch.get_float32_matmul_precision raises
    try:
        assert precision.of_products() == "tf32"
    finally:
        flag.fp32_precision = before
    assert precision.of_products() == "highest"
