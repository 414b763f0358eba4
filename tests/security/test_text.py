"""Names and messages are shown as text, and nothing secret is kept."""

import csv
import html.parser
from pathlib import Path

import pytest

from mer_lightning.config.mistakes import users_mistake
from mer_lightning.errors import UserError
from tests.security.helpers import SCRIPT, SECRET


class Tags(html.parser.HTMLParser):
    """All tags of a page, and the attributes that could act or reach elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.acting: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.acting += [
            (k, v) for k, v in attrs if k.startswith("on") or (k in ("src", "href") and v[:5] != "data:")
        ]


@pytest.mark.parametrize("page", ["runs/run/report.html", "runs/report/index.html"])
def test_pages_show_names_as_text(trained: Path, page: str) -> None:
    text = (trained / page).read_text(encoding="utf-8")
    assert "&lt;script&gt;" in text  # the names are there
    read = Tags(text)
    assert "script" not in read.tags
    assert read.acting == []
    assert "default-src 'none'" in text


def test_the_names_come_through_as_they_were(trained: Path) -> None:
    with (trained / "runs" / "run" / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["utterance_id"] == SCRIPT.replace("/", "|")
    assert f"happy{SCRIPT}" in {row["emotion"] for row in rows}
    assert "weight_<script>low" in rows[0]


def test_no_secret_of_the_environment_is_kept(trained: Path) -> None:
    files = [p for p in trained.rglob("*") if p.is_file()]
    assert len(files) > 30
    assert not [p for p in files if SECRET.encode() in p.read_bytes()]


def test_messages_cannot_steer_a_terminal() -> None:
    message = users_mistake(UserError("emotion \x1b[2J\x1b]0;title\x07 and\nanother line " + "x" * 10_000))
    assert message is not None
    assert message.isprintable()
    assert len(message) < 3000
    name = users_mistake(FileNotFoundError(2, "No such file", "a\n\x1b[2Jb"))
    assert name is not None
    assert name.isprintable()


def test_the_demo_shows_its_answers_in_components_that_take_text(tmp_path: Path) -> None:
    gradio = pytest.importorskip("gradio")
    from mer_lightning.tasks.demo_page import Explanation, page

    blocks = page(lambda path: Explanation({SCRIPT: 1.0}, None, {}, [], [SCRIPT]), SCRIPT)
    outputs = {type(block) for f in blocks.fns.values() for block in f.outputs}
    assert outputs == {gradio.Label, gradio.Textbox, gradio.Gallery, gradio.Video, gradio.Audio}
    assert not [f.api_name for f in blocks.fns.values() if f.api_visibility == "public"]
