"""Reading a run from outside: what it scored, kept and owes, while it goes on and however it ended."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import callbacks, folds, optimizers, records, trees
from functorch_artifact.errors import TrackingError
from functorch_artifact.runs.reader import Place, RunReader
from functorch_artifact.tracking.journal import Journal

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
PNG = b"\x89PNG\r\n\x1a\n"


class Shown(fa.ArtifactRoutine[torch.nn.Module]):
    """Logs one value of each kind."""

    score_names = ("SHAPE/*",)

    def artifacts(self, model, epoch):
        file = Path(__file__)
        return [
            ("WEIGHT", lambda: records.Array.of(next(model.parameters()))),
            ("PICTURES", lambda: records.PlotCollection({"a": PNG})),
            ("SHAPE", lambda: records.ScoreCollection({"rows": 1.0 * epoch})),
            ("SUMMARY", lambda: records.Table(pd.DataFrame({"epoch": [epoch]}))),
            ("SOURCE", lambda: records.File(str(file))),
        ]


class Drawn(fa.ArtifactRoutine[torch.nn.Module]):
    """Logs one picture."""

    score_names = ()

    def artifacts(self, model, epoch):
        header = (4).to_bytes(4, "big") + (3).to_bytes(4, "big")
        return [("DRAWN", lambda: records.Plot(PNG + b"\0\0\0\rIHDR" + header + bytes(20_000 + epoch)))]


def program(**changes):
    torch.manual_seed(0)
    loader = fa.DataLoader(fa.ResidentDataset({"x": X}), batch_size=4)
    parts = {
        "model": fa.functional(torch.nn.Linear(3, 1), inputs=lambda batch: batch["x"]),
        "loss": lambda output, batch: output.square().mean(),
        "optimizer": optimizers.adam(0.1),
        "train_loader": loader,
        "stopper": fa.EpochBoundStopper(3),
        "tracker": fa.ScoreTracker("VAL_LOSS", mode="min"),
        "batch_routine": fa.BatchRoutine([fa.BatchLossCallback()]),
        "loader_routines": [
            fa.DataLoaderRoutine(loader, [fa.ValLossCallback(period=2)], split="VALIDATION"),
            fa.DataLoaderRoutine(loader, [callbacks.score("MAX", folds.max(lambda r: r.output["loss"]))]),
        ],
        "artifact_routines": [Shown(split="TEST")],
        "mode": "eager",
    }
    return fa.Program(**(parts | changes))


def fit(run, **changes):
    return fa.fit(program(**changes), run=run, progress=False)


def test_a_finished_run_tells_everything(tmp_path):
    result = fit(tmp_path / "run")
    with RunReader(tmp_path / "run") as reader:
        assert (reader.name, reader.state, reader.reason) == ("run", "finished", result.reason)
        assert reader.parameters["seed"] == 0
        assert reader.fingerprint["mode"] == "eager"
        assert reader.started is not None
        pd.testing.assert_frame_equal(reader.scores[list(result.scores)], result.scores)
        assert trees.digest(reader.latest) == trees.digest(result.state)
        assert trees.digest(reader.best) == trees.digest(result.best)
        assert [path.name for path in reader.checkpoints] == [f"epoch_00000{n}.safetensors" for n in (1, 2, 3)]
        assert reader.owed == {"Filesystem": 0}
        assert reader.failures == []
        assert reader.holder is None


@pytest.mark.parametrize("periods", [(), (2,), (5,)])
def test_each_epoch_has_a_row_whether_or_not_it_has_a_score(tmp_path, periods):
    routines = [fa.DataLoaderRoutine(program().train_loader, [fa.ValLossCallback(period=each)]) for each in periods]
    result = fit(tmp_path / "run", loader_routines=routines, artifact_routines=(), tracker=None)
    with RunReader(tmp_path / "run") as reader:
        assert list(reader.scores.index) == [1, 2, 3]
        assert reader.facts()["epochs"] == 3
        pd.testing.assert_frame_equal(reader.scores, result.scores)


def test_numbers_are_those_of_batches_too_in_order(tmp_path):
    fit(tmp_path)
    with RunReader(tmp_path) as reader:
        numbers = reader.numbers
    losses = numbers[numbers["name"] == "BATCH_LOSS"]
    assert losses["step"].tolist() == list(range(1, 10))
    assert losses["split"].tolist() == ["TRAIN"] * 9
    assert numbers["epoch"].is_monotonic_increasing


def test_every_kind_of_value_is_found_by_its_place(tmp_path):
    result = fit(tmp_path)
    with RunReader(tmp_path) as reader:
        place = Place("WEIGHT", "TEST", 3, 9)
        np.testing.assert_array_equal(reader.arrays()[place], result.latest_model.weight.detach().numpy())
        assert reader.plots("PICTURES")[Place("PICTURES/a", "TEST", 1, 3)] == PNG
        assert reader.tables()[Place("SUMMARY", "TEST", 2, 6)]["epoch"].tolist() == [2]
        assert reader.files()[Place("SOURCE", "TEST", 1, 3)].read_bytes() == Path(__file__).read_bytes()
        assert [record.epoch for record in reader.records(records.Plot)] == []
        assert [record.epoch for record in reader.records(name="SHAPE")] == [1, 2, 3]
        assert reader.arrays("nothing") == {}


def test_a_score_of_several_splits_has_a_column_for_each(tmp_path):
    loader = fa.DataLoader(fa.ResidentDataset({"x": X}), batch_size=4)
    named = callbacks.score("MAX", folds.max(lambda r: r.output["loss"]))
    routines = [fa.DataLoaderRoutine(loader, [fa.ValLossCallback()], split="A")]
    fit(tmp_path, loader_routines=routines, batch_routine=fa.BatchRoutine([named]), artifact_routines=[])
    with fa.tracking.journal.Journal(tmp_path) as journal:
        extra = records.Record("VAL_LOSS", records.Score(1.0), 2, 6, "B")
        journal.commit(2, 6, fa.tracking.journal.Part("later", [(extra, None)]))
    with RunReader(tmp_path) as reader:
        assert list(reader.scores) == ["VAL_LOSS [A]", "VAL_LOSS [B]"]
        assert reader.scores["VAL_LOSS [B]"].isna().tolist() == [True, False, True]


class Peeking(fa.ArtifactRoutine[torch.nn.Module]):
    """Looks at its own run from another process, while it goes on."""

    score_names = ()

    def __init__(self, run):
        super().__init__(period=2)
        self.run_path, self.seen = run, ""

    def artifacts(self, model, epoch):
        code = (
            "import sys, functorch_artifact as fa\n"
            "with fa.RunReader(sys.argv[1]) as r: print(r.state, r.reason, list(r.scores.index), r.holder.pid)"
        )
        done = subprocess.run([sys.executable, "-c", code, self.run_path], capture_output=True, text=True, check=True)
        self.seen = done.stdout
        return []


def test_a_live_run_can_be_read_from_another_process(tmp_path):
    import os

    peeking = Peeking(tmp_path / "run")
    fit(tmp_path / "run", artifact_routines=[peeking])
    assert peeking.seen.split("\n")[0] == f"running None [1] {os.getpid()}"


def broken(result):
    raise RuntimeError("broken on purpose")


def test_a_run_that_raised_has_crashed_with_a_reason_and_keeps_its_records(tmp_path):
    loader = fa.DataLoader(fa.ResidentDataset({"x": X}), batch_size=4)
    routine = fa.DataLoaderRoutine(loader, [callbacks.score("BROKEN", folds.mean(broken)), fa.ValLossCallback()])
    with pytest.raises(fa.errors.CallbackError):
        fit(tmp_path, loader_routines=[routine])
    with RunReader(tmp_path) as reader:
        assert reader.state == "crashed"
        assert reader.reason.startswith("callback 'BROKEN', epoch 1: raised")
        assert list(reader.scores) == ["VAL_LOSS", "SHAPE/rows"]
        (failure,) = reader.failures
        assert (failure.callback, failure.epoch, failure.error) == ("BROKEN", 1, "RuntimeError: broken on purpose")
        assert (reader.latest, reader.best) == (None, None)


def test_what_is_no_run_is_explained(tmp_path):
    with pytest.raises(TrackingError, match=r"holds no journal\n  expected: a run's directory"):
        RunReader(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_the_best_score_is_the_best_models(tmp_path):
    result = fit(tmp_path / "run", stopper=fa.EpochBoundStopper(5))
    with RunReader(tmp_path / "run") as reader:
        best = reader.best_score
    assert best == ("VAL_LOSS", int(result.best.epoch), result.scores["VAL_LOSS"].min())
    fit(tmp_path / "highest", tracker=fa.ScoreTracker("MAX", mode="max"))
    with RunReader(tmp_path / "highest") as reader:
        assert reader.best_score.value == reader.scores["MAX"].max()
    fit(tmp_path / "none", tracker=None)
    with RunReader(tmp_path / "none") as reader:
        assert reader.best_score is None
        assert "best model" not in reader.facts()


def test_facts_and_contents_say_in_short_what_there_is(tmp_path):
    fit(tmp_path / "run")
    with RunReader(tmp_path / "run") as reader:
        facts = reader.facts()
        assert (facts["run"], facts["state"], facts["epochs"], facts["checkpoints"]) == ("run", "finished", 3, 3)
        assert facts["best model"].startswith("epoch 2: VAL_LOSS ")
        assert not {"owed", "sessions"} & set(facts)
        assert reader.contents() == {
            ("array", "WEIGHT", "TEST"): [1, 2, 3],
            ("file", "SOURCE", "TEST"): [1, 2, 3],
            ("plot collection", "PICTURES", "TEST"): [1, 2, 3],
            ("table", "SUMMARY", "TEST"): [1, 2, 3],
        }


def test_time_is_what_was_worked_not_what_passed(tmp_path):
    fit(tmp_path / "run")
    with Journal(tmp_path / "run") as journal:
        journal._connection.execute("DELETE FROM sessions")
        journal._connection.execute("UPDATE commits SET time = 1000 + 60 * epoch")  # at 1060, 1120, 1180
        for started, ended in ((1000.0, None), (1100.0, 1131.0), (9000.0, None)):  # killed, stopped, killed at once
            journal._connection.execute(
                "INSERT INTO sessions (started, ended, pid, host, fingerprint) VALUES (?, ?, 1, 'here', '{}')",
                (started, ended),
            )
    with RunReader(tmp_path / "run") as reader:
        assert reader.facts()["took"] == "1 min 31 s"
        assert reader.facts()["sessions"] == 3


def test_a_run_becomes_a_page_with_its_pictures_and_tables(tmp_path):
    fit(tmp_path / "run", artifact_routines=[Shown(split="TEST"), Drawn()])
    with RunReader(tmp_path / "run") as reader:
        written = reader.to_html(tmp_path / "new" / "page.html")
    page = written.read_text(encoding="utf-8")
    for said in ("PICTURES/a at epoch 3", "DRAWN at epoch 1", "VAL_LOSS: ", "<summary>SUMMARY</summary>", "SOURCE"):
        assert said in page
    assert page.count("data:image/png;base64,") == 6


def test_a_picture_that_was_damaged_is_told_on_the_page(tmp_path):
    fit(tmp_path / "run", artifact_routines=[Drawn()])
    payload = next(path for path in (tmp_path / "run" / "payloads").rglob("*") if path.is_file())
    payload.write_bytes(payload.read_bytes()[:-1])
    with RunReader(tmp_path / "run") as reader:
        page = reader.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "is damaged" in page
    assert "VAL_LOSS: " in page


def test_a_notebook_shows_a_run_and_a_result_in_a_few_lines(tmp_path):
    result = fit(tmp_path / "run")
    with RunReader(tmp_path / "run") as reader:
        shown = {"reader": reader._repr_html_(), "result": result._repr_html_()}
    shown["without a directory"] = fit(None)._repr_html_()
    for html in shown.values():
        assert "VAL_LOSS" in html.replace("<wbr>", "")
        assert "the run has reached its bound of 3 epochs" in html
        assert len(html) < 4000
        assert "<script" not in html
    assert "<strong>run</strong>" in shown["reader"]
    assert "<strong>Linear</strong>" in shown["without a directory"]
