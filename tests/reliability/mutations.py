"""Ways to damage an input: pure functions of a generator and the whole input."""

import copy
import csv
import io
import json
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

HUGE = 10**15
DEEP = 20_000  # levels of nesting
NESTED = "nested"  # stands in for lists in lists
TOKENS = (
    b"\x00", b"\xff\xfe", b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 400, b"../../x", b"/etc/passwd", b'"',
    b"'", b",", b"\n", b"\r", b"{", b"]", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"[" * DEEP,
    b"${oc.env:HOME}", b"!!python/object/apply:os.system [true]", b"&a [*a]", b"\x1b[2J", b"2e308", b"=1+1",
)  # fmt: skip
EXTREMES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, -(2**63), 10**30, HUGE, 0.5, 1e308, -1e-320,
    float("nan"), float("inf"),
    "", " ", "x", "nan", "../x", "/etc/passwd", "a\0b", "x" * 300, "é" * 150, "a\nb", "\u202e", "\ud800",
    "\x1b[2J", "=1+1", "<script>", "${oc.env:HOME}", [], [[]], [1, "a", None], [-1], {}, {"": None},
    {"a": {"b": [1]}},
)  # fmt: skip

Bytes = Callable[[Random, bytes], bytes]


def damaged(rng: Random, whole: bytes) -> bytes:
    """One to four local damages: bits, runs, copies, insertions, counts, or the end cut off."""
    found = whole
    for _ in range(rng.choice((1, 1, 2, 4))):
        found = _damaged_once(rng, found)
    return found


def _damaged_once(rng: Random, whole: bytes) -> bytes:
    at = rng.randrange(len(whole) + 1)
    until = min(len(whole), at + rng.choice((1, 2, 4, 8, 64)))
    match rng.randrange(7):
        case 0 if at < len(whole):
            return whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
        case 1:
            return whole[:at]
        case 2:
            return whole[:at] + whole[until:]
        case 3:
            source = rng.randrange(len(whole) + 1)
            return whole[:at] + whole[source : source + 64] + whole[at:]
        case 4:
            return whole[:at] + rng.choice(TOKENS) + whole[at:]
        case 5:
            count = struct.pack("<q", rng.choice((HUGE, -1, 2**31, 2**40, 0)))
            return whole[:at] + count + whole[at + 8 :]
        case _:
            return whole[:at] + rng.randbytes(until - at) + whole[until:]


def json_damaged(rng: Random, whole: bytes) -> bytes:
    """A JSON text with other values, keys or nesting in it; still JSON, if with ``NaN``."""
    text = json.dumps(other_tree(rng, json.loads(whole)))
    depth = rng.choice((5, 900, DEEP))
    return text.replace(f'"{NESTED}"', "[" * depth + "]" * depth).encode()


def other_tree(rng: Random, tree: Any) -> Any:
    """A tree of dicts and lists with one to three places changed. ``tree`` itself may be changed, too."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return copy.deepcopy(rng.choice(EXTREMES))
        parent, key = rng.choice(places)
        _change(rng, parent, key, rng.choice(places))
    return tree


def _places(tree: Any) -> Any:
    """Every container and key in it."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def _change(rng: Random, parent: Any, key: Any, other: tuple[Any, Any]) -> None:
    match rng.randrange(8):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[rng.choice(("", "../x", "x" * 300, "schema", "é", "a\0b"))] = parent.pop(key)
        case 2 if other[1] in (other[0] if isinstance(other[0], dict) else range(len(other[0]))):
            parent[key] = copy.deepcopy(other[0][other[1]])  # a copy, lest the tree bite its tail
        case 3:
            number = parent[key]
            parent[key] = number * -1000 if isinstance(number, int | float) else [number]
        case 4:
            parent[key] = NESTED
        case _:
            parent[key] = copy.deepcopy(rng.choice(EXTREMES))


