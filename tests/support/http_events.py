"""Events of a stream over HTTP, as a reader of lines takes them."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, NamedTuple


class ReadEvent(NamedTuple):
    """An event as it was read.

    Attributes:
        name: "data", "complete", "error" …
        id: As it was sent; empty: none.
        data: Its JSON.
    """

    name: str
    id: str
    data: Any


async def sse_events(lines: AsyncIterator[str]) -> AsyncGenerator[ReadEvent, None]:
    """Reads server-sent events; comments are left out."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, text = line.partition(": ")
            fields[name] = text
        elif "data" in fields:
            yield ReadEvent(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
            fields = {}


async def ndjson_events(lines: AsyncIterator[str]) -> AsyncGenerator[ReadEvent, None]:
    """Reads JSON lines."""
    async for line in lines:
        ((name, data),) = json.loads(line).items()
        yield ReadEvent(name, "", data)
