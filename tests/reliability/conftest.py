"""A finished run that several tests damage, move and compare copies of."""

from typing import NamedTuple

import pytest

from mer_lightning.config.schema import Config
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.reliability.targets import without_figures


class Finished(NamedTuple):
    config: Config
    run: RunDirectory


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished run of three rounds on two folds, not to be changed."""
    root = tmp_path_factory.mktemp("finished")
    config = composed(*folder_overrides(write_folder(root / "data")), *SMALL, "+experiment=pnao")
    run = RunDirectory(root / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "write_run_report", without_figures)
        fit.run(config, run)
    return Finished(config, run)
