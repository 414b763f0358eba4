"""What goes into a paper: the LaTeX table, the methods paragraph, the figures for print."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mer_lightning.errors import UserError
from mer_lightning.report import figures, latex
from mer_lightning.report.figures.style import COLUMN, TEXT_WIDTH
from mer_lightning.report.findings import findings
from mer_lightning.report.methods import methods, removal_text
from mer_lightning.report.report import write_report
from mer_lightning.report.runs import FinishedRun, find_runs
from mer_lightning.report.systems import data_sets
from tests.conftest import composed
from tests.report.test_figures import drawn

EVIL = "a_b & 50% $x^2$ #1 {c} ~d \\e <f>"


def bare(text: str) -> str:
    """LaTeX without what is escaped."""
    return re.sub(r"\\(?:[{}$&#%_]|\\)", "", text)


def check_table(text: str) -> None:
    """Balanced braces, dollars and environments; every row with as many cells as there are columns."""
    plain = bare(text)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{([^}]*)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    for columns, inside in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in inside.splitlines() if line.endswith(r"\\")]
        assert rows
        assert {re.sub(r"\\&", "", row).count("&") + 1 for row in rows} == {len(columns)}


def test_the_table_is_sound_latex_and_its_best_means_are_bold(reported: Path) -> None:
    text = (reported / "report" / "table1.tex").read_text()
    check_table(text)
    (found,) = (findings(data) for data in data_sets(find_runs(reported)))
    for cell, better in ((("test", "com"), max), (("test", "dim"), min)):
        best = better(e.mean for row in found.rows if (e := row.scores[cell]))
        printed = f"{best:.4f}".replace("-", "$-$")
        assert rf"\textbf{{{printed}}}" in text
    assert r"Train\&Val" in text


def test_every_special_character_is_escaped() -> None:
    assert not re.search(r"[$&#%_]", bare(latex.escape(EVIL)))
    assert latex.escape("a_b\n50% & \\x") == r"a\_b 50\% \& \textbackslash{}x"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here: texlive-latex-extra runs this")
def test_the_table_compiles(reported: Path, tmp_path: Path) -> None:
    table = (reported / "report" / "table1.tex").read_text()
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}"
    page = rf"\documentclass{{article}}{packages}\begin{{document}}{table}\end{{document}}"
    (tmp_path / "page.tex").write_text(page.replace(r"\begin{document}", "\\begin{document}\n"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_the_methods_say_what_the_runs_recorded(finished: list[FinishedRun]) -> None:
    (data,) = data_sets(finished)
    text = methods(findings(data))
    results = finished[0].results
    for said in (
        f"{results.data.n['train']:,} utterances in train", "29 groups", "2 folds", "at most 3 epochs",
        "learning rate 0.01", "enf, seeds 0, 1, 2", "within one standard error", "Holm's procedure",
        f"torch {results.versions['torch']}", "do not record the hardware",
    ):  # fmt: skip
        assert said in text
    assert "None" not in text


def test_the_methods_do_not_take_a_control_for_pnao(finished: list[FinishedRun]) -> None:
    pnao = next(run for run in finished if run.experiment == "pnao")
    settings = pnao.config | {"pnao": pnao.config["pnao"] | {"control": "random"}}
    control = replace(pnao, config=settings, results=replace(pnao.results, experiment="random"))
    unpruned = next(run for run in finished if run.experiment == "rewind_only")
    text = removal_text([pnao, control, unpruned])
    assert text.startswith("In pnao a round removed the nodes whose importance")
    assert "In random each round kept as many parameters as pnao's" in text
    assert "rewind_only" not in text


def test_figures_for_print_fit_a_column_and_keep_their_text() -> None:
    for name, figure in drawn().items():
        if name not in ("confusion", "pair", "rounds"):
            continue
        svg = figures.vector(figure, "svg").decode()
        width = float(figure.get_figwidth())
        assert width <= COLUMN + 0.01 or width == pytest.approx(TEXT_WIDTH)
        assert "<text" in svg
        pdf = figures.vector(drawn()[name], "pdf")
        assert pdf.startswith(b"%PDF")
        assert b"/FontFile2" in pdf  # TrueType, embedded
        assert b"/Type3" not in pdf


def test_a_report_in_other_formats(trained_runs: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_runs / "enf_0", tmp_path / "runs" / "enf")
    write_report(tmp_path / "runs", ["pdf", "svg"])
    suffixes = {p.suffix for p in (tmp_path / "runs" / "report" / "figures").iterdir()}
    assert suffixes == {".pdf", ".svg"}
    with pytest.raises(UserError, match=r"report\.format=gif: expected one of png, pdf, svg"):
        composed("report.format=[gif]")
