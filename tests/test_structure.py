"""Imports go downwards only, in the order of ``mer_lightning/README.md``; run alone, prints the arrows."""

import ast
import re
from collections import Counter
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "mer_lightning"
MOST_ROOMS = 20
DOOR = "mer_lightning"  # above all rooms: the package itself and its command line
Arrows = dict[str, set[str]]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports(name: str) -> set[str]:
    """The modules of the package that a module imports, at its top or later."""
    package = name if MODULES[name].stem == "__init__" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            found |= {f"{source}.{a.name}" if f"{source}.{a.name}" in MODULES else source for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & MODULES.keys()) - {name, DOOR}  # every module imports its package first


def room(module: str) -> str:
    place = module.split(".")[1:2]
    return DOOR if place in ([], ["__main__"]) else place[0]


def order() -> list[str]:
    """The rooms from above to below."""
    line = re.search(r"^order: (.+)$", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert line, "the README has no line `order: ...`"
    return [DOOR, *line[1].split(" > ")]


def upwards(arrows: Arrows) -> list[str]:
    height = order().index
    return sorted(f"{a} -> {b}" for a in arrows for b in arrows[a] if height(room(a)) > height(room(b)))


def between_rooms(arrows: Arrows) -> Counter[tuple[str, str]]:
    return Counter((room(a), room(b)) for a in arrows for b in arrows[a] if room(a) != room(b))


def test_the_order_names_every_room_once() -> None:
    assert sorted(order()) == sorted({room(module) for module in MODULES})
    assert len(order()) <= MOST_ROOMS


def test_imports_go_down() -> None:
    assert upwards({module: imports(module) for module in MODULES}) == []


def test_no_circle_between_modules() -> None:
    TopologicalSorter({module: imports(module) for module in MODULES}).prepare()


if __name__ == "__main__":
    everything = {module: imports(module) for module in MODULES}
    for (above, below), count in sorted(
        between_rooms(everything).items(), key=lambda x: order().index(x[0][0])
    ):
        print(f"{above:14s}-> {below:12s}{count:4d}")
    print(*upwards(everything), sep="\nupwards: ")
