"""Compiled steps: the bits or the numbers of the eager ones, in every mode, and a fall-back that says why."""

import re

import attrs
import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import deferral, optimizers, trees
from functorch_artifact.compiling import CompileWarning
from functorch_artifact.errors import BatchError, ConfigurationError, LossError, StateError

TRANSFORMATIONS = {
    "adam": lambda net: optimizers.adam(1e-2),
    "clipped, scheduled": lambda net: optimizers.chain(
        optimizers.clip_by_global_norm(0.5),
        optimizers.adamw(optimizers.schedules.cosine(0.1, total=20, per="step")),
    ),
    "lifted groups": lambda net: optimizers.from_torch(
        torch.optim.SGD([{"params": net[0].parameters(), "lr": 0.1}, {"params": net[1:].parameters()}], momentum=0.9)
    ),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(8, 2, bias=False)
    )


def loss(out, batch):
    return nn.functional.cross_entropy(out, batch["y"])


def batches(n, size=16):
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(size, 3, generator=generator) for _ in range(n)]
    return [{"x": each, "y": (each.sum(1) > 0).long()} for each in x]


def steps(tx="adam", **options):
    net = network()
    net[4].weight.requires_grad_(tx != "frozen")
    model = fa.functional(net, inputs=lambda batch: batch["x"])
    made = TRANSFORMATIONS.get(tx, TRANSFORMATIONS["adam"])(net)
    step = fa.train_step(model, made, loss, **options)
    return step, fa.compile(step), fa.init(model, made, seed=5)


@pytest.mark.parametrize("tx", [*TRANSFORMATIONS, "frozen"])
def test_captured_steps_have_the_bits_of_eager_ones(tx):
    step, fast, start = steps(tx)
    eager = captured = start
    for batch in batches(20) + batches(1, size=5):  # a smaller last batch is a second signature
        eager, expected = step(eager, batch)
        captured, output = fast(captured, batch)
        assert trees.digest(output) == trees.digest(expected)
    assert trees.digest(captured) == trees.digest(eager)
    assert [build.mode for build in fa.explain(fast).builds] == ["captured", "captured"]


def test_a_captured_step_changes_neither_its_arguments_nor_the_global_generator():
    _, fast, state = steps()
    (batch,) = batches(1)
    before, generator = trees.digest((state, batch)), torch.get_rng_state()
    first = trees.digest(fast(state, batch))
    assert trees.digest(fast(state, batch)) == first
    assert trees.digest((state, batch)) == before
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_state_whose_scores_grew_is_no_new_signature():
    _, fast, state = steps()
    (batch,) = batches(1)
    state, _ = fast(state, batch)
    fast(fa.advance(state, {"VAL_LOSS": 1.0}), batch)
    assert len(fa.explain(fast).builds) == 1


def test_a_loss_that_is_not_finite_raises_as_it_does_eagerly():
    _, fast, state = steps()
    (batch,) = batches(1)
    state, _ = fast(state, batch)
    with pytest.raises(LossError, match=r"step 2 \(epoch 1, batch 2\): the loss is nan"):
        fast(state, batch | {"x": batch["x"] * torch.nan})


def test_a_loss_that_is_not_finite_is_skipped_as_it_is_eagerly():
    step, fast, state = steps(nonfinite="skip")
    (batch,) = batches(1)
    bad = batch | {"x": batch["x"] * torch.nan}
    assert trees.digest(fast(state, bad)) == trees.digest(step(state, bad))


