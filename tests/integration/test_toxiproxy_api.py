"""Toxiproxy's HTTP API: the package's server answers what Shopify's answers."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from support.needs import needs
from support.patience import PATIENCE
from support.toxiproxy import IMPLEMENTATIONS, running_toxiproxy

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
UPSTREAM = "127.0.0.1:1"


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    with running_toxiproxy(request.param) as address:
        yield address


@pytest.fixture
def api(address: str) -> Iterator[httpx.Client]:
    """A client of the API; afterwards there are no proxies."""
    with httpx.Client(base_url=f"http://{address}", timeout=PATIENCE) as client:
        yield client
        for name in client.get("/proxies").json():
            client.delete(f"/proxies/{name}")


@pytest.fixture
def proxy(api: httpx.Client) -> dict[str, Any]:
    """A proxy named grpc."""
    return create(api, "grpc")


def create(api: httpx.Client, name: str, **fields: Any) -> dict[str, Any]:
    response = api.post("/proxies", json={"name": name, "listen": "127.0.0.1:0", "upstream": UPSTREAM, **fields})
    assert response.status_code == 201, response.text
    proxy: dict[str, Any] = shown(response)
    return proxy


def shown(response: httpx.Response) -> Any:
    """Returns the JSON of an answer, without the logger that Shopify's shows by mistake."""
    return json.loads(response.text.replace('"Logger":{},', ""))


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Returns status and text of an error, which has the form that they all have."""
    assert (response.headers["Content-Type"], response.headers["X-Content-Type-Options"]) == (TEXT, "nosniff")
    error = response.json()
    assert list(error) == ["error", "status"]
    assert response.text == f"{json.dumps(error, separators=(',', ':'))}\n"
    assert error["status"] == response.status_code
    return response.status_code, error["error"]


# ------------------------------------------------------------------------------------------------------------ proxies


def test_a_proxy_is_created_shown_listed_and_deleted(api: httpx.Client) -> None:
    assert api.get("/proxies").text == "{}"
    made = api.post("/proxies", json={"name": "grpc", "listen": "127.0.0.1:0", "upstream": UPSTREAM})
    assert (made.status_code, made.headers["Content-Type"]) == (201, JSON)
    proxy = shown(made)
    assert list(proxy) == ["name", "listen", "upstream", "enabled", "toxics"]
    port = int(re.fullmatch(r"127\.0\.0\.1:(\d+)", proxy["listen"])[1])  # type: ignore[index]
    assert port > 0
    assert proxy == {"name": "grpc", "listen": f"127.0.0.1:{port}", "upstream": UPSTREAM, "enabled": True, "toxics": []}
    assert shown(api.get("/proxies/grpc")) == proxy
    assert shown(api.get("/proxies")) == {"grpc": proxy}
    gone = api.delete("/proxies/grpc")
    assert (gone.status_code, gone.text) == (204, "")
    assert refusal(api.get("/proxies/grpc")) == (404, "proxy not found")


def test_a_name_of_a_host_is_shown_as_the_address_that_it_has(api: httpx.Client) -> None:
    assert re.fullmatch(r"127\.0\.0\.1:\d+", create(api, "grpc", listen="localhost:0")["listen"])


def test_a_proxy_can_be_created_disabled_and_shows_what_it_was_given(api: httpx.Client) -> None:
    assert create(api, "grpc", enabled=False, listen="localhost:0")["enabled"] is False
    assert shown(api.get("/proxies/grpc"))["listen"] == "localhost:0"
    assert shown(api.patch("/proxies/grpc", json={"enabled": True}))["enabled"] is True


def test_a_second_proxy_of_a_name_is_refused(api: httpx.Client, proxy: Any) -> None:
    response = api.post("/proxies", json={"name": "grpc", "listen": "127.0.0.1:0", "upstream": UPSTREAM})
    assert refusal(response) == (409, "proxy already exists")


def test_an_address_that_is_taken_is_an_error_of_the_server(api: httpx.Client, proxy: Any) -> None:
    response = api.post("/proxies", json={"name": "other", "listen": proxy["listen"], "upstream": UPSTREAM})
    assert refusal(response) == (500, f"listen tcp {proxy['listen']}: bind: address already in use")
    assert list(shown(api.get("/proxies"))) == ["grpc"]


def test_an_address_without_a_port_is_an_error_of_the_server(api: httpx.Client, proxy: Any) -> None:
    text = "listen tcp: address nowhere: missing port in address"
    assert refusal(api.post("/proxies", json={"name": "a", "listen": "nowhere", "upstream": UPSTREAM})) == (500, text)


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"upstream": "a:1"}, None], ids=repr)
def test_a_proxy_needs_a_name(api: httpx.Client, body: Any) -> None:
    assert refusal(api.post("/proxies", json=body)) in [
        (400, "missing required field: name"),
        # httpx sends no body for None.
        (400, "bad request body: EOF"),
    ]


def test_a_proxy_needs_an_upstream(api: httpx.Client) -> None:
    assert refusal(api.post("/proxies", json={"name": "a"})) == (400, "missing required field: upstream")


@pytest.mark.parametrize(
    "body",
    ["", "no JSON", "[]", '"text"', "{", '{"name": 1}', '{"enabled": "yes"}', '{"name": NaN}', '{"name": {}}'],
)
@pytest.mark.parametrize("path", ["/proxies", "/proxies/grpc", "/proxies/grpc/toxics"])
def test_a_body_that_does_not_fit_is_refused(api: httpx.Client, proxy: Any, path: str, body: str) -> None:
    if path.endswith("toxics") and "enabled" in body:
        body = '{"toxicity": "high"}'
    status, text = refusal(api.post(path, content=body))
    assert (status, text.partition(": ")[0]) == (400, "bad request body")


def test_names_of_fields_may_have_any_case_and_what_follows_is_ignored(api: httpx.Client) -> None:
    body = f'{{"NAME": "a", "Upstream": "{UPSTREAM}", "lIsTeN": null, "Enabled": false, "other": 1}} rubbish'
    assert shown(api.post("/proxies", content=body))["upstream"] == UPSTREAM


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_update_changes_only_what_it_names(api: httpx.Client, proxy: Any, method: str) -> None:
    response = api.request(method, "/proxies/grpc", json={"name": "other", "upstream": "127.0.0.1:2"})
    assert response.status_code == 200
    assert shown(response) == {**proxy, "upstream": "127.0.0.1:2"}
    disabled = shown(api.request(method, "/proxies/grpc", json={"enabled": False}))
    assert disabled == {**proxy, "upstream": "127.0.0.1:2", "enabled": False}
    assert shown(api.request(method, "/proxies/grpc", json={}))["enabled"] is False
    assert refusal(api.request(method, "/proxies/none", json={})) == (404, "proxy not found")


def test_an_update_can_move_the_proxy(api: httpx.Client, proxy: Any) -> None:
    moved = shown(api.patch("/proxies/grpc", json={"listen": "127.0.0.1:0"}))
    assert moved["enabled"]
    assert moved["listen"] not in ("127.0.0.1:0", proxy["listen"])


def test_reset_enables_all_proxies_and_removes_all_toxics(api: httpx.Client, proxy: Any) -> None:
    create(api, "other", enabled=False)
    api.post("/proxies/grpc/toxics", json={"type": "latency"})
    response = api.post("/reset")
    assert (response.status_code, response.text) == (204, "")
    proxies = shown(api.get("/proxies"))
    assert [(each["enabled"], each["toxics"]) for each in proxies.values()] == [(True, []), (True, [])]


# ----------------------------------------------------------------------------------------------------------- populate


def test_populate_creates_proxies_and_leaves_those_that_are_there(api: httpx.Client, proxy: Any) -> None:
    api.post("/proxies/grpc/toxics", json={"type": "latency"})
    same = {name: proxy[name] for name in ("name", "listen", "upstream")}
    new = {"name": "new", "listen": "127.0.0.1:0", "upstream": UPSTREAM, "enabled": False}
    response = api.post("/populate", json=[same, new])
    assert (response.status_code, response.headers["Content-Type"]) == (201, JSON)
    first, second = shown(response)["proxies"]
    assert [toxic["name"] for toxic in first.pop("toxics")] == ["latency_downstream"]
    assert first == {**same, "enabled": True}
    assert second == {**new, "toxics": []}


def test_populate_replaces_a_proxy_with_other_addresses(api: httpx.Client, proxy: Any) -> None:
    api.post("/proxies/grpc/toxics", json={"type": "latency"})
    changed = {"name": "grpc", "listen": proxy["listen"], "upstream": "127.0.0.1:2"}
    (replaced,) = shown(api.post("/populate", json=[changed]))["proxies"]
    assert replaced == {**changed, "enabled": True, "toxics": []}


def test_populate_checks_all_before_it_creates_any(api: httpx.Client) -> None:
    response = api.post("/populate", json=[{"name": "a", "upstream": UPSTREAM}, {"name": "b"}])
    assert (response.status_code, response.headers["Content-Type"]) == (400, JSON)
    text = "missing required field: upstream at proxy 2"
    assert response.json() == {"error": text, "status": 400, "proxies": None}
    assert api.get("/proxies").text == "{}"


def test_populate_says_what_it_created_before_an_error(api: httpx.Client, proxy: Any) -> None:
    first = {"name": "a", "listen": "127.0.0.1:0", "upstream": UPSTREAM}
    response = api.post("/populate", json=[first, {**first, "name": "b", "listen": proxy["listen"]}])
    assert response.status_code == 500
    answer = shown(response)
    assert answer["error"].endswith("address already in use")
    assert [each["name"] for each in answer["proxies"]] == ["a"]


@pytest.mark.parametrize("body", ["null", "[]"])
def test_populate_may_have_nothing_to_do(api: httpx.Client, body: str) -> None:
    response = api.post("/populate", content=body)
    assert (response.status_code, response.text) == (201, '{"proxies":null}')


# ------------------------------------------------------------------------------------------------------------- toxics

ATTRIBUTES = {
    "latency": ["latency", "jitter"],
    "bandwidth": ["rate"],
    "slow_close": ["delay"],
    "timeout": ["timeout"],
    "reset_peer": ["timeout"],
    "slicer": ["average_size", "size_variation", "delay"],
    "limit_data": ["bytes"],
    "noop": [],
}


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_a_toxic_is_created_with_its_attributes(api: httpx.Client, proxy: Any, kind: str) -> None:
    attributes = {name: number for number, name in enumerate(ATTRIBUTES[kind], start=5)}
    response = api.post("/proxies/grpc/toxics", json={"type": kind, "attributes": attributes})
    assert (response.status_code, response.headers["Content-Type"]) == (200, JSON)
    toxic = {"attributes": attributes, "name": f"{kind}_downstream", "type": kind, "stream": "downstream"}
    # Byte for byte: a toxicity of 1 has no fraction.
    assert response.text == json.dumps({**toxic, "toxicity": 1}, separators=(",", ":"))
    assert api.get(f"/proxies/grpc/toxics/{kind}_downstream").json() == response.json()


def test_toxics_are_listed_upstream_first(api: httpx.Client, proxy: Any) -> None:
    assert api.get("/proxies/grpc/toxics").text == "[]"
    for stream, name in (("downstream", "a"), ("upstream", "b"), ("Upstream", ""), ("downstream", "c")):
        api.post("/proxies/grpc/toxics", json={"type": "timeout", "name": name, "stream": stream, "toxicity": 0.25})
    toxics = api.get("/proxies/grpc/toxics").json()
    assert [toxic["name"] for toxic in toxics] == ["b", "timeout_Upstream", "a", "c"]
    assert toxics[1] == {
        "attributes": {"timeout": 0},
        "name": "timeout_Upstream",
        "type": "timeout",
        "stream": "Upstream",
        "toxicity": 0.25,
    }
    assert shown(api.get("/proxies/grpc"))["toxics"] == toxics


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_update_of_a_toxic_merges_its_attributes(api: httpx.Client, proxy: Any, method: str) -> None:
    api.post("/proxies/grpc/toxics", json={"type": "latency", "attributes": {"latency": 1, "jitter": 2}})
    path = "/proxies/grpc/toxics/latency_downstream"
    changes = {"attributes": {"jitter": 3, "rate": 4}, "type": "timeout", "name": "other", "stream": "upstream"}
    toxic = api.request(method, path, json=changes).json()
    assert toxic == {
        "attributes": {"latency": 1, "jitter": 3},
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1,
    }
    changed = api.request(method, path, json={"toxicity": 0.5}).json()
    assert changed == {**toxic, "toxicity": 0.5}
    assert refusal(api.request(method, f"{path}s", json={})) == (404, "toxic not found")


def test_a_toxic_is_deleted(api: httpx.Client, proxy: Any) -> None:
    api.post("/proxies/grpc/toxics", json={"type": "latency"})
    gone = api.delete("/proxies/grpc/toxics/latency_downstream")
    assert (gone.status_code, gone.text) == (204, "")
    assert refusal(api.delete("/proxies/grpc/toxics/latency_downstream")) == (404, "toxic not found")
    assert refusal(api.get("/proxies/grpc/toxics/latency_downstream")) == (404, "toxic not found")
    assert refusal(api.delete("/proxies/none/toxics/a")) == (404, "proxy not found")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"type": "latency", "stream": "up"}, (400, "stream was invalid, can be either upstream or downstream")),
        ({"type": "none", "stream": "up"}, (400, "stream was invalid, can be either upstream or downstream")),
        ({"type": "none"}, (400, "invalid toxic type")),
        ({}, (400, "invalid toxic type")),
        ({"type": "Latency"}, (400, "invalid toxic type")),
        ({"type": "timeout", "name": "taken", "attributes": {"timeout": "x"}}, (409, "toxic already exists")),
    ],
    ids=repr,
)
def test_a_toxic_that_is_none_is_refused(api: httpx.Client, proxy: Any, body: Any, answer: tuple[int, str]) -> None:
    api.post("/proxies/grpc/toxics", json={"type": "latency", "name": "taken"})
    assert refusal(api.post("/proxies/grpc/toxics", json=body)) == answer


@pytest.mark.parametrize(
    "attributes", ['"text"', "[]", '{"latency": "1"}', '{"latency": 1.5}', '{"latency": 1e3}', '{"latency": true}', "1"]
)
def test_attributes_that_do_not_fit_are_refused(api: httpx.Client, proxy: Any, attributes: str) -> None:
    body = f'{{"type": "latency", "attributes": {attributes}}}'
    assert refusal(api.post("/proxies/grpc/toxics", content=body))[0] == 400
    assert api.get("/proxies/grpc/toxics").json() == []
    assert api.post("/proxies/grpc/toxics", json={"type": "latency", "attributes": None}).status_code == 200
    body = f'{{"attributes": {attributes}}}'
    assert refusal(api.patch("/proxies/grpc/toxics/latency_downstream", content=body))[0] == 400


# -------------------------------------------------------------------------------------------------------------- rest


def test_the_version_is_a_version(api: httpx.Client) -> None:
    response = api.get("/version")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json;charset=utf-8")
    assert list(response.json()) == ["version"]
    assert response.text.endswith('"}\n')


@pytest.mark.parametrize("path", ["/none", "/", "/proxies/", "/proxies/grpc/none", "/metrics"])
def test_an_unknown_path_is_not_found(api: httpx.Client, proxy: Any, path: str) -> None:
    response = api.get(path)
    assert (response.status_code, response.text) == (404, "404 page not found\n")
    assert (response.headers["Content-Type"], response.headers["X-Content-Type-Options"]) == (TEXT, "nosniff")


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/proxies"), ("HEAD", "/proxies"), ("GET", "/reset"), ("PUT", "/proxies/grpc"), ("POST", "/version")],
)
def test_an_unknown_method_is_not_allowed(api: httpx.Client, method: str, path: str) -> None:
    response = api.request(method, path)
    assert (response.status_code, response.text) == (405, "")


def test_a_browser_is_refused(api: httpx.Client, proxy: Any) -> None:
    browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
    response = api.delete("/proxies/grpc", headers=browser)
    assert (response.status_code, response.text) == (403, "User agent not allowed\n")
    assert api.get("/proxies/grpc").status_code == 200
    assert api.get("/none", headers=browser).status_code == 404


def test_every_answer_of_a_route_has_an_id(api: httpx.Client) -> None:
    answers = [api.get(path) for path in ("/version", "/version", "/proxies/none")]
    assert len({answer.headers["X-Toxiproxy-Request-Id"] for answer in answers}) == 3


# ------------------------------------------------------------------------------------------------------ other clients


@needs("curl")
def test_curl_adds_the_toxics_of_a_failing_network(address: str, api: httpx.Client, proxy: Any) -> None:
    """The commands are those of a CI job that tests against a hub behind Toxiproxy."""
    commands = """
        curl -X POST http://localhost:8474/proxies/grpc/toxics -d '{"type":"latency","attributes":{"latency":100}}'
        curl -X POST http://localhost:8474/proxies/grpc/toxics -d '{"type":"timeout","attributes":{"timeout":500}}'
    """
    for command in commands.strip().splitlines():
        words = shlex.split(command.replace("localhost:8474", address))
        done = subprocess.run(words, capture_output=True, check=True, timeout=PATIENCE)
        assert json.loads(done.stdout)["toxicity"] == 1
    toxics = api.get("/proxies/grpc/toxics").json()
    assert [(toxic["name"], toxic["attributes"]) for toxic in toxics] == [
        ("latency_downstream", {"latency": 100, "jitter": 0}),
        ("timeout_downstream", {"timeout": 500}),
    ]


def test_toxiproxy_python_is_a_client(address: str, api: httpx.Client) -> None:
    host, port = address.split(":")
    server = toxiproxy.Toxiproxy()
    server.update_api_consumer(host, int(port))
    assert server.running()
    assert json.loads(server.version())["version"]
    proxy = server.create(upstream=UPSTREAM, name="grpc")
    assert (proxy.name, proxy.enabled) == ("grpc", True)
    with pytest.raises(ProxyExists):
        server.create(upstream=UPSTREAM, name="grpc")

    proxy.add_toxic(type="latency", attributes={"latency": 100})
    proxy.add_toxic(type="slicer", name="cut", stream="upstream", toxicity=0.5, attributes={"average_size": 10})
    assert proxy.get_toxic("cut").attributes == {"average_size": 10, "size_variation": 0, "delay": 0}
    assert sorted(proxy.toxics()) == ["cut", "latency_downstream"]
    with pytest.raises(InvalidToxic):
        proxy.add_toxic(type="none")
    assert proxy.destroy_toxic("cut")
    with pytest.raises(NotFound):
        proxy.destroy_toxic("cut")

    with proxy.down():
        assert not server.get_proxy("grpc").enabled
    assert server.get_proxy("grpc").enabled
    server.reset()
    assert proxy.toxics() == {}
    (other,) = server.populate([{"name": "other", "upstream": UPSTREAM, "listen": "127.0.0.1:0"}])
    assert sorted(server.proxies()) == ["grpc", other.name]
    server.destroy_all()
    assert server.proxies() == {}
