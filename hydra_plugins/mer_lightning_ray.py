"""``hydra/launcher=ray``: every setting of a sweep is a task of Ray, on this machine or on a cluster.

Hydra looks for launchers in ``hydra_plugins`` alone. The sweep's folder and the data lie on a disk that all
machines see. When a machine is lost, Ray runs its tasks again elsewhere, and they go on from what is there.
"""

import io
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

LEASE = 120.0  # seconds after which a network disk has given up the locks of a machine that is gone


class Sweep(NamedTuple):
    """What all settings have in common."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig
    state: dict[Any, Any]  # Hydra's singletons
    folder: str  # where the command was given


class Outcome(NamedTuple):
    """What a setting returned, and what it printed meanwhile."""

    job: JobReturn
    out: str
    err: str


class RayLauncher(Launcher):
    """Settings as Ray tasks that each take ``cpus`` and ``gpus``: ``conf/hydra/launcher/ray.yaml``."""

    def __init__(self, address: str | None, cpus: float, gpus: float, retries: int) -> None:
        self.address = address
        self.options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": retries}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all settings; where Ray lost one for good, raise its error once the others have ended."""
        from mer_lightning.errors import optional
        from mer_lightning.training.signals import stop_if_asked

        setup_globals()
        ray = optional("ray", "mer-lightning[ray]")
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        connect(ray, self.address)
        sweep = ray.put(Sweep(self.context, self.task, self.config, Singleton.get_state(), str(Path.cwd())))
        task = ray.remote(**self.options)(run_setting)
        numbered = enumerate(job_overrides, start=initial_job_idx)
        try:
            return gather(ray, {task.remote(sweep, n, overrides): overrides for n, overrides in numbered})
        except KeyboardInterrupt:
            stop_if_asked()  # with the signal's number, which Ray forgets
            raise


def connect(ray: Any, address: str | None) -> None:
    """Start Ray on this machine, or join the cluster at ``address``. UserError if that is impossible."""
    from mer_lightning.errors import UserError, one_line

    if ray.is_initialized():  # by an earlier batch of a search
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "error"}
    ends = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            host, colon, port = address.rpartition(":")
            if colon:  # Ray would try for ten minutes
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address, **quiet)
        else:
            ray.init("local", include_dashboard=False, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"hydra.launcher.address={address}: Ray cannot be used: {one_line(error)[:300]}"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, ends)  # Ray puts its own there


def gather(ray: Any, tasks: dict[Any, Sequence[str]]) -> list[JobReturn]:
    """The tasks' outcomes, in their order; what they print is shown as they end."""
    outcomes: dict[Any, JobReturn] = {}
    errors: list[Exception] = []
    waiting = list(tasks)
    while waiting:
        (ended,), waiting = ray.wait(waiting)
        try:
            outcomes[ended], out, err = ray.get(ended)
        except ray.exceptions.RayError as error:
            errors.append(getattr(error, "cause", None) or error)
            setting = ",".join(filter_overrides(tasks[ended]))
            out, err = "", f"failed    {setting}: {type(errors[-1]).__name__}\n"
        print(out, end="", flush=True)
        print(err, end="", file=sys.stderr, flush=True)
    if errors:
        raise errors[0]
    return [outcomes[task] for task in tasks]


def run_setting(sweep: Sweep, number: int, overrides: Sequence[str]) -> Outcome:
    """One setting, in a process of Ray's."""
    from mer_lightning.files.run_directory import RunDirectory

    os.chdir(sweep.folder)
    setup_globals()
    Singleton.set_state(sweep.state)
    config = sweep.context.config_loader.load_sweep_config(sweep.config, list(overrides))
    with open_dict(config):
        config.hydra.job.id = f"{config.hydra.job.name}_{number}"
        config.hydra.job.num = number
    HydraConfig.instance().set_config(config)
    RunDirectory(Path(config.hydra.sweep.dir, config.hydra.sweep.subdir)).wait_until_free(LEASE)
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        job = run_job(
            hydra_context=sweep.context,
            task_function=sweep.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    return Outcome(job, out.getvalue(), err.getvalue())
