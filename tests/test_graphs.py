"""Steps over buffers that stay where they are: agreement, copies exactly where somebody looks, and refusals."""

import contextlib
import copy
import importlib
import pickle
import sys
from pathlib import Path

import attrs
import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import deferral, optimizers, trees
from functorch_artifact.compiling import CompileWarning, graphs, lowering, splitting
from functorch_artifact.compiling.recording import RecordingError
from functorch_artifact.errors import StateError

sys.path.insert(0, str(Path(__file__).parent))
rehearse = importlib.import_module("rehearsal").rehearse


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def loss(out, batch):
    return nn.functional.cross_entropy(out, batch["y"])


def batches(n, size=16):
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(size, 3, generator=generator) for _ in range(n)]
    return [{"x": each, "y": (each.sum(1) > 0).long()} for each in x]


def stacked(several):
    return trees.map(lambda *leaves: torch.stack(leaves), *several)


TRANSFORMATIONS = {
    "adam": lambda net: optimizers.adam(1e-2),
    "scheduled, clipped": lambda net: optimizers.chain(
        optimizers.clip_by_global_norm(0.5), optimizers.adamw(optimizers.schedules.cosine(0.1, total=20, per="step"))
    ),
    "warm, piecewise": lambda net: optimizers.sgd(
        optimizers.schedules.linear_warmup(
            optimizers.schedules.piecewise(0.1, milestones=[2, 4], per="step"), length=3, per="step"
        ),
        momentum=0.9,
    ),
    "one cycle": lambda net: optimizers.adam(optimizers.schedules.one_cycle(0.1, total=10, per="step")),
    "averaged, accumulated": lambda net: optimizers.ema(optimizers.accumulate(optimizers.adam(1e-2), steps=2), 0.9),
    "nadam": lambda net: optimizers.from_torch(torch.optim.NAdam(net.parameters())),
    "radam": lambda net: optimizers.from_torch(torch.optim.RAdam(net.parameters())),
    "asgd": lambda net: optimizers.from_torch(torch.optim.ASGD(net.parameters())),
    "lifted, groups, tabulated": lambda net: lifted(net),
}


