"""Pixels as the bytes of a PNG file.

Belongs here: `encode`. Does not: where pixels come from (`records`).
Floor 0.

General encoders try five filters on each row and look hard for repetitions; charts are mostly
white, so one filter and the fastest search give files of the same size in a third of the time.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np


def encode(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """Make a PNG file (ISO/IEC 15948) of pixels: uint8 [height, width, 4], red, green, blue, opacity.

    Opacity is left out where all pixels are opaque.

    Example:
        >>> encode(np.zeros((2, 3, 4), dtype=np.uint8))[:4]
        b'\\x89PNG'
    """
    height, width, _ = pixels.shape
    channels = 3 if pixels[:, :, 3].min(initial=255) == 255 else 4
    values = np.ascontiguousarray(pixels[:, :, :channels]).reshape(height, -1)
    # Each row, as the difference to the one above, behind the number of that filter.
    rows = np.full((height, 1 + values.shape[1]), 2, dtype=np.uint8)
    rows[:1, 1:] = values[:1]
    np.subtract(values[1:], values[:-1], out=rows[1:, 1:])
    colours = 2 if channels == 3 else 6
    header = struct.pack(">2I5B", width, height, 8, colours, 0, 0, 0)
    data = zlib.compress(rows.data, 1)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
