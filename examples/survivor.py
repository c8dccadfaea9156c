"""A program that plans a trip, at a hub that makes its calls fail: see chaos.toml beside it.

Run it with ``python examples/survivor.py``. It needs nothing else: the hub runs in the same process.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolBridgeError, ToolExecutionError, tool

CHAOS = Path(__file__).with_name("chaos.toml")
MAX_RETRIES = 10

booked: list[str] = []


@tool(idempotent=True)
def find_flights(to: str) -> list[str]:
    """Finds flights to a city."""
    return [f"BR {number} to {to}" for number in (101, 202)]


@tool(idempotent=True)
def find_hotels(city: str) -> list[str]:
    """Finds hotels in a city."""
    return [f"Hotel {city}", "Bridge Inn"]


@tool
def book(what: str) -> int:
    """Books something, and returns the number of the booking. Calling it twice books twice."""
    booked.append(what)
    return len(booked)


@tool
def forecast(days: int) -> Iterator[str]:
    """Yields the weather, day by day."""
    for day in range(1, days + 1):
        yield f"day {day}: {'sun' if day % 2 else 'rain'}"


@tool
def reviews(hotel: str) -> list[str]:
    """Reads what others say of a hotel."""
    return [f"{hotel}: fine"]


async def plan(bridge: GRPCToolBridge, city: str) -> list[str]:
    """Plans a trip, whatever fails meanwhile."""
    # What may succeed later is called again, after the time that the error says.
    flights = await bridge.execute_with_retry("find_flights", city, max_retries=MAX_RETRIES)
    hotels = await bridge.execute_with_retry("find_hotels", city, max_retries=MAX_RETRIES)
    # All tries share an idempotency key, so a booking whose answer was lost is not made twice.
    numbers = [
        await bridge.execute_with_retry("book", what, max_retries=MAX_RETRIES) for what in (flights[0], hotels[0])
    ]
    weather = await read_forecast(bridge, days=4)
    said = await opinions(bridge, hotels[0])
    return [f"flight {flights[0]}, hotel {hotels[0]}, bookings {numbers}", *weather, said]


async def read_forecast(bridge: GRPCToolBridge, days: int) -> list[str]:
    """Reads a stream to its end. One that was cut off is read again, without the part that is known."""
    weather: list[str] = []
    for _ in range(MAX_RETRIES):
        position = 0
        try:
            async for line in bridge.tools["forecast"].stream(days):
                position += 1
                if position > len(weather):
                    weather.append(line)
        except ToolBridgeError as error:
            if not error.retryable:
                raise
        else:
            return weather
    return [*weather, "the rest of the forecast is not available"]


async def opinions(bridge: GRPCToolBridge, hotel: str) -> str:
    """Does without what is nice to have: an exception of the tool would be the same the next time."""
    try:
        return str(await bridge.tools["reviews"](hotel))
    except ToolExecutionError as error:
        return f"no reviews today ({error.error_type})"


async def main() -> None:
    """Runs the hub and the program, and prints the plan and the faults."""
    tools: list[Any] = [find_flights, find_hotels, book, forecast, reviews]
    async with BridgeServer(tools=tools, chaos=CHAOS) as server, GRPCToolBridge(server.address) as bridge:
        await bridge.initialize("trip to Oslo")
        for line in await plan(bridge, "Oslo"):
            print(line)
        print(f"{len(booked)} bookings were made")
        for name, count in sorted((await bridge.client.get_metrics("chaos.*")).items()):
            print(f"  {name.removeprefix('chaos.')}: {count.integer_value}")


if __name__ == "__main__":
    asyncio.run(main())
