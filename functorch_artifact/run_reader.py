"""Reading a run, live or dead, from any process.

Belongs here: `RunReader`, which joins what journal, checkpoints and lock say. Does not: writing
anything.
Floor 8.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias, TypeVar

import numpy as np

from functorch_artifact import records, trees
from functorch_artifact.checkpoint import Checkpoints
from functorch_artifact.model_tracking import ModelSnapshot
from functorch_artifact.records import Record, Value
from functorch_artifact.run_directory import Holder, holder
from functorch_artifact.step import TrainState
from functorch_artifact.tracking.journal_reader import FailureRow, JournalReader, Parameters, Session
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
        """Versions, device and flags of the newest session; see `fingerprint`."""
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
        """The scores at the ends of epochs: float64, indexed by "epoch", a column a score.

        A score of more than one split has a column for each, named `NAME [SPLIT]`.
        """
        import pandas as pd

        found = [row for row in self._journal.scores() if row[4] != "batches"]
        splits: dict[str, set[str | None]] = {}
        for name, split, *_ in found:
            splits.setdefault(name, set()).add(split)
        columns: dict[str, dict[int, float]] = {}
        for name, split, epoch, _, _, value in found:
            label = name if len(splits[name]) == 1 or split is None else f"{name} [{split}]"
            columns.setdefault(label, {})[epoch] = value
        epochs = sorted({epoch for column in columns.values() for epoch in column})
        index = pd.Index(epochs, name="epoch", dtype="int64")
        data = {label: [column.get(epoch, np.nan) for epoch in epochs] for label, column in columns.items()}
        return pd.DataFrame(data, index=index, dtype="float64")

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


def _snapshots(tree: Any) -> list[ModelSnapshot]:
    import optree

    leaves = optree.tree_leaves(tree, is_leaf=lambda node: isinstance(node, ModelSnapshot), namespace=trees.NAMESPACE)
    return [leaf for leaf in leaves if isinstance(leaf, ModelSnapshot)]
