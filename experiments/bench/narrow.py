"""What the compact network saves when it predicts: dense, compact and masked, in three runtimes."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from experiments.bench.measure import Figure, Scale, interleaved, medians, ratio, timed
from experiments.bench.setting import CPU, fold_data, masked, new_module, settings, thinning
from mer_lightning.data.standardise import Standardisation
from mer_lightning.errors import optional
from mer_lightning.export.module import export
from mer_lightning.model.base import EmotionNetwork
from mer_lightning.model.checkpoint import Trained
from mer_lightning.model.decisions import EnsembleWeights
from mer_lightning.pnao import compact
from mer_lightning.results.predictor import Predictor

KEPT = 0.5  # of every group's nodes
BATCHES = (1, 32, 256)
ENOUGH = 0.85  # of what the ratio of multiply-accumulates allows, at the largest batch
UTTERANCES = 2048  # predicted in a turn, in batches
Features = dict[str, Tensor]
Run = Callable[[Features], Any]


def compact_speedup(scale: Scale) -> list[Figure]:
    """Predictions per second of the compact network over the dense one, by runtime and batch; one thread.

    The details have the seconds of the masked network, too, which is as large as the dense one.
    """
    config = settings(f"data.size={scale.size}")
    data = fold_data(config)
    dense = new_module(config, data).network.eval()
    masks = thinning(dense, KEPT)
    networks = {"dense": dense, "compact": compact(dense, masks)}
    if scale.complete:
        networks["masked"] = masked(dense, masks)
    allowed = dense.macs() / networks["compact"].macs()
    features = data.table(CPU)[torch.arange(max(BATCHES))].features
    figures = []
    for runtime, make in RUNTIMES.items():
        reason = "only without --quick" if runtime != "python" else ""
        if scale.complete or not reason:
            try:
                runs = {name: make(network, data.standardisation) for name, network in networks.items()}
                figures += [_speedup(runtime, runs, features, batch, allowed, scale) for batch in BATCHES]
                continue
            except Exception as error:  # a runtime, or the compiler that it needs, is not there
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
        figures += [
            Figure(f"compact_speedup.{runtime}.{b}", None, higher=True, skipped=reason) for b in BATCHES
        ]
    return figures


def _speedup(
    runtime: str, runs: dict[str, Run], features: Features, batch: int, allowed: float, scale: Scale
) -> Figure:
    """Of one runtime at one batch; ``allowed``: the ratio of multiply-accumulates."""
    part = {name: x[:batch].contiguous() for name, x in features.items()}
    calls = min(200, UTTERANCES // batch) if scale.complete else 512 // batch + 4
    sides = {name: timed(lambda run=run: run(part), calls) for name, run in runs.items()}
    times = interleaved(sides, 2 * scale.repeats + 1)
    details = {"seconds per batch": medians(times), "mac_ratio": round(allowed, 3)}
    goal = ENOUGH * allowed if batch == max(BATCHES) else None
    gain = ratio(times["dense"], times["compact"])
    return Figure(f"compact_speedup.{runtime}.{batch}", gain, goal, higher=True, details=details)


def in_python(network: EmotionNetwork, _: Standardisation) -> Run:
    """The network as it is."""
    return torch.inference_mode()(network)


def compiled(network: EmotionNetwork, _: Standardisation) -> Run:
    """By torch.compile, which needs a C++ compiler."""
    return torch.inference_mode()(torch.compile(network, dynamic=False))


def in_onnx_runtime(network: EmotionNetwork, standardisation: Standardisation) -> Run:
    """As the program exports it, the standardisation of the inputs included."""
    onnxruntime = optional("onnxruntime", "mer-lightning[export]")
    classes = tuple(str(i) for i in range(network.architecture.classes))
    alone = EnsembleWeights(torch.ones(1), torch.ones(1))
    predictor = Predictor(classes, (Trained(network, standardisation),), alone, "posterior")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export(predictor, {}, path, "onnx")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda features: session.run(None, {name: x.numpy() for name, x in features.items()})


RUNTIMES: dict[str, Callable[[EmotionNetwork, Standardisation], Run]] = {
    "python": in_python,
    "onnx": in_onnx_runtime,
    "compiled": compiled,
}
