"""Names that a browser would never send are refused where they are set."""

import pytest
from pydantic import ValidationError

from grpc_tool_bridge import Settings
from grpc_tool_bridge.config.web_names import host_names, origins


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://tools.example.com", "https://tools.example.com"),
        ("https://Tools.Example.com/", "https://tools.example.com"),
        ("https://tools.example.com:443", "https://tools.example.com"),
        ("http://tools.example.com:80/", "http://tools.example.com"),
        ("http://tools.example.com:443", "http://tools.example.com:443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("vscode-webview://abc", "vscode-webview://abc"),
    ],
)
def test_an_origin_is_kept_as_a_browser_sends_it(given: str, sent: str) -> None:
    assert origins((given,)) == (sent,)


@pytest.mark.parametrize(
    "given", ["*", "null", "tools.example.com", "https://*.example.com", "https://a/b", "https://"]
)
def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin; write scheme://host"):
        Settings(http_origins=(given,))


@pytest.mark.parametrize("given", ["*", "hub.example:8080", "http://hub.example", "*.example"])
def test_what_is_no_host_name_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="is not a host name; write it without scheme and port"):
        Settings(http_hosts=(given,))


def test_a_host_name_is_kept_in_lower_case() -> None:
    assert host_names(("Hub.Example",)) == ("hub.example",)
