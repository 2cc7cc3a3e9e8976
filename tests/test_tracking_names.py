"""Names that backends take, identities of runs, and backends that are not installed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functorch_artifact import tracking
from functorch_artifact.errors import MissingExtraError, TrackingError
from functorch_artifact.records import RunInfo
from functorch_artifact.tracking import artifact_experiment, extras, mlflow, names, wandb

MAPPINGS = {
    "files": names.FILES,
    "plain": names.PLAIN,
    "mlflow": mlflow.KEYS,
    "wandb": wandb.KEYS,
    "artifact-experiment": artifact_experiment.NAMES,
}
segments = st.lists(st.text(st.characters(), min_size=1, max_size=8), min_size=1, max_size=3)


@pytest.mark.parametrize("mapping", MAPPINGS.values(), ids=MAPPINGS)
@given(given=segments)
def test_a_name_is_recovered_from_what_a_backend_takes(mapping: names.Names, given: list[str]) -> None:
    key = mapping.key(*given)
    assert mapping.segments(key) == tuple(given)
    for segment in key.split("/"):
        assert all(mapping.legal(sign) or sign == mapping.escape for sign in segment)
        assert segment[0] not in mapping.not_first
        assert segment not in ("", ".", "..")


@pytest.mark.parametrize("mapping", MAPPINGS.values(), ids=MAPPINGS)
def test_a_name_that_is_empty_or_too_long_is_refused(mapping: names.Names) -> None:
    for name in ("", "x" * 10_001):
        with pytest.raises(TrackingError, match=r"is too long, or empty, to be kept under\n  expected: 1 to \d+ bytes"):
            mapping.key(name)


def test_a_run_is_known_by_its_directory_wherever_that_lies(tmp_path: Path) -> None:
    first = names.run_id(RunInfo("r", str(tmp_path / "a")))
    (tmp_path / "a").rename(tmp_path / "b")
    assert names.run_id(RunInfo("other", str(tmp_path / "b"))) == first
    assert names.run_id(RunInfo("r", str(tmp_path / "a"))) != first
    assert names.run_id(RunInfo("r")) != names.run_id(RunInfo("r"))


@pytest.mark.parametrize(
    ("client", "extra"),
    [
        (tracking.MLflow(), "mlflow"),
        (tracking.ClearML(), "clearml"),
        (tracking.Neptune(), "neptune"),
        (tracking.WandB(), "wandb"),
        (tracking.Trackio(), "trackio"),
    ],
    ids=str,
)
def test_a_backend_that_is_not_installed_is_named_with_its_extra(
    client: tracking.MLflow, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_there(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module.partition(".")[0])

    monkeypatch.setattr(extras.importlib, "import_module", not_there)
    with pytest.raises(MissingExtraError, match=rf"'{extra}', which is not installed\n.*functorch-artifact\[{extra}\]"):
        client.open(RunInfo("r"))
    with pytest.raises(TrackingError, match=r"is not open\n  do this: call open before log"):
        client.log([])


def test_what_a_backend_lacks_itself_is_not_taken_for_the_backend() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"functorch_artifact\.nowhere") as raised:
        extras.load("functorch_artifact.nowhere", "none")
    assert not isinstance(raised.value, MissingExtraError)
