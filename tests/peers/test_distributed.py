"""Artifacts in the background on Dask's executor, with the records of a run that waits for them."""

import torch
from distributed import Client, LocalCluster

import functorch_artifact as fa
from functorch_artifact import optimizers, records, tracking


class Net(fa.Model[fa.ModelInput, fa.ModelOutput]):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, batch):
        return {"loss": self.linear(batch["x"]).square().mean()}


class Weights(fa.ArtifactRoutine[Net]):
    """A score that is there at once, and an array that can wait."""

    score_names = ("NORM",)
    waiting = frozenset({"WEIGHT"})

    def artifacts(self, model, epoch):
        weight = model.linear.weight.detach()
        yield "NORM", lambda: records.Score.of(weight.norm())
        yield "WEIGHT", lambda: records.Array.of(weight * epoch)


def recorded(background):
    torch.manual_seed(0)
    client = tracking.InMemory()
    program = fa.Program(
        model=Net(),
        optimizer=optimizers.sgd(0.1),
        train_loader=fa.DataLoader(fa.ResidentDataset({"x": torch.randn(8, 2)}), batch_size=4),
        stopper=fa.EpochBoundStopper(3),
        artifact_routines=[Weights(split="VALIDATION")],
    )
    fa.fit(program, tracking_client=client, progress=False, background=background)
    return {(each.name, each.split, each.epoch, each.step): repr(each.value) for each in client.records}


def test_a_cluster_computes_with_records_of_their_epoch():
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
        client.get_executor() as executor,
    ):
        beside = recorded(executor)
    assert len(beside) == 6
    assert beside == recorded(None)
