"""MkDocs hooks: pages that are written elsewhere or made from the code, and links between them.

The repository's Markdown links its files as they lie there; the site has them where ``place`` says.
"""

import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from docs.web import api, gallery, keys  # noqa: E402

MOVED = {"README.md": "index.md", "mer_lightning/README.md": "house.md", "docs/python.ipynb": "python.md"}
PICTURE = re.compile(
    r'<picture>.*?srcset="(?P<dark>[^"]+)".*?alt="(?P<alt>[^"]*)" src="(?P<light>[^"]+)".*?</picture>', re.S
)


def place(path: str) -> str:
    """Where a file of the repository is in the site."""
    return MOVED.get(path, path.removeprefix("docs/"))


def origin(place: str) -> str:
    """Which file of the repository a page of the site is: the reverse of ``place``."""
    back = {new: old for old, new in MOVED.items()}
    return back.get(place, place if place.startswith("experiments/") else f"docs/{place}")


def on_files(files: Any, config: Any) -> Any:
    """Add what is not in ``docs/``."""
    there = [ROOT / "README.md", ROOT / "mer_lightning/README.md"]
    there += [p for p in (ROOT / "experiments").rglob("*") if p.suffix in (".md", ".png")]
    for path in there:
        name = place(path.relative_to(ROOT).as_posix())
        files.append(File.generated(config, name, abs_src_path=str(path)))
    for path in gallery.pictures():
        files.append(File.generated(config, f"gallery/{path.name}", abs_src_path=str(path)))
    style = Path(__file__).with_name("style.css")
    files.append(File.generated(config, "style.css", abs_src_path=str(style)))
    made = {
        "keys.md": keys.page(),
        "api.md": api.page(),
        "gallery.md": gallery.page(),
        "python.md": notebook(),
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them; a picture for light and one for dark, as the theme has them."""
    here = page.file.src_uri
    markdown = PICTURE.sub(r"![\g<alt>](\g<light>#only-light)![\g<alt>](\g<dark>#only-dark)", markdown)
    return re.sub(r"\]\(([^)#:\s]+)(#[^)]*)?\)", lambda m: f"]({relinked(m[1], here)}{m[2] or ''})", markdown)


def relinked(target: str, here: str) -> str:
    """A link between files of the repository as one between pages, from the page ``here``."""
    found = place(posixpath.normpath(posixpath.join(posixpath.dirname(origin(here)), target)))
    return posixpath.relpath(found, posixpath.dirname(here) or ".")


def notebook() -> str:
    """docs/python.ipynb as a page; it keeps no outputs."""
    cells = json.loads((ROOT / "docs" / "python.ipynb").read_text(encoding="utf-8"))["cells"]
    fences = {"markdown": "{}", "code": "```python\n{}\n```"}
    return "\n\n".join(fences[cell["cell_type"]].format("".join(cell["source"])) for cell in cells)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Fail the build where a page would load something from elsewhere: it is read without a network."""
    if found := re.search(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^>]*>', output):
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output
