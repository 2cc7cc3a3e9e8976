"""The examples run, and the demo's model trains as a loop written by hand would."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import functorch_artifact as fa
from functorch_artifact import keys, optimizers

EXAMPLES = Path(__file__).parent.parent / "examples"
N_STEPS = 200


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("tabular_vae_model")


@pytest.mark.parametrize("lifted", [False, True], ids=["adam", "from_torch(Adam)"])
def test_the_demos_model_gets_the_bits_of_a_loop_written_by_hand(demo, lifted):
    table = pd.read_csv(EXAMPLES / "data" / "diamonds.csv.gz", nrows=1000)
    codec = demo.TableCodec.fit(table)
    loader = fa.DataLoader(fa.ResidentDataset({"codes": codec.encode(table)}), batch_size=50, shuffle=True)

    def model():
        torch.manual_seed(0)
        return demo.TabularVAE(codec, latent=2, hidden=16)

    by_hand = model()
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-3)
    module = model()
    tx = optimizers.from_torch(torch.optim.Adam(module.parameters(), lr=1e-3)) if lifted else optimizers.adam(1e-3)
    step, state = fa.train_step(module, tx), fa.init(module, tx, seed=3)
    for epoch in range(1, N_STEPS // len(loader) + 1):
        for batch in loader.batches(epoch, seed=3):
            with keys.seeded(keys.derive(3, "step", int(state.step))):
                loss = by_hand(batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state, output = step(state, batch)
            assert output["loss"] == loss
    assert int(state.step) == N_STEPS
    for name, parameter in by_hand.named_parameters():
        assert torch.equal(state.params[name], parameter)


def test_the_demo_runs(tmp_path):
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "tabular_vae.py"), "--epochs", "5", "--rows", "2000", "--run-dir", str(run)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "stopped after 5 epochs" in done.stdout
    assert f"tensorboard --logdir {run}" in done.stdout
    assert f"{run / 'report.html'} (open it in a browser)" in done.stdout
    assert "at epoch 5" in (run / "report.html").read_text()
    scores = pd.read_csv(run / "scores.csv")
    assert {"VAL_LOSS", "TRAIN_LOSS", "MEAN_JS_DISTANCE", "CORRELATION_DISTANCE", "JS_DISTANCE/price"} <= set(
        scores["name"]
    )
    assert scores[scores["name"] == "MEAN_JS_DISTANCE"]["epoch"].tolist() == [5]
    assert len(list(run.glob("plots/*/*.png"))) == 4
    report = (run / "best_model.html").read_text()
    assert report.count("<img") == 5 and "DETECTION_<wbr>SCORE" in report
    assert list(run.glob("tensorboard/events.*"))
    assert json.loads((run / "parameters.json").read_text())["parameters"]["model"] == "TabularVAE"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["epoch_000005.safetensors"]


@pytest.mark.parametrize(
    ("script", "epochs", "score", "least", "scores"),
    [
        ("binary_classifier.py", 3, "ROC_AUC", 0.9, {"LOG_LOSS", "ROC_AUC", "RECALL", "PRECISION"}),
        ("classifier.py", 3, "ACCURACY", 0.7, {"LOG_LOSS", "ACCURACY", "F1_MACRO", "TOP_K_ACCURACY"}),
    ],
)
def test_the_classifiers_run(script, epochs, score, least, scores, tmp_path):
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), "--epochs", str(epochs), "--run-dir", str(run)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"stopped after {epochs} epochs" in done.stdout
    assert "it has never seen" in done.stdout
    logged = pd.read_csv(run / "scores.csv")
    assert scores <= set(logged["name"])
    assert logged[logged["name"] == score]["value"].max() > least
    page = (run / "report.html").read_text()
    assert page.count("<img") >= 8
    assert "GROUND_TRUTH_PROB_MEAN" in page.replace("<wbr>", "")


def test_the_property_test_shows_a_bug_and_its_mending():
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "property_test_my_stopper.py")], capture_output=True, text=True, check=True
    )
    assert "MyStopper breaks the law `what_is_not_finite_is_no_improvement`" in done.stdout
    assert "stopper = MyStopper(patience=3)" in done.stdout
    assert "float('nan')" in done.stdout
    assert re.search(r"MendedStopper keeps all \d+ laws", done.stdout)
