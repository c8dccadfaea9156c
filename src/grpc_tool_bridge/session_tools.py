"""A session's tools as proxies, which stay the same objects while the tools change."""

from collections.abc import Iterable
from weakref import WeakValueDictionary

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.proxy import AsyncGRPCProxyTool, CallContext, CallOptions, Tools, make_proxy

# What was done, "added", "changed" or "removed", and the tool's name.
ToolChange = tuple[str, str]


class SessionTools:
    """The tools of one session, as far as its client knows.

    Args:
        context: The session, for the proxies.

    Attributes:
        proxies: The tools by name; one dict, which changes in place.
    """

    def __init__(self, context: CallContext) -> None:
        self.proxies = Tools()
        self._context = context
        self._options = CallOptions()
        # Proxies of tools that are gone, as long as somebody holds them: a tool may come back.
        self._gone: WeakValueDictionary[str, AsyncGRPCProxyTool] = WeakValueDictionary()

    def take(self, specs: Iterable[ToolSpec], options: CallOptions) -> list[ToolChange]:
        """Takes what the tools are now, all of them, and how they are called; returns what has changed."""
        present = {spec.name: spec for spec in specs}
        gone = [name for name in self.proxies if name not in present]
        changes = [change for name in gone for change in self.remove(name)]
        if options != self._options:
            self._options = options
            for proxy in self.proxies.values():
                proxy.change(proxy.spec, options)
        for spec in present.values():
            changes += self.put(spec)
        return changes

    def put(self, spec: ToolSpec) -> list[ToolChange]:
        """Takes what one tool is now; returns what has changed."""
        name = spec.name
        proxy = self.proxies.get(name)
        if proxy is not None:
            if proxy.spec == spec:
                return []
            proxy.change(spec, self._options)
            return [("changed", name)]
        proxy = self._gone.pop(name, None)
        if proxy is None:
            proxy = make_proxy(spec, self._context, self._options)
        else:
            proxy.change(spec, self._options)
        self.proxies[name] = proxy
        return [("added", name)]

    def remove(self, name: str) -> list[ToolChange]:
        """Drops a tool; returns what has changed."""
        proxy = self.proxies.pop(name, None)
        if proxy is None:
            return []
        proxy.mark_removed()
        self._gone[name] = proxy
        return [("removed", name)]