def lifted(net):
    groups = [{"params": net[0].parameters(), "lr": 0.1}, {"params": net[1:].parameters()}]
    sgd = torch.optim.SGD(groups, lr=0.2, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(sgd, 2, 0.5)
    return optimizers.from_torch(sgd, optimizers.from_torch_schedule(schedule, per="step", total=20))


def made(tx="adam", **options):
    net = network()
    model = fa.functional(net, inputs=lambda batch: batch["x"])
    transformation = TRANSFORMATIONS[tx](net)
    state = fa.init(model, transformation, seed=5, precision=options.get("precision", "fp32"))
    return fa.train_step(model, transformation, loss, **options), state


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize(
    ("tx", "options"),
    [
        *((tx, {}) for tx in TRANSFORMATIONS),
        ("adam", {"nonfinite": "skip"}),
        ("adam", {"precision": "fp16"}),
        ("adam", {"precision": "bf16", "nonfinite": "stop"}),
    ],
    ids=str,
)
def test_steps_over_buffers_are_the_eager_ones_and_spare_what_is_held(monkeypatch, tx, options, donate):
    rehearse(monkeypatch)
    step, start = made(tx, **options)
    fast = fa.compile(step, mode="cudagraph", donate=donate)
    state, expected = attrs.evolve(start), start
    held, digests = [start], [trees.digest(start)]
    generator = torch.get_rng_state()
    for number, batch in enumerate(batches(6) + batches(1, size=5) + batches(2)):
        expected, wanted = step(expected, batch)
        before = state
        state, output = fast(state, batch)
        assert trees.digest(output) == trees.digest(wanted)
        if not donate:  # what is given stays of use, looked at before or not
            held.append(before)
            digests.append(trees.digest(before))
        if number % 3 == 0:
            assert trees.digest(state) == trees.digest(expected)
            held += [attrs.evolve(state), state.params, state.opt_state, output]
            digests += [trees.digest(each) for each in held[-4:]]
    assert trees.digest(state) == trees.digest(expected)
    assert [trees.digest(each) for each in held] == digests
    assert torch.equal(torch.get_rng_state(), generator)
    assert [build.mode for build in fa.explain(fast).builds] == ["cudagraph", "captured"]


def test_a_state_that_is_passed_on_unread_is_not_copied(monkeypatch):
    rehearse(monkeypatch)
    step, start = made()
    fast = fa.compile(step, mode="cudagraph", donate=True)
    state, _ = fast(attrs.evolve(start), *batches(1))
    (buffers,) = fast._memory.buffers.values()
    copies = []
    monkeypatch.setattr(graphs.Buffers, "load", lambda self, leaves: copies.append(leaves))
    for batch in batches(3):
        assert buffers.hold(state)
        assert int(state.step) > 0  # counters may be looked at
        state, _ = fast(state, batch)
    assert copies == []
    assert not {leaf.data_ptr() for leaf in trees.leaves(state)} & {leaf.data_ptr() for leaf in buffers.leaves}
    assert not buffers.hold(state)  # it was looked at, and has copies


def test_several_steps_a_launch_have_the_bits_of_single_ones(monkeypatch):
    recorders = rehearse(monkeypatch)
    step, start = made("scheduled, clipped")
    single, several = fa.compile(step, "cudagraph", donate=True), fa.compile(step, "cudagraph", donate=True, steps=4)
    state, expected = attrs.evolve(start), attrs.evolve(start)
    for few in (batches(7)[:4], batches(7)[4:], batches(2, size=5)):  # a smaller stack, then smaller batches
        state, outputs = several(state, stacked(few))
        wanted = []
        for batch in few:
            expected, output = single(expected, batch)
            wanted.append(output)
        assert trees.digest(outputs) == trees.digest(stacked(wanted))
    assert trees.digest(state) == trees.digest(expected)
    assert recorders[0].launched == [4, 1, 1, 1]


def test_two_sizes_of_batches_share_the_buffers_of_the_state(monkeypatch):
    rehearse(monkeypatch)
    step, start = made()
    fast = fa.compile(step, mode="cudagraph", donate=True)
    state, expected = attrs.evolve(start), start
    for batch in batches(2, size=4) + batches(2, size=8) + batches(2, size=16):  # each larger than those before
        state, _ = fast(state, batch)
        expected, _ = step(expected, batch)
    assert len(fast._memory.buffers) == 1
    assert trees.digest(state) == trees.digest(expected)


def test_a_donated_state_says_who_took_it_and_is_not_copied(monkeypatch):
    rehearse(monkeypatch)
    step, start = made()
    fast = fa.compile(step, mode="cudagraph", donate=True)
    (batch,) = batches(1)
    state, _ = fast(attrs.evolve(start), batch)
    fast(state, batch)
    assert not deferral.pending(state)
    with pytest.raises(StateError, match="was donated to the call at"):
        fast(state, batch)


def test_a_state_that_is_kept_by_name_alone_gets_its_copy_before_the_next_launch(monkeypatch):
    rehearse(monkeypatch)
    step, start = made()
    fast = fa.compile(step, mode="cudagraph", donate=True)
    (batch,) = batches(1)
    kept, _ = fast(attrs.evolve(start), batch)
    assert deferral.pending(kept)
    fast(attrs.evolve(start), batch)  # from elsewhere
    assert not deferral.pending(kept)
    assert trees.digest(kept) == trees.digest(step(start, batch)[0])


@pytest.mark.parametrize("look", [copy.copy, copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state)), repr])
def test_a_state_in_buffers_is_a_state_like_any_other(monkeypatch, look):
    rehearse(monkeypatch)
    step, start = made()
    (batch,) = batches(1)
    state, _ = fa.compile(step, mode="cudagraph", donate=True)(attrs.evolve(start), batch)
    expected, _ = step(start, batch)
    assert type(state) is type(expected)
    assert not hasattr(state, "weights")
    found, wanted = look(state), look(expected)
    assert found == wanted if look is repr else trees.digest(found) == trees.digest(wanted)
    assert trees.differences(expected, state) == []


def test_generated_code_is_recorded(monkeypatch):
    rehearse(monkeypatch, compiled=True)
    net = nn.Linear(3, 1).double()
    step = fa.train_step(net, optimizers.adam(1e-2), loss=lambda out, batch: out.square().mean())
    start = fa.init(net, optimizers.adam(1e-2))
    fast, state, expected = fa.compile(step, "cudagraph", donate=True, steps=2), attrs.evolve(start), start
    for _ in range(3):
        state, outputs = fast(state, torch.ones(2, 4, 3).double())
        for _ in range(2):
            expected, wanted = step(expected, torch.ones(4, 3).double())
        torch.testing.assert_close(outputs["loss"][1], wanted["loss"], rtol=1e-7, atol=1e-10)
    assert all(
        torch.allclose(a.double(), b.double(), rtol=1e-7, atol=1e-10)
        for a, b in zip(trees.leaves(state), trees.leaves(expected), strict=True)
    )
    (build,) = fa.explain(fast).builds
    assert build.mode == "cudagraph"
    assert build.why in ("as asked, compiled", "as asked, found compiled")


