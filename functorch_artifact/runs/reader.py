"""Reading a run, live or dead, from any process.

Belongs here: `RunReader`, which joins what journal, checkpoints and lock say. Does not: writing
anything.
Floor 8.
"""

from __future__ import annotations

import collections
import datetime as dt
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias, TypeVar

import numpy as np

from functorch_artifact import records, trees
from functorch_artifact.checkpoint import Checkpoints
from functorch_artifact.model_tracking import ModelSnapshot
from functorch_artifact.pages import charts
from functorch_artifact.pages import run as run_report
from functorch_artifact.pages.run import Picture, RunView
from functorch_artifact.records import Record, Value
from functorch_artifact.runs.directory import Holder, holder
from functorch_artifact.step import TrainState
from functorch_artifact.tracking.journal_reader import Entry, FailureRow, JournalReader, Parameters, Session
from functorch_artifact.tracking.payloads import KINDS

if TYPE_CHECKING:
    import pandas as pd

State: TypeAlias = Literal["running", "finished", "interrupted", "crashed"]
T = TypeVar("T")


class Place(NamedTuple):
    """Where in a run a value belongs; of a collection, the name is `NAME/key`."""

    name: str
    split: str | None
    epoch: int
    step: int


class BestScore(NamedTuple):
    """The score that chose the best model."""

    name: str
    epoch: int
    value: float


