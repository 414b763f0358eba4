"""Before training: a mistake leaves no trace in the run directory; data are known by what they hold."""

import shutil
from pathlib import Path

import pytest

from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.tasks.helpers import Small, trained


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["+experiment=enf", "priors={angry: 1, hapy: 1, sad: 1}"], "priors: 'happy': expected a number"),
        (["+experiment=random", "pnao.like=nowhere"], "nowhere: not a finished run"),
        (["+experiment=final", "combine.runs=[nowhere,there]"], "nowhere: not a finished run"),
        (["+experiment=label_revision", "data.tests=[]"], "needs an unlabelled set"),
    ],
)
def test_a_mistake_leaves_the_directory_to_the_corrected_command(
    small: Small, tmp_path: Path, overrides: list[str], says: str
) -> None:
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(UserError, match=says):
        fit.run(small(*overrides), run)
    assert not list(run.path.iterdir())


def test_runs_of_other_data_are_not_combined(small: Small, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", seed=1)
    runs = [
        trained(composed(*folder_overrides(other), *SMALL, "+experiment=enf"), tmp_path / f"enf_{i}")
        for i in range(2)
    ]
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(UserError, match="the labels are not those"):
        fit.run(small("+experiment=final", f"combine.runs=[{runs[0].path},{runs[1].path}]"), run)
    assert not list(run.path.iterdir())


def test_the_same_data_elsewhere_go_on_and_others_do_not(small: Small, folder: Path, tmp_path: Path) -> None:
    pnao = trained(small("+experiment=pnao", "pnao.rounds=1"), tmp_path / "pnao")
    moved = shutil.move(folder, tmp_path / "elsewhere")

    def there(data: Path, *overrides: str) -> None:
        run = tmp_path / overrides[0].removeprefix("+experiment=")
        fit.run(composed(*folder_overrides(data), *SMALL, "pnao.rounds=1", *overrides), RunDirectory(run))

    there(moved, "+experiment=pnao")  # a finished one is shown
    there(moved, "+experiment=random", f"pnao.like={pnao.path}")
    pnao.results.unlink()
    there(moved, "+experiment=pnao")
    assert pnao.finished
    with pytest.raises(UserError, match="the labels are not those"):
        there(write_folder(tmp_path / "other", seed=1), "+experiment=pnao")


def test_a_neighbour_that_cannot_be_read_is_no_concern(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(small("+experiment=pnao", "pnao.rounds=1"), tmp_path / "pnao")
    (tmp_path / "another's").mkdir()
    whole = RunDirectory.finished.fget

    def finished(run: RunDirectory) -> bool:
        if run.path.name == "another's":
            raise PermissionError(13, "Permission denied")
        return whole(run)  # type: ignore[misc]

    monkeypatch.setattr(RunDirectory, "finished", property(finished))
    random = trained(small("+experiment=random", "pnao.rounds=1"), tmp_path / "random")
    assert not random.reference.exists()  # it found the run beside it
