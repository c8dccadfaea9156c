"""The model behind HTTP, as its clients see it."""

import asyncio
import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from grpc_tool_bridge.testing import ModelServer
from grpc_tool_bridge.testing.model_script import Failure, Held
from support.patience import PATIENCE

CHAT = {"model": "any", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Well?"}]}


def ask(server: ModelServer, body: Any = CHAT, *, path: str = "/chat/completions") -> tuple[int, Any]:
    """Posts a chat; without a body, gets."""
    url = urlsplit(f"{server.url}{path}")
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=PATIENCE)
    try:
        connection.request(
            "GET" if body is None else "POST", url.path, None if body is None else json.dumps(body), {"X-Who": "me"}
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_chat_is_answered_as_openai_answers_it() -> None:
    with ModelServer(["Well."]) as server:
        status, body = ask(server)
        prompt = server.prompts[0]
    assert (status, body["object"], body["model"]) == (200, "chat.completion", "any")
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Well."}
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert (prompt.system, prompt.user, prompt.headers["x-who"]) == ("Be brief.", "Well?", "me")


def test_its_model_is_listed() -> None:
    with ModelServer(model="mine") as server:
        assert ask(server, None, path="/models") == (
            200,
            {"object": "list", "data": [{"id": "mine", "object": "model"}]},
        )


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "authentication_error"), (429, "rate_limit_error"), (500, "server_error")]
)
def test_a_failure_is_answered_as_openai_answers_errors(status: int, kind: str) -> None:
    with ModelServer([Failure(status, "not now")]) as server:
        answered, body = ask(server)
    assert (answered, body["error"]["type"], body["error"]["message"]) == (status, kind, "not now")


@pytest.mark.parametrize("body", [[], {}, {"messages": 1}, {"messages": ["text"]}])
def test_what_is_no_chat_is_refused_and_asks_nobody(body: Any) -> None:
    with ModelServer(["never"]) as server:
        assert ask(server, body)[0] == 400
        assert server.prompts == []


def test_another_path_is_not_found() -> None:
    with ModelServer() as server:
        assert ask(server, path="/completions")[0] == 404
        assert ask(server, None, path="/else")[0] == 404


def test_a_raw_body_stands_for_one_answer() -> None:
    with ModelServer(["first", "second"], raw=(b'"no answer"',)) as server:
        assert ask(server) == (200, "no answer")
        assert ask(server)[1]["choices"][0]["message"]["content"] == "second"


async def test_a_held_answer_comes_when_it_is_released() -> None:
    held = Held("late")
    async with ModelServer([held]) as server:
        asking = asyncio.create_task(asyncio.to_thread(ask, server))
        await held.asked()
        assert not asking.done()
        held.release()
        _, body = await asyncio.wait_for(asking, PATIENCE)
    assert body["choices"][0]["message"]["content"] == "late"


async def test_a_held_answer_tells_that_its_caller_has_gone() -> None:
    held = Held()
    async with ModelServer([held]) as server:
        body = json.dumps(CHAT).encode()
        url = urlsplit(server.url)
        with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as caller:
            caller.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await held.asked()
        await held.given_up()


async def test_stopping_gives_up_what_is_held() -> None:
    held = Held()
    with ModelServer([held]) as server:
        asking = asyncio.create_task(asyncio.to_thread(ask, server))
        await held.asked()
    await held.given_up()
    with pytest.raises(http.client.HTTPException):
        await asyncio.wait_for(asking, PATIENCE)


def test_a_server_that_does_not_run_has_no_address() -> None:
    with pytest.raises(RuntimeError, match="is not running"):
        _ = ModelServer().url
