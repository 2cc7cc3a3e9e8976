"""A run made with no backend at all, sent to MLflow afterwards by one command."""

import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import callbacks, cli, optimizers, records
from functorch_artifact.tracking import layout
from functorch_artifact.tracking.mlflow import KEYS
from tests.conformance.material import png
from tests.conformance.subjects import OfMLflow


class Pictures(fa.ArtifactRoutine):
    """A score, an array and a picture each epoch."""

    score_names = ("NORM",)

    def artifacts(self, model, epoch):
        weight = model.weight.detach()
        yield "NORM", lambda: records.Score.of(weight.norm())
        yield "WEIGHT", lambda: records.Array.of(weight)
        yield "PICTURE", lambda: records.Plot(png())


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    loader = fa.DataLoader(fa.ResidentDataset({"x": torch.randn(24, 3)}), batch_size=8, shuffle=True)
    program = fa.Program(
        model=fa.functional(torch.nn.Linear(3, 1), inputs=lambda batch: batch["x"]),
        loss=lambda output, batch: output.square().mean(),
        optimizer=optimizers.adam(1e-2),
        train_loader=loader,
        stopper=fa.EpochBoundStopper(4),
        batch_routine=fa.BatchRoutine([callbacks.BatchLossCallback(period=1)]),
        loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()], split="VALIDATION")],
        artifact_routines=[Pictures(split="VALIDATION")],
    )
    fa.fit(program, run=tmp_path / "runs" / "first", tracking_client=[], progress=False)
    return tmp_path / "runs" / "first"


def test_a_run_made_with_no_backend_is_complete_after_one_sync(run, tmp_path, capsys):
    (tmp_path / "mlflow").mkdir()
    subject = OfMLflow(tmp_path / "mlflow")
    subject.prepare()
    target = f"mlflow:{subject.uri}?experiment={subject.experiment}"
    for _ in range(2):  # done again, it adds nothing
        with pytest.raises(SystemExit) as ended:
            cli.main(["sync", str(run), "--to", target])
        assert ended.value.code == 0
    with fa.RunReader(run) as reader:
        numbers, parameters, owed = reader.numbers, reader.parameters, reader.owed
    assert set(owed.values()) == {0}

    client, found = subject.reader("first")
    expected = {}
    for row in numbers.itertuples():
        expected.setdefault((row.name, row.split), []).append((row.step, row.value))
    assert {key[0]: sorted(points) for key, points in subject.scores("first").items()} == {
        name: sorted(points) for (name, _), points in expected.items()
    }
    epochs = [(entry.step, entry.value) for entry in client.get_metric_history(found.info.run_id, layout.EPOCH)]
    assert {(3.0 * epoch, epoch) for epoch in (1, 2, 3, 4)} <= {(float(step), value) for step, value in epochs}
    kept = subject.artifacts("first")
    assert sum(path.endswith(".png") for path in kept) == 4
    assert sum(path.endswith(".npy") for path in kept) == 4
    assert {KEYS.decode(name) for name in found.data.params} == set(parameters)
    assert found.info.status == "FINISHED"
