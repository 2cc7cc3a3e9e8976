"""Laws of the tracking clients that need no server."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from functorch_artifact import tracking
from functorch_artifact.testing.client_laws import client_laws
from functorch_artifact.testing.law import BoundLaw


class Readable(tracking.Filesystem):
    """A client that remembers where it writes."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.directory = directory


def in_memory(client: tracking.InMemory) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.scores().itertuples(index=False)]


def in_files(client: Readable) -> list[tuple[Any, ...]]:
    table = pd.read_csv(f"{client.directory}/scores.csv", keep_default_na=False, converters={"value": float})
    return [tuple(row) for row in table.itertuples(index=False)]


LAWS = [
    *(
        pytest.param(law, id=f"memory-{law.__name__}")
        for law in client_laws(lambda _: tracking.InMemory(), read=in_memory)
    ),
    *(pytest.param(law, id=f"filesystem-{law.__name__}") for law in client_laws(Readable, read=in_files)),
]


@pytest.mark.parametrize("law", LAWS)
def test_laws(law: BoundLaw) -> None:
    law()
