"""Which of Hydra's jobs this process does."""

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

SIDE_BY_SIDE = ("joblib", "ray", "submitit_local")  # launchers whose jobs share this machine


def in_a_sweep() -> bool:
    """Whether this is a sweep, or one of its jobs."""
    return bool(HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)


def sweep_folder() -> Path:
    """Where the sweep goes."""
    return Path(HydraConfig.get().sweep.dir)


def alongside() -> bool:
    """Whether the sweep's other jobs run on this machine at the same time."""
    return in_a_sweep() and HydraConfig.get().runtime.choices["hydra/launcher"] in SIDE_BY_SIDE


def setting_name(run: Path) -> str:
    """The name of a job's run directory, below the sweep's folder."""
    return os.path.relpath(run, sweep_folder())
