"""Laws of ensembles: a member does not depend on who else there is."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import functorch_artifact as fa
from functorch_artifact import optimizers, trees

torch.set_num_threads(1)


def program():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loader = fa.DataLoader(fa.ResidentDataset({"x": x, "y": x.sum(1, keepdim=True)}), batch_size=10, shuffle=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Linear(4, 1)).double()
    return fa.Program(
        model=fa.functional(net, inputs=lambda batch: batch["x"]),
        optimizer=optimizers.chain(optimizers.clip_by_global_norm(1.0), optimizers.sgd(0.1, momentum=0.9)),
        loss=lambda out, batch: (out - batch["y"]).square().mean(),
        train_loader=loader,
        stopper=fa.EpochBoundStopper(2),
    )


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(0, 0.5)), min_size=1, max_size=4),
    st.integers(1, 4),
    st.data(),
)
def test_a_member_is_the_run_alone_whoever_else_there_is(drawn, chunk_size, data):
    seeds, rates = zip(*drawn, strict=True)
    members = fa.ensemble(program(), seeds=seeds, hyperparameters={"lr": rates}, chunk_size=chunk_size, mode="eager")
    one = data.draw(st.integers(0, len(drawn) - 1))
    together = members.fit(progress=False).members[one].state
    alone = fa.fit(members.programs[one], progress=False).state
    assert trees.differences(alone, together) == []
    for expected, found in zip(trees.leaves(alone), trees.leaves(together), strict=True):
        if isinstance(expected, torch.Tensor):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
