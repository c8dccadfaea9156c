"""Finds the links of a built site that lead nowhere, and what its pages would load from another host."""

import re
from collections.abc import Iterator
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# The attributes by which a browser loads something when it opens a page, or by which the reader goes on.
ADDRESSES = {"href", "src", "action", "data", "poster"}
# Elements whose ``href`` is not loaded.
FOLLOWED = {"a", "area"}
# Links of these kinds name something, and load nothing.
NAMING = {"canonical", "prev", "next", "alternate"}
IN_STYLES = re.compile(r"@import\s+['\"]([^'\"]+)|url\(\s*['\"]?([^'\")]+)")


class Page(HTMLParser):
    """What a page links to, what it loads, and where in it one can go.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what an element links to and loads, and its anchor."""
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        named = tag == "link" and bool(NAMING & set((given.get("rel") or "").split()))
        for name in ADDRESSES & given.keys():
            if address := given[name]:
                (self.links if tag in FOLLOWED or named else self.loads).append(address)
        self.loads += [part.split()[0] for part in (given.get("srcset") or "").split(",") if part.strip()]
        self.loads += addresses_of_styles(given.get("style") or "")


class Site:
    """The pages of a folder.

    Args:
        folder: The site.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def pages(self) -> dict[Path, Page]:
        """Reads every page."""
        return {path: Page(path) for path in sorted(self.folder.rglob("*.html"))}

    def complaints_of(self, page: Page) -> Iterator[str]:
        """Says what is wrong with the links of one page."""
        name = page.path.relative_to(self.folder)
        for address in page.loads:
            if is_foreign(address):
                yield f"{name}: loads {address} from another host"
            elif not is_elsewhere(address) and (wrong := self.complaint(page.path, address)):
                yield f"{name}: loads {address}, which {wrong}"
        for address in page.links:
            if not is_elsewhere(address) and (wrong := self.complaint(page.path, address)):
                yield f"{name}: links to {address}, which {wrong}"

    def complaint(self, page: Path, address: str) -> str | None:
        """Says what is wrong with an address of the site, if anything."""
        parts = urlsplit(address)
        target = page
        if parts.path:
            base = self.folder if parts.path.startswith("/") else page.parent
            target = (base / unquote(parts.path).lstrip("/")).resolve()
            target = target / "index.html" if target.is_dir() else target
        if not target.is_file():
            return "does not exist"
        if parts.fragment and target in self.pages:
            anchor = unquote(parts.fragment)
            # The theme opens the search and the like by such anchors.
            if not anchor.startswith("__") and anchor not in self.pages[target].anchors:
                return "has no such heading"
        return None


def addresses_of_styles(text: str) -> list[str]:
    """Finds what a style sheet loads."""
    return [first or second for first, second in IN_STYLES.findall(text)]


def is_elsewhere(address: str) -> bool:
    """Says whether an address names another host, or is no address of a file."""
    return bool(urlsplit(address).scheme or address.startswith("//"))


def is_foreign(address: str) -> bool:
    """Says whether something that is loaded comes from another host."""
    return is_elsewhere(address) and not address.startswith("data:")


def complaints(folder: Path) -> Iterator[str]:
    """Says what is wrong with a site: one line for each link that leads nowhere and each request to another host."""
    site = Site(folder.resolve())
    for path, page in site.pages.items():
        # The links of this one begin at the root of wherever the site is served.
        if path.relative_to(site.folder) != Path("404.html"):
            yield from site.complaints_of(page)
    for path in sorted([*site.folder.rglob("*.css"), *site.folder.rglob("*.svg")]):
        for address in addresses_of_styles(path.read_text(encoding="utf-8")):
            if is_foreign(address):
                yield f"{path.relative_to(site.folder)}: loads {address} from another host"
