"""Plugins: modules of the user's, imported before the configuration is checked.

They are named on the command line, or in a configuration file of the user's that the command line chooses;
never by what a run has saved.
"""

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from mer_lightning.errors import UserError, one_line

NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
OF_A_RUN = ("data.json", "results.json", "model.json", "SHA256SUMS")


class Plugins(list[str]):
    """Names of modules that are imported; where it is unpickled, in a worker, they are imported first."""

    def __reduce__(self) -> tuple[object, ...]:
        return import_plugins, (list(self),)


def import_plugins(names: Iterable[str]) -> Plugins:
    """Import the modules, from the working directory or wherever Python looks.

    Raises UserError for one that is not there, or that raises an error.
    """
    names = list(names)
    if names and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for name in names:
        if not NAME.fullmatch(str(name)):
            raise UserError(
                f"plugins={name!r}: expected the name of a module, as for import: plugins=[my_parts]"
            )
        try:
            module = import_module(name)
        except UserError:
            raise
        except ModuleNotFoundError as error:
            if error.name is not None and name.startswith(error.name):
                raise UserError(
                    f"plugins: no module {name!r} in the working directory, on PYTHONPATH or installed"
                ) from error
            raise UserError(f"plugins: {name} cannot be imported: {one_line(error)}") from error
        except Exception as error:  # whatever the user's code raises
            raise UserError(
                f"plugins: {name} cannot be imported: {type(error).__name__}: {one_line(error)}"
            ) from error
        if getattr(module, "__file__", None) is None:
            raise UserError(f"plugins: {name} is no file of Python's, nor a folder with an __init__.py")
    return Plugins(names)


def describe(name: str) -> str:
    """The version of an imported module, if it has one, and a hash of its files."""
    module = sys.modules[name]
    file = Path(str(module.__file__))
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    version = getattr(module, "__version__", None)
    return f"{version} sha256:{digest}" if version else f"sha256:{digest}"


def named(arguments: Iterable[str], folders: Iterable[Path]) -> Plugins:
    """Import the plugins that the overrides name, or a file in ``folders`` that they choose.

    Raises UserError for a folder that lies in a run, which may be a stranger's.
    """
    overrides = parsed(arguments)
    places = [*folders, *_searched(overrides)]
    for folder in places:
        if run := _run_around(folder):
            raise UserError(
                f"{folder} lies in the run or model {run}, whose files may be a stranger's: copy what you "
                "trust into a folder of your own, and give that one"
            )
    names = [
        name for override in overrides if override.key_or_group == "plugins" for name in _values(override)
    ]
    chosen = [(o.key_or_group, str(value)) for o in overrides for value in _values(o)]
    for file in (folder / group / f"{value}.yaml" for folder in places for group, value in chosen):
        if file.is_file():
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            names += content.get("plugins") or [] if isinstance(content, dict) else []
    return import_plugins(dict.fromkeys(map(str, names)))


def parsed(arguments: Iterable[str]) -> list[Override]:
    """Hydra's overrides; none where one of them cannot be parsed, which Hydra will say."""
    try:
        return list(OverridesParser.create().parse_overrides(list(arguments)))
    except HydraException:
        return []


def _values(override: Override) -> list[object]:
    """All that an override, of a sweep perhaps, says."""
    if override.is_delete():
        return []
    if override.is_sweep_override():
        try:
            return list(override.sweep_string_iterator())
        except (ValueError, HydraException):  # an interval, say, or glob(...)
            return []
    value = override.value()
    return value if isinstance(value, list) else [value]


def _searched(overrides: Iterable[Override]) -> Iterator[Path]:
    """The folders of ``hydra.searchpath``."""
    for override in overrides:
        if override.key_or_group == "hydra.searchpath":
            yield from (
                Path(str(x).removeprefix("file://")) for x in _values(override) if "pkg://" not in str(x)
            )


def _run_around(folder: Path) -> Path | None:
    """The run or model that a folder is, or lies in."""
    path = folder.expanduser().resolve()
    return next((p for p in (path, *path.parents) if any((p / name).is_file() for name in OF_A_RUN)), None)
