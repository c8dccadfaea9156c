"""Makes the methods of a gRPC service tools of the bridge."""

import time
from collections.abc import Container
from dataclasses import dataclass, field

from grpc_tool_bridge.adapters.grpc.bounds import Bounds, one_line
from grpc_tool_bridge.adapters.grpc.calls import Caller
from grpc_tool_bridge.adapters.grpc.changes import changed_types
from grpc_tool_bridge.adapters.grpc.descriptors import Descriptors
from grpc_tool_bridge.adapters.grpc.methods import Method, methods_of
from grpc_tool_bridge.adapters.grpc.reflection import Reflected
from grpc_tool_bridge.adapters.naming import Naming
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.tool_marks import DEPRECATED_KEY
from grpc_tool_bridge.tools.external import external_tool
from grpc_tool_bridge.tools.sources import Refusal
from grpc_tool_bridge.tools.tool import Tool


@dataclass(slots=True)
class Imported:
    """The tools of a service.

    Attributes:
        tools: Those that can be offered.
        refused: What cannot be, with the reason.
    """

    tools: list[Tool] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class Importer:
    """Makes tools; one that means the same as the last time is the same object.

    Args:
        naming: Which ones, and as what.
        caller: Makes the calls.
        bounds: Limits on the tools.
    """

    def __init__(self, naming: Naming, caller: Caller, bounds: Bounds) -> None:
        self._naming = naming
        self._caller = caller
        self._bounds = bounds
        self._made: dict[str, tuple[Method, bytes, Tool]] = {}
        self._before: Descriptors | None = None

    def read(self, descriptors: Descriptors, reflected: Reflected | None) -> Imported:
        """Makes the tools of the services that were reflected; None: of all that are described.

        Takes seconds for thousands of methods.
        """
        services = None if reflected is None else reflected.services
        problems = {} if reflected is None else reflected.problems
        methods, refused = methods_of(descriptors, self._naming, services, problems, most=self._bounds.methods)
        before = () if self._before is None else self._before.file_protos()
        changed = changed_types(before, descriptors.file_protos()) if self._made else set()
        found = Imported(refused=refused)
        made: dict[str, tuple[Method, bytes, Tool]] = {}
        size, ends_at = 0, time.monotonic() + self._bounds.import_seconds
        for method in methods:
            if time.monotonic() > ends_at:
                found.refused.append(Refusal(method.full_name, _too_slow(self._bounds)))
                continue
            try:
                fresh = self._tool(method)
            except Exception as error:  # noqa: BLE001 - what one method says of itself must not cost the others
                found.refused.append(Refusal(method.full_name, _why(error)))
                continue
            one = (method, fresh.spec.SerializeToString(deterministic=True), fresh)
            size += len(one[1])
            if size > self._bounds.tool_bytes:
                found.refused.append(Refusal(method.full_name, _too_much(self._bounds)))
                continue
            known = self._made.get(method.full_name)
            if known is not None and known[1] == one[1] and _is_same(known[0], method, changed):
                one = known
                known[0].renew(method)
            made[method.full_name] = one
            found.tools.append(one[2])
        self._made, self._before = made, descriptors
        return found

    def _tool(self, method: Method) -> Tool:
        metadata = method.metadata(self._naming.server)
        if method.is_deprecated:
            metadata[DEPRECATED_KEY] = "the service says that it is deprecated"
        streams = method.gives_stream
        return external_tool(
            method.tool,
            method.description,
            None if streams else self._caller.run_of(method),
            stream=self._caller.stream_of(method) if streams else None,
            input_schema=method.input_schema(),
            output_schema=method.output_schema(),
            idempotent=method.is_idempotent,
            metadata=metadata,
            aliases=method.aliases,
            converts=True,
        )


def _too_much(bounds: Bounds) -> str:
    return f"the tools of the service would take over {bounds.tool_bytes:,} bytes, which is the limit; choose some"


def _too_slow(bounds: Bounds) -> str:
    return f"the tools of the service were not made within {bounds.import_seconds:g} s, which is the limit; choose some"


def _is_same(known: Method, method: Method, changed: Container[str]) -> bool:
    """Returns whether a method is called as before, if its tool looks as before."""
    return (
        known.takes_stream == method.takes_stream
        and known.descriptor.input_type.full_name == method.descriptor.input_type.full_name
        and known.descriptor.output_type.full_name == method.descriptor.output_type.full_name
        and method.descriptor.input_type.full_name not in changed
        and method.descriptor.output_type.full_name not in changed
    )


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return error.message
    return f"its descriptor cannot be read: {type(error).__name__}: {one_line(str(error), 200)}"