def csv_damaged(rng: Random, whole: bytes) -> bytes:
    """A table with other cells, columns or rows."""
    rows = list(csv.reader(io.StringIO(whole.decode())))
    for _ in range(rng.choice((1, 1, 2, 5))):
        row = rng.choice(rows)
        column = rng.randrange(len(row)) if row else 0
        match rng.randrange(7):
            case 0 if row:
                del row[column]
            case 1:
                rows.insert(rng.randrange(len(rows)), list(row))
            case 2:
                for each in rows:
                    each.insert(0, "")
            case 3 if row:
                row[column] = rng.choice(rng.choice(rows) or [""])
            case 4:
                rows[0] = rng.sample(rows[0], len(rows[0]))
            case _ if row:
                row[column] = str(rng.choice(EXTREMES))
            case _:
                row.append("x")
    text = io.StringIO()
    csv.writer(text, lineterminator=rng.choice(("\n", "\r\n", "\n\n"))).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def npy_damaged(rng: Random, whole: bytes) -> bytes:
    """A ``.npy`` file with another header before the same numbers."""
    descr = rng.choice(
        ("'<f4'", "'<f8'", "'>f4'", "'|O'", "'<U9'", "'<c8'", "'<M8[s]'", "'|V0'", "[('a','<f4')]")
    )
    shape = rng.choice(
        ((), (60,), (60, 0), (0, 6), (HUGE, HUGE), (2**62, 8), (-1, 6), (60, 6), (6, 60), (1,) * 40)
    )
    header = f"{{'descr': {descr}, 'fortran_order': {rng.choice((True, False))}, 'shape': {shape}, }}\n"
    start = b"\x93NUMPY" + rng.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    length = struct.pack("<H" if start[-2] == 1 else "<I", rng.choice((len(header), len(header), 0, 65535)))
    return start + length + header.encode() + whole[128:]


def numbers_damaged(rng: Random, whole: bytes) -> bytes:
    """A ``.npy`` file whose header stands, with odd float32 numbers among the others."""
    at = 128 + 4 * rng.randrange((len(whole) - 128) // 4)
    odd = struct.pack("<f", rng.choice((float("nan"), float("inf"), 3e38, -3e38, 1e-45)))
    return whole[:at] + odd * rng.choice((1, 1, 6)) + whole[at + 4 :]


def safetensors_damaged(rng: Random, whole: bytes) -> bytes:
    """A safetensors file with another JSON header of the right length."""
    length = int.from_bytes(whole[:8], "little")
    header = json_damaged(rng, whole[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + whole[8 + length :]


def npz_damaged(rng: Random, whole: bytes) -> bytes:
    """A label archive whose first member is damaged, and whole as an archive."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        name = archive.namelist()[0]
        content = archive.read(name)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(
            rng.choice((name, name, name, "../x_corpus.npy", "_corpus.npy")), damaged(rng, content)
        )
    return made.getvalue()


BOMB = "[" + ", ".join(f"&a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else '0'}]" for i in range(30)) + "]"
YAML_VALUES = (
    "&a [*a]", "&a {b: *a}", "!!python/name:os.system", "!!binary x", "[" * 500, "{" * 500 + "}",
    "0x" + "f" * 5000, "1:60:60", "2026-13-99", "<<: [1]", "|", "'", "? [a]: b", "~", "1" * 5000,
    *(json.dumps(x) for x in EXTREMES),
)  # fmt: skip

OVERRIDE_VALUES = (
    "${oc.env:HOME}", "${oc.decode:1}", "${seed}", "${data}", "${nothing}", "${a:b}", "${", "{a:1}",
    "range(1,3)", "glob(*)", "choice(1,2)", "int(3.5)", "'\\", '"', "1,2", "a b", "null", "1" * 5000, "1_0",
    "1e-400", "[" * 200,
)  # fmt: skip


def yaml_damaged(rng: Random, whole: bytes) -> bytes:
    """YAML with tags, nesting or odd values for one of its keys."""
    return _with_value(rng, whole, rng.choice(YAML_VALUES))


def yaml_bomb(rng: Random, whole: bytes) -> bytes:
    """YAML with anchors that multiply to more than any memory."""
    return _with_value(rng, whole, BOMB)


def overrides_damaged(rng: Random, whole: bytes) -> bytes:
    """Overrides of the command line, one a line, of which one has another value, key or prefix."""
    lines = whole.decode().splitlines()
    at = rng.randrange(len(lines))
    key, _, value = lines[at].partition("=")
    match rng.randrange(4):
        case 0:
            lines[at] = f"{rng.choice(('+', '++', '~', '@', '', '-'))}{key}={value}"
        case 1:
            lines[at] = f"{rng.choice(lines).partition('=')[0]}={value}"
        case 2:
            lines[at] = f"{key}{rng.choice(('.x', '[0]', '/', '@', '.'))}={value}"
        case _:
            lines[at] = f"{key}={rng.choice((*OVERRIDE_VALUES, *(str(x) for x in EXTREMES)))}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _with_value(rng: Random, whole: bytes, value: str) -> bytes:
    lines = whole.decode().splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = f"{lines[at].partition(':')[0]}: {value}\n"
    return "".join(lines).encode()
