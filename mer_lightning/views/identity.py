"""What a run is called on a dashboard, what it belongs to, and which settings are shown there."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from mer_lightning.config.schema import Config
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks.sweep import in_a_sweep, setting_name

# what says nothing about the results, or names places on this machine
HIDDEN = (
    *("task", "input", "output", "format", "model", "extract", "demo", "report", "logger", "folds"),
    *("data.root", "data.labels", "pnao.like", "combine.runs"),
)


def run_group() -> str | None:
    """The name of the sweep's directory, or None."""
    return Path(HydraConfig.get().sweep.dir).name if in_a_sweep() else None


def run_name(config: Config, run: RunDirectory) -> str:
    """The setting of a sweep's job, or the experiment; for a run made inside a run its folder, too."""
    if in_a_sweep():
        return setting_name(run)
    own = HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else run.path
    return os.path.normpath(Path(config.experiment_name, os.path.relpath(run.path, own)))


def shown_settings(config: Config) -> dict[str, Any]:
    """The configuration without ``HIDDEN``, nested."""
    shown = asdict(config)
    for key in HIDDEN:
        group, _, name = key.rpartition(".")
        (shown[group] if group else shown).pop(name)
    return shown
