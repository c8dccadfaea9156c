"""A model that answers from a script, for agents and DSPy programs without a model."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import dspy
from dspy.lm15 import (
    InvalidRequestError,
    Message,
    RateLimitError,
    Request,
    Response,
    ServerError,
    TextPart,
    Usage,
    response_to_events,
)

from grpc_tool_bridge.testing.model_script import (
    TOKEN_CHARS,
    Answer,
    Answers,
    Failure,
    Held,
    Prompt,
    Script,
    arithmetic,
)

_RATE_LIMITED = 429
_FAULT = 500


class ScriptedLM(dspy.LM):  # type: ignore[misc] # dspy has no types
    """A ``dspy.LM`` with prepared answers.

    All of DSPy's code runs, except that no request is sent. Four characters count as one token.

    Args:
        answers: The answers in order (``str``; ``Failure``; ``Held``, which waits to be released), or a function from
            the prompt to the answer. By default it does arithmetic with any tool that calculates.
        num_retries: Further attempts after a retryable failure.

    Attributes:
        prompts: The prompts so far.
    """

    def __init__(self, answers: Answers = arithmetic, *, num_retries: int = 0) -> None:
        self._script = Script(answers)
        engine = _Engine(self._script)
        super().__init__(
            "scripted", cache=False, num_retries=num_retries, engine=engine, async_engine=_AsyncEngine(self._script)
        )

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts so far."""
        return self._script.prompts


class _Engine:
    """Answers synchronous callers, for which held answers do not work."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def complete(self, request: Request) -> Response:
        answer = self._script.answer(_prompt(request))
        if isinstance(answer, Held):
            raise TypeError("a held answer needs a caller that awaits it; call the module with acall")
        return _response(request, answer)

    def stream(self, request: Request) -> Iterator[Any]:
        yield from response_to_events(self.complete(request))

    def close(self) -> None:
        """Does nothing: there is nothing to close."""


class _AsyncEngine:
    def __init__(self, script: Script) -> None:
        self._script = script

    async def complete(self, request: Request) -> Response:
        answer: Answer = self._script.answer(_prompt(request))
        if isinstance(answer, Held):
            await answer.wait()
            answer = answer.answer
        return _response(request, answer)

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        for event in response_to_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """Does nothing: there is nothing to close."""


def _prompt(request: Request) -> Prompt:
    system: Any = request.system or ""
    system = system if isinstance(system, str) else "".join(part.text for part in system)
    return Prompt(system, request.messages[-1].text or "")


def _response(request: Request, answer: str | Failure) -> Response:
    if isinstance(answer, Failure):
        kind: Any = InvalidRequestError
        if answer.status >= _FAULT:
            kind = ServerError
        elif answer.status == _RATE_LIMITED:
            kind = RateLimitError
        raise kind(answer.message, status=answer.status)
    asked = len(_prompt(request).text) // TOKEN_CHARS
    said = len(answer) // TOKEN_CHARS
    return Response(
        id=None,
        model=request.model,
        message=Message.assistant([TextPart(answer)]) if answer else Message.assistant([TextPart(" ")]),
        finish_reason="stop",
        usage=Usage(input_tokens=asked, output_tokens=said),
    )
