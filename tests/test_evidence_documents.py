"""What documents say, against the outputs that are kept."""

from pathlib import Path

from experiments.evidence import __main__ as command
from experiments.evidence import documents, numbers, tables


def test_the_documents_say_what_the_kept_tables_give() -> None:
    paths = documents.documents(command.ROOT)
    assert documents.check(paths, tables.blocks(tables.read(command.KEPT)), command.ROOT) == []


def test_a_figure_that_no_output_has_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "experiments" / "one"
    (folder / "results").mkdir(parents=True)
    (folder / "results" / "table.csv").write_text("name,left,score,e\na,72340,0.28851,2e-3\n")
    page = folder / "README.md"
    page.write_text(
        "72,340 parameters, 28.9 % or .289, `0.77`, [x](0.78.md); a loss of -.2885\nand .002, 3.1.4\n"
    )
    assert list(numbers.check(page, tmp_path)) == []
    page.write_text("it has\n.288 and 723,40 and 29.0 %, 72,341 and 3 %\n")
    assert [str(m).split(" has ")[1] for m in numbers.check(page, tmp_path)] == [
        ".288",
        "29.0 %",
        "72,341",
        "3 %",
    ]
    assert (
        str(next(numbers.check(page, tmp_path))) == "experiments/one/README.md:2: no output in one has .288"
    )


def test_a_claim_without_its_interval_is_found(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    page = tmp_path / "README.md"
    page.write_text("No better.\nIt is better by some [+.01, +.05]. A loss is not ruled out.\n")
    assert list(numbers.check(page, tmp_path)) == []
    page.write_text(
        "One.\nTwo is\nbetter. And a loss is ruled out, [x](y.md).\n\n## Taken back\n\nIt is better.\n"
    )
    assert [str(m) for m in numbers.check(page, tmp_path)] == [
        "README.md:3: 'better' without its interval",
        "README.md:3: 'ruled out' without its interval",
    ]
    page.write_text("A beats B [-.01, +.05].\n")
    (mistake,) = numbers.check(page, tmp_path)
    assert mistake.said == "'beats' beside an interval that holds zero"


def test_every_figure_in_the_documents_is_in_an_output_that_is_kept() -> None:
    paths = documents.documents(command.ROOT)
    assert len(paths) > 8
    assert [str(m) for m in numbers.check_all(paths, command.ROOT)] == []
