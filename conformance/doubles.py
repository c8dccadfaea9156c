"""Doubles as their bits, which every language writes and compares in the same way."""

import math
import struct

NAN = "7ff8000000000000"


def bits_of(number: float) -> str:
    """Returns the 16 hexadecimal digits of a double, the sign first; every NaN has the same."""
    return NAN if math.isnan(number) else struct.pack(">d", number).hex()


def number_of(bits: str) -> float:
    """Returns the double that ``bits_of`` wrote."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    return float(number)
