"""Requests that nobody thought of: the package's Toxiproxy and Shopify's answer alike."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.test_toxiproxy_api import ATTRIBUTES, UPSTREAM, shown
from support.patience import PATIENCE
from support.soak import examples
from support.toxiproxy import needs_shopify, running_toxiproxy

pytestmark = [needs_shopify, pytest.mark.seeded]

Pair = tuple[httpx.Client, httpx.Client]

NUMBERS = st.one_of(st.integers(-5, 5), st.integers(), st.floats(allow_nan=False, allow_infinity=False, width=32))
# Shopify's keeps a toxicity in 32 bits.
SHARES_OF_32_BITS = [0, 0.5, 1, 1.0, 0.25, 2, -1]
SHARES = st.sampled_from(SHARES_OF_32_BITS)
OTHERS = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.just([]), st.just({}), NUMBERS)


def _or_other(usual: "st.SearchStrategy[Any]") -> "st.SearchStrategy[Any]":
    return st.one_of(usual, usual, usual, OTHERS)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


ATTRIBUTE_NAMES = sorted({name for names in ATTRIBUTES.values() for name in names} | {"Latency", "other"})
TOXICS = st.fixed_dictionaries(
    {},
    optional={
        "type": _or_other(st.sampled_from([*ATTRIBUTES, "none"])),
        "name": _or_other(st.sampled_from(["a", "taken"])),
        "stream": _or_other(st.sampled_from(["upstream", "downstream", "UPSTREAM"])),
        "toxicity": _or_other(SHARES).filter(lambda value: value in SHARES_OF_32_BITS or not _is_number(value)),
        "attributes": _or_other(
            st.dictionaries(st.sampled_from(ATTRIBUTE_NAMES), _or_other(st.integers(0, 100)), max_size=3)
        ),
    },
)
PROXIES = st.fixed_dictionaries(
    # One that listens shows a port that differs.
    {"enabled": st.just(False)},
    optional={
        "name": _or_other(st.sampled_from(["a", "grpc", "x y"])),
        "upstream": _or_other(st.just(UPSTREAM)),
        "listen": _or_other(st.sampled_from(["127.0.0.1:0", "localhost:1", "", ":0"])),
        "toxics": OTHERS,
    },
)


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    """The two servers, each with one proxy."""
    with running_toxiproxy("ours") as ours, running_toxiproxy("shopify") as shopify:
        clients = tuple(httpx.Client(base_url=f"http://{each}", timeout=PATIENCE) for each in (ours, shopify))
        for client in clients:
            body = {"name": "grpc", "listen": "127.0.0.1:0", "upstream": UPSTREAM, "enabled": False}
            client.post("/proxies", json=body).raise_for_status()
        yield clients[0], clients[1]
        for client in clients:
            client.close()


def answers(client: httpx.Client, method: str, path: str, body: Any) -> Any:
    """Returns what an answer says, but for Go's words on JSON."""
    response = client.request(method, path, content=json.dumps(body))
    text = shown(response) if response.content else None
    if response.status_code == 400 and isinstance(text, dict):
        text["error"] = text["error"].partition(": ")[0]
    return response.status_code, response.headers.get("Content-Type"), text


@settings(max_examples=examples(60))
@given(toxic=TOXICS, change=TOXICS)
def test_of_toxics(both: Pair, toxic: Any, change: Any) -> None:
    found: list[Any] = []
    for client in both:
        assert client.post("/reset").status_code in (204, 500)
        client.patch("/proxies/grpc", json={"enabled": False})
        client.post("/proxies/grpc/toxics", json={"type": "latency", "name": "taken"})
        made = answers(client, "POST", "/proxies/grpc/toxics", toxic)
        changed = answers(client, "PATCH", "/proxies/grpc/toxics/taken", change)
        found.append((made, changed, client.get("/proxies/grpc/toxics").json()))
    # Of an update that is refused, Shopify's keeps what came before the field that does not fit.
    if found[0][1][0] == 400:
        found = [entry[:2] for entry in found]
    assert found[0] == found[1]


@settings(max_examples=examples(60))
@given(proxy=PROXIES, change=PROXIES)
def test_of_proxies(both: Pair, proxy: Any, change: Any) -> None:
    found = []
    for client in both:
        for name in client.get("/proxies").json():
            if name != "grpc":
                client.delete(f"/proxies/{name}")
        made = answers(client, "POST", "/proxies", proxy)
        changed = answers(client, "PATCH", "/proxies/grpc", {**change, "listen": "127.0.0.1:0"})
        populated = answers(client, "POST", "/populate", [proxy])
        found.append((made, changed, populated, shown(client.get("/proxies"))))
    assert found[0] == found[1]
