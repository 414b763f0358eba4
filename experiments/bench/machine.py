"""Which machine, which versions: without them no figure means anything."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mer_lightning.training.cores import cores

PACKAGES = (
    *("torch", "lightning", "torchmetrics", "numpy", "hydra-core", "onnxruntime", "torch-pruning"),
    "mer-lightning",
)


def machine() -> dict[str, Any]:
    """Processor, cores, memory, and the load at this moment."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": cores(),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "load average": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def versions() -> dict[str, str | None]:
    """Python and the packages that the figures depend on; None for one that is not installed."""
    return {"python": sys.version.split()[0]} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _first(path: str, key: str) -> str:
    """The value of the first line ``key : value``; empty where the system has no such file."""
    file = Path(path)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
