"""Tracking: each record once, on disk as a person would read it, and none lost to a client that fails."""

import json
import math
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from functorch_artifact import records
from functorch_artifact.errors import TrackingError
from functorch_artifact.records import Record, RunInfo
from functorch_artifact.tracking import Filesystem, InMemory, TensorBoard


def png(width: int = 2, height: int = 3) -> bytes:
    """Make a grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


FRAME = pd.DataFrame({"price ($)": [0.1, float("nan")], "a|b": ["x", "y"]}, index=["first", "second"])


def score(name: str = "LOSS", value: float = 0.5, epoch: int = 1, split: str | None = "TRAIN") -> Record:
    return Record(name, records.Score(value), epoch, epoch * 10, split)


def everything(source: Path, epoch: int = 1) -> list[Record]:
    """Make a record of every kind."""
    source.write_bytes(b"weights")
    values = {
        "LOSS": records.Score(0.1 + 0.2),
        "JS": records.ScoreCollection({"price ($)": 0.25, "a/b": math.inf}),
        "CORRELATION": records.Array.of([[1.0, 2.0], [3.0, math.nan]]),
        "BY_COLUMN": records.ArrayCollection.of({"file": [1, 2], "a/b": [0.5], "..": [True]}),
        "PDF": records.Plot(png()),
        "PDFS": records.PlotCollection({"price ($)": png(4), "../../a": png(), ".hidden": png()}),
        "MEANS": records.Table(FRAME),
        "WEIGHTS": records.File(str(source)),
    }
    return [Record(name, value, epoch, epoch * 10, "VALIDATION") for name, value in values.items()]


def test_memory_keeps_each_record_once() -> None:
    client = InMemory()
    client.open(RunInfo("r"))
    client.log([score(value=0.5), score(epoch=2), score(split=None)])
    client.log([score(value=0.25)])
    assert [(r.epoch, r.split) for r in client.records] == [(1, "TRAIN"), (2, "TRAIN"), (1, None)]
    assert client.scores()["value"].tolist() == [0.25, 0.5, 0.5]


def test_memory_tables_the_numbers_and_selects_the_rest(tmp_path: Path) -> None:
    client = InMemory()
    assert client.scores().columns.tolist() == ["name", "split", "epoch", "step", "value"]
    client.log(everything(tmp_path / "w.bin"))
    expected = [("LOSS", 0.1 + 0.2), ("JS/price ($)", 0.25), ("JS/a/b", math.inf)]
    assert list(zip(client.scores()["name"], client.scores()["value"], strict=True)) == expected
    assert [record.name for record in client.select(records.Plot)] == ["PDF"]
    assert [record.name for record in client.select(name="MEANS")] == ["MEANS"]


def test_files_lie_where_the_layout_says(tmp_path: Path) -> None:
    client = Filesystem()
    parameters = {"rate": 0.1, "bound": math.inf, "name": "x", "exact": True}
    client.open(RunInfo("r", directory=str(tmp_path / "run"), parameters=parameters))
    client.log(everything(tmp_path / "w.bin", epoch=3))
    client.close()
    stem = "VALIDATION_epoch_0003_step_00000030"
    found = {str(p.relative_to(tmp_path / "run")) for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert found == {
        "parameters.json",
        "scores.csv",
        f"arrays/CORRELATION/{stem}.npy",
        f"arrays/BY_COLUMN/{stem}.npz",
        f"plots/PDF/{stem}.png",
        f"plots/PDFS/price ($)/{stem}.png",
        f"plots/PDFS/%2E.%2F..%2Fa/{stem}.png",
        f"plots/PDFS/%2Ehidden/{stem}.png",
        f"tables/MEANS/{stem}.csv",
        f"files/WEIGHTS/{stem}.bin",
    }
    root = tmp_path / "run"
    assert json.loads((root / "parameters.json").read_text()) == {
        "name": "r",
        "parameters": {**parameters, "bound": "inf"},
    }
    np.testing.assert_array_equal(np.load(root / f"arrays/CORRELATION/{stem}.npy"), [[1.0, 2.0], [3.0, math.nan]])
    with np.load(root / f"arrays/BY_COLUMN/{stem}.npz") as archive:
        assert {unquote(key): archive[key].tolist() for key in archive} == {"file": [1, 2], "a/b": [0.5], "..": [True]}
    assert (root / f"plots/PDF/{stem}.png").read_bytes() == png()
    pd.testing.assert_frame_equal(pd.read_csv(root / f"tables/MEANS/{stem}.csv", index_col=0), FRAME)
    assert (root / f"files/WEIGHTS/{stem}.bin").read_bytes() == b"weights"


AWKWARD = ["a,b", 'say "x"', "two\nlines", "é", " x ", "a/b", "100%", "%2F"]


def test_pandas_reads_the_scores_exactly(tmp_path: Path) -> None:
    client = Filesystem(tmp_path)
    client.open(RunInfo("r"))
    values = [0.1 + 0.2, math.nan, math.inf, -math.inf, 1e-320, -0.0, 1 / 3]
    client.log([score(value=value, epoch=epoch) for epoch, value in enumerate(values, start=1)])
    client.log([Record("JS", records.ScoreCollection(dict.fromkeys(AWKWARD, 1.5)), 1, 10)])
    table = pd.read_csv(tmp_path / "scores.csv", converters={"value": float})
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), table, rtol=1e-15)
    assert table.columns.tolist() == ["name", "split", "epoch", "step", "value"]
    losses = table[table["name"] == "LOSS"]
    assert [repr(value) for value in losses["value"]] == [repr(value) for value in values]
    assert losses["step"].tolist() == [10 * epoch for epoch in range(1, 8)]
    rest = table[table["name"] != "LOSS"]
    assert rest["name"].tolist() == [f"JS/{key}" for key in AWKWARD]
    assert rest["split"].isna().all()


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_records_offered_again_are_there_once(tmp_path: Path) -> None:
    offered = [*everything(tmp_path / "w.bin"), score(epoch=2)]
    for client in (Filesystem(tmp_path / "run"), Filesystem(tmp_path / "run")):  # the second resumes the run
        client.open(RunInfo("r"))
        client.log(offered)
        first = snapshot(tmp_path / "run")
        client.log(offered)
        client.log(offered[::-1])
        assert snapshot(tmp_path / "run") == first
    assert len(pd.read_csv(tmp_path / "run" / "scores.csv")) == 4


def test_a_number_that_changed_replaces_its_row(tmp_path: Path) -> None:
    client = Filesystem(tmp_path)
    client.open(RunInfo("r"))
    client.log([score(value=1.0), score(epoch=2)])
    client.log([score(value=2.0), score(epoch=3)])
    assert pd.read_csv(tmp_path / "scores.csv")["value"].tolist() == [2.0, 0.5, 0.5]


def test_scores_are_appended_not_rewritten(tmp_path: Path) -> None:
    client = Filesystem(tmp_path)
    client.open(RunInfo("r"))
    client.log([score(epoch=1)])
    before = (tmp_path / "scores.csv").stat()
    client.log([score(epoch=2)])
    after = (tmp_path / "scores.csv").stat()
    assert before.st_ino == after.st_ino  # a rewritten file is another file, renamed
    assert after.st_size > before.st_size


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_row_that_a_crash_tore_is_made_whole(cut: int, tmp_path: Path) -> None:
    offered = [score(epoch=1), Record("JS", records.ScoreCollection({'two\n"lines': 0.125}), 2, 20)]
    client = Filesystem(tmp_path)
    client.open(RunInfo("r"))
    client.log(offered)
    whole = (tmp_path / "scores.csv").read_bytes()
    (tmp_path / "scores.csv").write_bytes(whole[:-cut])
    resumed = Filesystem(tmp_path)
    resumed.open(RunInfo("r"))
    resumed.log(offered)
    assert (tmp_path / "scores.csv").read_bytes() == whole


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "\\\\server", "..", ".", "a/../../b", "..\\b", "a\nb", "a\0b", "\ud800"]
)
def test_names_that_lead_out_of_the_directory_are_encoded(name: str, tmp_path: Path) -> None:
    client = Filesystem(tmp_path / "run")
    client.open(RunInfo("r"))
    client.log([score(name), score(split=name), Record(name, records.Plot(png()), 1, 1, name)])
    (plot,) = tmp_path.rglob("*.png")
    assert plot.parent.parent == tmp_path / "run" / "plots"
    assert unquote(plot.parent.name, errors="surrogatepass") == name
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_names_that_name_no_file_are_refused(name: str, tmp_path: Path) -> None:
    client = Filesystem(tmp_path / "run")
    client.open(RunInfo("r"))
    before = snapshot(tmp_path)
    for bad in (score(name), score(split=name), Record(name, records.Plot(png()), 1, 1)):
        with pytest.raises(TrackingError, match=r"is too long, or empty, to be kept under") as raised:
            client.log([score(), bad])
        assert repr(name[:40]) in str(raised.value)
    assert snapshot(tmp_path) == before


def test_names_with_separators_are_encoded(tmp_path: Path) -> None:
    client = Filesystem(tmp_path)
    client.open(RunInfo("r"))
    client.log([Record("loss/a", records.Plot(png()), 1, 1)])
    assert (tmp_path / "plots" / "loss%2Fa" / "epoch_0001_step_00000001.png").read_bytes() == png()


@pytest.mark.parametrize("key", ["", "k" * 201, "\n" * 70])
def test_keys_that_cannot_name_a_file_are_refused(key: str, tmp_path: Path) -> None:
    client = Filesystem(tmp_path)
    client.open(RunInfo("r"))
    with pytest.raises(TrackingError, match=r"record 'JS': is too long, or empty, to be kept under"):
        client.log([Record("JS", records.PlotCollection({key: png()}), 1, 1)])


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    client = Filesystem(tmp_path)
    client.open(RunInfo("r"))
    with pytest.raises(TrackingError, match=r"(?s)'W': the file to be copied does not exist\n  got: .*nowhere"):
        client.log([Record("W", records.File(str(tmp_path / "nowhere")), 1, 1)])


@pytest.mark.parametrize("kind", [Filesystem, TensorBoard])
def test_a_value_of_no_known_kind_is_named(kind: Any, tmp_path: Path) -> None:
    client = kind(tmp_path)
    client.open(RunInfo("r"))
    with pytest.raises(TrackingError, match=r"record 'X': is of a kind that cannot be stored\n  got: float"):
        client.log([Record("X", 0.5, 1, 1)])  # type: ignore[arg-type]
    client.close()


@pytest.mark.parametrize("kind", [Filesystem, TensorBoard])
def test_a_client_without_a_directory_says_so(kind: Any) -> None:
    with pytest.raises(TrackingError, match=f"{kind.__name__}: has no directory\n  do this: give it one"):
        kind().open(RunInfo("r"))
    with pytest.raises(TrackingError, match=f"{kind.__name__}: is not open\n  do this: call open before log"):
        kind().log([score()])


def events(directory: Path) -> EventAccumulator:
    found = EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0, "tensors": 0, "histograms": 0})
    found.Reload()
    return found


def text(found: EventAccumulator, tag: str) -> str:
    (event,) = found.Tensors(f"{tag}/text_summary")
    decoded: str = event.tensor_proto.string_val[0].decode()
    return decoded


def test_tensorboard_shows_every_kind(tmp_path: Path) -> None:
    client = TensorBoard()
    client.open(RunInfo("r", directory=str(tmp_path), parameters={"rate": 0.1, "a|b": "x"}))
    waves = Record("WAVES", records.Array.of(np.array([1 + 2j])), 2, 20)
    client.log([*everything(tmp_path / "w.bin", epoch=2), score(value=math.nan, epoch=2, split=None), waves])
    client.close()
    found = events(tmp_path / "tensorboard")
    assert set(found.Tags()["scalars"]) == {
        "LOSS/VALIDATION", "JS/price ($)/VALIDATION", "JS/a/b/VALIDATION", "LOSS", "run/epoch"
    }  # fmt: skip
    (loss,) = found.Scalars("LOSS/VALIDATION")
    assert (loss.step, loss.value) == (20, np.float32(0.1 + 0.2))
    assert math.isnan(found.Scalars("LOSS")[0].value)
    assert [(event.step, event.value) for event in found.Scalars("run/epoch")] == [(20, 2.0)]
    histograms = {f"BY_COLUMN/{key}/VALIDATION" for key in ("file", "a/b", "..")} | {"CORRELATION/VALIDATION"}
    assert set(found.Tags()["histograms"]) == histograms
    assert found.Histograms("CORRELATION/VALIDATION")[0].histogram_value.num == 3
    assert found.Histograms("CORRELATION/VALIDATION")[0].histogram_value.sum == 6.0
    (image,) = found.Images("PDFS/price ($)/VALIDATION")
    assert (image.encoded_image_string, image.width, image.height) == (png(4), 4, 3)
    assert "PDF/VALIDATION" in found.Tags()["images"]
    assert "|first|0.1|x|" in text(found, "MEANS/VALIDATION")
    assert "a\\|b" in text(found, "MEANS/VALIDATION")
    assert text(found, "WEIGHTS/VALIDATION") == f"`{tmp_path / 'w.bin'}`"
    assert "1.+2.j" in text(found, "WAVES")
    assert "|rate|0.1|" in text(found, "run/parameters")


def test_tensorboard_shows_a_long_tables_first_rows(tmp_path: Path) -> None:
    client = TensorBoard(tmp_path)
    client.open(RunInfo("r"))
    client.log([Record("T", records.Table(pd.DataFrame({"n": range(25)})), 1, 1)])
    client.close()
    shown = text(events(tmp_path), "T")
    assert shown.startswith("|None|n|\n|---|---|\n|0|0|\n")
    assert shown.endswith("|19|19|\n\n20 of 25 rows")


def test_tensorboard_shows_each_record_once(tmp_path: Path) -> None:
    client = TensorBoard(tmp_path)
    client.open(RunInfo("r"))
    client.log([score(epoch=1), score(epoch=2)])
    client.log([score(epoch=2), score(epoch=3)])
    client.close()
    resumed = TensorBoard(tmp_path)
    resumed.open(RunInfo("r"))
    resumed.log([score(epoch=3), score(epoch=4)])
    resumed.close()
    found = events(tmp_path)
    assert [event.step for event in found.Scalars("LOSS/TRAIN")] == [10, 20, 30, 40]
    assert [event.step for event in found.Scalars("run/epoch")] == [10, 20, 30, 40]


def test_tensorboard_writes_nothing_for_a_run_without_records(tmp_path: Path) -> None:
    client = TensorBoard(tmp_path / "tb")
    client.open(RunInfo("r"))
    client.log([])
    client.close()
    assert not (tmp_path / "tb").exists()


def test_importing_tracking_imports_no_backend() -> None:
    code = (
        "import sys; from functorch_artifact import tracking; tracking.InMemory()\n"
        "backends = {'pandas', 'matplotlib', 'tensorboard', 'torch.utils.tensorboard'}\n"
        "print(sorted(backends & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
