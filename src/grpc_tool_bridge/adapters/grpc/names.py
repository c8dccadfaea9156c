"""Which methods of gRPC services become tools, and what these are called."""

import re
from collections.abc import Iterable, Mapping, Sequence

from grpc_tool_bridge.adapters.naming import Naming
from grpc_tool_bridge.tools.options import MAX_TOOL_NAME_CHARS, TOOL_NAME

# Services about a server itself, which are left out unless a pattern without a wildcard at its start asks for them.
_ABOUT_SERVERS = re.compile(r"grpc\.(?:reflection|health|channelz|binarylog)\..*")


def chosen(naming: Naming, methods: Iterable[str]) -> list[str]:
    """Returns which methods become tools.

    Args:
        naming: The patterns. Each matches ``package.Service.Method``, ``package.Service/Method``, ``Service.Method``,
            or a whole service.
        methods: The full names of all methods, ``package.Service.Method``.

    Returns:
        Those that are chosen, in their order.
    """
    patterns = Naming("", "", tuple(map(_dotted, naming.include)), tuple(map(_dotted, naming.exclude)))
    named = tuple(pattern for pattern in patterns.include if not pattern.startswith("*"))
    asked = Naming("", "", named) if named else None
    return [
        name
        for name in methods
        if _matches(patterns, name, naming.prefix)
        and (not _ABOUT_SERVERS.fullmatch(name) or (asked is not None and _matches(asked, name, "")))
    ]


def is_about_servers(service: str) -> bool:
    """Returns whether a service is about its server itself, such as grpc.health.v1.Health."""
    return _ABOUT_SERVERS.fullmatch(service) is not None


def _matches(patterns: Naming, name: str, prefix: str) -> bool:
    service, _, method = name.rpartition(".")
    short = service.rpartition(".")[2]
    forms = {name, service, short, f"{short}.{method}"}
    if prefix:
        forms |= {f"{prefix}.{method}", f"{prefix}.{short}.{method}"}
    included = not patterns.include or any(Naming("", "", patterns.include).chooses(form) for form in forms)
    return included and all(Naming("", "", (), patterns.exclude).chooses(form) for form in forms)


def _dotted(pattern: str) -> str:
    return pattern.removeprefix("/").replace("/", ".")


def tool_names(naming: Naming, methods: Sequence[str]) -> Mapping[str, str]:
    """Returns the names of tools by the full names of their methods.

    Without a prefix, a tool has its method's full name. Under one it is ``prefix.Method`` if all are of one service,
    ``prefix.Service.Method`` if no two services have the same name in different packages, and else the full name.
    """
    if not naming.prefix:
        return {name: name for name in methods}
    services = {name.rpartition(".")[0] for name in methods}
    if len(services) == 1:
        return {name: f"{naming.prefix}.{name.rpartition('.')[2]}" for name in methods}
    shorts = [service.rpartition(".")[2] for service in services]
    twice = {short for short in shorts if shorts.count(short) > 1} if len(set(shorts)) < len(shorts) else set()
    found = {}
    for name in methods:
        service, _, method = name.rpartition(".")
        short = service.rpartition(".")[2]
        found[name] = f"{naming.prefix}.{name if short in twice else f'{short}.{method}'}"
    return found


def why_no_tool(name: str) -> str:
    """Returns why a tool cannot have a name; empty if it can."""
    if TOOL_NAME.fullmatch(name):
        return ""
    return f"a tool cannot be called {name[:160]!r}: it has 1 to {MAX_TOOL_NAME_CHARS} letters, digits, '_', '-' or '.'"
