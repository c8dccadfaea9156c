"""A value that is encoded already."""

from typing import NamedTuple


class Packed(NamedTuple):
    """What a tool gave, as the two fields of an Any; it need not be decoded to be passed on.

    Attributes:
        type_url: What kind of value it is.
        value: Its bytes.
    """

    type_url: str
    value: bytes
