"""Builds the documentation as a site: ``build_site.py build/site``.

The pages are those of ``docs/`` and some that stand elsewhere in the repository, which GitHub shows too; links between
them become links of the site. A file that a page links to, such as an example, gets a page that shows it. The reference
of the Python API is made of the docstrings. It fails, and leaves what was there, if a link of the site leads nowhere or
if a page would load something from another host.
"""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import grpc_tool_bridge
from site_links import complaints

ROOT = Path(__file__).parents[1]
WEBSITE = ROOT / "website"
# Pages of the site that stand outside of docs/.
MORE_PAGES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "conformance/README.md",
    "sdk/elixir/README.md",
    "sdk/go/README.md",
    "sdk/node/README.md",
)
# What most readers look for stands first on its page; the rest follows in the order of the alphabet.
FIRST = ("tool", "Tool", "ToolContext", "GRPCToolBridge", "ToolBridge", "BridgeServer", "ToolWorker", "ToolBridgeError")
# The front page stands for the README.
HOME = {"README.md": "docs/index.md"}
# Packages whose public names are imported from themselves, beside those of the package.
PACKAGES = ("testing", "adapters.mcp", "core")
# A room that has none is shown by its name.
TITLES = {
    "adapters.mcp": "MCP servers as tools",
    "client": "Clients",
    "config": "Settings",
    "core": "Custom sessions and registries",
    "errors": "Errors",
    "proto": "Messages",
    "server": "Hubs",
    "testing": "Tests",
    "tools": "Tools",
    "values": "Values",
    "worker": "Workers",
}
FENCE = "``````"
LANGUAGES = {
    ".ex": "elixir",
    ".exs": "elixir",
    ".go": "go",
    ".js": "js",
    ".proto": "proto",
    ".py": "python",
    ".toml": "toml",
    ".ts": "ts",
}
LINK = re.compile(r"(\]\()([^)#\s]*)(#[^)\s]*)?(\))")
# Code, in which brackets are not links.
CODE = re.compile(r"(^ *```.*?^ *```|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
# A row of a table that has code with a bar.
TABLE_CODE = re.compile(r"^\|.*`[^`\n]*\\\|[^`\n]*`.*$", re.MULTILINE)
TAG = re.compile(r'(<img [^>]*src=")([^"]+)(")')


def pages() -> list[str]:
    """Lists the Markdown files of the site, by their paths in the repository."""
    return [*sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")), *MORE_PAGES]


def in_site(path: str) -> str:
    """Says where a page or picture of the repository stands among the sources of the site."""
    return path.removeprefix("docs/")


def page_of_file(path: str) -> str:
    """Says which page shows a file or a folder of the repository."""
    return f"files/{path}.md"


# ------------------------------------------------------------------------------------------------------ pages


class Sources:
    """Writes the Markdown from which the site is built.

    Args:
        folder: Where it goes.
        show: Files of the repository that get a page even if no other page links to them.
    """

    def __init__(self, folder: Path, *, show: Iterable[str] = ()) -> None:
        self._folder = folder
        self._pages = set(pages())
        self._shown = {path: page_of_file(path) for path in show}

    def write(self) -> None:
        """Writes every page, and what they show and link to.

        Raises:
            ValueError: A page links to something that is not in the repository.
        """
        for path in sorted(self._pages):
            text = (ROOT / path).read_text(encoding="utf-8")
            self.put(in_site(path), self._with_links_of_the_site(path, text))
        for path, page in sorted(self._shown.items()):
            self.put(page, shown(path))
        for picture in (ROOT / "docs").rglob("*"):
            if picture.suffix in {".svg", ".png"}:
                target = self._folder / in_site(picture.relative_to(ROOT).as_posix())
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(picture, target)

    def put(self, page: str, text: str) -> None:
        """Writes one page."""
        target = self._folder / page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def _with_links_of_the_site(self, path: str, text: str) -> str:
        parts = CODE.split(text)
        for number in range(0, len(parts), 2):
            linked = LINK.sub(lambda found: self._link(path, *found.groups()), parts[number])
            parts[number] = TAG.sub(lambda found: self._link(path, found[1], found[2], None, found[3]), linked)
        # In the code of a table, GitHub needs a backslash before a bar, and the site would show it.
        return TABLE_CODE.sub(lambda found: found[0].replace("\\|", "|"), "".join(parts))

    def _link(self, path: str, before: str, target: str, anchor: str | None, after: str) -> str:
        if not target or re.match(r"[a-z]+:", target):
            return f"{before}{target}{anchor or ''}{after}"
        found = os.path.normpath(PurePosixPath(path).parent / target)
        found = HOME.get(found, found)
        if not (ROOT / found).exists():
            raise ValueError(f"{path} links to {target}, which does not exist")
        if found in self._pages or found.startswith("docs/"):
            page = in_site(found)
        else:
            page = self._shown.setdefault(found, page_of_file(found))
        relative = os.path.relpath(page, PurePosixPath(in_site(path)).parent)
        return f"{before}{relative}{anchor or ''}{after}"


def shown(path: str) -> str:
    """Makes a page that shows a file of the repository, or the files of a folder."""
    listed = subprocess.run(["git", "ls-files", path], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [name for name in listed.stdout.split() if not name.endswith((".lock", ".sum", "-lock.json"))] or [path]
    text = [f"# {path}", f"The file{'' if files == [path] else 's'} as in the repository."]
    for name in files:
        if files != [path]:
            text.append(f"## {PurePosixPath(name).relative_to(path)}")
        code = (ROOT / name).read_text(encoding="utf-8").rstrip("\n")
        text.append(f"{FENCE}{LANGUAGES.get(PurePosixPath(name).suffix, 'text')}\n{code}\n{FENCE}")
    return "\n\n".join(text) + "\n"


# -------------------------------------------------------------------------------------------------- the API


def public_names() -> dict[str, list[str]]:
    """Collects the public names by the part of the package in which they are, with full paths."""
    found: dict[str, list[str]] = defaultdict(list)
    homes: dict[str, str] = grpc_tool_bridge._HOMES  # type: ignore[attr-defined]  # noqa: SLF001 - says where each name is
    for name in grpc_tool_bridge.__all__:
        found[homes[name].split(".")[0]].append(f"grpc_tool_bridge.{homes[name]}.{name}")
    for package in PACKAGES:
        module = importlib.import_module(f"grpc_tool_bridge.{package}")
        names = [getattr(module, name) for name in module.__all__]
        found[package] = [f"{value.__module__}.{value.__qualname__}" for value in names]
    for names in found.values():
        names.sort(key=lambda path: FIRST.index(name) if (name := path.rpartition(".")[2]) in FIRST else len(FIRST))
    return dict(found)


def api_pages() -> Iterator[tuple[str, str]]:
    """Makes the reference of the Python API: the name and the text of each page."""
    for room, names in sorted(public_names().items(), key=lambda item: TITLES.get(item[0], item[0])):
        home = f"grpc_tool_bridge.{room}" if room in PACKAGES else "grpc_tool_bridge"
        short = [f"`{name.rpartition('.')[2]}`" for name in names]
        text = [f"# {TITLES.get(room, room.capitalize())}", f"Import them from `{home}`: {', '.join(short)}."]
        if room == "proto":
            protocol = "[The protocol](../../files/proto/dspex_bridge.proto.md)"
            text.append(f"They are messages of the wire. {protocol} explains each field, with units and defaults.")
        else:
            # The errors share what the first of them has.
            options = "\n    options:\n      inherited_members: false" if room == "errors" else ""
            text += [f"::: {name}{options}" for name in names]
        yield f"reference/api/{room}.md", "\n\n".join(text) + "\n"


# ------------------------------------------------------------------------------------------------------ build


def build(site: Path) -> None:
    """Builds the site into a folder, and replaces what was there.

    Raises:
        ValueError: A link leads nowhere, a page is in no menu, or a page loads something from another host.
        subprocess.CalledProcessError: The site generator failed; it has said why.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        sources = Sources(folder / "docs", show=["proto/dspex_bridge.proto"])
        reference = dict(api_pages())
        for name, text in reference.items():
            sources.put(name, text)
        sources.write()
        shutil.copy(WEBSITE / "site.css", folder / "docs")
        config = configuration(list(reference))
        check_menu(config)
        (folder / "zensical.toml").write_text(config, encoding="utf-8")
        built = folder / "site"
        wrong = [*generate(folder), *complaints(built)]
        if wrong:
            raise ValueError("\n".join(wrong))
        shutil.rmtree(site, ignore_errors=True)
        site.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(built, site)


def generate(folder: Path) -> list[str]:
    """Runs the site generator.

    Returns:
        What it warns of, such as an argument in a docstring that the function does not have.

    Raises:
        subprocess.CalledProcessError: It failed, and has said why.
    """
    words = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(folder / "zensical.toml")]
    ran = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ran.returncode:
        sys.stderr.write(ran.stdout)
        raise subprocess.CalledProcessError(ran.returncode, words)
    return [line for line in ran.stdout.splitlines() if line.startswith("griffe: ")]


def configuration(reference: list[str]) -> str:
    """Reads ``zensical.toml``, with the pages of the reference in the menu and the sources where they are."""
    text = (WEBSITE / "zensical.toml").read_text(encoding="utf-8")
    text = text.replace('paths = ["src"]', f"paths = [{str(ROOT / 'src')!r}]")
    return text.replace('"reference/api"', "[" + ", ".join(f'"{name}"' for name in reference) + "]")


def check_menu(config: str) -> None:
    """Fails unless each page of the repository is in the menu."""
    menu = set(re.findall(r'"([^"]+\.md)"', str(tomllib.loads(config)["project"]["nav"]).replace("'", '"')))
    missing = sorted({in_site(path) for path in pages()} - menu)
    if missing:
        raise ValueError(f"website/zensical.toml: the menu has not {', '.join(missing)}")


def main() -> None:
    """Builds the site, and says where it is or what is wrong."""
    parser = argparse.ArgumentParser(description="Builds the documentation as a site.")
    parser.add_argument("site", type=Path, help="the folder of the site, which is replaced")
    site: Path = parser.parse_args().site
    try:
        build(site.resolve())
    except ValueError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    print(f"{site}/index.html")


if __name__ == "__main__":
    main()
