"""``task=report`` from the configuration to the terminal."""

from pathlib import Path

import pytest

from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit, report
from tests.conftest import SMALL, composed, folder_overrides, write_folder

REGISTERED = Path(__file__).parents[2] / "experiments" / "mer2023" / "registered.yaml"


def asking(runs: Path | None, *overrides: str) -> Config:
    """``task=report`` on a folder."""
    return composed("task=report", *([f"report.runs={runs}"] if runs else []), *overrides)


def test_the_terminal_shows_the_table_the_answers_and_where_the_page_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_overrides(write_folder(tmp_path / "data"))
    for name in ("enf", "baseline"):
        fit.run(composed(*data, *SMALL, f"+experiment={name}"), RunDirectory(tmp_path / "runs" / name))
    capsys.readouterr()
    report.run(asking(tmp_path / "runs", f"report.registered={REGISTERED}"), RunDirectory(tmp_path / "out"))
    shown = capsys.readouterr().out
    assert "Does entropy fusion beat attention fusion?" in shown
    assert "no verdict is given" in shown  # one seed
    assert "registered  differs: protocol paper, registered nested" in shown
    assert "registered  missing: pnao, seed 0, 1, 2, 3, 4" in shown
    assert str(tmp_path / "runs" / "report" / "index.html") in shown.replace("\n", "")
    assert not (tmp_path / "out").exists()


def test_mistakes_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.runs is not set"):
        report.run(asking(None), RunDirectory(tmp_path))
    with pytest.raises(UserError, match="no such directory"):
        report.run(asking(tmp_path / "nowhere"), RunDirectory(tmp_path))