def test_what_cannot_be_compiled_is_recorded_as_traced_and_says_so(monkeypatch):
    rehearse(monkeypatch)

    def fail(module, leaves):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(lowering, "generate", fail)
    step, start = made()
    fast = fa.compile(step, mode="cudagraph")
    with pytest.warns(CompileWarning, match="not compiled, and its traced operations are recorded.*no compiler"):
        found = fast(start, *batches(1))
    assert trees.digest(found) == trees.digest(step(start, *batches(1)))
    assert [build.mode for build in fa.explain(fast).builds] == ["cudagraph"]


@pytest.mark.parametrize("leaf", ["x", "y"])
def test_a_batch_whose_memory_overlaps_is_not_recorded(monkeypatch, leaf):
    rehearse(monkeypatch)
    step, start = made(nonfinite="record")
    (batch,) = batches(1)
    batch[leaf] = batch[leaf][:1].expand(batch[leaf].shape)
    fast = fa.compile(step, mode="cudagraph")
    with pytest.warns(CompileWarning, match="not recorded as a CUDA graph and runs captured: .*overlaps itself"):
        found = fast(start, batch)
    assert trees.digest(found) == trees.digest(step(start, batch))


def test_a_state_that_changes_its_shape_is_not_recorded(monkeypatch):
    rehearse(monkeypatch)
    net = nn.Linear(3, 1)

    def update(grads, state, params):
        return trees.map(lambda grad: -0.1 * grad, grads), {"seen": torch.cat([state["seen"], state["seen"]])}

    tx = optimizers.GradientTransformation(lambda params: {"seen": torch.ones(1)}, update)
    step = fa.train_step(net, tx, loss=lambda out, batch: out.square().mean())
    state, expected = (fa.init(net, tx) for _ in range(2))
    fast = fa.compile(step, mode="cudagraph", donate=True)
    for _ in range(2):
        with pytest.warns(CompileWarning, match=r"a step changes state\['opt_state'\]\['seen'\]"):
            state, _ = fast(state, torch.ones(2, 3))
        expected, _ = step(expected, torch.ones(2, 3))
    assert trees.digest(state) == trees.digest(expected)


def test_without_cuda_steps_run_captured_and_say_why():
    step, start = made()
    fast = fa.compile(step, mode="cudagraph")
    with pytest.warns(CompileWarning, match="not recorded as a CUDA graph and runs captured: .*no CUDA graphs on cpu"):
        found = fast(start, *batches(1))
    assert trees.digest(found) == trees.digest(step(start, *batches(1)))
    assert [build.mode for build in fa.explain(fast).builds] == ["captured"]