class Branching(nn.Module):
    """Decides by a value."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, batch):
        out = self.linear(batch)
        return {"loss": out.square().mean() if out.sum() > 0 else out.abs().mean()}


def test_a_step_that_reads_values_on_the_host_runs_as_it_is_and_says_so():
    net, tx = Branching(), optimizers.sgd(0.1)
    step = fa.train_step(net, tx)
    fast, state = fa.compile(step), fa.init(net, tx)
    with pytest.warns(
        CompileWarning,
        match=r"the step is not captured and runs as it is, in mode 'eager': .*data-dependent.*, in forward\)",
    ):
        found = fast(state, torch.ones(2, 3))
    assert trees.digest(found) == trees.digest(step(state, torch.ones(2, 3)))
    for sign in (1, -1):  # no second warning, and both branches
        batch = sign * torch.ones(2, 3)
        assert trees.digest(fast(state, batch)) == trees.digest(step(state, batch))


def test_a_schedule_that_is_read_on_the_host_is_not_captured():
    net = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = optimizers.from_torch_schedule(torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), per="step")
    tx = optimizers.from_torch(optimizer, schedule)
    step = fa.train_step(net, tx, loss=lambda out, batch: out.square().mean())
    fast, eager = fa.compile(step), fa.init(net, tx)
    captured = eager
    with pytest.warns(CompileWarning, match="not captured"):
        captured, _ = fast(captured, torch.ones(2, 3))
    eager, _ = step(eager, torch.ones(2, 3))
    for _ in range(3):
        captured, _ = fast(captured, torch.ones(2, 3))
        eager, _ = step(eager, torch.ones(2, 3))
    assert trees.digest(captured) == trees.digest(eager)


def test_a_batch_with_more_than_tensors_is_not_captured():
    step, fast, state = steps()
    (batch,) = batches(1)
    with pytest.warns(CompileWarning, match="it has arguments that are not tensors"):
        found = fast(state, batch | {"name": "first"})
    assert trees.digest(found) == trees.digest(step(state, batch))


def test_a_step_that_is_at_fault_says_so_as_it_does_eagerly():
    _, fast, state = steps()
    (batch,) = batches(1)
    with pytest.raises(BatchError, match="the loss function: asks the batch for the key 'y'"):
        fast(state, {"x": batch["x"]})


def test_modes():
    step, _, _ = steps()
    assert fa.compile(step, mode="eager") is step
    assert str(fa.explain(step)) == "asked for: eager"
    with pytest.raises(ConfigurationError, match=r"mode: is unknown\n  expected: one of \('eager', .*\n  got: 'turbo'"):
        fa.compile(step, mode="turbo")


MODES = ["eager", "captured", "compiled"]


@pytest.fixture(scope="module")
def compiled():
    """One compiled step for many tests: dropout, BatchNorm, clipping, a schedule; in float64."""
    net = network().double()
    model = fa.functional(net, inputs=lambda batch: batch["x"].double())
    tx = TRANSFORMATIONS["clipped, scheduled"](net)
    step = fa.train_step(model, tx, loss)
    fast = {mode: fa.compile(step, mode=mode, donate=True) for mode in MODES}
    return step, fast, fa.init(model, tx, seed=5)


def close(one, other):
    assert trees.differences(one, other) == []
    return all(
        torch.allclose(a.double(), b.double(), rtol=1e-7, atol=1e-10)
        for a, b in zip(trees.tensors(one), trees.tensors(other), strict=True)
    )


@pytest.mark.parametrize("mode", MODES)
def test_donated_steps_agree_with_eager_ones_and_spare_what_is_held(compiled, mode):
    step, fast, start = compiled
    state = attrs.evolve(start)  # shares the tensors of `start`, which has to stay as it is
    expected, held, digests = start, [start], [trees.digest(start)]
    generator = torch.get_rng_state()
    for number, batch in enumerate(batches(6) + batches(1, size=5)):
        before = trees.digest(batch)
        expected, wanted = step(expected, batch)
        state, output = fast[mode](state, batch)
        assert close((state, output), (expected, wanted))
        assert trees.digest(batch) == before
        if number % 2:  # what anybody holds, by whatever name, is a copy from then on
            held += [attrs.evolve(state), state.params, state.opt_state, state.step.view(1), output]
            digests += [trees.digest(each) for each in held[-5:]]
    assert [trees.digest(each) for each in held] == digests
    assert torch.equal(torch.get_rng_state(), generator)
    modes = [build.mode for build in fa.explain(fast[mode]).builds]
    assert modes == [mode, "captured" if mode == "compiled" else mode]


def stacked(several):
    return trees.map(lambda *leaves: torch.stack(leaves), *several)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("donate", [False, True])
def test_several_steps_a_call_have_the_bits_of_single_ones(compiled, mode, donate):
    step, fast, start = compiled
    before, several = trees.digest(start), fa.compile(step, mode, steps=4, donate=donate)
    state, single = attrs.evolve(start), attrs.evolve(start)
    for few in (batches(7)[:4], batches(7)[4:]):  # the last stack is smaller
        held, digest = attrs.evolve(state), trees.digest(state)
        state, outputs = several(state, stacked(few))
        assert trees.digest(held) == digest
        expected = []
        for batch in few:
            single, output = fast[mode](single, batch)
            expected.append(output)
        assert trees.digest(outputs) == trees.digest(stacked(expected))
    assert trees.digest(state) == trees.digest(single)
    assert trees.digest(start) == before
    with pytest.raises(
        BatchError, match=r"is not a stack\n  expected: leaves of shape \[n, batch, ...\], n from 1 to 4"
    ):
        several(state, stacked(batches(7)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("donate", [False, True])
def test_several_batches_of_different_sizes_are_taken_in_one_call(compiled, mode, donate):
    step, fast, start = compiled
    digest, several = trees.digest(start), fa.compile(step, mode, steps=4, donate=donate)
    state, single = attrs.evolve(start), attrs.evolve(start)
    for few in (batches(1), batches(5) + batches(1, size=5), batches(1, size=5) + batches(2)):
        state, outputs = several.take(state, few)
        expected = []
        for batch in few:
            single, output = fast[mode](single, batch)
            expected.append(output)
        assert trees.digest(outputs) == trees.digest(expected)
    assert trees.digest(state) == trees.digest(single)
    assert trees.digest(start) == digest
    assert "up to 4 steps a call" in str(fa.explain(several))


class Showing(nn.Module):
    """Outputs what its state is made of, and keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 1), nn.BatchNorm1d(3)
        self.register_buffer("count", torch.zeros(3))
        self.register_buffer("latest", torch.zeros(8, 3))

    def forward(self, x):
        self.count.add_(1)
        self.latest = x
        out = self.linear(self.norm(x))
        views = {"mean": self.norm.running_mean, "part": self.norm.running_var[:2], "row": self.linear.weight.view(-1)}
        return {"loss": out.square().mean(), "count": self.count, "weight": self.linear.weight, **views}


