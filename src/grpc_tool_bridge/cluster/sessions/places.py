"""Where a session is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mine:
    """This hub owns it."""


@dataclass(frozen=True, slots=True)
class Owned:
    """Another hub owns it.

    Attributes:
        incarnation: The life of that hub.
    """

    incarnation: str


@dataclass(frozen=True, slots=True)
class Orphan:
    """It is there, and the hub that owned it is not: it may be taken."""


@dataclass(frozen=True, slots=True)
class Missing:
    """There is none; it never was, or it ended long ago."""


@dataclass(frozen=True, slots=True)
class Ended:
    """It has ended.

    Attributes:
        why: Why.
    """

    why: str


Place = Mine | Owned | Orphan | Missing | Ended
