"""The page of every configuration key: its type and meaning from the schema, its default from ``conf``."""

import ast
import inspect
import io
import json
import re
import tokenize
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from textwrap import dedent
from typing import Any

from hydra import compose, initialize_config_dir

from mer_lightning.config import groups, registry
from mer_lightning.config.aside import OUR_LOGGERS
from mer_lightning.config.compose import checked, conf_folder, register
from mer_lightning.config.schema import Config


@dataclass(frozen=True)
class Key:
    """A row of the page."""

    name: str
    kind: str
    meaning: str
    default: Any


@dataclass(frozen=True)
class Section:
    """A group of keys."""

    name: str
    about: str
    keys: list[Key]


def sections() -> list[Section]:
    """Every group of the configuration, in the schema's order."""
    register()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        defaults = asdict(checked(compose("config")))
    found = list(walk(Config, "", defaults))
    for name, kind in OUR_LOGGERS.items():
        given = {f.name: f.default_factory() if f.default is MISSING else f.default for f in fields(kind)}
        found += walk(kind, f"logger.{name}", given)
    return found


def walk(kind: Any, prefix: str, defaults: dict[str, Any]) -> Iterator[Section]:
    """The section of a dataclass, and those of the groups in it."""
    told = comments(kind)
    single = [f for f in fields(kind) if not is_dataclass(f.type)]
    dotted = f"{prefix}." if prefix else ""
    keys = [Key(dotted + f.name, *told[f.name], defaults[f.name]) for f in single]
    if keys:
        yield Section(prefix, inspect.getdoc(kind) or "", keys)
    for f in fields(kind):
        if is_dataclass(f.type):
            yield from walk(f.type, dotted + f.name, defaults[f.name])


def comments(kind: Any) -> dict[str, tuple[str, str]]:
    """Field -> its type as written, and the comment beside it."""
    source = dedent(inspect.getsource(kind))
    beside = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (definition,) = ast.parse(source).body
    return {
        node.target.id: (
            ast.unparse(node.annotation),
            " ".join(beside[n] for n in range(node.lineno, (node.end_lineno or 0) + 1) if n in beside),
        )
        for node in getattr(definition, "body", [])
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def page() -> str:
    """Markdown: a table for each group."""
    text = [
        "# Configuration keys",
        "Every key is a `key=value` of the command line, checked before anything runs; `--cfg job` prints "
        "them all. The defaults are those of `conf/`; `+experiment=NAME` and `group=NAME` change some.",
    ]
    for section in sections():
        title = f"`{section.name}`" if section.name else "The run"
        text += [f"## {title}", about(section), table(section.keys)]
    return "\n\n".join(text) + "\n"


def about(section: Section) -> str:
    """What a group is, and the names it may be chosen by: ``fusion=attention``."""
    folder = conf_folder() / section.name
    names = {file.stem for file in folder.glob("*.yaml")} if section.name else set()
    names |= {n for r in registry.CHOSEN_BY_NAME if r.key.startswith(f"{section.name}.") for n in r}
    listed = ", ".join(f"`{section.name}={name}`" for name in sorted(names))
    first = re.sub(r"``(.+?)``", r"`\1`", section.about.partition("\n\n")[0])
    return f"{first} To choose: {listed}." if len(names) > 1 else first


def table(keys: list[Key]) -> str:
    """The keys as a table of Markdown."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        meaning = spelled(key.meaning).replace("|", r"\|")
        rows.append(f"| `{key.name}` | `{key.kind}` | `{shown(key.default)}` | {meaning} |")
    return "\n".join(rows)


def shown(value: Any) -> str:
    """A default as the command line takes it."""
    return value if isinstance(value, str) and value else json.dumps(value)


def spelled(meaning: str) -> str:
    """``a name in FUSIONS`` with the names there are."""

    def names(match: re.Match[str]) -> str:
        listed = getattr(groups, match[1], None) or getattr(registry, match[1])
        return "one of " + ", ".join(f"`{name}`" for name in listed)

    return re.sub(r"(?:a name )?in ([A-Z]{4,})\b", names, re.sub(r"[_*<]", r"\\\g<0>", meaning))
