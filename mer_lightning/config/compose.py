"""From Hydra's configuration to ours.

Unknown keys are refused because ``conf/config.yaml`` names our schema first in its defaults list.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from mer_lightning.config.folder import conf_folder as conf_folder
from mer_lightning.config.identity import flat, marks, unswept
from mer_lightning.config.mistakes import unknown_key
from mer_lightning.config.plugins import import_plugins, named, parsed
from mer_lightning.config.registry import CHOSEN_BY_NAME
from mer_lightning.config.schema import Config, group_type, schema
from mer_lightning.errors import UserError

# Groups whose keys the schema itself checks.
OPEN = ("priors.", "callbacks.", "logger.", "evaluate.map.", "evaluate.noisy.", "data.sets.")


def register(arguments: Sequence[str] = (), folders: Sequence[Path] = ()) -> None:
    """Import the plugins that the overrides and the user's ``folders`` name; then tell Hydra what there is.

    That is the schema, the parts that have no file in ``conf``, and what names no folder of a sweep.
    """
    named(arguments, folders)
    refuse_lists(arguments)
    store = ConfigStore.instance()
    node: DictConfig = OmegaConf.structured(schema())
    node.data = group_type("data")
    for group in (node.callbacks, node.evaluate.map, node.evaluate.noisy, node.data.sets):
        OmegaConf.set_struct(group, False)  # callbacks.NAME and data.sets.NAME need no +
    store.store(name="schema", node=node)
    for registry in CHOSEN_BY_NAME:
        group, _, key = registry.key.partition(".")
        for name in registry:
            if not (conf_folder() / group / f"{name}.yaml").is_file():
                store.store(group=group, name=name, node={key: name})
    swept = {o.key_or_group for o in parsed(arguments) if o.is_sweep_override()}
    same = [o.key_or_group for o in parsed(arguments) if o.key_or_group not in swept]
    names = {"job": {"config": {"override_dirname": {"exclude_keys": [*unswept(), *same]}}}}
    store.store(name="unswept", node={"hydra": names}, package="_global_")
    # For every group that --help lists, Hydra copies its whole store: 0.5 s of 0.85 s with all extras, and an
    # eighth of it for what is stored here. What it takes out of the store is a copy anyway.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]


def refuse_lists(arguments: Sequence[str]) -> None:
    """A UserError for several choices of a group that takes one: Hydra would mix them, the last on top."""
    groups = {path.name for path in conf_folder().iterdir()} | {
        r.key.partition(".")[0] for r in CHOSEN_BY_NAME
    }
    for override in parsed(arguments):
        key, several = override.key_or_group, override.value() if not override.is_delete() else None
        if key in groups - {"logger", "callbacks"} and isinstance(several, list):
            raise UserError(
                f"{override.input_line}: {key} takes one choice, of several the last would cover the others; "
                f"for a run of each: -m {key}={','.join(map(str, several))}"
            )


def checked(settings: DictConfig) -> Config:
    """The configuration as typed objects, all checks passed.

    Raises UserError for an invalid value or an unknown key: ``+key=value`` adds
    keys even to a schema.
    """
    import_plugins(settings.plugins)
    config = OmegaConf.to_object(settings)
    if not isinstance(config, Config):
        raise UserError(
            "the configuration does not follow the schema; is it named first in conf/config.yaml?"
        )
    for key in flat(cast(dict[str, Any], OmegaConf.to_container(settings))):
        if key not in marks() and not key.startswith(OPEN):
            raise UserError(unknown_key(key))
    return config
