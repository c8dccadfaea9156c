"""What the README shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

from support.patience import PATIENCE

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_example_prints_what_the_readme_says(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example is not None
    script = tmp_path / "example.py"
    script.write_text(example.group(1), encoding="utf-8")

    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert ran.returncode == 0, ran.stderr
    promised = re.search(r"It prints `(.*?)` and `(.*?)`", text)
    assert promised is not None
    assert ran.stdout.splitlines() == [promised.group(1), promised.group(2)]


def test_the_front_page_of_the_site_has_the_same_example() -> None:
    pages = [README, README.parent / "docs" / "index.md"]
    first, second = (re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL) for page in pages)
    assert first is not None
    assert second is not None
    assert first[1] == second[1]


def test_every_file_that_the_readme_links_to_is_there() -> None:
    prose = re.sub(r"```.*?```", "", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]+)", prose)
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
