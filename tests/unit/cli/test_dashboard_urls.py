"""Where the dashboard of a hub is for somebody on this machine."""

import pytest

from grpc_tool_bridge.cli.dashboard_urls import given_url, reachable_url
from grpc_tool_bridge.cli.failures import ArgumentError


@pytest.mark.parametrize(
    ("served", "address", "url"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:50051", "http://127.0.0.1:8080/"),
        ("http://127.0.0.1:8080", "localhost:50051", "http://127.0.0.1:8080/"),
        ("http://127.0.0.1:8080", "unix:/run/hub.sock", "http://127.0.0.1:8080/"),
        ("https://10.0.0.5:8443", "10.0.0.5:50051", "https://10.0.0.5:8443/"),
        ("https://0.0.0.0:8443", "hub.example.com:50051", "https://hub.example.com:8443/"),
        ("http://0.0.0.0:8080", "dns:///hub.example.com:50051", "http://hub.example.com:8080/"),
        ("http://0.0.0.0:8080", "unix:/run/hub.sock", "http://127.0.0.1:8080/"),
        ("http://0.0.0.0:8080", "0.0.0.0:50051", "http://127.0.0.1:8080/"),
        ("http://[::]:8080", "[::]:50051", "http://[::1]:8080/"),
        ("http://[::]:8080", "[2001:db8::1]:50051", "http://[2001:db8::1]:8080/"),
    ],
)
def test_a_hub_is_opened_by_the_host_that_names_it(served: str, address: str, url: str) -> None:
    assert reachable_url(served, address) == url


def test_a_hub_that_serves_http_to_another_machine_only_is_told_with_what_to_do() -> None:
    with pytest.raises(ArgumentError, match=r"its own machine only, at 127\.0\.0\.1:8080; .* --http 127\.0\.0\.1:8080"):
        reachable_url("http://127.0.0.1:8080", "hub.example.com:50051")


@pytest.mark.parametrize(
    "served",
    [
        "file://hub:1", "javascript://hub:1", "javascript://%0aalert(1)//:1", "x-program://hub:1", "--flag://hub:1",
        "HTTP://hub:1", "", "hub:8080", "http://", "http://hub", "http://hub:0", "http://hub:8080/path",
        "http://user@hub:8080", "http://a b:8080", "http://$(id):8080", 'http://"hub:8080', "http://hub\u202e:8080",
        "http://hub:8080\n", "http://unix:/run/hub.sock",
    ],
)  # fmt: skip
def test_what_a_hub_says_is_opened_only_if_it_is_an_address_over_http(served: str) -> None:
    with pytest.raises(ArgumentError, match=r"says that it serves HTTP at .*, which is not opened .*--http HOST:PORT"):
        reachable_url(served, "127.0.0.1:50051")


def test_an_address_that_names_no_machine_is_told_with_what_to_do() -> None:
    with pytest.raises(ArgumentError, match="name it by --http HOST:8080"):
        reachable_url("http://0.0.0.0:8080", "dns://10.0.0.1/hub:50051")


@pytest.mark.parametrize(
    ("text", "tls", "url"),
    [
        ("127.0.0.1:8080", False, "http://127.0.0.1:8080/"),
        ("hub.example.com:8443", True, "https://hub.example.com:8443/"),
        ("http://hub.example.com:8080/", True, "http://hub.example.com:8080/"),
        ("HTTPS://hub.example.com", False, "https://hub.example.com/"),
        ("https://[::1]:8443", False, "https://[::1]:8443/"),
        ("https://[::1]", False, "https://[::1]/"),
    ],
)
def test_an_address_may_be_given_with_its_scheme_or_without(text: str, tls: bool, url: str) -> None:
    assert given_url(text, tls=tls) == url


@pytest.mark.parametrize(
    "text",
    [
        "", "nowhere", "unix:/run/hub.sock", "ftp://hub:8080", "http://", "http://hub:8080/docs", "http://hub:99999",
        "http://hub:0", "http://hub:8080/?view=tools", "http://hub:8080#s3cret", "javascript:alert(1)", "--version",
    ],
)  # fmt: skip
def test_what_is_no_address_over_http_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="--http"):
        given_url(text, tls=False)


@pytest.mark.parametrize(
    "text", ["http://me:s3cret@hub:8080", "me:s3cret@hub:8080", "http://hub:8080/?token=s3cret", "ftp://me:s3cret@hub"]
)
def test_a_secret_in_an_address_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ArgumentError, match="--http") as refused:
        given_url(text, tls=False)
    assert "s3cret" not in str(refused.value)
