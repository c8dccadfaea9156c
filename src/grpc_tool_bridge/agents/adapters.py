"""Asks models and reads their answers with DSPy's adapters, made safe against untrusted text.

The inputs come from a client, and results from tools, which may have fetched them from anywhere; an answer comes from a
model that has read all that.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import dspy
from dspy.adapters.types.base_type import CUSTOM_TYPE_START_IDENTIFIER
from dspy.utils.exceptions import AdapterParseError

from grpc_tool_bridge.agents.model_errors import answer_error
from grpc_tool_bridge.agents.model_reports import OnModel
from grpc_tool_bridge.rpc.tracing import process, usage

# A long answer of a model is some 10,000 tokens of four characters.
MAX_ANSWER_CHARS = 256 * 1024
# A longer answer is read in a thread: the parser takes 50 µs for each bracket.
_QUICK_CHARS = 1_000
# Fields that an answer may lack.
_OPTIONAL = {"next_thought": "", "next_tool_args": None, "reasoning": ""}
# DSPy turns the text behind this marker into a part of a message, such as an image to fetch.
_INERT = CUSTOM_TYPE_START_IDENTIFIER.replace("<<", "< <", 1)


class Tokens(Protocol):
    """The tokens of a run so far, as its model counts them."""

    asked: int
    answered: int


@dataclass(slots=True)
class Tally:
    """Counts characters of a run's prompts and answers, for models that do not count tokens.

    Attributes:
        asked, answered: The characters.
        on_model: Called with the messages, the answers and the error of each request, if set.
        tokens: What the model counts; None: nobody asks.
    """

    asked: int = 0
    answered: int = 0
    on_model: OnModel | None = None
    tokens: Tokens | None = None


class _Unread(NamedTuple):
    """Answers of a model, and the function that parses them."""

    texts: list[str]
    read: Callable[[], list[dict[str, Any]]]


class _Careful:
    """Makes a DSPy adapter safe: texts stay texts, and answers are bounded and do not block the event loop.

    Unknown tool names and arguments of any form are passed on, so that the agent can be told. ``tally`` counts the
    characters of prompts and answers.
    """

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally
        self._messages: list[dict[str, Any]] = []

    async def acall(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> list[dict[str, Any]]:
        """Asks the model and reads its answer."""
        asking = super().acall(lm, lm_kwargs, signature, demos, inputs)  # type: ignore[misc] # a mixin
        try:
            unread: _Unread = await (asking if process.tracing is None else self._traced(asking, lm))
        except Exception as error:
            self._note([], f"{type(error).__name__}: {error}")
            raise
        self._note(unread.texts, "")
        size = sum(map(len, unread.texts))
        self._tally.answered += size
        if size > MAX_ANSWER_CHARS:
            raise answer_error(f"it has {size:,} characters; {MAX_ANSWER_CHARS:,} are allowed")
        read = partial(self._readable, unread, signature)
        return read() if size <= _QUICK_CHARS else await asyncio.to_thread(read)

    async def _traced(self, asking: Any, lm: Any) -> Any:
        """Awaits a request to the model within a span of its own, if the run is traced."""
        span = None if process.tracing is None else process.tracing.asked(str(getattr(lm, "model", "")))
        if span is None:
            return await asking
        tokens = self._tally.tokens
        before = (0, 0) if tokens is None else (tokens.asked, tokens.answered)
        with span:
            unread = await asking
            if tokens is not None and (tokens.asked, tokens.answered) != before:
                span.add(usage(tokens.asked - before[0], tokens.answered - before[1]))
            return unread

    def _note(self, answers: list[str], error: str) -> None:
        if self._tally.on_model is not None:
            self._tally.on_model(self._messages, answers, error)

    def _call_postprocess(self, processed: Any, original: Any, outputs: Any, lm: Any, lm_kwargs: Any) -> Any:
        texts = [output.get("text") if isinstance(output, dict) else output for output in outputs]
        read = super()._call_postprocess  # type: ignore[misc] # a mixin
        return _Unread([text or "" for text in texts], partial(read, processed, original, outputs, lm, lm_kwargs))

    def _readable(self, unread: _Unread, signature: Any) -> list[dict[str, Any]]:
        try:
            return unread.read()
        except AdapterParseError:
            raise
        except Exception as error:  # noqa: BLE001 - such as a number of too many digits, or brackets in brackets
            raise AdapterParseError(type(self).__name__, signature, "".join(unread.texts), str(error)) from None

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Parses an answer of the model.

        A step's tool and arguments are not checked, and any answer may lack its thought.
        """
        try:
            return super().parse(signature, completion)  # type: ignore[misc,no-any-return] # a mixin
        except AdapterParseError:
            wanted = signature.output_fields
            if "next_tool_name" in wanted:
                signature = signature.with_updated_fields("next_tool_name", type_=str)
                signature = signature.with_updated_fields("next_tool_args", type_=Any)
            try:
                read = super().parse(signature, completion)  # type: ignore[misc] # a mixin
            except AdapterParseError as partly:
                read = {**_OPTIONAL, **partly.parsed_result} if isinstance(partly.parsed_result, dict) else {}
            if not wanted.keys() <= read.keys():
                raise
            return {name: read[name] for name in wanted}

    def format(self, signature: Any, demos: Any, inputs: Any) -> list[dict[str, Any]]:
        """Writes the messages."""
        messages: list[dict[str, Any]] = super().format(signature, demos, inputs)  # type: ignore[misc] # a mixin
        self._tally.asked += sum(len(message["content"]) for message in messages)
        self._messages = messages
        return messages

    def format_user_message_content(self, *args: Any, **kwargs: Any) -> str:
        """Writes the text of a message."""
        text: str = super().format_user_message_content(*args, **kwargs)  # type: ignore[misc] # a mixin
        return text.replace(CUSTOM_TYPE_START_IDENTIFIER, _INERT)


class _ChatAdapter(_Careful, dspy.ChatAdapter):  # type: ignore[misc] # dspy has no types
    pass


class _JsonAdapter(_Careful, dspy.JSONAdapter):  # type: ignore[misc] # dspy has no types
    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Parses an answer of the model in JSON, or in the form of the first request."""
        try:
            return super().parse(signature, completion)
        except AdapterParseError as error:
            try:
                return _ChatAdapter(self._tally).parse(signature, completion)
            except AdapterParseError:
                raise error from None


class Adapter(_ChatAdapter):
    """Asks in DSPy's chat form, and again in JSON if the answer cannot be read."""

    async def acall(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> list[dict[str, Any]]:
        """Asks the model and reads its answer."""
        try:
            return await super().acall(lm, lm_kwargs, signature, demos, inputs)
        except AdapterParseError:
            return await _JsonAdapter(self._tally).acall(lm, lm_kwargs, signature, demos, inputs)
