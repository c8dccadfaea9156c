"""Makes the picture of a page small: as a PNG of at most 256 colours."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.uint8]

_MARK = b"\x89PNG\r\n\x1a\n"
_COLOURS = 256


def size_of(picture: bytes) -> tuple[int, int]:
    """Returns the width and the height."""
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


def shrunk(picture: bytes) -> bytes:
    """Returns a picture of 8 bits a channel with 256 of its colours; others become the nearest of them."""
    pixels = _pixels(picture)[:, :, :3]
    height, width, _ = pixels.shape
    found, places, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    kept = _palette(found, counts)
    places = _apart(found, kept).argmin(axis=1)[places.reshape(-1)]
    rows = np.zeros((height, width + 1), dtype=np.uint8)
    rows[:, 1:] = places.reshape(height, width)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    content = zlib.compress(rows.tobytes(), 9)
    chunks = ((b"IHDR", head), (b"PLTE", kept.tobytes()), (b"IDAT", content), (b"IEND", b""))
    return _MARK + b"".join(_chunk(name, part) for name, part in chunks)


def _palette(colours: Rows, counts: NDArray[np.int64]) -> Rows:
    """Chooses the most frequent colours, and then those that are missed most."""
    kept = colours[np.argsort(-counts, kind="stable")[: _COLOURS * 3 // 4]]
    missed = _apart(colours, kept).min(axis=1)
    while len(kept) < _COLOURS and missed.any():
        chosen = colours[(missed * counts).argmax()][None]
        kept = np.vstack([kept, chosen])
        missed = np.minimum(missed, _apart(colours, chosen)[:, 0])
    return kept


def _apart(colours: Rows, others: Rows) -> NDArray[np.int64]:
    """Returns how far each of some colours is from each of others."""
    apart: NDArray[np.int64] = ((colours[:, None, :].astype(np.int64) - others[None, :, :]) ** 2).sum(axis=2)
    return apart


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _pixels(picture: bytes) -> Rows:
    """Decodes a picture; returns its pixels by row, column and channel."""
    assert picture.startswith(_MARK)
    chunks = list(_chunks(picture))
    width, height, depth, kind, *_, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, interlaced) == (8, 0)
    channels = {2: 3, 6: 4}[kind]
    packed = zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT"))
    lines = np.frombuffer(packed, dtype=np.uint8).reshape(height, 1 + width * channels)
    found: Rows = np.zeros((height + 1, width, channels), dtype=np.uint8)
    for number, line in enumerate(lines):
        row = line[1:].reshape(width, channels)
        found[number + 1] = _unfiltered(int(line[0]), row, found[number])
    return found[1:]


def _chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_MARK)
    while place < len(picture):
        (size,) = struct.unpack(">I", picture[place : place + 4])
        yield picture[place + 4 : place + 8], picture[place + 8 : place + 8 + size]
        place += size + 12


def _unfiltered(kind: int, row: Rows, above: Rows) -> Rows:
    """Undoes the filter of a row; `above` is the row before it."""
    match kind:
        case 0:
            return row
        case 1:
            return np.cumsum(row, axis=0, dtype=np.uint8)
        case 2:
            return row + above
    # Each byte needs the one before it; single elements of arrays would be slow.
    step, given, over = row.shape[1], row.tobytes(), bytes(row.shape[1]) + above.tobytes()
    made = bytearray(step)
    for place, byte in enumerate(given):
        left, up = made[place], over[place + step]
        made.append((byte + ((left + up) // 2 if kind == 3 else _nearest(left, up, over[place]))) & 255)
    return np.frombuffer(bytes(made[step:]), dtype=np.uint8).reshape(row.shape)


def _nearest(left: int, up: int, corner: int) -> int:
    """Guesses a byte, as Paeth does."""
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner
