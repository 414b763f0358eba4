"""What an epoch costs: beside a plain loop, beside the public baseline, beside its own arithmetic."""

from dataclasses import fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.bench.loops import PEER, PLAIN, Loop, Way
from experiments.bench.measure import Figure, Scale, interleaved, medians, ratio, spread, timed
from experiments.bench.setting import CPU, epoch_of_ours, fold_data, new_module, settings
from mer_lightning.model.base import EmotionNetwork

SQUARE = 1024  # rows and columns of the matrices by which the machine's rate is measured
PEER_BATCH = 32  # the public baseline's


def lightning_over_plain(scale: Scale) -> list[Figure]:
    """An epoch of ours, callbacks, validation and checkpoint included, against a plain loop's.

    Every turn of both starts with a new network, so that both find better weights equally often.
    """
    config = settings(f"data.size={scale.size}")
    data = fold_data(config)

    def plain() -> float:
        loop = Loop(config, new_module(config, data), data)
        loop.epoch()
        return timed(loop.epoch, scale.epochs - 1)()

    times = interleaved(
        {"ours": lambda: epoch_of_ours(config, new_module(config, data), data, scale.epochs), "plain": plain},
        scale.repeats,
    )
    details = {"seconds": medians(times), "batch": config.trainer.batch_size}
    return [Figure("lightning_over_plain", ratio(times["ours"], times["plain"]), 1.15, details=details)]


def peer_over_ours(scale: Scale) -> list[Figure]:
    """An epoch of one fold in the public baseline's way against ours, one thread, the baseline's batch."""
    config = settings(f"data.size={scale.size}", f"trainer.batch_size={PEER_BATCH}")
    data = fold_data(config)
    peer = Loop(config, new_module(config, data), data, PEER)
    times = interleaved(
        {
            "peer": timed(peer.epoch),
            "ours": lambda: epoch_of_ours(config, new_module(config, data), data, 2),
        },
        scale.repeats,
    )
    details = {"seconds": medians(times), "batch": PEER_BATCH}
    return [Figure("peer_over_ours", ratio(times["peer"], times["ours"]), 2.0, higher=True, details=details)]


def choices(scale: Scale) -> list[Figure]:
    """What each choice saves: a plain epoch with one thing done the baseline's way, over one without."""
    names = [field.name for field in fields(Way)]
    if not scale.complete:
        return [Figure(f"choices.{n}", None, higher=True, skipped="only without --quick") for n in names]
    config = settings(f"data.size={scale.size}")
    data = fold_data(config)
    ways = {"none": PLAIN} | {name: replace(PLAIN, **{name: True}) for name in names}
    loops = {name: Loop(config, new_module(config, data), data, way) for name, way in ways.items()}
    times = interleaved({name: timed(loop.epoch) for name, loop in loops.items()}, scale.repeats)
    details = {"seconds": medians(times), "batch": config.trainer.batch_size}
    return [
        Figure(f"choices.{n}", ratio(times[n], times["none"]), higher=True, details=details) for n in names
    ]


def sgemm_share(scale: Scale) -> list[Figure]:
    """Arithmetic done in an epoch at batch 256, over what the machine's matrix product does in that time.

    Counted are the products that an epoch needs: forward and weight gradient of every linear layer, the
    input gradient where the input has one (the first layers' inputs are data), and the forward products of
    validation.
    """
    config = settings(f"data.size={scale.size}", "trainer.batch_size=256")
    data = fold_data(config)
    network = new_module(config, data).network
    products = Products(network, data.table(CPU)[torch.from_numpy(data.train_rows[:256])].features)
    macs = products.macs / 256 * len(data.train_rows) + network.macs() * len(data.stopping_rows)
    square = torch.randn(SQUARE, SQUARE)
    times = interleaved(
        {
            "epoch": lambda: epoch_of_ours(config, new_module(config, data), data, scale.epochs),
            "square product": timed(lambda: square @ square, 10),
            "the network's products": timed(products.run, 5),
        },
        scale.repeats,
    )
    rates = {
        "epoch": [2 * macs / s for s in times["epoch"]],
        "square product": [2 * SQUARE**3 / s for s in times["square product"]],
        "the network's products": [2 * products.macs / s for s in times["the network's products"]],
    }
    details = {
        "seconds": medians(times),
        "GFLOP/s": {name: round(spread(r).value / 1e9, 2) for name, r in rates.items()},
        "MFLOP per training utterance": round(2 * products.macs / 256 / 1e6, 3),
        "MFLOP per validated utterance": round(2 * network.macs() / 1e6, 3),
        "share of the network's own products": ratio(rates["epoch"], rates["the network's products"]).value,
    }
    share = ratio(rates["epoch"], rates["square product"])
    return [Figure("sgemm_share", share, 0.55, higher=True, details=details)]


class Products:
    """The matrix products of one training step and nothing else.

    network: its linear layers, with the inputs that they get in a forward pass of ``features``.
    """

    def __init__(self, network: EmotionNetwork, features: dict[str, Tensor]) -> None:
        self.layers: list[tuple[Tensor, Tensor, bool]] = []  # input (B, in), weight (out, in), gradient?
        hooks = [
            m.register_forward_pre_hook(self._note) for m in network.modules() if isinstance(m, nn.Linear)
        ]
        network.train()(features)
        for hook in hooks:
            hook.remove()

    def _note(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        (x,) = inputs
        self.layers.append((x.detach(), layer.get_parameter("weight").detach(), x.requires_grad))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the step."""
        return sum(len(x) * w.numel() * (2 + wanted) for x, w, wanted in self.layers)

    def run(self) -> None:
        """Forward, weight gradient, and the input gradient where it is wanted."""
        for x, weight, wanted in self.layers:
            y = F.linear(x, weight)
            y.T @ x
            if wanted:
                y @ weight
