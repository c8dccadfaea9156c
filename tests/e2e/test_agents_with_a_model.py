"""Agents whose model is behind HTTP: DSPy's own client, and litellm's, down to the socket."""

import asyncio
import logging
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolBridgeError, ToolWorker
from grpc_tool_bridge.testing import ModelServer
from grpc_tool_bridge.testing.model_script import Failure, Held
from support.patience import PATIENCE

KEY = "zebra.of.the.environment"
QUESTION = {"question": "What is 2 + 2?"}
# The first is DSPy's own client; the second, one of those for which DSPy goes by litellm.
MODELS = ["openai/scripted", "litellm_proxy/scripted"]
PROVIDERS = ("OPENAI", "LITELLM_PROXY", "HOSTED_VLLM", "LM_STUDIO", "LLAMAFILE", "OLLAMA")
SELF_RUN = [*MODELS, "hosted_vllm/scripted", "lm_studio/scripted", "llamafile/scripted", "ollama_chat/scripted"]


async def calculate(expression: str) -> int:
    """Calculates a sum."""
    return sum(int(part) for part in expression.split("+"))


@asynccontextmanager
async def bridge_to(model: ModelServer, name: str = MODELS[0]) -> AsyncIterator[GRPCToolBridge]:
    """Runs a hub and a worker whose agents ask the model."""
    async with (
        asyncio.timeout(PATIENCE),
        BridgeServer(tools=[calculate], settings=Settings(shutdown_grace=0.0)) as server,
        ToolWorker(server.address, agents={"model": name, "api_base": model.url}),
        GRPCToolBridge(server.address) as bridge,
    ):
        await bridge.initialize()
        yield bridge


async def run(bridge: GRPCToolBridge, **llm_config: Any) -> list[dict[str, Any]]:
    agent_id = await bridge.create_react_agent("Question -> Answer", llm_config={"num_retries": 0, **llm_config})
    request = {"agent_id": agent_id, "input": QUESTION}
    return [chunk async for chunk in bridge.execute_agent_streaming(request)]


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Has litellm import all that it needs, which takes seconds that are no test's.

    It imports the rest with its first request, and what that warns of it ignores only in the test that imported it.
    """
    from grpc_tool_bridge import agents as agents  # noqa: PLC0414 - it has litellm download nothing

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm

        asked = [{"role": "user", "content": "What is 2 + 2?"}]
        litellm.completion(MODELS[1], asked, api_base="http://127.0.0.1:1", api_key=KEY, mock_response="4")


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS:
        monkeypatch.setenv(f"{provider}_API_KEY", KEY)


@pytest.fixture(autouse=True)
async def _litellm() -> AsyncIterator[None]:
    """Closes what litellm keeps open for the whole process, and has it forget that."""
    yield
    if "litellm" in sys.modules:
        litellm: Any = sys.modules["litellm"]
        await litellm.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.mark.parametrize("name", SELF_RUN)
async def test_the_key_reaches_the_model_and_nobody_else(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ModelServer() as model:
        async with bridge_to(model, name) as bridge:
            chunks = await run(bridge)
            variables = await bridge.client.session_context.list_variables()
        assert chunks[-1]["final_answer"] == {"Answer": "4"}
        assert {prompt.headers["authorization"] for prompt in model.prompts} == {f"Bearer {KEY}"}
        assert all(KEY not in f"{prompt.text} {prompt.body}" for prompt in model.prompts)
    assert KEY not in f"{chunks} {variables} {caplog.text}"


@pytest.mark.parametrize("name", SELF_RUN)
async def test_a_server_that_asks_for_no_key_is_sent_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS:
        monkeypatch.delenv(f"{provider}_API_KEY")
    with ModelServer() as model:
        async with bridge_to(model, name) as bridge:
            chunks = await run(bridge)
        assert chunks[-1]["final_answer"] == {"Answer": "4"}
        assert {prompt.headers["authorization"] for prompt in model.prompts} == {"Bearer none"}


@pytest.mark.parametrize("config", [{"api_base": "http://127.0.0.1:9/v1"}, {"api_key": "mine"}, {"headers": {}}])
async def test_a_client_that_would_have_the_key_sent_elsewhere_is_refused(config: dict[str, Any]) -> None:
    with ModelServer() as model:
        async with bridge_to(model) as bridge:
            with pytest.raises(ToolBridgeError, match=next(iter(config))):
                await bridge.create_react_agent("Question -> Answer", llm_config=config)
        assert model.prompts == []


@pytest.mark.parametrize("name", MODELS)
async def test_the_end_of_a_runtime_closes_nothing_of_the_next(name: str) -> None:
    with ModelServer() as model:
        for _ in range(2):
            async with bridge_to(model, name) as bridge:
                assert (await run(bridge))[-1]["final_answer"] == {"Answer": "4"}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("status", "retryable"), [(401, False), (429, True), (500, True)])
async def test_an_error_of_the_model_ends_the_run_without_the_key(name: str, status: int, retryable: bool) -> None:
    with ModelServer([Failure(status, f"not with {KEY}")]) as model:
        async with bridge_to(model, name) as bridge:
            with pytest.raises(ToolBridgeError) as caught:
                await run(bridge)
        assert len(model.prompts) == 1
    assert (caught.value.error_type, caught.value.retryable) == ("ModelError", retryable)
    assert "***" in caught.value.message
    assert "To fix" not in caught.value.message
    assert KEY not in f"{caught.value} {caught.value.details}"


async def test_what_is_no_answer_ends_the_run_with_an_error_of_the_model() -> None:
    with ModelServer(raw=(b"<html>",)) as model:
        async with bridge_to(model) as bridge:
            with pytest.raises(ToolBridgeError) as caught:
                await run(bridge)
    assert caught.value.error_type == "ModelError"


async def test_an_answer_that_takes_too_long_ends_the_run_and_the_request() -> None:
    held = Held()
    with ModelServer([held]) as model:
        async with bridge_to(model) as bridge:
            with pytest.raises(ToolBridgeError) as caught:
                await run(bridge, timeout=0.2)
            await held.given_up()
    assert caught.value.details["class"] in {"LMTimeoutError", "LMTransportError"}


@pytest.mark.parametrize("name", MODELS)
async def test_cancelling_closes_the_request_to_the_model(name: str) -> None:
    held = Held()
    with ModelServer([held]) as model:
        async with bridge_to(model, name) as bridge:
            running = asyncio.create_task(run(bridge))
            await held.asked()
            running.cancel()
            await held.given_up()
            with pytest.raises(asyncio.CancelledError):
                await running
