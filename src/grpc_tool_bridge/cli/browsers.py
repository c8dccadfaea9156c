"""Finds a browser that can show a page."""

import os
import webbrowser

# Browsers of a terminal, which Python would take where there is no window: they run no scripts.
_TEXT_BROWSERS = frozenset({"www-browser", "links", "elinks", "lynx", "w3m"})


def open_page(url: str) -> bool:
    """Opens a page in the browser that the user has chosen; returns whether there is one that took it."""
    try:
        browser = webbrowser.get()
        if "BROWSER" not in os.environ and getattr(browser, "basename", "") in _TEXT_BROWSERS:
            return False
        return webbrowser.open(url)
    except webbrowser.Error:
        return False
