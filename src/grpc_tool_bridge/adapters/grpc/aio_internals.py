"""What the public interface of grpc.aio lacks; where its internals are other ones, nothing here has an effect."""

from typing import Any


class _KeepsStatus:
    """The inner part of a call, whose status is the one that the service gives."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def set_internal_error(self, text: str) -> None:
        """Ignores that a request could not be sent: whoever asks for the status waits for that of the call."""


def keep_status(call: Any) -> None:
    """Has a call that takes a stream end with the status that its service gives.

    A service may end a call before it has read all requests. If one of them is sent at that moment, grpc.aio replaces
    the status, with all its details, by INTERNAL.
    """
    inner = getattr(call, "_cython_call", None)
    if inner is not None and hasattr(inner, "set_internal_error"):
        call._cython_call = _KeepsStatus(inner)  # noqa: SLF001 - see above
