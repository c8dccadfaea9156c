"""What can be chosen about an audit trail."""

from enum import StrEnum


class AuditSync(StrEnum):
    """When an audit trail waits for the disk."""

    ALWAYS = "always"
    SECOND = "second"
    NEVER = "never"


class OnAuditFailure(StrEnum):
    """What happens to calls while an audit trail cannot be written."""

    REFUSE = "refuse"
    COUNT = "count"
