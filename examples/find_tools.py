"""Finds one tool among a thousand: by what it does, by a filter of names, and by a model that has the search alone.

    python examples/find_tools.py

It needs no hub and no model: the tools run in this process, and a script stands for the model.
"""

import asyncio
import json
from typing import Any

from grpc_tool_bridge import LocalToolBridge, ToolBridge, tool

CITIES = {"Lisbon": 24, "Oslo": 11, "Rome": 27}


@tool
def weather_now(city: str) -> str:
    """Says how the weather is in a city.

    Args:
        city: Name of the city, such as Rome.
    """
    if city not in CITIES:
        raise ValueError(f"there is no weather for {city!r}; there is for {', '.join(CITIES)}")
    return f"{CITIES[city]} degrees and sunny in {city}"


@tool
def weather_alerts(region: str) -> list[str]:
    """Lists the storms and floods that are expected in a region."""
    return [f"a storm is expected in {region}"]


def unrelated(number: int) -> Any:
    """Makes one of the many tools that are not about the weather."""

    async def call(entry: str) -> str:
        return f"{entry} was filed"

    call.__name__ = f"archive_{number}_file"
    call.__doc__ = f"Files an entry in archive {number}."
    return tool(call)


async def find(bridge: ToolBridge) -> None:
    """A program looks for a tool and calls the best one."""
    for query in ("weather in a city", "is a storm coming?", "archive 77"):
        found = await bridge.search_tools(query, limit=3)
        print(f"{query!r} finds {', '.join(proxy.name for proxy in found)}")
    (best,) = await bridge.search_tools("weather in a city", limit=1)
    print(f"{best.name}('Rome') -> {await best('Rome')}")


async def choose(bridge: ToolBridge) -> None:
    """A framework is given some of the tools, here as OpenAI's API takes them."""
    some = bridge.openai_tools(tool_filter="weather_*")
    print(f"of {len(bridge.tools):,} tools, {', '.join(item['function']['name'] for item in some)} pass 'weather_*'")


async def ask(bridge: ToolBridge) -> None:
    """A model is given two tools that stand for all: it searches, then calls what it has found."""
    print("a model has", " and ".join(item["function"]["name"] for item in bridge.openai_tools(search=True)))
    for name, arguments in (
        ("search_tools", {"query": "current weather in a city", "limit": 1}),
        ("call_tool", {"name": "weather_now", "arguments": {"city": "Oslo"}}),
        ("call_tool", {"name": "weather_know"}),
    ):
        function = {"name": name, "arguments": json.dumps(arguments)}
        calls = [{"id": "call-1", "type": "function", "function": function}]
        (message,) = await bridge.run_openai_tool_calls({"role": "assistant", "tool_calls": calls}, search=True)
        print(f"{name}({arguments}) ->\n    " + message["content"].replace("\n", "\n    "))


async def main() -> None:
    """Opens a session that has a thousand tools."""
    tools = [weather_now, weather_alerts, *(unrelated(number) for number in range(998))]
    async with LocalToolBridge(tools) as bridge:
        await bridge.initialize()
        await find(bridge)
        await choose(bridge)
        await ask(bridge)


if __name__ == "__main__":
    asyncio.run(main())
