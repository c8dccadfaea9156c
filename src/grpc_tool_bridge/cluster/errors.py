"""What may become of a write to JetStream, and of a read of a whole chain.

StoreError
├── AppendError
│   ├── WrongSequenceError   another message came first; this one is not stored and never will be
│   ├── NotStoredError       this attempt did not store it; another may
│   └── MaybeStoredError     no answer came: it is stored, or may still be
└── GapError                 what was read is not the whole chain; read it anew
"""

from grpc_tool_bridge.errors import StoreError


class AppendError(StoreError):
    """A message was not acknowledged."""


class WrongSequenceError(AppendError):
    """The last message of the subject is another than expected, so the message is not stored and never will be.

    Args:
        subject: The subject.
        last: The sequence of its last message; None if NATS did not tell, as while that is being stored.
    """

    def __init__(self, subject: str, last: int | None) -> None:
        told = "" if last is None else f"; its last message is {last}"
        super().__init__(f"another message came first on {subject}{told}")
        self.subject, self.last = subject, last

    def is_outdated(self, stored: int) -> bool:
        """Returns whether a node has answered that was the leader, and is cut off from the others.

        It knows less than what is stored: nothing that a quorum has stored is forgotten.

        Args:
            stored: Sequence of a message of the subject that is stored.
        """
        return self.last is not None and self.last < stored


class NotStoredError(AppendError):
    """An attempt to store a message has failed without any effect."""


class StreamFullError(NotStoredError):
    """The stream has reached a limit that who looks after NATS has set."""


class MaybeStoredError(AppendError):
    """No answer came, so the message is stored, or may still be: ``Bus.settle`` finds out.

    Args:
        message: What went wrong.
        message_id: The id that the message was sent with.
    """

    def __init__(self, message: str, message_id: str) -> None:
        super().__init__(message)
        self.message_id = message_id


class GapError(StoreError):
    """Messages are missing between two that were read: the subject was purged meanwhile; read it anew."""
