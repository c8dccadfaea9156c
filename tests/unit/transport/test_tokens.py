"""A function that gives the token for each dial and each RPC."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolCommunicationError
from grpc_tool_bridge.transport import tokens
from grpc_tool_bridge.transport.tokens import current_token
from support.waiting import soon


async def test_a_token_comes_from_a_function_async_or_not() -> None:
    async def later() -> str:
        return "later"

    assert await current_token(None) is None
    assert await current_token("same") == "same"
    assert await current_token(lambda: "now") == "now"
    assert await current_token(later) == "later"


async def test_a_function_that_fails_is_asked_again_and_its_secrets_are_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "TOKEN_SECONDS", 0.01)

    def fails() -> str:
        raise OSError("hush")

    async def hangs() -> str:
        await asyncio.Event().wait()
        return ""

    wrong: list[tuple[Any, str]] = [
        (fails, "raised OSError"),
        (hangs, "raised TimeoutError"),
        (lambda: 5, "returned a value of type int"),
        (lambda: "a b", "gave no token that can be sent"),
    ]
    for source, text in wrong:
        with pytest.raises(ToolCommunicationError, match=text) as caught:
            await current_token(source)
        assert caught.value.code_name == "UNAVAILABLE"
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("transport", ["rpc", "link", "socket"])
async def test_each_dial_and_rpc_asks_for_it(transport: Any) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    asked = []

    async def source() -> str:
        asked.append(1)
        return "word"

    async with (
        BridgeServer(tools=[add], settings=Settings(token=SecretStr("word"))) as server,
        GRPCToolBridge(server.address, token=source, transport=transport) as bridge,
    ):
        await soon(bridge.initialize())
        before = len(asked)
        assert await soon(bridge.tools["add"](1, 2)) == 3
        assert (len(asked) > before) == (transport == "rpc")
