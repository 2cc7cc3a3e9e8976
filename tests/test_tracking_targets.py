"""Clients written as text: every kind, every mistake."""

import pytest

from functorch_artifact import records, tracking
from functorch_artifact.errors import TrackingError
from functorch_artifact.tracking import client_of, targets


@pytest.mark.parametrize(
    ("target", "like"),
    [
        ("filesystem:some/where", tracking.Filesystem("some/where")),
        ("tensorboard:a:b", tracking.TensorBoard("a:b")),
        ("tensorboard:is it?", tracking.TensorBoard("is it")),
        ("mlflow", tracking.MLflow()),
        ("mlflow:http://127.0.0.1:5000", tracking.MLflow(tracking_uri="http://127.0.0.1:5000")),
        (
            "mlflow:sqlite:///a.db?experiment=price%20%26%20cut",
            tracking.MLflow("price & cut", tracking_uri="sqlite:///a.db"),
        ),
    ],
)
def test_a_text_makes_the_client_it_names(target, like):
    client = client_of(target)
    assert type(client) is type(like)
    assert client.name == like.name


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("", "'': is no kind of tracking client"),
        ("MLflow:x", "'MLflow': is no kind of tracking client"),
        ("filesystem:x?depth=3", "'depth' of filesystem: is no option\n  expected: none"),
        ("mlflow:x?experiment=a&experiment=b", "'experiment' of mlflow: is given twice"),
        ("mlflow:x?tracking_uri=y", "'tracking_uri' of mlflow: is given twice"),
        ("mlflow:x?experiment", "'experiment': cannot be read"),
    ],
)
def test_a_mistake_is_named(target, text):
    with pytest.raises(TrackingError) as caught:
        client_of(target)
    assert str(caught.value).startswith(text)


class Client(records.TrackingClient):
    def __init__(
        self, place: str, offline: bool = False, patience: float = 1.0, retries: int = 3, extra: object = None
    ):
        self.given = (place, offline, patience, retries, extra)

    def open(self, run): ...

    def log(self, records): ...

    def close(self): ...


def test_options_take_the_types_of_the_clients_arguments(monkeypatch):
    monkeypatch.setitem(targets.KINDS, "own", (Client, "place"))
    assert client_of("own:here?offline=True&patience=0.5&retries=2").given == ("here", True, 0.5, 2, None)
    for mistake, expected in (
        ("offline=yes", "true or false"),
        ("retries=2.5", "one int"),
        ("patience=x", "one float"),
    ):
        with pytest.raises(TrackingError, match=f"expected: {expected}"):
            client_of(f"own:here?{mistake}")
    with pytest.raises(TrackingError, match="expected: one of offline, patience, retries"):
        client_of("own:here?extra=1")


def test_every_kind_names_an_argument_of_its_client():
    for make, place in targets.KINDS.values():
        assert place in targets.options(make)
