"""Bytes and texts of the vectors: large ones are written by a rule, so that the file can be read.

Bytes are base64, or a list of pieces: ``[{"base64": "CoDQKg=="}, {"repeat": "YWI=", "times": 700000}]``. A text is
itself or ``{"repeat": "ab", "times": 700000}``.
"""

import base64
import itertools
from typing import Any

# A run of this many equal bytes or more is written by a rule.
_LONG = 256


def write_bytes(data: bytes) -> Any:
    """Returns bytes as the vectors have them."""
    pieces: list[dict[str, Any]] = []
    plain = bytearray()
    for byte, run in itertools.groupby(data):
        count = sum(1 for _ in run)
        if count < _LONG:
            plain += bytes((byte,)) * count
            continue
        if plain:
            pieces.append({"base64": write_base64(bytes(plain))})
            plain.clear()
        pieces.append({"repeat": write_base64(bytes((byte,))), "times": count})
    if not pieces:
        return write_base64(data)
    return [*pieces, {"base64": write_base64(bytes(plain))}] if plain else pieces


def write_text(text: str) -> Any:
    """Returns a text as the vectors have it."""
    same = len(text) >= _LONG and text == text[0] * len(text)
    return {"repeat": text[0], "times": len(text)} if same else text


def read_bytes(written: Any) -> bytes:
    """Returns the bytes that ``write_bytes`` wrote."""
    if isinstance(written, str):
        return base64.b64decode(written, validate=True)
    return b"".join(
        base64.b64decode(piece["repeat"], validate=True) * piece["times"]
        if "repeat" in piece
        else base64.b64decode(piece["base64"], validate=True)
        for piece in written
    )


def expand(entry: Any) -> Any:
    """Replaces all rules in a vector by the base64 or the text that they stand for."""
    if isinstance(entry, dict):
        if entry.keys() == {"repeat", "times"}:
            return entry["repeat"] * entry["times"]
        return {key: expand(item) for key, item in entry.items()}
    if isinstance(entry, list):
        if entry and all(isinstance(piece, dict) and piece.keys() in _PIECES for piece in entry):
            return write_base64(read_bytes(entry))
        return [expand(item) for item in entry]
    return entry


_PIECES = ({"base64"}, {"repeat", "times"})


def write_base64(data: bytes) -> str:
    """Returns the base64 of bytes."""
    return base64.b64encode(data).decode()
