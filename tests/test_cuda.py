"""What only a CUDA device can show: recorded steps, their noise, their memory, and nothing that waits."""

import contextlib
import warnings

import attrs
import pytest
import torch
from torch import nn

import functorch_artifact as fa
from functorch_artifact import feeding, optimizers, trees
from functorch_artifact.compiling import CompileWarning, lowering

# The logic of it that needs no device is tested on the CPU, by `test_graphs.py` and `test_feeding.py`.
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
DEVICE = torch.device("cuda", 0)
MODES = ["eager", "captured", "compiled", "cudagraph"]


def network(p=0.3, dtype=torch.float64):
    torch.manual_seed(0)
    layers = (nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(p), nn.Linear(8, 2))
    return nn.Sequential(*layers).to(DEVICE, dtype)


def loss(out, batch):
    return nn.functional.cross_entropy(out, batch["y"])


def batches(n, size=16, device=DEVICE, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(size, 3, generator=generator, dtype=dtype) for _ in range(n)]
    return trees.to_device([{"x": each, "y": (each.sum(1) > 0).long()} for each in x], device)


def stacked(several):
    return trees.map(lambda *leaves: torch.stack(leaves), *several)


def made(tx=None, p=0.3, dtype=torch.float64, **options):
    net = network(p, dtype)
    tx = tx or optimizers.chain(
        optimizers.clip_by_global_norm(0.5), optimizers.adamw(optimizers.schedules.cosine(0.1, total=20, per="step"))
    )
    model = fa.functional(net, inputs=lambda batch: batch["x"])
    state = fa.init(model, tx, seed=5, precision=options.get("precision", "fp32"))
    return fa.train_step(model, tx, loss, **options), state


def assert_close(one, other, rtol=1e-7, atol=1e-9):
    assert trees.differences(one, other) == []
    for (path, a), b in zip(trees.named_leaves(one).items(), trees.leaves(other), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, msg=lambda text, path=path: f"{path}: {text}")


@contextlib.contextmanager
def never_waiting():
    """Raise where the host waits for the device."""
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("donate", [False, True])
def test_steps_agree_with_eager_ones_and_spare_what_is_held(mode, donate):
    step, start = made()
    fast = fa.compile(step, mode, donate=donate)
    state, expected = attrs.evolve(start), start
    held, digests = [start], [trees.digest(start)]
    generators = torch.get_rng_state(), torch.cuda.get_rng_state(DEVICE)
    for number, batch in enumerate(batches(6) + batches(1, size=5) + batches(2)):
        expected, wanted = step(expected, batch)
        state, output = fast(state, batch)
        assert_close(output, wanted)
        held.append(output)
        digests.append(trees.digest(output))
        if number % 3 == 0:
            assert_close(state, expected)
            held += [attrs.evolve(state), state.params]
            digests += [trees.digest(each) for each in held[-2:]]
    assert_close(state, expected)
    assert [trees.digest(each) for each in held] == digests
    assert all(map(torch.equal, generators, (torch.get_rng_state(), torch.cuda.get_rng_state(DEVICE))))
    if mode != "eager" or donate:
        assert fa.explain(fast).builds[0].mode == mode


@pytest.mark.parametrize("mode", MODES)
def test_captured_steps_have_the_bits_of_eager_ones_and_all_repeat(mode):
    step, start = made()
    fast = fa.compile(step, mode)
    for _ in range(2):
        runs = []
        for each in (step, fast, fast):
            state = start
            for batch in batches(4):
                state, _ = each(state, batch)
            runs.append(trees.digest(state))
        assert runs[1] == runs[2]
        assert mode not in ("eager", "captured") or runs[0] == runs[1]


@pytest.mark.parametrize("mode", MODES)
def test_noise_is_that_of_the_eager_step(mode):
    step, start = made(optimizers.sgd(0.0), p=0.5)
    fast = fa.compile(step, mode)
    state, expected = start, start
    for batch in batches(3, size=64):
        state, output = fast(state, batch)
        expected, wanted = step(expected, batch)
        assert_close(output, wanted)


