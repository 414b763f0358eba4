"""Figures in the prose of documents: each has to be in an output that an experiment kept."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.evidence.documents import BLOCK, Mistake

# 0.35, .0029, 1,841,148, 28.9 %: but not 1.6.2, a date, or what is part of a word
NUMBER = re.compile(r"(?<![\w.,/:])[-+\u2212]?(\d{1,3}(?:,\d{3})+|\d*\.\d+|\d+(?= ?%))(?![\w/]|[.,]\d)( ?%)?")
NOT_PROSE = re.compile(r'^```.*?^```|`[^`\n]*`|"[^"\n]*"|\]\([^)]*\)|<[^>]*>', re.DOTALL | re.MULTILINE)
KEPT = re.compile(r"(?<![\w.])[-+\u2212]?(\d{1,3}(?:,\d{3})+|\d+\.?\d*|\.\d+)(?:e([-+]?\d+))?")
AGREED = {0.95, 95.0, 0.01, 0.05, 0.25}  # levels of intervals, the margin, the 0.25 in Com: no results
SENTENCE = re.compile(r"\S.*?(?=[.:?!](?:\s|$)|\n\n|\n- |\Z)", re.DOTALL)
CLAIM = re.compile(
    r"(?<!no )(?<!not )\b(better|worse|beats?|outperforms?)\b|(?<!not )(?<!hardly ever )\bruled\s+out\b", re.I
)
INTERVAL = re.compile(r"\[([-+\u2212.\d]+), ([-+\u2212.\d]+)\]")
TAKEN_BACK = "## Taken back"  # quotes such sentences
OVERALL = ("evidence", "mer2023")  # the pages on all folders may quote these; mer2023 holds the paper's
SPEED = ("bench", "extraction")  # figures of one machine, told with it


def check_all(paths: Sequence[Path], root: Path) -> list[Mistake]:
    """What is wrong in all documents but those on speed."""
    return [mistake for path in paths if path.parent.name not in SPEED for mistake in check(path, root)]


def check(path: Path, root: Path) -> Iterator[Mistake]:
    """Claims without an interval, and figures of the prose that no output kept in the page's folder has.

    Of pages on all folders, one of the evidence or of the paper. Whole numbers are not looked for, but for
    thousands and percentages, and a short figure may be found by chance: figures belong into blocks.

    Figures are compared as they are rounded, without their sign: prose says "a loss of .03". Blocks are left
    out: they are compared to the letter.
    """
    own = (path.parent / "results").is_dir()
    folders = [path.parent] if own else [root / "experiments" / name for name in OVERALL]
    there = {number for folder in folders for number in kept(folder)}
    text = path.read_text(encoding="utf-8")
    for skipped in (BLOCK, NOT_PROSE):
        text = skipped.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    yield from _claims(text, path.relative_to(root))
    for found in NUMBER.finditer(text):
        value, digits = _read(found[1])
        scales = (1, 100) if found[2] else (1,)
        if value not in AGREED and not any(
            round(scale * k, digits) == value for scale in scales for k in there
        ):
            line = text.count("\n", 0, found.start()) + 1
            yield Mistake(
                path.relative_to(root), line, f"no output in {folders[0].name} has {found[0].strip()}"
            )


def _claims(text: str, shown: Path) -> Iterator[Mistake]:
    """Sentences that say more than a number, without an interval."""
    text = text.partition(TAKEN_BACK)[0]
    for sentence in SENTENCE.finditer(text):
        asked = text.startswith("?", sentence.end())
        if (word := CLAIM.search(sentence[0])) and not asked:
            line = text.count("\n", 0, sentence.start() + word.start()) + 1
            ends = [
                [float(e.replace("\u2212", "-")) for e in i.groups()] for i in INTERVAL.finditer(sentence[0])
            ]
            if not ends:
                yield Mistake(shown, line, f"{word[0]!r} without its interval")
            elif word[1] and all(low <= 0 <= high for low, high in ends):
                yield Mistake(shown, line, f"{word[0]!r} beside an interval that holds zero")


def kept(folder: Path) -> set[float]:
    """Every number in the outputs kept below a folder, without its sign."""
    return {number for file in folder.rglob("results/*") for number in _numbers(file)}


def _numbers(file: Path) -> Iterator[float]:
    if file.suffix not in (".csv", ".md"):
        return
    text = file.read_text(encoding="utf-8")
    for number, power in KEPT.findall(text if file.suffix == ".md" else text.replace(",", " ")):
        yield float(number.replace(",", "")) * 10.0 ** int(power or 0)


def _read(number: str) -> tuple[float, int]:
    """Its value, and how many digits it has after the point."""
    return float(number.replace(",", "")), len(number.partition(".")[2])