@pytest.mark.parametrize("mode", MODES)
def test_what_outputs_and_batches_share_with_the_state_is_not_written_to_by_the_next_step(mode):
    torch.manual_seed(0)
    net, tx = Showing(), optimizers.adam(0.1)
    step = fa.train_step(net, tx)
    single, several = fa.compile(step, mode, donate=True), fa.compile(step, mode, donate=True, steps=4)
    one, state, x = fa.init(net, tx), fa.init(net, tx), torch.randn(8, 8, 3)
    digest, expected, found = trees.digest(x), [], []
    for number in (0, 4):
        for each in x[number : number + 4]:
            one, output = single(one, each)
            expected.append((trees.digest(output), output))
        state, outputs = several.take(state, list(x[number : number + 4]))
        found += outputs
    assert trees.digest(found) == trees.digest([output for _, output in expected])
    assert [trees.digest(output) for output in found] == [digest for digest, _ in expected]
    assert trees.digest(state) == trees.digest(one)
    assert trees.digest(x) == digest


def test_a_loss_that_is_not_finite_is_placed_among_several_steps():
    step, _, state = steps()
    stack = stacked(batches(4))
    stack["x"][2] *= torch.nan
    several = fa.compile(step, steps=4)
    several(state, {name: leaf[:2] for name, leaf in stack.items()})
    with pytest.raises(LossError, match=r"step 3 \(epoch 1, batch 3\): the loss is nan"):
        several(state, stack)


@pytest.mark.parametrize("mode", MODES)
def test_a_donated_state_says_who_took_it(compiled, mode):
    _, fast, start = compiled
    state = attrs.evolve(start)
    (batch,) = batches(1)
    fast[mode](state, batch)
    with pytest.raises(StateError, match=r"TrainState: was donated to the call at .*test_compiling\.py:\d+, which"):
        fast[mode](state, batch)
    with pytest.raises(StateError, match=r"keep a copy: trees\.snapshot"):
        fa.advance(state, {})


def test_compiled_steps_write_into_the_donated_memory(compiled):
    _, fast, start = compiled
    state, _ = fast["compiled"](attrs.evolve(start), *batches(1))
    addresses = [leaf.data_ptr() for leaf in trees.leaves(state)]
    for batch in batches(3):
        state, _ = fast["compiled"](state, batch)
    assert [leaf.data_ptr() for leaf in trees.leaves(state)] == addresses