@pytest.mark.parametrize("mode", ["captured", "cudagraph"])
@pytest.mark.parametrize("donate", [False, True])
def test_several_steps_a_launch_have_the_bits_of_single_ones(mode, donate):
    step, start = made()
    single, several = (fa.compile(step, mode, donate=donate, steps=steps) for steps in (1, 4))
    state, expected = attrs.evolve(start), attrs.evolve(start)
    for few in (batches(7)[:4], batches(7)[4:], batches(2, size=5)):
        state, outputs = several(state, stacked(few))
        wanted = []
        for batch in few:
            expected, output = single(expected, batch)
            wanted.append(output)
        assert trees.digest(outputs) == trees.digest(stacked(wanted))
    assert trees.digest(state) == trees.digest(expected)


def test_a_state_that_is_passed_on_unread_is_not_copied():
    step, start = made()
    fast = fa.compile(step, "cudagraph", donate=True)
    state, _ = fast(attrs.evolve(start), *batches(1))
    (buffers,) = fast._memory.buffers.values()
    for batch in batches(3):
        assert buffers.hold(state)
        state, _ = fast(state, batch)
    assert not {leaf.data_ptr() for leaf in trees.leaves(state)} & {leaf.data_ptr() for leaf in buffers.leaves}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{}, {"nonfinite": "skip"}, {"precision": "fp16"}], ids=str)
def test_no_step_waits_for_the_device(mode, options):
    tx = optimizers.ema(optimizers.accumulate(optimizers.adam(1e-3), steps=2), 0.9)
    step, start = made(tx, dtype=torch.float32, **options)
    fast, state = fa.compile(step, mode, donate=True), attrs.evolve(start)
    given = batches(6, dtype=torch.float32)
    for batch in given[:2]:
        state, _ = fast(state, batch)
    with never_waiting():
        for batch in given[2:]:
            state, _ = fast(state, batch)
    assert int(state.step) == 6


@pytest.mark.parametrize("mode", ["captured", "cudagraph"])
def test_torchs_fused_kernel_is_replayed(mode):
    step, start = made(optimizers.adamw(1e-2, fused=True))
    fast, state, expected = fa.compile(step, mode, donate=True), attrs.evolve(start), start
    for batch in batches(4):
        state, output = fast(state, batch)
        expected, wanted = step(expected, batch)
        assert_close(output, wanted)
    assert_close(state, expected)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_precisions_are_recorded(precision):
    step, start = made(precision=precision, dtype=torch.float32)
    fast, state, expected = fa.compile(step, "cudagraph", donate=True), attrs.evolve(start), start
    flag = torch.backends.cuda.matmul.fp32_precision
    for batch in batches(3, dtype=torch.float32):
        state, output = fast(state, batch)
        expected, wanted = step(expected, batch)
        assert_close(output["loss"], wanted["loss"], rtol=2e-2, atol=2e-2)
    assert torch.backends.cuda.matmul.fp32_precision == flag
    assert [build.mode for build in fa.explain(fast).builds] == ["cudagraph"]


def test_a_recording_that_fails_leaves_generators_and_streams_as_they_were(monkeypatch):
    step, start = made()
    fast, stream = fa.compile(step, "cudagraph"), torch.cuda.current_stream(DEVICE)
    generate = lowering.generate

    def waiting(module, leaves):
        code, found = generate(module, leaves)

        def run(arguments):
            results = code(arguments)
            if torch.cuda.is_current_stream_capturing():
                results[0].cpu()  # which no capture allows
            return results

        return run, found

    monkeypatch.setattr(lowering, "generate", waiting)
    with pytest.warns(CompileWarning, match="the step is not recorded as a CUDA graph and runs compiled"):
        found = fast(start, *batches(1))
    assert_close(found, step(start, *batches(1)))
    assert torch.cuda.current_stream(DEVICE) == stream
    assert torch.rand(3, device=DEVICE).isfinite().all()  # the generator is of use


