"""The LightningModule: the network, its losses and scores, the optimiser."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor

from mer_lightning.config.registry import FUSIONS, NETWORKS, OPTIMIZERS, WEIGHTINGS, of_parts
from mer_lightning.data.datamodule import Batch, FoldData
from mer_lightning.data.standardise import ValenceScale
from mer_lightning.errors import UserError
from mer_lightning.files.recorded import Scores
from mer_lightning.model.base import Architecture, Decision
from mer_lightning.model.build import build
from mer_lightning.model.hierarchical import HierarchicalNetwork
from mer_lightning.model.losses import UncertaintyWeighting, emotion_weights, share_of_labels, task_losses
from mer_lightning.model.metrics import EmotionMetrics, in_units, selection
from mer_lightning.model.missing import modality_dropout as drop_modalities
from mer_lightning.model.optimizer import schedule_factor
from mer_lightning.pnao.compact import fit_widths
from mer_lightning.pnao.nodes import Nodes

SCORE = "val/score"  # what early stopping maximises: see ``metrics.selection``


class EmotionModule(L.LightningModule):
    """Emotion and valence of an utterance from its feature sets, trained with two weighted losses.

    ::

        data = FeatureDataModule("features", levels=["low", "high"], shared=["face"])
        module = EmotionModule.for_data(data, fusion="entropy")
        L.Trainer(max_epochs=30).fit(module, data)

    Args:
        levels, shared: feature set -> its dimension. A level has a branch; every branch sees the shared sets.
        classes: the emotions, in the order of the outputs.
        network, fusion, weighting: names of parts, in ``config/registry.py`` or a plugin.
        dimension: D, the width of a gathered representation. dropout: after every hidden layer.
        modality_dropout: probability that a training utterance goes without a feature set.
        softmax: over the scores of the gathering. calibrated: a temperature for each branch.
        inputs: whether the columns of the feature sets are nodes, which PNAO may remove.
        widths: node group -> width, of groups that are narrow from the start.
        supervision: ``branch``, ``fused`` or ``both``, then with weight ``auxiliary`` for the branches.
        class_weights: of the emotions in the loss: ``none``, or ``balanced`` by their counts in training.
        delta_rate: learning rate of the loss's d1 and d2, as a multiple of the network's.
        monitor: what ``val/score`` is: see ``metrics.selection``.
        optimizer: its name; learning_rate, schedule, weight_decay: its settings.
        settings: what the chosen parts name themselves, such as ``weights`` of ``fusion="linear"``.

    An epoch logs ``train/loss``, ``lr``, ``val/loss``, ``val/dis`` and the others of ``Scores`` in the units
    of the labels, and ``val/score``, which by default has no units; scores without labels are left out.
    Raises TypeError for a setting that no chosen part has, UserError for an unknown name.
    """

    def __init__(
        self,
        *,
        levels: Mapping[str, int],
        classes: Sequence[str],
        shared: Mapping[str, int] | None = None,
        network: str = "hierarchical",
        dimension: int = 128,
        dropout: float = 0.5,
        modality_dropout: float = 0.0,
        softmax: bool = True,
        inputs: bool = False,
        widths: Mapping[str, int] | None = None,
        fusion: str = "entropy",
        calibrated: bool = False,
        weighting: str = "paper",
        supervision: str = "branch",
        auxiliary: float = 1.0,
        class_weights: str = "none",
        delta_rate: float = 1.0,
        optimizer: str = "adamw",
        learning_rate: float = 2e-3,
        schedule: str = "constant",
        weight_decay: float = 0.0,
        monitor: str = "score",
        **settings: Any,
    ) -> None:
        super().__init__()
        levels, shared, classes, widths = dict(levels), dict(shared or {}), list(classes), dict(widths or {})
        self.save_hyperparameters()
        self.settings = cast(Any, self.hparams)
        architecture = Architecture(
            levels=levels,
            shared=shared,
            classes=len(classes),
            kind=network,
            dimension=dimension,
            dropout=dropout,
            softmax=softmax,
            inputs=inputs,
            widths=widths,
            fusion=fusion,
            calibrated=calibrated,
            options=of_parts(settings, NETWORKS[network], FUSIONS[fusion]),
            plugins=NETWORKS.plugin(network) | FUSIONS.plugin(fusion),
        )
        own = of_parts(settings, WEIGHTINGS[weighting])
        known = architecture.options | own | of_parts(settings, OPTIMIZERS[optimizer])
        if unknown := sorted(settings.keys() - known.keys()):
            raise TypeError(f"EmotionModule: no setting {unknown[0]!r} of its own or of the chosen parts")
        self.network = build(architecture)
        if FUSIONS.plugin(fusion) and isinstance(self.network, HierarchicalNetwork):
            self.network.check_fusion()
        self.network.fusion_learns_alone = supervision == "branch"
        self.weighting = UncertaintyWeighting(weighting, **own)
        self.metrics = EmotionMetrics(len(classes))
        self.history: list[dict[str, float | None]] = []  # an entry for each validation of a fit
        self.class_weights: Tensor | None = None
        self._begin_epoch()

    @classmethod
    def for_data(cls, data: FoldData, **settings: Any) -> "EmotionModule":
        """A module for the feature sets and emotions of ``data``; ``settings`` are the other arguments."""
        corpus, dimensions = data.corpus, data.corpus.dimensions
        return cls(
            levels={name: dimensions[name] for name in corpus.levels},
            shared={name: dimensions[name] for name in corpus.shared},
            classes=corpus.classes,
            **settings,
        )

    def forward(self, features: Mapping[str, Tensor]) -> Decision:
        """Feature set -> (B, D_s), standardised -> the decision for each of the B utterances."""
        decision: Decision = self.network(features)
        return decision

    def node_groups(self) -> Nodes:
        """The network's nodes, for PNAO."""
        return self.network.node_groups().under("network")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Get as narrow as the module was that was saved."""
        fit_widths(self, checkpoint["state_dict"])

    def setup(self, stage: str) -> None:
        """Look how frequent the emotions are, if the loss is to be balanced."""
        if self.settings.class_weights == "balanced":
            self.class_weights = cast(FoldData, self.trainer.datamodule).class_weights  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The weighted loss of a batch (without the sparse term, which goes into the gradients)."""
        features, p = batch.features, self.settings.modality_dropout
        total, _ = self._loss(self.network(drop_modalities(features, p) if p else features), batch)
        self.losses.append(total.detach())
        return total

    def _loss(self, decision: Decision, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss whose mean over the ranks is that of the whole batch, and how many labels that has."""
        supervision, auxiliary = self.settings.supervision, self.settings.auxiliary
        weights = self.class_weights = (
            None if self.class_weights is None else self.class_weights.to(self.device)
        )
        losses = torch.stack(task_losses(decision, batch, supervision, auxiliary, weights))
        known = torch.stack([emotion_weights(batch.emotion, weights).sum(), (~batch.valence.isnan()).sum()])
        everywhere = self._over_ranks(known)
        share, present = share_of_labels(known, everywhere, self.trainer.world_size)
        total: Tensor = self.weighting(*(losses * share), present)
        return total, everywhere.sum()

    def _over_ranks(self, x: Tensor) -> Tensor:
        """``x`` added up over all ranks; every rank must take part."""
        return x if self.trainer.world_size == 1 else cast(Tensor, self.all_gather(x)).sum(dim=0)

    def _mean_over_ranks(self, x: Tensor) -> Tensor:
        return self._over_ranks(x) / self.trainer.world_size

    def on_train_epoch_start(self) -> None:
        """Start the epoch's losses; they stay on the device, nothing is logged step by step."""
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.losses: list[Tensor] = []  # of the epoch's batches
        self._begin_evaluation()

    def on_train_epoch_end(self) -> None:
        """Log the mean loss of the epoch, and its learning rate."""
        self.log("train/loss", self._mean_over_ranks(torch.stack(self.losses)).mean())
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def _begin_evaluation(self) -> None:
        self.metrics.reset()
        self.evaluated: list[Tensor] = []  # (2,) loss and number of labels of each batch
        self.finite = torch.ones(
            (), dtype=torch.bool, device=self.device
        )  # whether all decisions are numbers

    def on_validation_epoch_start(self) -> None:
        """Start the counts."""
        self._begin_evaluation()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch's hits and errors."""
        decision = self.network(batch.features)
        self.finite &= decision.log_posterior.isfinite().all() & decision.valence.isfinite().all()
        self.metrics.update(decision.log_posterior, decision.valence, batch.emotion, batch.valence)
        self.evaluated.append(torch.stack(self._loss(decision, batch)))

    def on_validation_epoch_end(self) -> None:
        """Log the scores; raise UserError for a loss or a decision that is not finite."""
        scores = self.metrics.scores()
        loss, labels = self._mean_over_ranks(torch.stack(self.evaluated)).unbind(dim=1)
        scaled, monitor = self._in_units(scores), self.settings.monitor
        told = {"loss": float((loss * labels).sum() / labels.sum())} | vars(scaled)
        known = {f"val/{name}": value for name, value in told.items() if value is not None}
        self.log_dict({SCORE: selection(scores if monitor == "score" else scaled, 1.0, monitor)} | known)
        if self.trainer.state.fn != "fit" or self.trainer.sanity_checking:
            return
        losses = self._mean_over_ranks(torch.stack(self.losses))
        finite = not self._over_ranks((~self.finite).long())  # the same on every rank: all stop, or none
        self._refuse_odd_numbers(losses.tolist(), finite)
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.history.append(told | {"loss": float(losses.mean()), "val_loss": told["loss"], "lr": rate})

    def _in_units(self, scores: Scores) -> Scores:
        """Scores in the units of the labels."""
        return in_units(scores, self._valence_scale.deviation)

    @property
    def _valence_scale(self) -> ValenceScale:
        """Of the data that is trained or evaluated on; 1 where they say nothing of it."""
        data = getattr(self.trainer, "datamodule", None)
        return cast(ValenceScale, getattr(data, "valence_scale", ValenceScale()))

    def on_test_epoch_start(self) -> None:
        """Start the counts."""
        self.tested = dict[str, EmotionMetrics]()

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count the batch's hits and errors, for each test set."""
        names = [*getattr(getattr(self.trainer, "datamodule", None), "test_sets", ())]
        name = names[dataloader_idx] if dataloader_idx < len(names) else str(dataloader_idx)
        if name not in self.tested:
            self.tested[name] = EmotionMetrics(self.metrics.classes).to(self.device)
        decision = self.network(batch.features)
        self.tested[name].update(decision.log_posterior, decision.valence, batch.emotion, batch.valence)

    def on_test_epoch_end(self) -> None:
        """Log ``test/NAME/dis``, ``dim`` and ``com`` of each test set, where labels are known."""
        for test_set, metrics in self.tested.items():
            scores = vars(self._in_units(metrics.scores()))
            self.log_dict({f"test/{test_set}/{k}": v for k, v in scores.items() if v is not None})

    def predict_step(self, batch: Batch, batch_idx: int) -> Decision:
        """The decision for each utterance of the batch, valences in the units of the labels."""
        decision: Decision = self.network(batch.features)
        mean, deviation = self._valence_scale
        return decision._replace(
            valence=mean + deviation * decision.valence,
            branch_valences=mean + deviation * decision.branch_valences,
        )

    def _refuse_odd_numbers(self, losses: Sequence[float], finite: bool) -> None:
        """A UserError for a batch's loss that is no number, or decisions that are none."""
        odd = [(number, loss) for number, loss in enumerate(losses, 1) if not math.isfinite(loss)]
        if odd:
            (number, loss), *_ = odd
            what = f"the loss became {loss} in batch {number}"
        elif not finite:
            what = f"the network's decisions became NaN after batch {len(losses)}, the last,"
        else:
            return
        raise UserError(
            f"{what} of epoch {self.current_epoch}: lower trainer.learning_rate "
            f"(now {self.settings.learning_rate:g}), or look for extreme values in the features"
        )

    def configure_optimizers(self) -> Any:  # Lightning takes many forms
        """The chosen optimizer; no weight decay on the d of the loss. The schedule moves once an epoch."""
        settings = self.settings
        groups = [
            {"params": list(self.network.parameters()), "weight_decay": settings.weight_decay},
            {
                "params": list(self.weighting.parameters()),
                "weight_decay": 0.0,
                "lr": settings.learning_rate * settings.delta_rate,
            },
        ]
        optimiser = OPTIMIZERS.make(settings.optimizer, groups, **(settings | {"lr": settings.learning_rate}))
        factor = schedule_factor(settings.schedule, self.trainer.max_epochs or 1)
        return [optimiser], [torch.optim.lr_scheduler.LambdaLR(optimiser, factor)]
