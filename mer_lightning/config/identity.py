"""What of a configuration identifies a run. ``ASIDE``, ``PLACE``, ``LATER`` mark the fields of the schema."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any

from mer_lightning.config.plugins import describe
from mer_lightning.config.schema import Config, schema

TOO_LONG = ("data.levels", "data.shared", "plugins")  # for the name of a folder
SWEPT = "extract.shard"  # all the same: the only key of a task without a run directory that divides its work


def marks(of: str = "identity") -> dict[str, str]:
    """Dotted key -> its mark, or "". Groups are keys too; what has no mark has its group's."""
    kind: Any = schema()
    return _marks(kind, of)


@cache
def _marks(kind: Any, of: str) -> dict[str, str]:
    found = {}
    for f in fields(kind):
        mark = f.metadata.get(of, "")
        found[f.name] = mark
        if is_dataclass(f.type):
            below = _marks(f.type, of)  # type: ignore[arg-type]
            found |= {f"{f.name}.{key}": own or mark for key, own in below.items()}
    return found


def identity(config: Config | Mapping[str, Any], *, places: bool = True) -> dict[str, Any]:
    """What the results of a run depend on, nested like the configuration, a saved one perhaps.

    places: with the paths of what it reads, too. Two runs that differ in these alone may be of one system.
    """
    left_out = {key for key, mark in marks().items() if mark == "aside" or (mark == "place" and not places)}

    def kept(settings: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        return {
            key: kept(value, f"{prefix}{key}.") if isinstance(value, dict) else value
            for key, value in settings.items()
            if prefix + key not in left_out
        }

    return kept(recorded(config) if isinstance(config, Config) else config, "")


def beginning(config: Config | Mapping[str, Any]) -> dict[str, Any]:
    """What round 0 depends on, by dotted key. ``scratch`` alone of the controls is another network then."""
    acts, found = marks("acts"), flat(identity(config))
    kept = {k: v for k, v in found.items() if acts.get(k) != "later" and k != "experiment_name"}
    return kept | {"pnao.control": found["pnao.control"] == "scratch"}


def recorded(config: Config) -> dict[str, Any]:
    """The configuration as a run saves it: nested; of each plugin its version and the hash of its files."""
    return asdict(config) | {"plugins": {name: describe(name) for name in config.plugins}}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"pnao.rate": 0.05, ...}``."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def unswept() -> list[str]:
    """The keys that the names of a sweep's folders leave out, and that therefore cannot be swept."""
    return [*(key for key, mark in marks().items() if mark and key != SWEPT), *TOO_LONG]
