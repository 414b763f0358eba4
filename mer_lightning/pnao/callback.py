"""PNAO as a Lightning callback: Algorithm 1 on any LightningModule, a fit a round."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor
from torch.optim import Optimizer

from mer_lightning.pnao.checks import check_fit, check_optimizers, check_values
from mer_lightning.pnao.compact import check_masks, fit_widths, narrow
from mer_lightning.pnao.early_stop import EarlyStopPoint
from mer_lightning.pnao.importance import check_importances, weight_importance, weights_of
from mer_lightning.pnao.masks import Masks
from mer_lightning.pnao.nodes import Nodes, declared, widths
from mer_lightning.pnao.optimizers import (
    State,
    add_l1_subgradient,
    gradient_scale,
    narrowed,
    put_back,
    rewind,
    shrink,
)
from mer_lightning.pnao.probe import Probe, check_declaration, difference
from mer_lightning.pnao.record import log_round, sizes, unlogged
from mer_lightning.pnao.rule import MaskRule, Rule, WholeRule, unguarded
from mer_lightning.pnao.store import Round, RoundStore, load_state, random_states, set_random_states

Criterion = Callable[[L.LightningModule, Nodes, L.Trainer], dict[str, Tensor]]


class PNAO(L.Callback):
    """Structured pruning in rounds, with learning-rate rewinding (Algorithm 1, Eq. 10 and 11).

    ::

        pnao = PNAO(chain("net.0", "net.2", "net.4"), rate=0.05, rounds=10, dirpath="out")
        for number in pnao.rounds(module):
            L.Trainer(max_epochs=30, callbacks=[pnao]).fit(module, data)

    Args:
        nodes: which nodes there are; None: the module's own ``node_groups()``.
        rate: k of Eq. 11, the NAOR, in [0, 1).
        rounds: N, rounds of pruning after round 0.
        alpha: weight of the sparse term of Eq. 8, at each step; 0: none.
        sparse: ``subgradient``: the term's goes into the gradients, where Adam rescales it; ``proximal``:
            after the optimizer's step all weights shrink by the learning rate times alpha.
        monitor, mode: the logged metric whose best epoch is the early-stop point; of equals the first.
        criterion: (module, nodes, trainer) -> {group: (width,) importance}; None: Eq. 10.
        masks: (importances, number of the round to come) -> {group: (width,) bool}; None: Eq. 11 on ``scale``
            with the guards. A rule given here has no guards.
        scale: ``none`` (Eq. 11 to the letter), ``layer`` (each group's importance divided by its mean) or
            ``lamp`` (relative to the more important nodes of the group); see ``importance.scaled``.
        keep: the share of the prunable parameters left after the last round, approached cubically over the
            rounds; None: by ``rate``.
        min_width, max_share: guards: the smallest width of a group, the largest share of it one round takes.
        rewind_epoch: where the schedule of every round but the first begins.
        optimizer: ``reset``, or ``carry``: the kept nodes' state goes on.
        dirpath: where the rounds are kept, and gone on from; None: in memory.

    ``history`` has one dict a finished round: ``round``, ``score``, ``parameters``, ``macs``, ``widths``,
    ``density`` (width by that of round 0), ``difference`` (masked against narrow), ``prunable``, ``notes``.
    """

    def __init__(
        self,
        nodes: Nodes | None = None,
        *,
        rate: float = 0.05,
        rounds: int = 10,
        alpha: float = 0.0,
        monitor: str = "val_loss",
        mode: str = "min",
        criterion: Criterion | None = None,
        masks: MaskRule | None = None,
        scale: str = "none",
        keep: float | None = None,
        min_width: int = 1,
        max_share: float = 1.0,
        rewind_epoch: int = 0,
        optimizer: str = "reset",
        dirpath: str | Path | None = None,
        sparse: str = "subgradient",
    ) -> None:
        check_values(
            rounds=(rounds, isinstance(rounds, int) and rounds >= 0),
            alpha=(alpha, 0 <= alpha < math.inf),
            mode=(mode, mode in ("min", "max")),
            rewind_epoch=(rewind_epoch, isinstance(rewind_epoch, int) and rewind_epoch >= 0),
            optimizer=(optimizer, optimizer in ("reset", "carry")),
            sparse=(sparse, sparse in ("subgradient", "proximal")),
        )
        self.declared, self.last, self.rewind_epoch = nodes, rounds, rewind_epoch
        self.alpha, self.proximal = alpha, sparse == "proximal"
        self.criterion = criterion or weight_importance
        default = Rule(rate, rounds, scale, keep, min_width, max_share)
        self.rule: WholeRule = default if masks is None else unguarded(masks)
        self.best_of = monitor, mode, optimizer == "carry"
        self.store = RoundStore(None if dirpath is None else Path(dirpath))
        self.kept: RoundStore | None = None  # the store, while a trial has one of its own
        self.history: list[dict[str, Any]] = []
        self.number: int | None = None  # of the round that waits for its fit
        self.nodes = Nodes({}, {})
        self.following: dict[str, Any] = {}  # what the round before said of this one
        self.carried: State = {}

    def rounds(self, module: L.LightningModule) -> Iterator[int]:
        """Algorithm 1: the numbers of the rounds still to train; one ``Trainer.fit`` in each turn.

        Goes on from the last whole round in ``dirpath``. After the last turn the module is that of the last
        round, at its early-stop point.
        """
        self.nodes = declared(module, self.declared)
        widths(module, self.nodes)  # refuse what does not fit before anything is trained
        self.store, self.kept = self.kept or self.store, None
        self.following, self.carried = {}, {}
        self.history = [self.store.record(n) for n in range(self.store.count())]
        self.store.begin(len(self.history))
        if self.history:
            self.restore(module, len(self.history) - 1)
        for number in range(len(self.history), self.last + 1):
            if number:
                self.prune(module, number)  # line 4
            self.number = number
            yield number  # lines 1, 2 and 5: sparse training to the early-stop point; line 3 at its end
            if not self.store.done(number):
                raise RuntimeError(f"round {number} was not trained: call Trainer.fit with this callback")
            self.history = [*self.history[:number], self.store.record(number)]
        self.number = None

    def restore(self, module: L.LightningModule, number: int) -> Round:
        """Bring ``module`` to the early-stop point of a finished round."""
        saved = self.store.read(number)
        fit_widths(module, saved.module, self.nodes)
        load_state(module, saved.module)
        return saved

    def prune(self, module: L.LightningModule, number: int) -> None:
        """Line 4: from the round before to ``number``: its early-stop point, without the masked nodes."""
        saved = self.restore(module, number - 1)
        set_random_states(saved.random)  # whatever has happened between the turns
        if self.nodes.groups and not saved.masks:
            where = self.store.folder(number - 1)
            raise ValueError(f"{where} was trained as the last round and has no masks; remove it to go on")
        self.carried = narrowed(saved.optimizer, module, self.nodes, saved.masks)
        self.following = saved.following
        narrow(module, self.nodes, saved.masks)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what cannot go together with rounds."""
        if stage == "fit":
            if trainer.fast_dev_run and self.kept is None:  # type: ignore[attr-defined]
                self.kept, self.store = self.store, RoundStore(None)  # of a trial nothing is kept
            check_fit(self.number, self.store, trainer, pl_module)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A fresh early-stop point; the optimizer is fresh, or goes on from the state that was carried."""
        check_fit(self.number, self.store, trainer, pl_module)  # ``ckpt_path`` is known only now
        check_optimizers(trainer.optimizers, pl_module)
        self.best = EarlyStopPoint(*self.best_of)
        self.probe: Probe | None = None
        self.weights = [w for ws in weights_of(pl_module, self.nodes).values() for w in ws]
        put_back(self.carried, pl_module, trainer.optimizers[0])
        if self.alpha > 0 and self.proximal:
            for optimizer in trainer.optimizers:
                optimizer.register_step_post_hook(lambda o, *_: shrink(self.weights, o, self.alpha))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Line 5: the schedule goes back. In round 0 it is only seen whether it can."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            rewind(trainer, self.rewind_epoch, only_check=self.number == 0)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the first batch's inputs; before round 0 the declaration is tried on them."""
        if self.probe is None:
            self.probe = Probe(trainer, pl_module, batch)
            if self.number == 0:
                check_declaration(pl_module, self.nodes, self.probe)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Line 1: the sparse term, after backward and before clipping, scaled as the gradients are."""
        if self.alpha > 0 and not self.proximal:
            add_l1_subgradient(self.weights, self.alpha * gradient_scale(trainer, optimizer))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Line 2: keep the best epoch so far."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.best.look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The same where there is no validation."""
        if not trainer.enable_validation:
            self.best.look(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Back to the early-stop point; line 3: learn the masks of the next round; keep all of it."""
        number, best, probe = self.number, self.best, self.probe
        assert number is not None and probe is not None  # noqa: S101, PT018  (a batch was trained on)
        best.go_back(pl_module)
        record = trainer.strategy.broadcast(self.describe(pl_module, probe))
        self.history.append(record)
        masks, following = self.learn(trainer, pl_module, probe) if number < self.last else ({}, {})
        masks = trainer.strategy.broadcast({group: mask.cpu() for group, mask in masks.items()})  # rank 0's
        if trainer.is_global_zero or self.store.path is None:
            content = Round(record, best.weights, masks, best.state, random_states(), following)
            self.store.write(number, content, lambda folder: self.extend(folder, trainer, pl_module))
        trainer.strategy.barrier()
        log_round(trainer, record)
        self.number = self.probe = None

    def learn(
        self, trainer: L.Trainer, module: L.LightningModule, probe: Probe
    ) -> tuple[Masks, dict[str, Any]]:
        """Line 3: importance and masks of the next round, and what comes of them."""
        with unlogged(module):
            importances = self.criterion(module, self.nodes, trainer)
        check_importances(module, self.nodes, importances)
        number, full = len(self.history), self.history[0]["prunable"]
        masks, notes = self.rule(importances, number, module, self.nodes, full)
        check_masks(module, self.nodes, masks)
        return masks, {"difference": difference(module, self.nodes, masks, probe), "notes": notes}

    def describe(self, module: L.LightningModule, probe: Probe) -> dict[str, Any]:
        """The round's entry in ``history``."""
        known = {
            "round": self.number,
            "score": self.best.score,
            "difference": 0.0,
            "notes": [],
        } | self.following
        with unlogged(module):
            return known | sizes(module, self.nodes, probe, self.history)

    def extend(self, folder: Path, trainer: L.Trainer, module: L.LightningModule) -> None:
        """For subclasses: add files to a round's folder before it takes its name."""

    @staticmethod
    def load(
        module: L.LightningModule,
        dirpath: str | Path,
        round: int | None = None,  # noqa: A002
        nodes: Nodes | None = None,
    ) -> L.LightningModule:
        """``module``, narrowed, with the weights of a finished round; None: the last whole one."""
        pnao = PNAO(nodes, dirpath=dirpath)
        pnao.nodes = declared(module, nodes)
        pnao.restore(module, max(0, pnao.store.count() - 1) if round is None else round)
        return module
