"""The errors of Toxiproxy's API."""

from typing import Any


class ApiError(Exception):
    """A request that is refused.

    Args:
        message: Why.
        status: The HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)
        self.message = message
        self.status = status

    def __str__(self) -> str:
        return self.message

    def to_json(self) -> dict[str, Any]:
        """Returns it as Toxiproxy writes it."""
        return {"error": self.message, "status": self.status}
