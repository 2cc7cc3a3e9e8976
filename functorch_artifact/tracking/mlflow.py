"""A client that writes records to MLflow.

Belongs here: what each kind of record becomes in MLflow. Does not: starting a server.
Floor 7.

Scores are metrics, arrays, plots, tables and files artifacts in the layout of `layout`, parameters
are params, unabridged in the artifact `parameters.json`. The metric `run/epoch` tells which epoch a
step belongs to. In names of metrics, what MLflow does not allow is encoded with colons ("price ($)" is
`price :28:24:29`), in paths with tildes. A metric's time is the run's beginning and one millisecond
a step: the same whenever it is sent, so MLflow drops what it has already. SQL stores keep
infinities as the largest float.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import Record, RunInfo, TrackingClient
from functorch_artifact.tracking import layout
from functorch_artifact.tracking.extras import load
from functorch_artifact.tracking.names import PLAIN, Names, run_id

T = TypeVar("T")

KEYS: Final = Names(lambda sign: sign.isalnum() or sign in "_-. ", escape=":", longest_key=250)
PATHS: Final = PLAIN
_TAG: Final = "functorch_artifact.run"
_BATCH: Final = 1000  # metrics in one request
_PARAMS: Final = 100
_LONGEST_PARAM: Final = 6000


class MLflow(TrackingClient):
    """Write records to a run of an MLflow experiment.

    A run that is resumed, or synced, continues the MLflow run it began: its id is a tag. A server
    that does not answer is an error after some seconds, not MLflow's minutes, unless the
    environment (`MLFLOW_HTTP_REQUEST_TIMEOUT`, `MLFLOW_HTTP_REQUEST_MAX_RETRIES`) says otherwise.

    Args:
        experiment: the experiment's name; it is made if it is not there.
        tracking_uri: an http address or `sqlite:///path`; by default what MLflow is configured for.

    Raises:
        MissingExtraError: on opening, if MLflow is not installed.
    """

    def __init__(self, experiment: str = "functorch_artifact", tracking_uri: str | None = None) -> None:
        self._experiment = experiment
        self._uri = tracking_uri
        self._client: Any = None
        self._run = ""
        self._began = 0  # milliseconds

    @property
    def name(self) -> str:
        """Its class, experiment and address."""
        return f"MLflow({self._experiment}, {self._uri or 'default'})"

    def open(self, run: RunInfo) -> None:
        """Find the run's MLflow run, or begin one, and write the parameters."""
        self._mlflow = load("mlflow", "mlflow", MLFLOW_HTTP_REQUEST_TIMEOUT="10", MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
        self._client = self._mlflow.MlflowClient(self._uri)
        experiment, identity = self._experiment_id(), run_id(run)
        found = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{identity}'", order_by=["start_time ASC"])
        if found:
            begun = found[0]
            self._client.update_run(begun.info.run_id, status="RUNNING")
        else:
            begun = self._client.create_run(experiment, run_name=run.name, tags={_TAG: identity})
        self._run, self._began = begun.info.run_id, begun.info.start_time
        self._write_parameters(run, begun.data.params)

    def log(self, records: Sequence[Record]) -> None:
        """Send records: metrics in batches, then artifacts.

        Raises:
            TrackingError: the client is not open, or MLflow refuses a name or a value for good.
        """
        if self._client is None:
            raise TrackingError("is not open", where="MLflow", fix="call open before log")
        metrics = {(key, record.step): value for record in records for key, value in _metrics(record)}
        contents = {path: content for record in records for path, content in layout.files(record, PATHS).items()}
        try:
            for batch in _batches(metrics.items(), _BATCH):
                entries = [self._metric(key, step, value) for (key, step), value in batch]
                self._client.log_batch(self._run, metrics=entries)
            self._upload(contents)
        except self._mlflow.exceptions.MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise TrackingError("is refused by MLflow", where=_place(records), got=str(error)) from error

    def close(self) -> None:
        """Mark the MLflow run as finished."""
        if self._client is not None:
            self._client.set_terminated(self._run)
            self._client = None

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                return str(self._client.create_experiment(self._experiment))
            except self._mlflow.exceptions.MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run was quicker
                    raise
                found = self._client.get_experiment_by_name(self._experiment)
        return str(found.experiment_id)

    def _write_parameters(self, run: RunInfo, known: dict[str, str]) -> None:
        # A param cannot be changed: where a resumed run differs, the first value stays there.
        new = [(key, value) for name, value in run.parameters.items() if (key := KEYS.key(name)) not in known]
        for batch in _batches(new, _PARAMS):
            params = [self._mlflow.entities.Param(key, str(value)[:_LONGEST_PARAM]) for key, value in batch]
            self._client.log_batch(self._run, params=params)
        self._upload({"parameters.json": layout.parameters(run)})

    def _metric(self, key: str, step: int, value: float) -> Any:
        return self._mlflow.entities.Metric(key, value, self._began + step, step)

    def _upload(self, contents: dict[str, layout.Content]) -> None:
        if contents:
            with tempfile.TemporaryDirectory() as directory:
                layout.write(Path(directory), contents)
                self._client.log_artifacts(self._run, directory)


def _metrics(record: Record) -> Iterator[tuple[str, float]]:
    for segments, value in layout.numbers(record).items():
        yield KEYS.key(*segments), value
    yield layout.EPOCH, float(record.epoch)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def _place(records: Sequence[Record]) -> str:
    return f"record {records[0].name!r}" if len(records) == 1 else f"one of {len(records)} records"