def test_memory_does_not_grow():
    step, start = made()
    fast, state = fa.compile(step, "cudagraph", donate=True, steps=4), attrs.evolve(start)
    held = []
    for number in range(300):
        state, _ = fast(state, stacked(batches(4)))
        if number in (20, 299):
            torch.cuda.synchronize()
            held.append(torch.cuda.memory_allocated(DEVICE))
    assert held[0] == held[1]


def test_batches_are_copied_ahead_and_arrive_whole():
    sources = [{"x": torch.full((1 << 20,), float(number)), "name": str(number)} for number in range(20)]
    sums = []
    for batch in feeding.on_device(iter(sources), DEVICE):
        assert batch["x"].device == DEVICE
        busy = torch.randn(1024, 1024, device=DEVICE)
        for _ in range(20):  # computing falls behind copying, so memory that is reused too early shows
            busy = busy @ busy / 32
        sums.append((batch["x"] + 0 * busy.nan_to_num().sum()).sum())
        del batch
    assert [round(each.item() / (1 << 20)) for each in sums] == list(range(20))


def test_copying_ahead_waits_for_nothing():
    sources = batches(4, device="cpu")
    with never_waiting():
        given = list(feeding.on_device(sources, DEVICE))
    assert trees.digest(given) == trees.digest(sources)


def program(mode, dataset, **changes):
    loader = fa.DataLoader(dataset, batch_size=16, shuffle=True)
    parts = {
        "model": fa.functional(network(), inputs=lambda batch: batch["x"]),
        "optimizer": optimizers.adam(optimizers.schedules.step(0.1, step_size=1, per="epoch")),
        "loss": loss,
        "train_loader": loader,
        "stopper": fa.EpochBoundStopper(3),
        "tracker": fa.ScoreTracker("VAL_LOSS", mode="min"),
        "loader_routines": [fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
        "mode": mode,
    }
    return fa.Program(**(parts | changes))


def datasets():
    (rows,) = batches(1, size=50, device="cpu")
    examples = [{name: leaf[place] for name, leaf in rows.items()} for place in range(50)]
    return {"resident": fa.ResidentDataset(rows), "collated": examples}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["resident", "collated"])
def test_a_run_feeds_the_device_and_goes_on_to_the_same_bits(tmp_path, capsys, mode, kind):
    held = program(mode, datasets()[kind])
    whole = fa.fit(held, run=tmp_path / "whole")
    way = {"resident": "gathered from tensors on cuda:0", "collated": "copied to cuda:0, one batch ahead"}[kind]
    assert way in capsys.readouterr().err
    fa.fit(attrs.evolve(held, stopper=fa.EpochBoundStopper(1)), run=tmp_path / "parts", progress=False)
    resumed = fa.fit(held, run=tmp_path / "parts", progress=False)
    assert trees.digest(resumed.state) == trees.digest(whole.state)
    eager = fa.fit(program("eager", datasets()["resident"]), progress=False)
    assert_close(whole.state.params, eager.state.params)
    scores = {record.name: record.value.value for record in fa.evaluate(held, whole.best.model).records}
    assert scores["VAL_LOSS"] == whole.scores["VAL_LOSS"].min()


def test_auto_records():
    step, start = made()
    fast = fa.compile(step, "auto", donate=True)
    fast(attrs.evolve(start), *batches(1))
    (build,) = fa.explain(fast).builds
    assert build.mode == "cudagraph"
    assert build.why.startswith("the device is cuda")


@pytest.mark.parametrize("mode", ["captured", "cudagraph"])
def test_members_of_an_ensemble_are_the_runs_they_would_be_alone(mode):
    held = program("eager", datasets()["resident"], optimizer=optimizers.adam(1e-2))
    rates = [1e-3, 1e-2, 1e-1]
    result = fa.ensemble(held, seeds=range(3), hyperparameters={"lr": rates}, mode=mode).fit(progress=False)
    for seed, (member, rate) in enumerate(zip(result.members, rates, strict=True)):
        alone = fa.fit(attrs.evolve(held, seed=seed, optimizer=optimizers.adam(rate)), progress=False)
        assert_close(member.state.params, alone.state.params, rtol=1e-7, atol=1e-9)