@attrs.frozen
class Tangled:
    """A step whose output holds the state's tensors, and whose state holds the batch; each is written over later."""

    step: fa.TrainStep
    precision: str = "fp32"
    nonfinite: str = "raise"

    def __call__(self, state, batch):
        with torch.no_grad():
            return self.kernel(state, batch)

    def kernel(self, state, batch):
        following, output = self.step.kernel(state, batch)
        output |= following.params | {"again": state.buffers["seen"] + batch["x"], "before": state.buffers["last"] * 2}
        seen = state.buffers["seen"] + batch["x"]
        return attrs.evolve(following, buffers={"seen": seen, "last": batch["x"]}), output


@pytest.mark.parametrize("mode", ["captured", "compiled"])
@pytest.mark.parametrize("several", [1, 2])
@pytest.mark.parametrize("donate", [False, True])
def test_what_a_state_shares_with_outputs_and_batches_stays_as_it_is(mode, several, donate):
    net = nn.Linear(3, 1)
    tx = optimizers.sgd(0.1, momentum=0.9)
    step = Tangled(fa.train_step(fa.functional(net, inputs=lambda batch: batch["x"]), tx, lambda out, _: out.mean()))
    start = attrs.evolve(fa.init(net, tx), buffers={"seen": torch.zeros(16, 3), "last": torch.zeros(16, 3)})
    fast = fa.compile(step, mode=mode, donate=donate, steps=several)
    given = [stacked(batches(6)[at : at + several]) if several > 1 else batches(6)[at] for at in range(0, 6, several)]
    state, outputs, before = attrs.evolve(start), [], trees.digest(given)
    for batch in given:
        state, output = fast(state, batch)
        outputs += [output] if several == 1 else [trees.map(lambda leaf: leaf[at], output) for at in range(several)]  # noqa: B023
    expected = start
    for batch, output in zip(batches(6), outputs, strict=True):
        expected, wanted = step(expected, batch)
        torch.testing.assert_close(dict(output), dict(wanted))
    assert close(state, expected)
    assert trees.digest(given) == before


def test_a_step_that_is_not_donated_writes_to_no_state_after_it_took_several_in_a_row():
    _, fast, start = steps()
    fast.take(start, batches(2))
    before = trees.digest(start)
    fast(start, *batches(1))
    assert trees.digest(start) == before


@pytest.mark.parametrize("mode", ["captured", "compiled"])
def test_a_state_that_nobody_looks_at_is_not_put_together(compiled, mode):
    step, fast, start = compiled
    state, expected = attrs.evolve(start), start
    for number, batch in enumerate(batches(4), start=1):
        state, _ = fast[mode](state, batch)
        expected, _ = step(expected, batch)
        assert int(state.step) == number
        assert deferral.pending(state)
    assert close(state, expected)
    assert not deferral.pending(state)


def test_compiled_steps_draw_the_noise_of_eager_ones():
    net = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5))
    step = fa.train_step(net, optimizers.sgd(0.0), loss=lambda out, batch: out.square().mean())
    state, batch = fa.init(net, optimizers.sgd(0.0), seed=3), torch.randn(7, 3)
    _, expected = step(state, batch)
    _, output = fa.compile(step, mode="compiled")(state, batch)
    assert torch.equal(output["output"] == 0, expected["output"] == 0)


def test_auto_says_what_it_chose(compiled):
    step, _, start = compiled
    (batch,) = batches(1)
    for n_steps, mode, why in (
        (None, "captured", "on the CPU, and it is not known for how many steps"),
        (10, "captured", "compiling costs about .* s and saves 0 s in 10 steps"),
        (10**6, "compiled", "compiling costs about .* in 1000000 steps"),
    ):
        fast = fa.compile(step, mode="auto", n_steps=n_steps)
        fast(start, batch)
        (build,) = fa.explain(fast).builds
        assert build.mode == mode
        assert re.match(why, build.why)
        assert re.search(rf"float32\[16, 3\], int64\[16\]: {mode} \(.*\), built in \d", str(fa.explain(fast)))


