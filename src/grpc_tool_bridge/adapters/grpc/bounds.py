"""What a gRPC service may tell of itself at most."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits on the description of one service; those on its messages are settings of the service.

    Attributes:
        descriptor_bytes: Bytes of all descriptors together.
        files: Files that they come from, with all that these import.
        services: Services that it may list.
        methods: Methods that become tools.
        start_seconds: From the connection to the list of its methods.
    """

    descriptor_bytes: int = 16 * MIB
    files: int = 5_000
    services: int = 5_000
    methods: int = 10_000
    start_seconds: float = 20.0
