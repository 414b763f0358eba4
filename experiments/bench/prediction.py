"""An ensemble at work: our own prediction against ONNX Runtime's, one clip at a time and many."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.bench.measure import Figure, Scale, interleaved, medians, ratio, timed
from experiments.bench.setting import CPU, fold_data, new_module, settings
from mer_lightning.errors import optional
from mer_lightning.export.module import export
from mer_lightning.model.checkpoint import Trained
from mer_lightning.model.decisions import EnsembleWeights
from mer_lightning.results.predictor import Predictor

FOLDS = 5
BATCHES = {1: 200, 4096: 1}  # rows -> calls in a turn
Features = dict[str, NDArray[Any]]


def predict_over_onnx(scale: Scale) -> list[Figure]:
    """ONNX Runtime's time for the whole ensemble over that of ``Predictor.predict``; one thread each."""
    if not scale.complete:
        return skipped("only without --quick")
    config = settings(f"data.size={scale.size}")
    data = fold_data(config)
    networks = [new_module(config, data).network.eval() for _ in range(FOLDS)]
    members = tuple(Trained(network, data.standardisation) for network in networks)
    weights = EnsembleWeights(torch.ones(FOLDS), torch.ones(FOLDS))
    predictor = Predictor(data.corpus.classes, members, weights, "posterior")
    whole = data.table(CPU)[torch.arange(len(data.corpus.utterances))].features
    try:
        session = onnx_session(predictor)
    except Exception as error:  # the runtime is not there
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return skipped(reason)
    return [
        against(
            session,
            predictor,
            {n: np.resize(x.numpy(), (batch, x.shape[1])) for n, x in whole.items()},
            scale,
        )
        for batch in BATCHES
    ]


def skipped(reason: str) -> list[Figure]:
    """The figures that were not measured."""
    return [Figure(f"predict_over_onnx.{batch}", None, higher=True, skipped=reason) for batch in BATCHES]


def onnx_session(predictor: Predictor) -> Any:
    """The ensemble as the program exports it, standardisation included."""
    onnxruntime = optional("onnxruntime", "mer-lightning[export]")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ensemble.onnx"
        export(predictor, {}, path, "onnx")
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def against(session: Any, predictor: Predictor, features: Features, scale: Scale) -> Figure:
    """At one number of rows."""
    batch = len(next(iter(features.values())))
    sides = {
        "onnx": timed(lambda: session.run(None, features), BATCHES[batch]),
        "ours": timed(lambda: predictor.predict(features), BATCHES[batch]),
    }
    times = interleaved(sides, 2 * scale.repeats + 1)
    details = {"seconds": medians(times), "rows per second": round(batch / np.median(times["ours"]))}
    return Figure(
        f"predict_over_onnx.{batch}", ratio(times["onnx"], times["ours"]), higher=True, details=details
    )
