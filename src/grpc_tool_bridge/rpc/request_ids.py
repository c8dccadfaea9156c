"""The ids of calls to which their callers gave none.

The usual call to a worker is forwarded as it came, without an id, so that it costs nothing. Both ends know its link and
its number there, and each makes the same id of them when one is asked for.
"""

import uuid

# In the metadata of the hub's hello: the id of the link.
LINK_ID_KEY = "link_id"

# Of a link's id, which a peer may have chosen.
MAX_LINK_ID_CHARS = 64


def new_link_id() -> str:
    """Returns the id of a new link."""
    return uuid.uuid4().hex


def new_request_id() -> str:
    """Returns an id for a call that has no number."""
    return uuid.uuid4().hex


def request_id_of(link_id: str, number: int) -> str:
    """Returns the id of a call that was sent over a link.

    Args:
        link_id: The id of the link, as its hub says; empty: it says none.
        number: The call's number on that link; 0: it was not sent.

    Returns:
        The id, which is the same at both ends; empty if there is none.
    """
    return f"{link_id[:MAX_LINK_ID_CHARS]}-{number}" if link_id and number else ""
