"""Blocks of documents that hold figures: written from outputs that are kept, and checked against them.

``<!-- evidence: NAME -->`` ... ``<!-- end -->``; NAME: see ``tables.blocks``, or a Markdown file that an
experiment wrote, from the document's folder (``results/mosi.md``). Empty: not run yet.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from mer_lightning.errors import UserError
from mer_lightning.files.atomic import write_text

BLOCK = re.compile(
    r"^(<!-- evidence: (?P<name>[\w ./]+?) -->\n)(?P<text>.*?)(?P<end>^<!-- end -->)",
    re.DOTALL | re.MULTILINE,
)
MARK = re.compile(r"^<!-- evidence:", re.MULTILINE)


class Mistake(NamedTuple):
    """A place in a document that says something else than the runs."""

    file: Path
    line: int
    said: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.said}"


def documents(root: Path) -> list[Path]:
    """Where blocks may be: the README, and those of the experiments."""
    return [
        root / "README.md",
        root / "experiments" / "README.md",
        *sorted(root.glob("experiments/*/README.md")),
    ]


def check(paths: list[Path], found: Mapping[str, str], root: Path = Path()) -> list[Mistake]:
    """Where blocks differ from ``found``, name -> text; at most one mistake a block."""
    return [m for path in paths for m in _check(path, found, root)]


def _check(path: Path, found: Mapping[str, str], root: Path) -> Iterator[Mistake]:
    text = path.read_text(encoding="utf-8")
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    if len(MARK.findall(text)) != len(BLOCK.findall(text)):
        yield Mistake(shown, 1, "a block is not closed by <!-- end -->, or its name is none")
    for block in BLOCK.finditer(text):
        name, first = block["name"], text.count("\n", 0, block.start("text")) + 1
        text_of = given(path, name, found)
        if text_of is None and block["text"].strip():
            yield Mistake(shown, first - 1, f"no run gives {name!r}; there are {', '.join(found)}")
        elif text_of is not None and (difference := _difference(block["text"].strip("\n"), text_of)):
            yield Mistake(shown, first + difference[0], f"{difference[1]} ({name})")


def given(document: Path, name: str, found: Mapping[str, str]) -> str | None:
    """What a block of the document has to hold; None where nothing gives it."""
    kept = document.parent / name
    return (
        kept.read_text(encoding="utf-8").strip("\n")
        if kept.suffix == ".md" and kept.is_file()
        else found.get(name)
    )


def _difference(said: str, given: str) -> tuple[int, str] | None:
    """The line, counted from 0, and the first word in which a block differs; None where it does not."""
    for number, (mine, theirs) in enumerate(zip_longest(said.splitlines(), given.splitlines(), fillvalue="")):
        if mine != theirs:
            for word, other in zip_longest(mine.split(), theirs.split(), fillvalue="nothing"):
                if word != other:
                    return number, f"{word} where the runs give {other}"
            return number, "spaces where the runs give others"
    return None


def fill(path: Path, text: str, found: Mapping[str, str]) -> str:
    """A document with its blocks written anew; those of other names stay."""

    def written(block: re.Match[str]) -> str:
        text_of = given(path, block["name"], found)
        return block[0] if text_of is None else f"{block[1]}{text_of}\n{block['end']}"

    return BLOCK.sub(written, text)


def write(paths: list[Path], found: Mapping[str, str]) -> None:
    """Write the blocks of documents. Raises UserError where one cannot be written."""
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if (new := fill(path, text, found)) != text:
            try:
                write_text(path, new)
            except OSError as error:
                raise UserError(f"{path}: cannot be written: {error.strerror}") from error
