"""Parts of your own, by name: decorators for a module that ``plugins=[MODULE]`` imports.

::

    from mer_lightning.plugins import fusion

    @fusion("sharp")
    class Sharp(torch.nn.Module):
        def __init__(self, widths: list[int], power: float = 2.0) -> None:
            ...

From then on ``fusion=sharp fusion.power=3`` is like any choice and key of ours. Parameters with a default
and a type (``bool``, ``int``, ``float``, ``str``, lists of these, or None) are settings: keys of the part's
group. What each part is given, and gives:

- ``fusion``: a Module(widths); (B, M, C) log-posteriors, M gathered (B, D_i) -> (B, M) weights
- ``network``: ``EmotionNetwork(architecture)``
- ``weighting``, chosen by ``loss=NAME``: (2,) losses, (2,) log d -> (2,) weighted losses with their penalties
- ``criterion``, by ``pnao.criterion=NAME``: module, nodes, trainer -> {group: (width,) importance}
- ``optimizer``, by ``trainer.optimizer=NAME``: parameter groups (with ``weight_decay``), lr -> Optimizer
- ``reader``, by ``data=NAME``: ``DataConfig`` -> ``Corpus``
- ``encoder``, by ``extract.features=[NAME]``: device, dtype -> ``extract.encoder.Encoder``
"""

from mer_lightning.config.registry import (
    CRITERIA,
    ENCODERS,
    FUSIONS,
    NETWORKS,
    OPTIMIZERS,
    READERS,
    WEIGHTINGS,
)

fusion = FUSIONS.add
network = NETWORKS.add
criterion = CRITERIA.add
weighting = WEIGHTINGS.add
optimizer = OPTIMIZERS.add
reader = READERS.add
encoder = ENCODERS.add

__all__ = ["criterion", "encoder", "fusion", "network", "optimizer", "reader", "weighting"]
