"""What ``make docs`` refuses of a site that was built."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.patience import PATIENCE

ROOT = Path(__file__).parents[3]
TELL = """
import sys
from pathlib import Path
from site_links import complaints
print(*complaints(Path(sys.argv[1])), sep="\\n")
"""


def complaints(site: Path) -> list[str]:
    """Asks in a process of its own, as scripts are no package."""
    command = [sys.executable, "-c", TELL, str(site)]
    ran = subprocess.run(command, cwd=ROOT / "scripts", capture_output=True, text=True, timeout=PATIENCE, check=True)
    return ran.stdout.split("\n")[:-1] if ran.stdout.strip() else []


def site(folder: Path, **pages: str) -> Path:
    """A site with a heading ``#there`` at /guide/, and the given pages."""
    (folder / "guide").mkdir()
    (folder / "guide" / "index.html").write_text('<h2 id="there">There</h2><a href="..">home</a>')
    (folder / "picture.svg").write_text("<svg/>")
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text)
    return folder


def test_nothing_is_wrong_with_links_within_the_site(tmp_path: Path) -> None:
    index = (
        '<link rel="canonical" href="https://docs.example/"><a href="guide/">a</a> <a href="guide/#there">b</a>'
        '<a href="#own" id="own">c</a> <a href="https://elsewhere.example">d</a> <img src="picture.svg">'
        '<a href="#__skip">e</a> <img src="data:image/png;base64,AA==">'
    )
    assert complaints(site(tmp_path, index=index)) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('<a href="gide/">a</a>', "index.html: links to gide/, which does not exist"),
        ('<a href="guide/#here">a</a>', "index.html: links to guide/#here, which has no such heading"),
        ('<a href="#here">a</a>', "index.html: links to #here, which has no such heading"),
        ('<img src="photo.png">', "index.html: loads photo.png, which does not exist"),
        (
            '<script src="https://cdn.example/a.js"></script>',
            "index.html: loads https://cdn.example/a.js from another host",
        ),
        ('<link rel="stylesheet" href="//f.example/a.css">', "index.html: loads //f.example/a.css from another host"),
        ('<p style="background: url(https://f.example/a)">', "index.html: loads https://f.example/a from another host"),
        ('<img srcset="https://f.example/a 2x">', "index.html: loads https://f.example/a from another host"),
    ],
)
def test_what_leads_nowhere_or_elsewhere_is_told(tmp_path: Path, text: str, complaint: str) -> None:
    assert complaints(site(tmp_path, index=text)) == [complaint]


def test_style_sheets_and_pictures_load_nothing_from_another_host(tmp_path: Path) -> None:
    folder = site(tmp_path, index="")
    (folder / "a.css").write_text("@import 'https://f.example/b.css'; p { background: url(picture.svg) }")
    (folder / "b.svg").write_text('<svg><style>@font-face { src: url("https://f.example/f.woff2") }</style></svg>')
    assert complaints(folder) == [
        "a.css: loads https://f.example/b.css from another host",
        "b.svg: loads https://f.example/f.woff2 from another host",
    ]
