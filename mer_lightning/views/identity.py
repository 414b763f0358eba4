"""What a run is called on a dashboard, what it belongs to, and which settings are shown there."""

import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from mer_lightning.config.identity import identity
from mer_lightning.config.job import in_a_sweep, setting_name, sweep_folder
from mer_lightning.config.schema import Config
from mer_lightning.files.run_directory import RunDirectory


def run_group() -> str | None:
    """The name of the sweep's directory, or None."""
    return sweep_folder().name if in_a_sweep() else None


def run_name(config: Config, run: RunDirectory) -> str:
    """The setting of a sweep's job, or the experiment; for a run made inside a run its folder, too."""
    if in_a_sweep():
        return setting_name(run.path)
    own = HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else run.path
    return os.path.normpath(Path(config.experiment_name, os.path.relpath(run.path, own)))


def shown_settings(config: Config) -> dict[str, Any]:
    """What the results depend on, nested; no places of this machine."""
    return identity(config, places=False)
