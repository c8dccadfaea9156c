"""The proxies of one server, and what its users ask of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from grpc_tool_bridge.testing.toxiproxy.bodies import Fields, read, read_list, read_object
from grpc_tool_bridge.testing.toxiproxy.effects import EFFECTS
from grpc_tool_bridge.testing.toxiproxy.errors import ApiError
from grpc_tool_bridge.testing.toxiproxy.proxy import Proxy
from grpc_tool_bridge.testing.toxiproxy.toxics import DIRECTIONS, Toxic, attributes_of, default_name

_PROXY: Fields = {"name": str, "listen": str, "upstream": str, "enabled": bool}
_TOXIC: Fields = {"name": str, "type": str, "stream": str, "toxicity": float, "attributes": dict}
_TOXIC_UPDATE: Fields = {"toxicity": float, "attributes": dict}


class ProxyCollection:
    """Makes, changes and finds proxies, from requests in JSON.

    Args:
        seed: Of the chances of all toxics.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._proxies: dict[str, Proxy] = {}
        # One change at a time: a proxy that starts or stops lets others run.
        self._changing = asyncio.Lock()

    def all(self) -> list[Proxy]:
        """Returns all proxies, by name."""
        return [self._proxies[name] for name in sorted(self._proxies)]

    def get(self, name: str) -> Proxy:
        """Finds a proxy.

        Raises:
            ApiError: There is none of this name.
        """
        try:
            return self._proxies[name]
        except KeyError:
            raise ApiError("proxy not found", HTTPStatus.NOT_FOUND) from None

    # -------------------------------------------------------------------------------------------------- proxies

    async def create(self, body: bytes) -> Proxy:
        """Makes a proxy, which is enabled unless the body says otherwise.

        Raises:
            ApiError: The body is not valid, the name is taken, or the proxy cannot listen.
        """
        given = read_object(read(body), _PROXY, "Proxy")
        _require(given, "")
        async with self._changing:
            if given["name"] in self._proxies:
                raise ApiError("proxy already exists", HTTPStatus.CONFLICT)
            proxy = self._make(given)
            if given.get("enabled", True):
                await _start(proxy)
            self._proxies[proxy.name] = proxy
        return proxy

    async def populate(self, body: bytes) -> AsyncIterator[Proxy]:
        """Makes several proxies, and yields each; one that is there and has other addresses is replaced.

        Raises:
            ApiError: The body is not valid, or a proxy cannot listen; those before it are made.
        """
        given = [read_object(item, _PROXY, "Proxy") for item in read_list(read(body), "Proxy") or []]
        for number, fields in enumerate(given, start=1):
            _require(fields, f" at proxy {number}")
        async with self._changing:
            for fields in given:
                yield await self._add_or_replace(fields)

    async def update(self, name: str, body: bytes) -> Proxy:
        """Moves, enables or disables a proxy; what the body leaves out stays.

        Raises:
            ApiError: There is no such proxy, the body is not valid, or the proxy cannot listen.
        """
        self.get(name)
        given = read_object(read(body), _PROXY, "Proxy")
        async with self._changing:
            # It may have been removed meanwhile.
            proxy = self.get(name)
            is_enabled = given.get("enabled", proxy.is_enabled)
            with _server_errors():
                await proxy.move(given.get("listen", proxy.listen), given.get("upstream", proxy.upstream))
            if is_enabled:
                await _start(proxy)
            else:
                await proxy.stop()
        return proxy

    async def remove(self, name: str) -> None:
        """Stops a proxy and forgets it.

        Raises:
            ApiError: There is no such proxy.
        """
        async with self._changing:
            await self.get(name).stop()
            del self._proxies[name]

    async def reset(self) -> None:
        """Enables all proxies and removes all toxics.

        Raises:
            ApiError: A proxy cannot listen.
        """
        async with self._changing:
            for proxy in self.all():
                await _start(proxy)
                proxy.remove_toxics()

    async def aclose(self) -> None:
        """Stops all proxies."""
        async with self._changing:
            for proxy in self.all():
                await proxy.stop()

    # --------------------------------------------------------------------------------------------------- toxics

    def add_toxic(self, proxy: Proxy, body: bytes) -> Toxic:
        """Adds a toxic to a proxy.

        Raises:
            ApiError: The body is not valid, or the name is taken.
        """
        given = read_object(read(body), _TOXIC, "ToxicWrapper")
        stream, kind = given.get("stream", "downstream"), given.get("type", "")
        if stream.lower() not in DIRECTIONS:
            raise ApiError("stream was invalid, can be either upstream or downstream", HTTPStatus.BAD_REQUEST)
        if kind not in EFFECTS:
            raise ApiError("invalid toxic type", HTTPStatus.BAD_REQUEST)
        name = given.get("name") or default_name(kind, stream)
        if proxy.toxic(name) is not None:
            raise ApiError("toxic already exists", HTTPStatus.CONFLICT)
        effect: Any = EFFECTS[kind]
        attributes = _attributes(kind, given)
        toxicity = given.get("toxicity", 1.0)
        toxic = Toxic(name=name, type=kind, stream=stream, toxicity=toxicity, effect=effect(**attributes))
        proxy.add_toxic(toxic)
        return toxic

    def update_toxic(self, proxy: Proxy, name: str, body: bytes) -> Toxic:
        """Changes the attributes and the toxicity of a toxic; what the body leaves out stays.

        Raises:
            ApiError: There is no such toxic, or the body is not valid.
        """
        toxic = find_toxic(proxy, name)
        given = read_object(read(body), _TOXIC_UPDATE, "ToxicWrapper")
        changed = toxic.changed(_attributes(toxic.type, given), given.get("toxicity"))
        proxy.update_toxic(changed)
        return changed

    # ------------------------------------------------------------------------------------------------ in the lock

    def _make(self, given: dict[str, Any]) -> Proxy:
        return Proxy(given["name"], given.get("listen", ""), given["upstream"], seed=self._seed)

    async def _add_or_replace(self, given: dict[str, Any]) -> Proxy:
        proxy, existing = self._make(given), self._proxies.get(given["name"])
        if existing is not None:
            with _server_errors():
                if not await existing.differs(proxy.listen, proxy.upstream):
                    return existing
            await existing.stop()
        if given.get("enabled", True):
            await _start(proxy)
        self._proxies[proxy.name] = proxy
        return proxy


def find_toxic(proxy: Proxy, name: str) -> Toxic:
    """Finds a toxic of a proxy.

    Raises:
        ApiError: There is none of this name.
    """
    toxic = proxy.toxic(name)
    if toxic is None:
        raise ApiError("toxic not found", HTTPStatus.NOT_FOUND)
    return toxic


def _attributes(kind: str, given: dict[str, Any]) -> dict[str, int]:
    return read_object(given.get("attributes"), dict.fromkeys(attributes_of(kind), int), "attributes")


def _require(given: dict[str, Any], where: str) -> None:
    for name in ("name", "upstream"):
        if not given.get(name):
            raise ApiError(f"missing required field: {name}{where}", HTTPStatus.BAD_REQUEST)


async def _start(proxy: Proxy) -> None:
    with _server_errors():
        await proxy.start()


@contextmanager
def _server_errors() -> Iterator[None]:
    """Answers an address that is not valid, or where one cannot listen, as Toxiproxy does."""
    try:
        yield
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise ApiError(text or str(error), HTTPStatus.INTERNAL_SERVER_ERROR) from None
