"""The report and a run's own page: all files, true figures, nothing unescaped."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report import table
from mer_lightning.report.report import write_report, write_run_report
from mer_lightning.report.statistics import holm

PNAO = "pnao (pnao.min_width=2, pnao.rate=0.5, pnao.rounds=2)"
REWIND = "rewind_only (pnao.min_width=2, pnao.rounds=2)"
PNG = b"\x89PNG\r\n\x1a\n"
FIGURES = {
    "differences",
    "fig2_confusion",
    "fig3_rounds",
    "widths",
    "fig4_weights",
    "pareto",
    "calibration",
    "fusion_weights",
}
RUN_FIGURES = FIGURES - {"differences", "fig2_confusion"} | {"confusion"}


class Page(HTMLParser):
    """What a page holds: every tag with its attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def check_page(text: str) -> Page:
    """No scripts, nothing from elsewhere, every picture embedded and described."""
    page = Page(text)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert images
    for image in images:
        assert str(image["src"]).startswith("data:image/png;base64,")
        assert len(str(image["alt"])) > 40
        assert re.search(r"\d", str(image["alt"]))
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed")]
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert "@import" not in text
    return page


@pytest.fixture
def runs(trained_runs: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained_runs, tmp_path / "runs")


@pytest.fixture
def few(trained_runs: Path, tmp_path: Path) -> Path:
    """Two systems without rounds, which are quicker to report on."""
    for name in ("enf_0", "baseline_0"):
        shutil.copytree(trained_runs / name, tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_the_report_has_all_its_files(reported: Path) -> None:
    report = reported / "report"
    assert {p.name for p in report.iterdir()} == {
        "table1.csv", "table1.md", "table1.tex", "methods.md", "statistics.json", "index.html", "figures",
    }  # fmt: skip
    assert {p.stem for p in (report / "figures").iterdir()} == FIGURES
    assert all(p.read_bytes().startswith(PNG) for p in (report / "figures").iterdir())
    page = check_page((report / "index.html").read_text())
    assert "Does entropy fusion beat attention fusion?" in page.text
    assert "SYNTHETIC" not in page.text
    assert "published, not measured here" in page.text


def test_tables_hold_the_means_over_seeds_and_never_published_figures(reported: Path) -> None:
    with (reported / "report" / "table1.csv").open() as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["baseline", "enf", PNAO, REWIND]
    runs = [RunDirectory(reported / f"pnao_{seed}").read_results() for seed in (0, 1, 2)]
    mean = sum(r.test["test"].com for r in runs) / 3
    row = rows[PNAO]
    assert float(row["test_com"]) == pytest.approx(mean)
    assert float(row["seeds"]) == 3
    assert {r["paper"] for r in rows.values()} == {""}  # network and epochs are not the paper's
    of_one = [r.best for r in runs]
    for name in ("parameters", "macs"):
        assert float(row[name]) == pytest.approx(sum(getattr(r, name) for r in of_one) / 3)
        assert float(row[f"all_{name}"]) == pytest.approx(2 * float(row[name]))  # two folds
    markdown = (reported / "report" / "table1.md").read_text()
    assert f"{mean:.4f} ± " in markdown
    for text in (markdown, (reported / "report" / "table1.csv").read_text()):
        assert not [v for vs in table.PUBLISHED.values() for v in vs if v and f"{v:.4f}" in text]


def test_statistics_agree_with_the_page(reported: Path) -> None:
    statistics = json.loads((reported / "report" / "statistics.json").read_text())
    (data,) = statistics["data_sets"]
    text = Page((reported / "report" / "index.html").read_text()).text
    assert {(p["first"], p["second"], p["part"]) for p in data["pairs"]} == {
        (*pair, part)
        for pair in (("enf", "baseline"), (PNAO, "enf"), (PNAO, REWIND))
        for part in ("Train&Val", "test")
    }
    for answer in data["answers"]:
        assert answer["sentence"] in text
    tests = [pair["test"] for pair in (*data["pairs"], *data["no_loss"])]
    assert data["family"]["size"] == len(tests)
    assert [t["alpha"] for t in tests] == pytest.approx(holm([t["p"] for t in tests]))
    for t in tests:
        assert (t["p"] > t["alpha"]) == (t["low"] <= t["null"] <= t["high"])
    for pair in data["pairs"]:
        assert (pair["test"]["verdict"] == "no difference shown") == (
            pair["test"]["p"] > pair["test"]["alpha"]
        )
        d = pair["differences"]["com"]
        assert pair["test"]["low"] <= d["low"] <= d["value"] <= d["high"] <= pair["test"]["high"]
    assert [(p["unit"], p["clusters"], p["seeds"]) for p in data["power"]] == [
        (unit, n, seeds) for unit, n in (("speakers", 20), ("clips", 411)) for seeds in (3, 5, 20)
    ]
    assert data["settings"] == {
        "network.dimension": "8", "trainer.epochs": "3", "trainer.learning_rate": "0.01",
    }  # fmt: skip
    for key, value in data["settings"].items():
        assert f"{key}={value}" in text


def test_a_new_report_takes_the_place_of_the_old_one_and_of_nothing_else(few: Path) -> None:
    write_report(few)
    shutil.rmtree(few / "baseline_0")
    write_report(few)
    assert "baseline" not in (few / "report" / "table1.md").read_text()
    assert not [p for p in few.iterdir() if p.name.startswith(".")]
    (few / "report" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt, which is not of this program"):
        write_report(few)
    shutil.rmtree(few / "report")
    (few / "report").mkdir()
    (few / "report" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists, and"):
        write_report(few)
    (few / "report" / "index.html").write_text("<html>a report of mine</html>")
    with pytest.raises(UserError, match="exists, and"):
        write_report(few)
    assert (few / "report" / "mine.txt").read_text() == "mine"


def test_two_data_sets_are_kept_apart_and_the_page_says_why(few: Path) -> None:
    path = few / "enf_0" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"protocol": "nested"}))
    write_report(few)
    page = Page((few / "report" / "index.html").read_text())
    assert re.search(r"is kept apart from .*: they differ in protocol\.", page.text)