def program(mode, **changes):
    rows = batches(1, size=50)[0]
    loader = fa.DataLoader(fa.ResidentDataset(rows), batch_size=16, shuffle=True)
    parts = {
        "model": fa.functional(network(), inputs=lambda batch: batch["x"]),
        "optimizer": optimizers.ema(optimizers.adam(optimizers.exponential(0.1, gamma=0.5, per="epoch")), 0.9),
        "loss": loss,
        "train_loader": loader,
        "stopper": fa.EpochBoundStopper(3),
        "tracker": fa.ScoreTracker("VAL_LOSS", mode="max"),  # so that it is not the latest that is kept
        "batch_routine": fa.BatchRoutine([fa.BatchLossCallback()]),
        "loader_routines": [fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
        "checkpoint": fa.every(steps=2),
        "mode": mode,
    }
    return fa.Program(**(parts | changes))


def test_a_recorded_run_is_the_eager_one_kept_models_and_checkpoints_included(monkeypatch, tmp_path):
    rehearse(monkeypatch)
    eager = fa.fit(program("eager"), run=tmp_path / "eager", progress=False)
    recorded = fa.fit(program("cudagraph"), run=tmp_path / "whole", progress=False)
    fa.fit(program("cudagraph", stopper=fa.EpochBoundStopper(1)), run=tmp_path / "parts", progress=False)
    resumed = fa.fit(program("cudagraph"), run=tmp_path / "parts", progress=False)
    for found in (recorded, resumed):
        assert trees.digest(found.state) == trees.digest(eager.state)
        assert trees.digest(found.best) == trees.digest(eager.best)
        assert found.scores.equals(eager.scores)
    with fa.RunReader(tmp_path / "eager") as one, fa.RunReader(tmp_path / "whole") as other:
        assert [path.name for path in one.checkpoints] == [path.name for path in other.checkpoints]
        assert trees.digest(one.latest) == trees.digest(other.latest)
        assert (one.fingerprint["mode"], other.fingerprint["mode"]) == ("eager", "cudagraph")


def test_members_of_an_ensemble_are_recorded_together(monkeypatch):
    rehearse(monkeypatch)
    held = program("eager", optimizer=optimizers.sgd(0.1))
    told = {"seeds": range(3), "hyperparameters": {"lr": [0.01, 0.1, 0.2]}}
    captured, recorded = (
        fa.ensemble(held, **told, mode=mode).fit(progress=False) for mode in ("captured", "cudagraph")
    )
    for one, other in zip(captured.members, recorded.members, strict=True):
        assert trees.digest(one.state) == trees.digest(other.state)


def traced(tx="adam", device="meta", change=None, **options):
    """Trace a step whose model is on another device than the host; `meta` has everything but numbers."""
    net = network().to(device)
    model = fa.functional(net, inputs=lambda batch: batch["x"])
    transformation = TRANSFORMATIONS[tx](net)
    state = fa.init(model, transformation, precision=options.get("precision", "fp32"))
    if change is not None:
        state = change(state)
    function = options.pop("loss", loss)
    step = fa.train_step(model, transformation, function, **options)
    arguments = ({name: getattr(state, name) for name in MOVING}, trees.to_device(batches(1)[0], device))
    leaves, structure = trees.flatten(arguments)

    def flat(*given):
        moved, own = trees.unflatten(structure, given)
        following, output = step.kernel(attrs.evolve(state, **moved), own)
        return trees.leaves(({name: getattr(following, name) for name in MOVING}, output))

    names = trees.paths(arguments[0], "state") + trees.paths(arguments[1], "batch")
    module = lowering.capture(flat, leaves)
    counters = [names.index(f"state[{name!r}]") for name in graphs.COUNTERS]
    return splitting.split(module, counters, names, torch.device(device)), names


MOVING = ("params", "frozen", "buffers", "opt_state", "step", "batch", "loss_scale")


@pytest.mark.parametrize(
    ("tx", "options"),
    [
        *((tx, {}) for tx in TRANSFORMATIONS),
        ("adam", {"nonfinite": "skip"}),
        ("averaged, accumulated", {"nonfinite": "stop"}),
        ("adam", {"precision": "fp16", "nonfinite": "skip"}),
    ],
    ids=str,
)
def test_a_step_on_a_device_computes_nothing_but_its_counters_on_the_host(monkeypatch, tx, options):
    monkeypatch.setattr("functorch_artifact.precision.autocast", lambda *_: contextlib.nullcontext())  # not for `meta`
    parts, names = traced(tx, **options)
    for node in parts.recorded.graph.nodes:
        assert {each.device.type for each in trees.tensors(node.meta.get("val"))} <= {"meta"}, node.name
    counted = parts.counted([torch.tensor(3), torch.tensor(10)])
    assert [int(each) for each in counted] == [4, 11]
    assert len(parts.arguments) == len(names) - 2


def test_constants_are_lifted_to_the_device():
    weights = torch.tensor([1.0, 3.0])

    def weighted(out, batch):
        halves = torch.zeros(2).add_(0.5) * weights
        return nn.functional.cross_entropy(out, batch["y"], weight=halves.to(out.device)) * torch.tensor(2.0)

    parts, _ = traced(loss=weighted)
    lifted = list(parts.recorded.graph.find_nodes(op="get_attr"))
    assert lifted
    assert all(getattr(parts.recorded, each.target).device.type == "meta" for each in lifted)
    assert torch.equal(weights, torch.tensor([1.0, 3.0]))


def host_rate(state):
    return attrs.evolve(
        state, opt_state=attrs.evolve(state.opt_state, rates=trees.to_device({"lr": torch.ones(())}, "cpu"))
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"change": host_rate}, r"state\['opt_state'\].rates\['lr'\] is on cpu, the parameters are on meta"),
        ({"loss": lambda out, batch: out.mean() * torch.rand(())}, "rand.* is computed on the host, and may differ"),
    ],
)
def test_what_a_graph_cannot_replay_is_refused(options, complaint):
    with pytest.raises(RecordingError, match=complaint):
        traced(**options)
