"""Proxies that are changed by several requests at once."""

import asyncio
import json

import pytest

from grpc_tool_bridge.testing.toxiproxy.collection import ProxyCollection
from grpc_tool_bridge.testing.toxiproxy.errors import ApiError
from support.waiting import soon

BODY = json.dumps({"name": "it", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}).encode()


async def test_a_proxy_that_is_removed_while_it_is_changed_does_not_start_again() -> None:
    proxies = ProxyCollection(0)
    proxy = await proxies.create(BODY)
    removed, updated = await asyncio.gather(
        proxies.remove("it"), proxies.update("it", b'{"listen": "127.0.0.1:0"}'), return_exceptions=True
    )
    assert removed is None
    assert isinstance(updated, ApiError)
    assert (updated.status, proxy.is_enabled, proxies.all()) == (404, False, [])


async def test_of_two_that_create_one_name_one_is_refused() -> None:
    proxies = ProxyCollection(0)
    made = await asyncio.gather(proxies.create(BODY), proxies.create(BODY), return_exceptions=True)
    (refused,) = [each for each in made if isinstance(each, ApiError)]
    assert refused.status == 409
    assert len(proxies.all()) == 1
    await soon(proxies.aclose())
    assert not proxies.all()[0].is_enabled


async def test_what_cannot_listen_is_no_proxy() -> None:
    proxies = ProxyCollection(0)
    with pytest.raises(ApiError, match="missing port"):
        await proxies.create(BODY.replace(b"127.0.0.1:0", b"nowhere"))
    assert proxies.all() == []
