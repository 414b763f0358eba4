"""Which of Hydra's jobs this process does."""

import hashlib
import os
import re
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

LONGEST = 150  # bytes of a folder's name; most disks take 255
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


def folder_name(swept: str, otherwise: str) -> str:
    """The folder of a setting by what the sweep varies: ``pnao.rate=0.01,seed=1``.

    Where characters are left out that a disk, a shell or Hydra might read as its own, or the name is too
    long, a hash tells it from others.

    >>> folder_name("+experiment=pnao,seed=1", "custom")
    'experiment=pnao,seed=1'
    >>> folder_name("data.labels='a b/c'", "custom")
    'data.labels=a_b_c-eab9791d'
    """
    plain = re.sub(r"(^|,)\+{1,2}", r"\1", swept) or otherwise
    safe = re.sub(r"[^\w.,=+-]", "_", re.sub(r"""[][{}()'"\\]""", "", plain))
    short = safe.encode()[:LONGEST].decode(errors="ignore")
    return short if short == plain else f"{short}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)  # of conf/config.yaml
