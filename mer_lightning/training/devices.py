"""Which devices a fit runs on, who starts the processes for them, and whether that can work."""

import logging
import os
import warnings
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from mer_lightning.config.groups import TrainerConfig
from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError

BY_HAND = {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"}  # environment variables on every machine


def gpus(accelerator: str) -> int:
    """How many GPUs of this machine a run may use."""
    return 0 if accelerator == "cpu" else torch.cuda.device_count()


def devices(trainer: TrainerConfig) -> int:
    """Devices of one fit on each machine."""
    return gpus(trainer.accelerator) if trainer.devices == "auto" else int(trainer.devices)


def world(trainer: TrainerConfig) -> int:
    """Devices of one fit on all machines; a process each."""
    return devices(trainer) * trainer.nodes


def placement(trainer: TrainerConfig, device: int | None) -> dict[str, Any]:
    """Where a Trainer runs, as its arguments: on ``device`` (None: Lightning's choice) or on all of them."""
    if world(trainer) == 1:  # the plugin: Lightning need not guess from SLURM's variables
        return {
            "accelerator": "gpu" if gpus(trainer.accelerator) else "cpu",  # Apple's has no double precision
            "devices": 1 if device is None else [device],
            "plugins": [LightningEnvironment()],
        }
    # static: some losses leave some parameters unused (the d, with loss=sum), in every step the same
    return everywhere(trainer) | {"strategy": DDPStrategy(static_graph=True)}


def everywhere(trainer: TrainerConfig) -> dict[str, Any]:
    """All devices, as arguments of Lightning's Trainer or Fabric."""
    return {
        "accelerator": "gpu" if gpus(trainer.accelerator) else "cpu",
        "devices": devices(trainer),
        "num_nodes": trainer.nodes,
        "plugins": [cluster()],
    }


def cluster() -> ClusterEnvironment:
    """Who starts the processes: torchrun, srun, or (those of this machine) Lightning.

    ``SLURM_NTASKS``, by which Lightning goes, is also there in a batch script, which is one process.
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return SLURMEnvironment(auto_requeue=False)  # signals.py does, without Lightning's checkpoints
    return LightningEnvironment()


def check_devices(config: Config) -> None:
    """A UserError where the devices that are asked for are not there, or cannot work together."""
    trainer = config.trainer
    here = gpus(trainer.accelerator)
    if trainer.devices == "auto" and not here:
        raise UserError(
            "trainer.devices=auto takes every GPU, and there is none here: on the CPU, give the "
            "number of processes that share a fit (trainer.devices=2)"
        )
    if (here or trainer.accelerator == "gpu") and devices(trainer) > max(here, 1):
        raise UserError(
            f"trainer.devices={trainer.devices}: {here} GPUs are visible; ask for no more, "
            "or for trainer.accelerator=cpu"
        )
    if world(trainer) == 1 and not TorchElasticEnvironment.detect():
        return
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError(
            "a sweep cannot share one fit among processes, each would begin the sweep again: give each job "
            "one device (trainer=default; its folds go side by side), or run every setting by itself"
        )
    if config.folds.workers not in ("auto", 1):
        raise UserError(
            f"folds.workers={config.folds.workers}: folds go one after another where each fit has "
            f"{world(trainer)} devices; leave folds.workers out, or take trainer=default"
        )
    _check_how_it_was_started(trainer)


def _check_how_it_was_started(trainer: TrainerConfig) -> None:
    asked = f"trainer.devices={devices(trainer)} trainer.nodes={trainer.nodes}"
    try:
        environment = cluster()
        environment.validate_settings(num_devices=devices(trainer), num_nodes=trainer.nodes)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{asked} is not how this job was started: {error}") from error
    alone = isinstance(environment, LightningEnvironment) and not os.environ.keys() >= BY_HAND
    if trainer.nodes > 1 and alone:
        raise UserError(
            f"{asked}: nobody has started this command on the other machines; start it with srun or "
            f"torchrun, or on each machine with {', '.join(sorted(BY_HAND))} set"
        )


def quieten_lightning() -> None:
    """Keep Lightning's advice on devices and loaders out of a user's terminal; errors stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