class RunReader:
    """Read the directory of a run, while it goes on or after it ended, however it ended.

    Every property is read anew, so that a reader follows a run. An object serves the thread that
    made it; it is a context manager, and holds nothing but an open file.

    Args:
        path: the run's directory.

    Raises:
        TrackingError: the directory holds no run.

    Example:
        >>> import tempfile, torch
        >>> import functorch_artifact as fa
        >>> from functorch_artifact import optimizers
        >>> loader = fa.DataLoader(fa.ResidentDataset({"x": torch.ones(8, 3)}), batch_size=4)
        >>> program = fa.Program(
        ...     model=fa.functional(torch.nn.Linear(3, 1), inputs=lambda batch: batch["x"]),
        ...     optimizer=optimizers.sgd(0.1), loss=lambda output, batch: output.square().mean(),
        ...     train_loader=loader, loader_routines=[fa.DataLoaderRoutine(loader, [fa.ValLossCallback()])],
        ...     stopper=fa.EpochBoundStopper(2),
        ... )
        >>> with tempfile.TemporaryDirectory() as run:
        ...     result = fa.fit(program, run=run, progress=False)
        ...     with fa.RunReader(run) as reader:
        ...         reader.state, reader.reason, list(reader.scores["VAL_LOSS"].index)
        ('finished', 'the run has reached its bound of 2 epochs', [1, 2])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._journal = JournalReader(self.path)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The run's name."""
        return self._journal.info().name

    @property
    def parameters(self) -> Parameters:
        """What the run was configured with."""
        return self._journal.info().parameters

    @property
    def sessions(self) -> list[Session]:
        """The processes that worked on the run, in order."""
        return self._journal.sessions()

    @property
    def fingerprint(self) -> Parameters:
        """Versions, device and flags of the newest session; see `runs.fingerprint`."""
        sessions = self.sessions
        return sessions[-1].fingerprint if sessions else {}

    @property
    def started(self) -> dt.datetime | None:
        """When the first session began, in UTC."""
        sessions = self.sessions
        return dt.datetime.fromtimestamp(sessions[0].started, dt.UTC) if sessions else None

    @property
    def holder(self) -> Holder | None:
        """The process that is at work on the run."""
        return holder(self.path)

    @property
    def state(self) -> State:
        """Say how the run is: `crashed` if its newest session raised, or ended without a word."""
        if self.holder is not None:
            return "running"
        sessions = self.sessions
        outcome = sessions[-1].outcome if sessions else None
        return outcome if outcome in ("finished", "interrupted") else "crashed"

    @property
    def reason(self) -> str | None:
        """Why the run ended; `None` if it goes on, or was killed."""
        sessions = self.sessions
        return sessions[-1].reason if sessions else None

    @property
    def failures(self) -> list[FailureRow]:
        """The callbacks that raised."""
        return self._journal.failures()

    @property
    def scores(self) -> pd.DataFrame:
        """The scores at the ends of epochs: float64, indexed by "epoch", a row an epoch, a column a score.

        Those that came late have the last columns. A score of more than one split has a column for
        each, named `NAME [SPLIT]`.
        """
        import pandas as pd

        found = [row for row in self._journal.scores() if row[4] != "batches"]
        late = [row for row in found if row[4] != "epoch"]  # in an order that does not tell when they came
        found = [row for row in found if row[4] == "epoch"] + sorted(late, key=lambda row: (row[2], row[4]))
        splits: dict[str, set[str | None]] = {}
        for name, split, *_ in found:
            splits.setdefault(name, set()).add(split)
        columns: dict[str, dict[int, float]] = {}
        for name, split, epoch, _, _, value in found:
            label = name if len(splits[name]) == 1 or split is None else f"{name} [{split}]"
            columns.setdefault(label, {})[epoch] = value
        epochs = self._journal.epochs()
        index = pd.Index(epochs, name="epoch", dtype="int64")
        data = {label: [column.get(epoch, np.nan) for epoch in epochs] for label, column in columns.items()}
        return pd.DataFrame(data, index=index, columns=list(data), dtype="float64")

    @property
    def numbers(self) -> pd.DataFrame:
        """All numbers, those of batches too: name, split, epoch, step, value, in order of commit."""
        import pandas as pd

        rows = [(name, split, epoch, step, value) for name, split, epoch, step, _, value in self._journal.scores()]
        return pd.DataFrame(rows, columns=["name", "split", "epoch", "step", "value"])

    def records(self, kind: type[Value] | None = None, *, name: str | None = None) -> list[Record]:
        """Read the records of a kind (such as `records.Plot`), of a name, or both.

        Raises:
            TrackingError: a payload file is missing or altered.
        """
        return list(self._journal.records(kind=None if kind is None else KINDS[kind], name=name))

    def arrays(self, name: str | None = None) -> dict[Place, np.ndarray[Any, Any]]:
        """Read arrays, those of collections one by one."""
        return self._values(records.Array, records.ArrayCollection, name)

    def plots(self, name: str | None = None) -> dict[Place, bytes]:
        """Read plots as the bytes of PNG files, those of collections one by one."""
        return self._values(records.Plot, records.PlotCollection, name)

    def tables(self, name: str | None = None) -> dict[Place, pd.DataFrame]:
        """Read tables."""
        found = self.records(records.Table, name=name)
        return {_place(each): each.value.frame for each in found if isinstance(each.value, records.Table)}

    def files(self, name: str | None = None) -> dict[Place, Path]:
        """Find the copies of files."""
        found = self.records(records.File, name=name)
        return {_place(each): Path(each.value.path) for each in found if isinstance(each.value, records.File)}

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints, the newest last."""
        return Checkpoints(self.path / "checkpoints").paths()

    @property
    def latest(self) -> TrainState | None:
        """The state of the newest checkpoint that is whole, on the CPU; `None` without one.

        Raises:
            CheckpointError: it holds a class that this process does not know: import its module.
        """
        found = Checkpoints(self.path / "checkpoints").latest()
        return None if found is None else found[1]

    @property
    def best(self) -> ModelSnapshot | None:
        """The best model of the newest checkpoint, by the run's tracker; `None` without one."""
        state = self.latest
        return None if state is None else next(iter(_snapshots(state.tracker)), None)

    @property
    def owed(self) -> Mapping[str, int]:
        """How many records each client has not taken, by name, of those that keep what they take."""
        return {client: self._journal.owed(client) for client in self._journal.clients()}

    @property
    def best_score(self) -> BestScore | None:
        """The best model's epoch and the score it was chosen by; `None` without a `ScoreTracker`."""
        parameters, scores = self.parameters, self.scores
        name = str(parameters.get("best_by"))
        if name not in scores:
            return None
        about = charts.summary(charts.curves(scores[[name]])[name])
        epoch, value = (about.low_at, about.low) if parameters["best_is"] == "min" else (about.high_at, about.high)
        return None if epoch is None or value is None else BestScore(name, epoch, value)

    def facts(self) -> dict[str, Any]:
        """Say in short how the run is: name, state, why it stopped, epochs, best model, times, what is owed."""
        best, sessions, owed = self.best_score, self.sessions, self.owed
        found = {
            "run": self.name,
            "state": self.state,
            "why it stopped": self.reason,
            "epochs": len(self.scores),
            "best model": None if best is None else f"epoch {best.epoch}: {best.name} {best.value:.4g}",
            "started": None if self.started is None else f"{self.started:%Y-%m-%d %H:%M} UTC",
            "took": _duration(self._seconds(sessions)) if sessions else None,
            "sessions": len(sessions) if len(sessions) > 1 else None,
            "checkpoints": len(self.checkpoints) or None,
            "owed": ", ".join(f"{number} records to {client}" for client, number in owed.items() if number) or None,
        }
        return {label: value for label, value in found.items() if value is not None}

    def contents(self) -> dict[tuple[str, str, str | None], list[int]]:
        """List what is recorded besides scores, unread: kind, name and split, and the epochs that have it."""
        found: dict[tuple[str, str, str | None], set[int]] = {}
        for each in self._journal.artifacts():
            found.setdefault((each.kind.replace("_", " "), each.name, each.split), set()).add(each.epoch)
        return {key: sorted(epochs) for key, epochs in sorted(found.items(), key=lambda item: str(item[0]))}

    def to_html(self, path: str | Path) -> Path:
        """Write the run as one self-contained page, and return its path; pictures are bounded to 16 MiB.

        The folder is made if there is none. See `pages.run` for what the page says.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(run_report.page(self._view()), encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        facts = self.facts()
        return run_report.brief(str(facts.pop("run")), facts, self.scores)

    def _view(self) -> RunView:
        contents = self.contents()
        splits = collections.Counter((kind, name) for kind, name, _ in contents)

        def label(kind: str, name: str, split: str | None) -> str:
            return name if split is None or splits[kind, name] == 1 else f"{name} [{split}]"

        pictures: list[Picture] = []
        tables: dict[str, pd.DataFrame] = {}
        for each in self._journal.artifacts():
            title = label(each.kind.replace("_", " "), each.name, each.split)
            if each.kind == "table":
                tables[title] = each.record().value.frame  # type: ignore[union-attr]
            pictures += _pictures(each, title)
        facts, best = self.facts(), self.best_score
        return RunView(
            name=facts.pop("run"),
            facts=facts,
            scores=self.scores,
            best=None if best is None else best.epoch,
            parameters=self.parameters,
            environment=self.fingerprint,
            pictures=pictures,
            tables=tables,
            others=[
                (kind, label(kind, name, split), epochs)
                for (kind, name, split), epochs in contents.items()
                if not kind.startswith(("plot", "table"))
            ],
            failures=[(each.epoch, each.callback, each.error) for each in self.failures],
        )

    def _seconds(self, sessions: Sequence[Session]) -> float:
        """Tell how long was worked; a session that was killed, or goes on, counts up to its newest commit."""
        took = 0.0
        for i, session in enumerate(sessions):
            before = sessions[i + 1].started if i + 1 < len(sessions) else math.inf
            ended = session.ended or self._journal.last_commit(before) or session.started
            took += max(0.0, ended - session.started)
        return took

    def _values(self, one: type[Value], many: type[Value], name: str | None) -> dict[Place, Any]:
        found: dict[Place, Any] = {}
        for record in (*self.records(one, name=name), *self.records(many, name=name)):
            match record.value:
                case records.Array(value) | records.Plot(value):
                    found[_place(record)] = value
                case records.ArrayCollection(values) | records.PlotCollection(values):
                    found |= {_place(record, key): value for key, value in values.items()}
        return found


def _place(record: Record, key: str | None = None) -> Place:
    name = record.name if key is None else f"{record.name}/{key}"
    return Place(name, record.split, record.epoch, record.step)


def _pictures(entry: Entry, label: str) -> list[Picture]:
    """List what is to be seen of an entry; it is read once, when the first of it is."""
    read = functools.lru_cache(1)(entry.record)

    def png(key: str | None) -> bytes:
        value = read().value
        return value.values[key] if isinstance(value, records.PlotCollection) else value.png  # type: ignore

    if entry.kind == "plot":
        return [Picture(label, entry.epoch, functools.partial(png, None))]
    if entry.kind == "plot_collection":
        keys = json.loads(entry.text)
        return [Picture(f"{label}/{key}", entry.epoch, functools.partial(png, key)) for key in keys]
    return []


def _duration(seconds: float) -> str:
    """Write a time as people say it.

    Example:
        >>> [_duration(seconds) for seconds in (0.25, 42.0, 151.0, 7260.0)]
        ['0.2 s', '42 s', '2 min 31 s', '2 h 1 min']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _snapshots(tree: Any) -> list[ModelSnapshot]:
    import optree

    leaves = optree.tree_leaves(tree, is_leaf=lambda node: isinstance(node, ModelSnapshot), namespace=trees.NAMESPACE)
    return [leaf for leaf in leaves if isinstance(leaf, ModelSnapshot)]
