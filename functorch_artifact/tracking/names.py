"""Names and identities that a backend can hold.

Belongs here: the one reversible mapping from any text to what a backend allows, and what a run is
known by in a backend. Does not: which characters a backend allows (its own file), or what is kept
under a name (`layout`).
Floor 7.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from functorch_artifact.errors import TrackingError
from functorch_artifact.records import RunInfo

_ID_FILE: Final = "tracking_id"


# Lone surrogates are no text, but Python lets them into names.
_SURROGATES: Final = "surrogatepass"


@attrs.frozen
class Names:
    """Percent-encode what a backend does not allow in a name; nothing is lost, and no two names meet.

    A segment is one part of a name: a record's name, a collection's key, a split. In it a slash is
    encoded too, so that segments joined by slashes are told apart again.

    Args:
        legal: says of a character whether it stays.
        escape: the sign that begins an encoded byte; itself always encoded.
        not_first: the signs that are encoded where a segment begins with them; by default the dot, of
            hidden files, of this directory and of the one above.
        longest: bytes of a segment, once encoded.
        longest_key: bytes of several segments joined.

    Example:
        >>> from functorch_artifact.tracking.names import Names
        >>> names = Names(legal=lambda sign: sign.isalnum() or sign in " ._", escape=":")
        >>> names.key("JS", "price ($)", "a/b")
        'JS/price :28:24:29/a:2Fb'
        >>> names.segments("JS/price :28:24:29/a:2Fb")
        ('JS', 'price ($)', 'a/b')
    """

    legal: Callable[[str], bool]
    escape: str = "%"
    not_first: str = "."
    longest: int = 200
    longest_key: int = 10_000

    def encode(self, segment: str, what: str = "a name") -> str:
        """Encode one segment.

        Raises:
            TrackingError: the segment is empty, or too long once encoded.
        """
        encoded = "".join(sign if self._stays(sign) else self._bytes(sign) for sign in segment)
        if encoded and encoded[0] in self.not_first:
            encoded = self._bytes(encoded[0]) + encoded[1:]
        _check(segment, encoded, self.longest, what)
        return encoded

    def decode(self, encoded: str) -> str:
        """Recover a segment."""
        run = rf"(?:{re.escape(self.escape)}[0-9A-F]{{2}})+"
        return re.sub(run, self._text, encoded)

    def key(self, *segments: str | None) -> str:
        """Join segments, without those that are `None`.

        Raises:
            TrackingError: a segment is empty, or the key is too long.
        """
        given = [segment for segment in segments if segment is not None]
        key = "/".join(self.encode(segment) for segment in given)
        _check("/".join(given), key, self.longest_key, "a key")
        return key

    def segments(self, key: str) -> tuple[str, ...]:
        """Recover the segments of a key."""
        return tuple(self.decode(segment) for segment in key.split("/"))

    def _stays(self, sign: str) -> bool:
        return self.legal(sign) and sign not in ("/", self.escape)

    def _bytes(self, sign: str) -> str:
        return "".join(f"{self.escape}{byte:02X}" for byte in sign.encode(errors=_SURROGATES))

    def _text(self, run: re.Match[str]) -> str:
        return bytes.fromhex(run[0].replace(self.escape, "")).decode(errors=_SURROGATES)


FILES: Final = Names(lambda sign: sign.isprintable() and sign not in '\\<>:"|?*')
"""What any file system takes; `urllib.parse.unquote` recovers it."""

PLAIN: Final = Names(lambda sign: sign.isalnum() or sign in "_-.", escape="~")
"""What also survives a URL."""


def _check(text: str, encoded: str, longest: int, what: str) -> None:
    if not 0 < len(encoded.encode()) <= longest:
        raise TrackingError(
            "is too long, or empty, to be kept under",
            where=f"{text[:40]!r}, {what}",
            expected=f"1 to {longest} bytes once encoded",
            got=len(encoded.encode()),
        )


def run_id(run: RunInfo) -> str:
    """Tell what a run is known by in every backend, for as long as its directory lives.

    The id is in the directory (`tracking_id`), so a run that was resumed, moved or is synced from
    another machine is the same. A run without a directory has a new one each time it is asked.
    """
    if run.directory is None:
        return uuid.uuid4().hex
    path = Path(run.directory, _ID_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{_ID_FILE}.{uuid.uuid4().hex}")
    try:
        new.write_text(uuid.uuid4().hex)
        if not path.exists():
            path.hardlink_to(new)  # unlike a rename, it does not replace what another process put there
    except FileExistsError:
        pass
    finally:
        new.unlink(missing_ok=True)
    return path.read_text()
