"""A model server on loopback with an OpenAI-compatible API and scripted answers.

``python -m grpc_tool_bridge.testing.model_server`` runs one that does arithmetic, for demos without a model.
"""

import argparse
import json
import select
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from grpc_tool_bridge.testing.model_script import (
    TOKEN_CHARS,
    Answer,
    Answers,
    Failure,
    Held,
    Prompt,
    Script,
    arithmetic,
    prompt_of,
)
from grpc_tool_bridge.testing.running import Running, running_address

_HOST = "127.0.0.1"
# How often a held answer checks whether its caller has gone.
_LOOK_SECONDS = 0.05
_MAX_BODY = 16 * 1024 * 1024
_KINDS = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


class ModelServer(Running):
    """Serves ``POST /v1/chat/completions`` and ``GET /v1/models`` in its own threads.

    ``with`` and ``async with`` both run it. A ``Failure`` is sent like an error of OpenAI; a ``Held`` answer waits
    until it is released or its caller has gone. Four characters count as one token.

    Args:
        answers: The answers in order, or a function from the prompt to the answer. By default it does arithmetic with
            any tool that calculates.
        port: The port to listen at; 0 picks a free one.
        model: The model that it lists; it answers for any model.
        raw: Response bodies to send instead, in order and unchanged, such as invalid answers.
    """

    def __init__(
        self, answers: Answers = arithmetic, *, port: int = 0, model: str = "scripted", raw: tuple[bytes, ...] = ()
    ) -> None:
        self.model = model
        self._script = Script(answers)
        self._raw = list(raw)
        self._port = port
        self._http: _Http | None = None
        self._thread: threading.Thread | None = None

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts so far, with their headers."""
        return self._script.prompts

    @property
    def url(self) -> str:
        """The base URL, for ``api_base``.

        Raises:
            RuntimeError: The server is not running.
        """
        port = None if self._http is None else str(self._http.server_port)
        return f"http://{_HOST}:{running_address(port, 'model server')}/v1"

    def start(self) -> None:
        """Starts listening; raises OSError if the port is taken."""
        self._http = _Http((_HOST, self._port), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(_LOOK_SECONDS,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops listening; held answers are dropped."""
        if self._http is None or self._thread is None:
            return
        self._http.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._http = self._thread = None

    def take_raw(self) -> bytes | None:
        """Returns the next raw body, if any."""
        return self._raw.pop(0) if self._raw else None

    def answer(self, prompt: Prompt) -> Answer:
        """Records the prompt and returns its answer."""
        return self._script.answer(prompt)


class _Http(ThreadingHTTPServer):
    # Many agents may connect at the same moment.
    request_queue_size = 512
    daemon_threads = True
    owner: ModelServer

    def __init__(self, *args: Any) -> None:
        self.stopping = threading.Event()
        super().__init__(*args)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Does nothing: tests disconnect callers on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; with Nagle's algorithm, the second would wait for an acknowledgement.
    disable_nagle_algorithm = True
    # An idle connection is closed after this many seconds.
    timeout = 30
    server: _Http

    def do_GET(self) -> None:
        """Lists the models."""
        if self.path != "/v1/models":
            self._fail(Failure(404, f"there is no {self.path}"))
            return
        self._send(200, {"object": "list", "data": [{"id": self.server.owner.model, "object": "model"}]})

    def do_POST(self) -> None:
        """Answers a chat."""
        size = self.headers.get("Content-Length", "")
        body = self.rfile.read(int(size)) if size.isdigit() and int(size) <= _MAX_BODY else b""
        if self.path != "/v1/chat/completions":
            self._fail(Failure(404, f"there is no {self.path}"))
            return
        try:
            asked = json.loads(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            prompt = prompt_of(asked["messages"], headers=headers, body=asked)
        except (ValueError, KeyError, TypeError, AttributeError):
            self._fail(Failure(400, "the body is not a chat completion request"))
            return
        answer = self.server.owner.answer(prompt)
        if isinstance(answer, Held):
            if not self._hold(answer):
                return
            answer = answer.answer
        raw = self.server.owner.take_raw()
        if raw is not None:
            self._send_bytes(200, raw)
        elif isinstance(answer, Failure):
            self._fail(answer)
        else:
            self._send(200, _completion(asked, prompt, answer))

    def log_message(self, *_: Any) -> None:
        """Does nothing: requests are not logged."""

    def _hold(self, answer: Held) -> bool:
        answer.note_asked()
        while not answer.released:
            readable, _, _ = select.select([self.connection], [], [], _LOOK_SECONDS)
            if readable or self.server.stopping.is_set():
                answer.note_given_up()
                self.close_connection = True
                return False
        return True

    def _fail(self, failure: Failure) -> None:
        kind = _KINDS.get(failure.status, "server_error")
        self._send(failure.status, {"error": {"message": failure.message, "type": kind, "code": None, "param": None}})

    def _send(self, status: int, content: Any) -> None:
        self._send_bytes(status, json.dumps(content).encode())

    def _send_bytes(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _completion(asked: Any, prompt: Prompt, text: str) -> dict[str, Any]:
    tokens = len(prompt.text) // TOKEN_CHARS, len(text) // TOKEN_CHARS
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.get("model", "scripted"),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }


def main() -> None:
    """Runs a server that does arithmetic, until it is interrupted."""
    parser = argparse.ArgumentParser(
        prog="model_server", description="A model server on loopback that only does arithmetic."
    )
    parser.add_argument("--port", type=int, default=0, help="port to listen at; 0 picks a free one")
    with ModelServer(port=parser.parse_args().port) as server:
        print(server.url, flush=True)  # noqa: T201 - what it is for
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