def test_names_are_escaped(few: Path) -> None:
    evil = "<script>alert(1)</script>"
    for run in (p for p in few.iterdir() if p.is_dir()):
        for name in ("results.json", "predictions.csv"):
            (run / name).write_text((run / name).read_text().replace("angry", evil))
        results = json.loads((run / "results.json").read_text())
        results["data"]["name"] = "<img src=x onerror=alert(2)> $\\frac$"
        (run / "results.json").write_text(json.dumps(results))
    write_report(few)
    write_run_report(RunDirectory(few / "enf_0"))
    for path in (few / "report" / "index.html", few / "enf_0" / "report.html"):
        page = check_page(path.read_text())
        assert "<script" not in path.read_text()
        assert not [a for _, a in page.tags if "onerror" in a]
        assert any(evil in str(a.get("alt")) for tag, a in page.tags if tag == "img")


def test_a_runs_own_page(reported: Path) -> None:
    alone = {"confusion", "calibration", "fusion_weights"}
    for name, figures in (("pnao_0", RUN_FIGURES), ("enf_0", alone), ("baseline_0", alone)):
        run = RunDirectory(reported / name)
        assert {p.stem for p in run.figures.iterdir()} == figures
        page = check_page((run.path / "report.html").read_text())
        results = run.read_results()
        assert f"{results.test['test'].com:.4f}" in page.text
        assert f"{results.best.selection:.4f} ± {results.best.selection_error:.4f}" in page.text
        assert "One seed: how much another training would differ" in page.text
        assert "0.0% fewer" not in page.text
        assert "100.0% left" not in page.text


def test_a_runs_page_can_be_written_again(few: Path) -> None:
    run = RunDirectory(few / "enf_0")
    write_run_report(run)
    first = (run.path / "report.html").read_bytes()
    write_run_report(run)
    assert (run.path / "report.html").read_bytes() == first


def test_gone_rounds_cost_figures_not_the_report(runs: Path) -> None:
    for fold in runs.glob("*/fold_*"):
        shutil.rmtree(fold)
    (found,) = write_report(runs)
    assert FIGURES - {p.name for p in found.pictures} == {"widths", "fig4_weights"}
    assert any("figure is left out" in caution for caution in found.cautions)


def test_a_single_run_is_reported_without_comparisons(trained_runs: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_runs / "enf_0", tmp_path / "runs" / "enf")
    (found,) = write_report(tmp_path / "runs")
    assert found.answers == []
    text = (tmp_path / "runs" / "report" / "index.html").read_text()
    assert "nothing to compare yet" in text
    assert any("no verdict" in caution for caution in found.cautions)
