"""Writes the pages: one over many finished runs, and one for a single run."""

import json
from collections.abc import Sequence
from pathlib import Path

from mer_lightning.errors import UserError
from mer_lightning.files.atomic import new_folder, refuse_strangers, write_text
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report import latex, table
from mer_lightning.report.findings import Findings, findings, statistics_json
from mer_lightning.report.gallery import run_pictures
from mer_lightning.report.methods import methods
from mer_lightning.report.page import report_page, run_page
from mer_lightning.report.pictures import Picture
from mer_lightning.report.runs import find_runs, read_run
from mer_lightning.report.systems import data_sets

INDEX = "index.html"
FILES = (INDEX, "table1.csv", "table1.md", "table1.tex", "methods.md", "statistics.json", "figures")
OURS = '<meta name="generator" content="mer_lightning">'  # in the head of every page


def write_report(runs_dir: Path, formats: Sequence[str] = ("png",)) -> list[Findings]:
    """All finished runs below ``runs_dir`` into ``runs_dir/report/``; what was found, for the terminal.

    formats: of the figures' files, some of png, pdf and svg.
    The folder is built under another name and then takes the place of an older report.
    Raises UserError if there is no finished run, if one is broken, or if ``report`` holds something else.
    """
    target = report_folder(runs_dir)
    found = [findings(data) for data in data_sets(find_runs(runs_dir))]
    try:
        with new_folder(target) as folder:
            write_files(folder, found, formats)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from error
    return found


def report_folder(runs_dir: Path) -> Path:
    """``runs_dir/report``. Raises UserError if it is there and not a report, or somebody added to it."""
    target = runs_dir / "report"
    if target.exists() and not ours(target / INDEX):
        raise UserError(f"{target} exists, and is not a report; move it, or give another report.runs")
    refuse_strangers(target, FILES)
    return target


def ours(page: Path) -> bool:
    """Whether a page was written by this program."""
    return page.is_file() and OURS in page.read_text(encoding="utf-8", errors="replace")


def write_files(folder: Path, found: Sequence[Findings], formats: Sequence[str]) -> None:
    """The report's files."""
    sets = [f.data for f in found]
    write_text(folder / "table1.csv", table.csv_text(sets))
    write_text(folder / "table1.md", "\n".join(markdown(f) for f in found))
    write_text(folder / "table1.tex", latex.tables(found))
    write_text(folder / "methods.md", "\n".join(methods(f) for f in found))
    statistics = json.dumps(statistics_json(found), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / "statistics.json", statistics + "\n")
    for number, f in enumerate(found):
        prefix = f"{number + 1}_" if len(found) > 1 else ""  # several data sets have the same figures
        write_pictures(folder / "figures", f.pictures, formats, prefix)
    write_text(folder / INDEX, report_page(found))


def markdown(f: Findings) -> str:
    """A data set's table, answers, remarks and cautions."""
    answers = [f"- **{a.question}** {a.verdict}: {a.sentence}" for a in f.answers]
    notes = [f"- note: {note}" for note in (*f.remarks, *f.cautions)]
    return table.markdown(f.data) + "\n" + "\n".join([*answers, *notes]) + "\n"


def write_pictures(
    folder: Path, pictures: Sequence[Picture], formats: Sequence[str] = ("png",), prefix: str = ""
) -> None:
    """``NAME.png`` each, and the other formats."""
    folder.mkdir(exist_ok=True)
    for picture in pictures:
        for kind in formats:
            (folder / f"{prefix}{picture.name}.{kind}").write_bytes(picture.file(kind))


def write_run_report(run: RunDirectory) -> None:
    """``figures/`` and ``report.html`` of a finished run, in its directory.

    Raises UserError if the run is not finished or its files are broken.
    """
    finished = read_run(run.path)
    pictures, missing = run_pictures(finished)
    with new_folder(run.figures) as folder:
        write_pictures(folder, pictures)
    write_text(run.report, run_page(finished, pictures, missing))
