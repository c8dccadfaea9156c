"""Which browser shows a page."""

import webbrowser
from typing import Any

import pytest

from grpc_tool_bridge.cli.browsers import open_page

URL = "http://127.0.0.1:8080/"


class Browser:
    """What Python finds; it takes the page or not."""

    def __init__(self, basename: str, *, takes: bool = True) -> None:
        self.basename = basename
        self.takes = takes
        self.opened: list[str] = []

    def open(self, url: str) -> bool:
        self.opened.append(url)
        return self.takes


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes Python find a browser."""
    monkeypatch.delenv("BROWSER", raising=False)

    def find(browser: Browser) -> Browser:
        monkeypatch.setattr(webbrowser, "get", lambda: browser)
        monkeypatch.setattr(webbrowser, "open", browser.open)
        return browser

    return find


def test_the_page_is_opened_in_the_browser_that_there_is(finds: Any) -> None:
    browser = finds(Browser("firefox"))
    assert open_page(URL)
    assert browser.opened == [URL]


def test_a_browser_that_runs_no_scripts_is_none(finds: Any) -> None:
    browser = finds(Browser("w3m"))
    assert not open_page(URL)
    assert browser.opened == []


def test_a_browser_that_was_chosen_is_taken_whatever_it_is(finds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = finds(Browser("w3m"))
    monkeypatch.setenv("BROWSER", "w3m")
    assert open_page(URL)
    assert browser.opened == [URL]


def test_a_browser_that_fails_has_opened_nothing(finds: Any) -> None:
    finds(Browser("firefox", takes=False))
    assert not open_page(URL)


def test_where_there_is_none_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def get() -> None:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "get", get)
    assert not open_page(URL)
