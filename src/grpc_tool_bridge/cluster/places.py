"""Where a session is, as its chain of records and the book of leases say."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mine:
    """This hub owns it."""


@dataclass(frozen=True, slots=True)
class Owned:
    """Another hub owns it, whose lease is not closed.

    Attributes:
        incarnation: That hub's.
    """

    incarnation: str


@dataclass(frozen=True, slots=True)
class Orphan:
    """The lease of its owner is closed: any hub may take it."""


@dataclass(frozen=True, slots=True)
class Missing:
    """There is none, or none that is remembered."""


@dataclass(frozen=True, slots=True)
class Ended:
    """It has ended.

    Attributes:
        why: The reason, for error texts.
    """

    why: str


Place = Mine | Owned | Orphan | Missing | Ended
