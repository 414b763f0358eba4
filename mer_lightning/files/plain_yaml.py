"""YAML of a run's folder, which may be a stranger's: plain values, keys that are text, and no aliases."""

from typing import Any

import yaml

LARGEST = 2**64


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which we never write: a few lines of them can fill any memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As ever, but for an alias."""
        if self.check_event(yaml.AliasEvent):
            raise ValueError("an alias, which this program never writes")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """As ever, but for keys that are no text, as those of a configuration are."""
        mapping = super().construct_mapping(node, deep)
        if not all(isinstance(key, str) for key in mapping):
            raise ValueError("a key that is not text")
        return mapping


def _ordinary_int(loader: PlainLoader, node: Any) -> int:
    """A whole number that can be shown: Python refuses to write out those of thousands of digits."""
    value = int(loader.construct_yaml_int(node))
    if abs(value) >= LARGEST:
        raise ValueError("a number of too many digits")
    return value


PlainLoader.add_constructor("tag:yaml.org,2002:int", _ordinary_int)


def read_yaml(text: str) -> Any:
    """The plain values of a YAML text. Raises ValueError or YAMLError where it is none, or has aliases."""
    return PlainLoader(text).get_single_data()
