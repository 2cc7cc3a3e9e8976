"""The laws of tracking clients.

Belongs here: that records are taken as they are, once, and in any number. Does not: any client.
Floor 10.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

from functorch_artifact.records import (
    Array,
    ArrayCollection,
    Plot,
    PlotCollection,
    Record,
    RunInfo,
    Score,
    ScoreCollection,
    TrackingClient,
)
from functorch_artifact.testing.agreement import digest
from functorch_artifact.testing.law import Case, Family, Laws, Report, expect
from functorch_artifact.testing.values import arrays

Row = tuple[str, str | None, int, int, float]
"""A number that is stored: name (a collection's: `NAME/key`), split, epoch, step, value."""
MakeClient = Callable[[str], TrackingClient]
ReadClient = Callable[[Any], Iterable[Row]]
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


@attrs.frozen(eq=False)
class ClientCase(Case):
    """How a client is made in a directory, and how its numbers are read back."""

    read: ReadClient | None

    def stored(self, *offers: list[Record]) -> list[Row]:
        """Offer records, each list at once, and read what is stored."""
        with tempfile.TemporaryDirectory() as directory:
            run = RunInfo("run", directory, {"seed": 0})
            client = self.subject(directory)
            client.open(run)
            for offer in offers:
                client.log(offer)
            rows = [] if self.read is None else [_normal(*row) for row in self.read(client)]
            client.close()
            return sorted(rows, key=repr)


CLIENT: Family[ClientCase] = Family("client", "check_tracking_client")
_names = st.sampled_from(["LOSS", "VAL_LOSS", "a/b", "Ärger mit Namen"])
_values = st.one_of(
    st.floats().map(Score),
    st.dictionaries(st.sampled_from(["x", "y/z"]), st.floats(), max_size=2).map(ScoreCollection),
    arrays().map(Array.of),
    arrays(shapes=(2,)).map(lambda value: ArrayCollection.of({"a": value})),
    st.just(Plot(_PNG)),
    st.just(PlotCollection({"p": _PNG})),
)


def _normal(name: str, split: Any, epoch: int, step: int, value: float) -> Row:
    """Take what files and tables make of a missing split."""
    return name, split if isinstance(split, str) and split else None, int(epoch), int(step), float(value)


def _unique(drawn: list[Record]) -> list[Record]:
    return list({(record.name, record.split, record.epoch, record.step): record for record in drawn}.values())


_records = st.lists(
    st.builds(Record, _names, _values, st.integers(1, 3), st.integers(1, 9), st.sampled_from([None, "TRAIN"])),
    max_size=4,
).map(_unique)


def check_tracking_client(
    make: MakeClient, *, read: ReadClient | None = None, strict: bool = True, without: Collection[str] = ()
) -> Report:
    """Hold a tracking client to the laws of tracking clients.

    - `records_of_every_kind_are_taken`, `logging_changes_no_record`, `closing_twice_is_closing_once`
    - with `read`: `numbers_are_stored_as_they_are`, `an_offer_taken_twice_is_stored_once`,
      `offers_can_be_cut_anywhere`

    Args:
        make: makes the client; it is given a directory of its own, which is removed afterwards.
        read: reads the stored numbers: name (a collection's: `NAME/key`), split, epoch, step, value.
        strict: whether to raise at once; else the report says which laws are broken.
        without: names of laws to leave out.

    Raises:
        LawViolation: a law is broken and `strict` is true.
        ConfigurationError: `without` names no law.

    Example:
        >>> from functorch_artifact import tracking
        >>> from functorch_artifact.testing import check_tracking_client
        >>> report = check_tracking_client(lambda directory: tracking.InMemory())
        >>> "records_of_every_kind_are_taken" in report.holding
        True
    """
    return client_laws(make, read=read).check(strict=strict, without=without)


def client_laws(make: MakeClient, *, read: ReadClient | None = None) -> Laws:
    """List the laws of a tracking client; the arguments are those of `check_tracking_client`."""
    return CLIENT.bind(ClientCase(make, read, options={} if read is None else {"read": read}))


def _rows(records: Iterable[Record]) -> list[Row]:
    found: list[Row] = []
    for record in records:
        place = (record.split, record.epoch, record.step)
        if isinstance(record.value, Score):
            found.append((record.name, *place, record.value.value))
        elif isinstance(record.value, ScoreCollection):
            found += [(f"{record.name}/{key}", *place, value) for key, value in record.value.values.items()]
    return sorted(found, key=repr)


def _same(one: list[Row], other: list[Row]) -> bool:
    return [row[:4] for row in one] == [row[:4] for row in other] and bool(
        np.array_equal([row[4] for row in one], [row[4] for row in other], equal_nan=True)
    )


def _reads(case: ClientCase) -> bool:
    return case.read is not None


@CLIENT.law(usual_cause="a kind of value is not handled; skip or store it, and say which", records=_records)
def records_of_every_kind_are_taken(case: ClientCase, records: list[Record]) -> None:
    """Records of every kind, in any number, none included, are taken without an error."""
    case.stored(records)


@CLIENT.law(usual_cause="a value is converted in place", records=_records)
def logging_changes_no_record(case: ClientCase, records: list[Record]) -> None:
    """The records that are offered stay as they are."""
    before = digest(records)
    case.stored(records)
    expect(digest(records) == before, "the records as they were", records)


@CLIENT.law(usual_cause="close uses what it has released", records=_records)
def closing_twice_is_closing_once(case: ClientCase, records: list[Record]) -> None:
    """A client that is closed can be closed again."""
    with tempfile.TemporaryDirectory() as directory:
        client = case.subject(directory)
        client.open(RunInfo("run", directory))
        client.log(records)
        client.close()
        client.close()


@CLIENT.law(
    usual_cause="NaN or an infinity becomes 0 or is dropped, or a step stands in for an epoch",
    needs=_reads,
    records=_records,
)
def numbers_are_stored_as_they_are(case: ClientCase, records: list[Record]) -> None:
    """Every number is stored with its name, split, epoch and step, NaN and infinities included."""
    expected, found = _rows(records), case.stored(records)
    expect(_same(expected, found), expected, found)


@CLIENT.law(usual_cause="log appends without looking", needs=_reads, records=_records)
def an_offer_taken_twice_is_stored_once(case: ClientCase, records: list[Record]) -> None:
    """Records that are offered again, as after an error, are not stored a second time."""
    once, twice = case.stored(records), case.stored(records, records)
    expect(_same(once, twice), once, twice)


@CLIENT.law(
    usual_cause="an offer replaces the one before",
    needs=_reads,
    records=_records,
    cut=st.integers(0, 4),
)
def offers_can_be_cut_anywhere(case: ClientCase, records: list[Record], cut: int) -> None:
    """Records in two offers are stored as in one."""
    expected, found = case.stored(records), case.stored(records[:cut], records[cut:])
    expect(_same(expected, found), expected, found)
