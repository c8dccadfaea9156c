"""Counts what sessions got since they were last looked at, to look at those that may have too much."""

from collections import OrderedDict

# Sessions that are counted at once. One that falls out is looked at.
MAX_SESSIONS = 2_048

# A session may have this part more things than it may keep before it is looked at: what that takes is shared by more
# writes then.
SLACK_PART = 2

# The same for its bytes, since the file becomes larger by them.
BYTES_SLACK_PART = 8


class Tally:
    """What sessions got of one kind since they were last looked at. Sessions that get nothing take no memory.

    Args:
        most: How many things a session may keep.
        most_bytes: How many bytes these may have.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = max(1, most // SLACK_PART)
        self._most_bytes = most_bytes // BYTES_SLACK_PART
        # The longest known first: their things and bytes.
        self._since: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._due: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since) + len(self._due)

    def add(self, session_id: str, size: int) -> None:
        """Counts one thing that a session got."""
        if session_id in self._due:
            return
        count, held = self._since.get(session_id, (0, 0))
        if count + 1 >= self._most or held + size > self._most_bytes:
            self._since.pop(session_id, None)
            self._due[session_id] = None
            return
        self._since[session_id] = count + 1, held + size
        if len(self._since) > MAX_SESSIONS:
            first, _ = self._since.popitem(last=False)
            self._due[first] = None

    def look_at(self, session_id: str) -> None:
        """Has a session looked at next."""
        self._since.pop(session_id, None)
        self._due[session_id] = None
        self._due.move_to_end(session_id, last=False)

    def take(self) -> str | None:
        """Returns a session to be looked at now; None: there is none."""
        return self._due.popitem(last=False)[0] if self._due else None

    @property
    def is_due(self) -> bool:
        """Whether a session is to be looked at."""
        return bool(self._due)
