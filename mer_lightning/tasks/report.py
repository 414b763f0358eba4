"""``task=report``: all finished runs below a directory, compared."""

from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report import table
from mer_lightning.report.findings import Findings
from mer_lightning.report.registered import check, endpoint, read_registered
from mer_lightning.report.report import INDEX, write_report


def run(config: Config, directory: RunDirectory) -> None:
    """Write the report, and show its table and answers in the terminal."""
    if not config.report.runs:
        raise UserError("report.runs is not set: name the folder that holds the runs, report.runs=DIR")
    folder = Path(config.report.runs)
    plan = read_registered(Path(config.report.registered)) if config.report.registered else None
    found = write_report(folder, config.report.format)
    console = Console(soft_wrap=True, highlight=False)
    for f in found:
        show(console, f)
        for line in [*check(plan, f.data), *endpoint(plan, f.data)] if plan else []:
            console.print(f"registered  {line}", markup=False)
    console.print(f"report      {(folder / 'report' / INDEX).resolve()}", markup=False)


def show(console: Console, f: Findings) -> None:
    """A data set's table, answers, remarks and cautions."""
    shown = Table(title=table.caption(f.data), title_justify="left")
    for index, name in enumerate(table.header(f.data)):
        shown.add_column(name, justify="right" if index else "left")
    for row in f.rows:
        shown.add_row(*(cell.replace("[", "\\[") for cell in table.cells(row)))
    wide = Measurement.get(console, console.options.update(max_width=1000), shown).maximum
    Console(width=max(wide, console.width), highlight=False).print(shown)  # a long line, but no cut numbers
    for answer in f.answers:
        console.print(f"{answer.question} {answer.verdict.upper()}. {answer.sentence}", markup=False)
    for note in (*f.remarks, *f.cautions):
        console.print(f"note: {note}", markup=False)
