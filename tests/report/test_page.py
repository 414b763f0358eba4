"""Both pages in real Chromium: light and dark, narrow and wide."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: apt-get install chromium runs these tests"
)

WIDTHS = (360, 380, 768, 1400, 1600)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
# Measured inside the page: its width, its colours, its pictures, and whatever sticks out of the window.
PROBE = """<script>addEventListener("load", () => {
const outside = [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll")
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80));
parent.document.documentElement.setAttribute("data-at-" + innerWidth, JSON.stringify({
  content: document.documentElement.scrollWidth, outside,
  background: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  images: [...document.images].map(i => i.complete && i.naturalWidth > 0 && i.alt.length > 0),
  boxes: [...document.querySelectorAll(".scroll")].every(b => b.tabIndex == 0 && b.ariaLabel)}));
});</script>"""


@pytest.fixture(scope="module")
def pages(reported: Path) -> dict[str, Path]:
    return {"report": reported / "report" / "index.html", "run": reported / "pnao_0" / "report.html"}


def chromium(page: Path, profile: Path, *, dark: bool = False) -> tuple[str, list[str]]:
    """The page's DOM after loading, and what the console said."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={profile}", "--window-size=1700,900", "--enable-logging=stderr",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def in_frames(page: str) -> str:
    """The page, probed, in a frame of each width: a window cannot be made as narrow as a telephone."""
    probed, policies = POLICY.subn("", page)  # it would forbid the probe
    assert policies == 1
    content = escape(probed.replace("</body>", f"{PROBE}</body>"))
    frames = [
        f'<iframe style="width:{w}px;height:900px;border:0" srcdoc="{content}"></iframe>' for w in WIDTHS
    ]
    return "<!doctype html><html><body>" + "".join(frames) + "</body></html>"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["report", "run"])
def test_nothing_is_cut_off(pages: dict[str, Path], tmp_path: Path, name: str, dark: bool) -> None:
    framed = tmp_path / "frames.html"
    framed.write_text(in_frames(pages[name].read_text()))
    dom, console = chromium(framed, tmp_path / "profile", dark=dark)
    assert console == []
    for width in WIDTHS:
        found = re.search(rf'data-at-{width}="([^"]*)"', dom)
        assert found is not None
        seen: dict[str, Any] = json.loads(unescape(found[1]))
        assert seen["content"] <= width
        assert seen["outside"] == []
        assert seen["images"]
        assert all(seen["images"])
        assert seen["boxes"]
        page, ink = (sum(map(int, re.findall(r"\d+", seen[c])[:3])) for c in ("background", "ink"))
        assert (page < ink) == dark
        assert abs(page - ink) > 380  # of 765: enough contrast


@pytest.mark.parametrize("name", ["report", "run"])
def test_the_page_as_written_says_nothing_on_the_console(
    pages: dict[str, Path], tmp_path: Path, name: str
) -> None:
    dom, console = chromium(pages[name], tmp_path / "profile")
    assert console == []
    assert "<h1>" in dom