def test_what_cannot_be_compiled_runs_captured_and_says_so(compiled, monkeypatch, tmp_path):
    step, _, start = compiled
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    fast = fa.compile(step, mode="compiled")
    with (
        config.patch({"cpp.cxx": ("no-such-compiler",), "compile_threads": 1}),
        pytest.warns(CompileWarning, match="the step is not compiled and runs captured: .*compiler"),
    ):
        found = fast(start, *batches(1))
    assert trees.digest(found) == trees.digest(step(start, *batches(1)))
    assert [build.mode for build in fa.explain(fast).builds] == ["captured"]


class _Inside(nn.Module):
    """Doubles, by an operation that works only while this module runs."""

    running = False

    def forward(self, x):
        _Inside.running = True
        try:
            return torch.ops.functorch_artifact_tests.doubled_inside(x)
        finally:
            _Inside.running = False


@torch.library.custom_op("functorch_artifact_tests::doubled_inside", mutates_args=())
def doubled_inside(x: torch.Tensor) -> torch.Tensor:
    if not _Inside.running:
        raise RuntimeError("called from outside of its module")
    return 2 * x


doubled_inside.register_fake(torch.empty_like)
doubled_inside.register_autograd(lambda context, gradient: 2 * gradient)


@pytest.mark.parametrize("mode", ["captured", "auto"])
def test_what_traces_and_does_not_run_runs_as_it_is_and_takes_no_state_away(mode):
    net, tx = nn.Sequential(nn.Linear(3, 2), _Inside()), optimizers.adam(0.1)
    step = fa.train_step(net, tx, loss=lambda out, batch: out.square().mean())
    fast, x = fa.compile(step, mode, donate=True), torch.ones(4, 3)
    expected, _ = step(fa.init(net, tx), x)
    with pytest.warns(CompileWarning, match="not captured and runs as it is.*called from outside"):
        found, _ = fast(fa.init(net, tx), x)
    assert trees.digest(found) == trees.digest(expected)
    assert [build.mode for build in fa.explain(fast).builds] == ["eager"]


def program(mode):
    loader = fa.DataLoader(fa.ResidentDataset(batches(1, size=50)[0]), batch_size=16, shuffle=True)
    return fa.Program(
        model=fa.functional(network(), inputs=lambda batch: batch["x"]),
        optimizer=optimizers.adam(optimizers.schedules.step(0.1, step_size=1, per="epoch")),
        loss=loss,
        train_loader=loader,
        stopper=fa.EpochBoundStopper(3),
        tracker=fa.ScoreTracker("VAL_LOSS", mode="min"),
        loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
        mode=mode,
    )


def test_a_captured_program_is_the_eager_run():
    start = program("eager").init()
    before = trees.digest(start)
    eager, captured = (fa.fit(program(mode), state=start, progress=False).state for mode in ("eager", "captured"))
    assert trees.digest(captured) == trees.digest(eager)
    assert trees.digest(start) == before  # `fit` donates, but not what it was given


def test_the_best_model_of_a_compiled_run_has_its_score():
    held = program("compiled")
    result = fa.fit(held, progress=False)
    scores = {record.name: record.value.value for record in fa.evaluate(held, result.best.model).records}
    assert scores["VAL_LOSS"] == result.scores["VAL_LOSS"].min()


def test_a_run_says_how_its_steps_run(capsys):
    fa.fit(program("auto"))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("steps on ")]
    assert re.match(
        r"steps on float32\[16, 3\], int64\[16\] run captured: compiling costs about .* in 12 steps", said[0]
    )
    assert "steps on float32[2, 3], int64[2] run captured: a smaller batch than the others" in said[1]
    assert len(said) == 2


def test_a_small_batch_runs_captured_even_if_it_comes_first(compiled):
    step, _, start = compiled
    fast = fa.compile(step, mode="compiled", batch_size=16)
    fast(start, *batches(1, size=5))
    assert [build.mode for build in fa.explain(fast).builds] == ["captured"]


def test_what_is_no_training_step_is_not_compiled():
    with pytest.raises(
        ConfigurationError, match=r"compile: is no training step\n.*\n  got: function\n  do this: compile each"
    ):
        fa.compile(lambda state, batch: (state, {}))


def test_an_error_while_tracing_is_not_logged_besides(caplog):
    step = fa.train_step(torch.nn.Linear(3, 1), optimizers.sgd(0.1), lambda output, batch: output.mean())
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        fa.compile(step)(fa.init(step.model, step.tx), torch.ones(4, 5))
    assert not [each for each in caplog.records if each.levelname == "ERROR"]
